"""Which elements of a net a control may be about."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown


def asked_elements(net: pandapowerNet, table: str, asked: Sequence[int] | None) -> list[int]:
    """Elements in service, or the asked ones.

    Raises:
        ValueError: The net has no such element.
    """
    for element in asked or ():
        if not isinstance(element, Integral):
            raise ValueError(f"controls: expected indices of {table}, got {shown(element)}")
        if element not in net[table].index:
            raise ValueError(f"controls: the net has no {table} {element}")
    return list(asked or net[table].index[net[table].in_service.astype(bool)])
