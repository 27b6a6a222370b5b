"""A day and a year of hours for some packaged cases: synthetic data of this package.

No measurement is behind them. Of hour $h$, with $b(c, w) = \\exp(-((h - c) / w)^2 / 2)$ around the
clock and $\\sigma(z) = 1 / (1 + e^{-z})$:

- a household uses $0.40 + 0.25 b(7.5, 1.8) + 0.10 b(13, 2) + 0.60 b(19.5, 2.6)$, a business
  $0.35 + 0.65 \\sigma((h - 7) / 0.8) \\sigma(18 - h)$, both in terms of their peak;
- load $i$ is a household by a share drawn evenly from 0.6 to 1 in feeders and from 0.2 to 0.8 in
  meshed grids, a business by the rest, and multiplies the powers of its table;
- in the year both are multiplied by $(1 + 0.15 \\cos(2 \\pi (d - 15) / 365)) / 1.15$ on day $d$ and
  by a factor of the day from a normal distribution (1, 0.03); on two days of seven businesses use
  0.6 of that; all is divided by its peak;
- photovoltaics give the sine of the sun's elevation at 50 degrees north over its largest value, of
  June 21 or of the day, in the year times a clearness of the day from a beta distribution (2, 1.2);
- generators follow the sum of all loads, the slack gives the rest;
- ``lv18``, whose powers are profiles, has loads and static generators with the peaks of these.

Draws have the seed 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gridproblems._names import with_nearest
from gridproblems.state import FloatArray

#: Range of the share of households by case; the part of its name before the first hyphen.
HOUSEHOLDS: Mapping[str, tuple[float, float]] = {
    "ieee30": (0.2, 0.8),
    "ieee57": (0.2, 0.8),
    "case33bw": (0.6, 1.0),
    "lv18": (0.6, 1.0),
}
#: Days of the series by name.
N_DAYS = {"day": 1, "year": 365}

_HOURS = np.arange(24.0)
_SEED = 1


def load_shapes(name: str, case: str, n_loads: int) -> FloatArray:
    """Factors of the loads of a case in every hour, at most 1, shape (n_hours, n_loads).

    Args:
        name: ``"day"`` or ``"year"``.
        case: Name of a packaged case.
        n_loads: Number of its loads.

    Raises:
        ValueError: No such series, or a case without.
    """
    if name not in N_DAYS:
        raise ValueError(f"situations: Hours: no series is called {with_nearest(name, N_DAYS)}")
    if case.split("-")[0] not in HOUSEHOLDS:
        known = ", ".join(HOUSEHOLDS)
        raise ValueError(f"situations: Hours({name!r}): {case} has none; cases with one: {known}")
    random = np.random.default_rng(_SEED)
    share = random.uniform(*HOUSEHOLDS[case.split("-")[0]], n_loads)
    household = 0.40 + 0.25 * _bump(7.5, 1.8) + 0.10 * _bump(13.0, 2.0) + 0.60 * _bump(19.5, 2.6)
    business = 0.35 + 0.65 * _sigmoid((_HOURS - 7.0) / 0.8) * _sigmoid(18.0 - _HOURS)
    household, business = household / household.max(), business / business.max()
    days = np.arange(N_DAYS[name])
    of_day = np.ones(1)
    if len(days) > 1:
        of_day = (1.0 + 0.15 * np.cos(2.0 * np.pi * (days - 15) / 365.0)) / 1.15
        of_day = of_day * random.normal(1.0, 0.03, len(days))
    working = np.where(days % 7 >= 5, 0.6, 1.0)
    shapes = of_day[:, np.newaxis, np.newaxis] * (
        share * household[:, np.newaxis]
        + working[:, np.newaxis, np.newaxis] * (1.0 - share) * business[:, np.newaxis]
    )
    flat: FloatArray = shapes.reshape(-1, n_loads)
    return flat / flat.max()


def pv_shape(name: str) -> FloatArray:
    """Output of photovoltaics over their rating in every hour, shape (n_hours,)."""
    n_days = N_DAYS[name]
    days = np.arange(n_days) if n_days > 1 else np.array([171])
    declination = np.radians(-23.44) * np.cos(2.0 * np.pi * (days[:, np.newaxis] + 10) / 365.0)
    latitude, angle = np.radians(50.0), np.pi * (_HOURS - 12.0) / 12.0
    sun = np.sin(latitude) * np.sin(declination)
    sun = sun + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    sun = np.maximum(sun, 0.0)
    sun = sun / sun.max()
    if n_days > 1:
        sun = sun * np.random.default_rng(_SEED).beta(2.0, 1.2, n_days)[:, np.newaxis]
    flat: FloatArray = sun.ravel()
    return flat


def _bump(centre: float, width: float) -> FloatArray:
    """A bell around an hour of the day."""
    away = (_HOURS - centre + 12.0) % 24.0 - 12.0
    bell: FloatArray = np.exp(-0.5 * (away / width) ** 2)
    return bell


def _sigmoid(z: FloatArray) -> FloatArray:
    rising: FloatArray = 1.0 / (1.0 + np.exp(-z))
    return rising
