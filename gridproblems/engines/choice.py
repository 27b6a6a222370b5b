"""Which engine solves a net: the fastest one that gives what ``pandapower.runpp`` gives."""

from __future__ import annotations

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._names import with_nearest
from gridproblems._warn import warn_user
from gridproblems.engines import ENGINES, Engine, ReferenceEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import QUANTITIES, GridState, Settings

#: Largest difference of an engine from ``runpp`` by unit, beside 1e-7 of the largest value.
_ENGINE_TOLERANCE = {"pu": 1e-7, "degree": 1e-5, "mw": 1e-5, "mvar": 1e-5, "percent": 1e-4}
_MAX_CHECKED = 24


def choose_engine(
    name: str, net: pandapowerNet, base: Settings, problem: str
) -> tuple[Engine, str, str]:
    """The engine, its name and why.

    Args:
        name: Of an engine, or ``"auto"``: the first that supports the net and agrees with
            ``pandapower.runpp`` in every quantity of up to 24 power flows of the grid as it is.
        net: The net.
        base: Settings of the grid as it is now, one row per situation.
        problem: What to call it in a warning.

    Raises:
        ValueError: An unknown name.
        UnsupportedByEngine: The named engine cannot represent the net.
    """
    if name != "auto":
        if name not in ENGINES:
            raise ValueError(f"engine: unknown engine {with_nearest(name, ('auto', *ENGINES))}")
        engine = ENGINES[name](net)
        engine.check(base)
        return engine, name, "chosen by the caller"
    rows = np.unique(np.linspace(0, len(base.rows) - 1, _MAX_CHECKED).astype(int))
    checked = Settings(base.fields, base.rows[rows])
    expected = ReferenceEngine(net, for_many=False).solve(checked)
    notes = []
    for candidate, engine_class in ENGINES.items():
        try:
            engine = engine_class(net)
            engine.check(base)
        except UnsupportedByEngine as error:
            notes.append(str(error))
            continue
        difference = _difference(engine.solve(checked), expected)
        if difference is None:
            note = "; ".join([*notes, "agrees with pandapower.runpp on the base case"])
            return engine, candidate, note
        notes.append(f"{candidate} engine: {difference}")
        warn_user(f"{problem}: {notes[-1]}; trying the next engine")
    raise UnsupportedByEngine("; ".join(notes))


def _difference(state: GridState, expected: GridState) -> str | None:
    """How a state differs from the reference beyond rounding, None where it does not."""
    if not np.array_equal(state.converged, expected.converged):
        return "converges where pandapower.runpp does not, or the reverse, on the base case"
    if not np.array_equal(state.n_unsupplied, expected.n_unsupplied):
        return "leaves other consumers without supply than pandapower.runpp on the base case"
    for quantity in QUANTITIES:
        found, right = (s[quantity][expected.converged] for s in (state, expected))
        with np.errstate(invalid="ignore"):  # equal infinities, where a rating is 0
            gaps = np.where(found == right, 0.0, np.abs(found - right))
        gaps[np.isnan(found) & np.isnan(right)] = 0.0
        size = np.abs(right[np.isfinite(right)]).max(initial=0.0)
        gap = gaps.max(initial=0.0)
        if not gap <= _ENGINE_TOLERANCE[quantity.split("_")[-1]] + 1e-7 * size:
            return f"{quantity} differs from pandapower.runpp by {gap:.1e} on the base case"
    return None
