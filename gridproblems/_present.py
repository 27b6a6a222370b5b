"""The grid as it is now in all situations, in parts where they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gridproblems.controls.joint import Joint
from gridproblems.state import FloatArray, Settings

_SWITCHES = ("in_service", "closed")
_SAMPLED = 24


class Present:
    """Settings of the grid as it is now.

    Args:
        grid: The grid.
        joint: The controls in their situations.
        chunks: Situations whose settings are made together.
    """

    def __init__(self, grid: Any, joint: Joint, chunks: Sequence[slice]) -> None:
        self._grid, self._joint, self._chunks = grid, joint, tuple(chunks)

    def all(self) -> Settings:
        """Of all situations, one row each."""
        settings: Settings = self._grid.present_settings(self._joint)
        return settings

    def parts(self) -> Iterator[tuple[slice, Settings]]:
        """Of one chunk after the other, as a batch of one candidate."""
        for rows in self._chunks:
            own = self._grid.present_settings(self._joint, rows)
            yield rows, Settings(own.fields, own.values[np.newaxis])

    def telling(self) -> Settings:
        """Of all situations; where they are many, of those that tell whether an engine can solve
        the grid: some spread evenly, and the first with each position of switches and statuses."""
        if len(self._chunks) == 1:
            return self.all()
        n = self._joint.situations.n
        sampled = np.unique(np.linspace(0, n - 1, _SAMPLED).astype(int))
        found: dict[int, FloatArray] = {}
        seen: set[bytes] = set()
        for rows, settings in self.parts():
            values = settings.rows
            of_switches = [f.column in _SWITCHES for f in settings.fields for _ in f.elements]
            positions = values[:, np.flatnonzero(of_switches)]
            _, first = np.unique(positions, axis=0, return_index=True)
            new = {int(i) for i in first if positions[i].tobytes() not in seen}
            seen |= {positions[i].tobytes() for i in new}
            new |= {int(i) - rows.start for i in sampled if rows.start <= i < rows.stop}
            found |= {rows.start + i: values[i].copy() for i in sorted(new)}
        return Settings(settings.fields, np.array(list(found.values())))
