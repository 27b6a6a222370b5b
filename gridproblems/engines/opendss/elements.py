"""Small questions to an OpenDSS context about its elements."""

from __future__ import annotations

from typing import Any


def names_of(dss: Any, kind: str) -> list[str]:
    """Names of the enabled elements of a class."""
    dss.Basic.SetActiveClass(kind)
    if not dss.ActiveClass.NumElements():
        return []
    return [name.lower() for name in dss.ActiveClass.AllNames() if is_on(dss, f"{kind}.{name}")]


def is_on(dss: Any, element: str) -> bool:
    dss.Circuit.SetActiveElement(element)
    return bool(dss.CktElement.Enabled())


def steps_of(dss: Any, capacitor: str) -> tuple[int, ...]:
    dss.Capacitors.Name(capacitor)
    return tuple(dss.Capacitors.States())


def property_of(dss: Any, kind: str, name: str, wanted: str) -> str:
    dss.Text.Command(f'Select "{kind}.{name}"')
    dss.Text.Command(f"? {wanted}")
    text: str = dss.Text.Result()
    return text


def listed_of(dss: Any, kind: str, name: str, wanted: str) -> list[str]:
    """A property that is a list of names, as OpenDSS spells them."""
    names = property_of(dss, kind, name, wanted).strip("[]").split(",")
    return [part.strip() for part in names if part.strip()]
