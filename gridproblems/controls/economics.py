"""What units cost a year: capital spread over their life as an annuity, and operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


def annuity_factor(rate: float, years: float) -> float:
    """Yearly payment that pays back a capital of 1 with interest, ``r / (1 - (1 + r)^-n)``. [1/a]

    Args:
        rate: Interest rate, 0.05 for 5 % a year; at 0 the capital is spread evenly.
        years: Life of the unit. [a]

    Raises:
        ValueError: A rate below 0, or a life that is not positive.
    """
    if not 0 <= rate < float("inf"):
        raise ValueError(f"rate: expected 0 or more, for example 0.05 for 5 % a year, got {rate}")
    if not 0 < years < float("inf"):
        raise ValueError(f"years: expected a positive life, got {years}")
    if rate == 0:
        return 1.0 / years
    return float(rate / (1.0 - (1.0 + rate) ** -years))


@dataclass(frozen=True)
class UnitCost:
    """Cost of one kind of unit.

    Attributes:
        rate: Interest rate, 0.05 for 5 % a year.
        years: Life of the unit. [a]
        per_mw: Capital per rated power, per Mvar for capacitors. [EUR/MW, EUR/Mvar]
        per_mwh: Capital per energy capacity of a storage. [EUR/MWh]
        per_unit: Capital per unit built, whatever its size. [EUR]
        operation_share: Yearly operation as a share of the capital. [1/a]
    """

    rate: float
    years: float
    per_mw: float = 0.0
    per_mwh: float = 0.0
    per_unit: float = 0.0
    operation_share: float = 0.0

    def __post_init__(self) -> None:
        annuity_factor(self.rate, self.years)
        for name in ("per_mw", "per_mwh", "per_unit", "operation_share"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}: expected 0 or more, got {value}")

    def eur_per_year(self, size_mw: Any, energy_mwh: Any = 0.0) -> Any:
        """Annuity and operation of units of these sizes; nothing for a size of 0. [EUR/a]

        Args:
            size_mw: Rated powers, Mvar of capacitors, numbers or arrays. [MW, Mvar]
            energy_mwh: Energy capacities. [MWh]
        """
        capital = self.per_mw * size_mw + self.per_mwh * energy_mwh
        capital = capital + self.per_unit * (size_mw > 0)
        return capital * (annuity_factor(self.rate, self.years) + self.operation_share)


def unit_cost(kind: str, given: UnitCost | Mapping[str, float]) -> UnitCost:
    """The cost of a kind of unit, also from a mapping with the attributes of `UnitCost`.

    Raises:
        ValueError: An unknown or missing attribute, or a value that cannot be.
    """
    if isinstance(given, UnitCost):
        return given
    known = [field.name for field in fields(UnitCost)]
    unknown = sorted(set(given) - set(known))
    missing = sorted({"rate", "years"} - set(given))
    if unknown or missing:
        problem = f"unknown {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        raise ValueError(f"costs of {kind}: {problem}; expected {', '.join(known)}")
    try:
        return UnitCost(**given)
    except ValueError as error:
        raise ValueError(f"costs of {kind}: {error}") from error
