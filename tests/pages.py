"""Pages that are open in a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Seen:
    """A page that is open, and everything it complained about or asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: Path, drawn: bool = False) -> None:
        """Opens a file; ``drawn``: and waits until its charts are drawn."""
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append("dialog " + dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        if drawn:
            self.page.wait_for_selector("body[data-drawn]", timeout=60_000)


def contrast(one: str, other: str) -> float:
    """Of two colours as a browser says them, ``rgb(0, 0, 0)``, by WCAG 2: 1 to 21."""

    def luminance(rgb: str) -> float:
        values = np.array([float(v) for v in rgb.split("(")[1].rstrip(")").split(",")[:3]]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
