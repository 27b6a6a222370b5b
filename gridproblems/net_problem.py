"""`NetProblem`: a grid problem on a pandapower net."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet

from gridproblems._names import with_nearest
from gridproblems.cases import BestKnown
from gridproblems.constraints import Constraint
from gridproblems.contingency import LineOutages
from gridproblems.controls import Codec
from gridproblems.engines import ENGINES, Engine, ReferenceEngine
from gridproblems.engines._reference import (
    NO_SOLUTION,
    apply_settings,
    fused_buses,
    has_unknowns,
    runpp_options,
    unsupplied,
)
from gridproblems.errors import PowerFlowNotConverged, UnsupportedByEngine
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.problem import GridProblem
from gridproblems.state import (
    QUANTITIES,
    BusBranchSolution,
    Field,
    FloatArray,
    GridState,
    Settings,
    SettingsMapping,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Largest difference of an engine from ``runpp`` by unit, beside 1e-7 of the largest value.
_ENGINE_TOLERANCE = {"pu": 1e-7, "degree": 1e-5, "mw": 1e-5, "mvar": 1e-5, "percent": 1e-4}
_MAX_CHECKED = 24
_MAX_NAMED = 5
#: Where the machines that hold a voltage stand: table, bus and set-point.
_MACHINES = (
    ("ext_grid", "bus", "vm_pu"),
    ("gen", "bus", "vm_pu"),
    ("dcline", "from_bus", "vm_from_pu"),
    ("dcline", "to_bus", "vm_to_pu"),
)


class NetProblem(GridProblem):
    """A grid problem on a pandapower net, solved by the fastest engine that gives its results.

    Args:
        net: The base case; it is copied and never changed.
        codec, objectives, constraints, n_jobs, cache, aggregate, name, best_known: See
            `GridProblem`.
        engine: Name of an engine, or ``"auto"``: the first that supports the net and agrees with
            ``pandapower.runpp`` on the base case in every quantity of the state; ``engine_name``
            says which it is.
        require_base_solution: Refuse a base case whose power flow does not converge, or leaves
            consumers without supply.

    Raises:
        ValueError: An argument is wrong, or machines at one bus have set-points of their own; the
            message names it.
        PowerFlowNotConverged: The base case does not converge or supply all, and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    codec: Any  # a ControlSet, unless a task has a codec of its own

    def __init__(
        self,
        net: pandapowerNet,
        codec: Codec,
        objectives: str | ObjectiveFunction | Sequence[str | ObjectiveFunction | Objective],
        constraints: Sequence[Constraint] = (),
        *,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
        name: str = "",
        best_known: BestKnown | None = None,
    ) -> None:
        self.net = copy.deepcopy(net)
        self.base_settings = self._base_settings(codec)
        _check_set_points(self.net, codec, self.base_settings)
        chosen, engine_name, engine_note = _choose_engine(
            engine, self.net, codec, self.base_settings, name
        )
        self.base_state: GridState = chosen.solve(self.base_settings)
        if require_base_solution and not self.base_state.solved:
            raise PowerFlowNotConverged(
                f"{name}: the power flow of the base case "
                f"{_why_not_solved(self.net, self.base_settings, self.base_state)}; check the "
                "net, or pass require_base_solution=False if only the candidates have to"
            )
        for constraint in constraints:
            if isinstance(constraint, LineOutages):
                constraint.engine = chosen
        super().__init__(
            codec,
            chosen,
            objectives,
            constraints,
            engine_name=engine_name,
            engine_note=engine_note,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            name=name,
            best_known=best_known,
        )

    def _base_settings(self, codec: Codec) -> Settings:
        """What the net's tables hold of the codec's fields; series take those of the codec."""
        values = [
            self.net[f.table].loc[list(f.elements), f.column].to_numpy(dtype=float)
            for f in codec.fields
        ]
        return Settings(codec.fields, np.concatenate(values))

    @property
    def base_x(self) -> FloatArray:
        """The settings of the net as given, moved onto the grid where they are off it."""
        x = np.empty(len(self.codec.controls))
        for i, control in enumerate(self.codec.controls):
            value = float(self.net[control.table].at[control.elements[0], control.column])
            if control.options:
                value = float(np.abs(np.array(control.options) - value).argmin())
            x[i] = value
        return self.codec.snap(np.nan_to_num(x))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        base = self.base_state
        self.base_state = GridState(
            base.layout, base.values, base.converged, base.n_unsupplied, self._base_solution
        )

    def _base_solution(self, row: int) -> BusBranchSolution:
        """Bus/branch solution of the base case after pickling, solved again when asked for."""
        return self.engine.solve(self.base_settings).bus_branch(row)

    @property
    def base_solution(self) -> tuple[Settings, GridState]:
        """Settings and state of the net as given."""
        return self.base_settings, self.base_state

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """The inverse of `decode`, also for the settings in the tables of a net.

        Raises:
            ValueError: A controlled element is missing or its value is not on the grid.
        """
        if isinstance(settings, pandapowerNet):
            return super().encode(
                {(f.table, f.column): _column(settings, f) for f in self.codec.fields}
            )
        return super().encode(settings)

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> pandapowerNet:
        """A copy of the net with the settings of ``x``, solved by ``pandapower.runpp``.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which snapshot of a series.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds; no such snapshot.
            PowerFlowNotConverged: The power flow does not converge.
        """
        self.check_snapshot(snapshot)
        net = copy.deepcopy(self.net)
        settings = self.decode(x)
        apply_settings(net, settings, snapshot if settings.n_snapshots > 1 else 0)
        try:
            pp.runpp(net, **runpp_options(self.net))
        except NO_SOLUTION as error:
            raise PowerFlowNotConverged(f"{self.name}: these settings diverge: {error}") from error
        return net

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The settings of ``x`` beside those of the base case, one row per element.

        Columns: control, unit, base, new, lower, upper.
        """
        snapped = self._checked(x)
        rows = []
        for i, c in enumerate(self.codec.controls):
            value = c.options[int(snapped[i])] if c.options else snapped[i]
            for element in c.elements:
                whole = c.kind != "real" and not c.options
                rows.append(
                    {
                        "control": f"{c.label or f'{c.table} {element}'} {c.column}",
                        "unit": c.unit,
                        "base": _shown(self.net[c.table].at[element, c.column], whole),
                        "new": _shown(value, whole),
                        "lower": _shown(c.lower, whole),
                        "upper": _shown(c.upper, whole),
                    }
                )
        return pd.DataFrame(rows, dtype=object)

    def write(self, x: Any, folder: Path) -> None:
        """Writes the solved net into ``net.json``."""
        pp.to_json(self.apply(x), str(folder / "net.json"))

    def figures(self, x: Any) -> dict[str, Figure]:
        """Bus voltages and branch loadings before and after."""
        from gridproblems.plotting import plot_branch_loading, plot_voltage_profile

        return {
            "voltage": plot_voltage_profile(self, x),
            "loading": plot_branch_loading(self, x),
        }


def _choose_engine(
    name: str, net: pandapowerNet, codec: Codec, base: Settings, problem: str
) -> tuple[Engine, str, str]:
    """The engine, its name and why; ``auto`` compares up to 24 power flows with runpp."""
    if name != "auto":
        if name not in ENGINES:
            raise ValueError(f"engine: unknown engine {with_nearest(name, ('auto', *ENGINES))}")
        engine = ENGINES[name](net)
        engine.check(base)
        return engine, name, "chosen by the caller"
    rows = np.unique(np.linspace(0, len(base.rows) - 1, _MAX_CHECKED).astype(int))
    checked = Settings(base.fields, base.rows[rows])
    expected = ReferenceEngine(net).solve(checked)
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
        warnings.warn(f"{problem}: {notes[-1]}; trying the next engine", stacklevel=4)
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


def _why_not_solved(net: pandapowerNet, base: Settings, state: GridState) -> str:
    """What is wrong with the first snapshot of a base case that is not solved, for an error."""
    failed = ~(state.converged & (state.n_unsupplied == 0)).ravel()
    row = int(np.flatnonzero(failed)[0])
    where = f" in snapshot {row}" if len(failed) > 1 else ""
    net = copy.deepcopy(net)
    apply_settings(net, base, row)
    try:
        pp.runpp(net, **runpp_options(net))
    except NO_SOLUTION as error:
        return f"does not converge{where} ({error})"
    lost = [f"{table} {element}" for table, element in unsupplied(net)]
    if lost:
        more = f" and {len(lost) - _MAX_NAMED} more" if len(lost) > _MAX_NAMED else ""
        return f"leaves {', '.join(lost[:_MAX_NAMED])}{more} without supply{where}"
    if not has_unknowns(net):
        return f"does not converge{where}: nothing is connected to the sources"
    return f"does not converge{where} with this engine"


def _check_set_points(net: pandapowerNet, codec: Codec, base: Settings) -> None:
    """Machines at one bus, also one of several that couplers join, must have one set-point.

    Raises:
        ValueError: They have not, or not all of them are one control; the message names two.
    """
    control_of = {
        (c.table, c.column, element): c.name
        for c in getattr(codec, "controls", ())
        for element in c.elements
    }
    switched_on = {
        (f.table, e) for f in codec.fields if f.column == "in_service" for e in f.elements
    }
    first_bus = fused_buses(net)
    at_bus: dict[int, list[tuple[str, int, str]]] = {}
    for table, bus_column, column in _MACHINES:
        for element, bus in net[table][bus_column].items():
            on = bool(net[table].at[element, "in_service"]) or (table, element) in switched_on
            if on and bool(net.bus.in_service.get(bus, False)):
                at_bus.setdefault(first_bus[bus], []).append((table, element, column))
    for machines in at_bus.values():
        for other in machines[1:]:
            _check_pair(net, control_of, base, machines[0], other)


def _check_pair(
    net: pandapowerNet,
    control_of: Mapping[tuple[str, str, int], str],
    base: Settings,
    one: tuple[str, int, str],
    other: tuple[str, int, str],
) -> None:
    """Refuses two machines of one bus whose set-points (table, element, column) may differ."""
    names = f"{one[0]} {one[1]} and {other[0]} {other[1]} hold the voltage of one bus"
    keys = [(table, column, element) for table, element, column in (one, other)]
    controls = [control_of.get(key) for key in keys]
    if controls[0] != controls[1]:
        how = (
            "are two controls"
            if all(controls)
            else f"only {' '.join(map(str, (one if controls[0] else other)[:2]))} is a control"
        )
        raise ValueError(
            f"{names}, but {how}; set both by one control, leave both out of the controls, or "
            "take one of them out of service"
        )
    if controls[0] is not None:
        return
    columns = [(one[2], other[2])]
    if one[0] == other[0] == "ext_grid":
        columns.append(("va_degree", "va_degree"))
    for pair in columns:
        values = [
            base.get(table, column).get(element, net[table].at[element, column])
            for (table, element, _), column in zip((one, other), pair, strict=True)
        ]
        if not np.allclose(values[1], values[0]):
            raise ValueError(
                f"{names} with different set-points, {pair[0]} {np.ravel(values[0])[0]:g} and "
                f"{pair[1]} {np.ravel(values[1])[0]:g}; pandapower has no solution for that"
            )


def _column(net: pandapowerNet, field: Field) -> dict[int, float]:
    """What a net has of a field's elements."""
    if field.table not in net or field.column not in net[field.table]:
        raise ValueError(f"net: expected one with a column {field}")
    values = pd.to_numeric(net[field.table][field.column], errors="coerce")
    return {e: float(values.at[e]) for e in field.elements if e in values.index}


def _shown(value: float, whole: bool) -> float | int:
    return int(value) if whole and np.isfinite(value) else float(value)
