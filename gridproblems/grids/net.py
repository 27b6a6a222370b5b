"""`NetGrid`: a pandapower net as a grid of a problem."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems._names import with_nearest
from gridproblems.cases import Case
from gridproblems.constraints import Constraint, Limit
from gridproblems.controls.block import Change, Shown
from gridproblems.controls.over_time import OVER_TIME
from gridproblems.engines import Engine
from gridproblems.engines.choice import choose_engine
from gridproblems.engines.reference import (
    NO_SOLUTION,
    apply_settings,
    layout_of,
    runpp_options,
)
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.grids.limits import check_limits, grid_limits, with_shares, without_chances
from gridproblems.grids.net_checks import check_set_points, why_not_solved
from gridproblems.growth import Growth
from gridproblems.nets.case_series import case_series
from gridproblems.nets.contingency import outage_fields, outage_sets
from gridproblems.nets.network import (
    label_of,
    machine_limits,
    net_of_case,
    radial_constraint,
    set_zip,
)
from gridproblems.nets.synthetic import load_shapes, pv_shape
from gridproblems.objectives import OBJECTIVES, Objective
from gridproblems.situations import SCALE, Delta, Situations, split_key
from gridproblems.stability import LoadingMargin, MarginAlong
from gridproblems.state import Field, FloatArray, GridState, Layout, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Limits by name; those on voltages and loadings are in the tables of most nets.
NET_LIMITS = (
    "vm_pu",
    "loading_percent",
    "loading_margin_percent",
    "gen_q_mvar",
    "ext_grid_p_mw",
    "ext_grid_q_mvar",
    "radial",
    *OVER_TIME,
)

#: Tables that controls put into a net that `apply` gives; those of an earlier one are left out.
TABLES_OF_CONTROLS = ("units", "storage_schedule")
#: Options of every power flow that a user may give; the others are arguments of another kind.
_OPTIONS = tuple(n for n in inspect.signature(pp.runpp).parameters if n not in ("net", "kwargs"))


class NetGrid:
    """A net, its present values and limits; it knows neither ``x`` nor pymoo.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a grid file (pandapower, MATPOWER, ..., see `read_grid`), or a SimBench code.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        power_flow: Options of ``pandapower.runpp`` for every power flow, such as
            ``{"enforce_q_lims": True}``; what it leaves out is as in ``net.user_pf_options``.
        growth: The direction in which loads grow for ``loading_margin_percent``, as objective and
            as limit; None for all loads alike.

    Attributes:
        given: The net as it was given.
        net: A copy to which controls add what they need before it is compiled.
        case: The packaged case, if it is one.
        name: What to call it.
        notes: What reading its file changed, one sentence each.

    Raises:
        ValueError: No such case or file, or the net would give silent nonsense.
    """

    kind = "net"
    limit_names = NET_LIMITS
    has_between = True
    measures_states = False

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        zip_percent: tuple[float, float] | None = None,
        power_flow: Mapping[str, Any] | None = None,
        growth: Growth | None = None,
    ) -> None:
        self.given: pandapowerNet
        self.case: Case | None
        self.given, self.case, self.notes = net_of_case(case)
        if zip_percent is not None:
            set_zip(self.given, zip_percent)
        for option in power_flow or {}:
            if option not in _OPTIONS:
                raise ValueError(f"power_flow: unknown option {with_nearest(option, _OPTIONS)}")
        if power_flow:
            pp.set_user_pf_options(self.given, **power_flow)
        self.net = copy.deepcopy(self.given)
        for table in TABLES_OF_CONTROLS:
            self.net.pop(table, None)
        self.growth = growth
        if growth is not None:
            growth.bind(self.net)  # raises where the net lacks what it names
        self.name = self.case.name if self.case else str(self.given.name or "net")

    # -- elements ---------------------------------------------------------------------------

    def present(self, field: Field) -> FloatArray:
        """What the tables hold in a column, shape (n_elements,).

        Raises:
            ValueError: The net has no such column or element.
        """
        table = self._table(field.table, field.column)
        for element in field.elements:
            if element not in table.index:
                raise ValueError(f"{field}: the net has no {field.table} {element}")
        values: FloatArray = table.loc[list(field.elements), field.column].to_numpy(dtype=float)
        return values

    def whole(self, table: str, column: str) -> Field:
        """A column of all elements in service."""
        in_service = self._table(table, column).in_service.astype(bool)
        return Field(table, column, tuple(self.net[table].index[in_service]))

    def loads(self) -> tuple[Field, ...]:
        """Active and reactive power of all loads in service."""
        return self.whole("load", "p_mw"), self.whole("load", "q_mvar")

    def _table(self, table: str, column: str) -> Any:
        if table not in self.net or column not in self.net[table]:
            raise ValueError(f"the net has no column {table}.{column}")
        return self.net[table]

    def label(self, table: str, element: Any) -> str:
        """What a reader calls an element."""
        return label_of(self.net, table, element)

    @property
    def voltage_labels(self) -> list[str]:
        """Names of the voltages of a state, for figures."""
        return [str(bus) for bus in self.net.bus.index]

    # -- situations ---------------------------------------------------------------------------

    def series(self, tables: Mapping[Any, Any] | Settings | None) -> tuple[Delta, ...]:
        """Tables over time, or settings of them; None: those of the packaged case."""
        if isinstance(tables, Settings):
            return tuple(Delta(field, values) for field, values in tables)
        settings = case_series(self.given, self.case, tables)
        return tuple(Delta(field, values) for field, values in settings or ())

    def shapes(self, name: str) -> tuple[tuple[Delta, ...], dict[str, FloatArray]]:
        """The synthetic day or year of a packaged case, see `gridproblems.nets.synthetic`.

        Raises:
            ValueError: There is none.
        """
        case = self.case.name if self.case else self.name
        p_mw, q_mvar = self.loads()
        factors = load_shapes(name, case, len(p_mw.elements))
        sun = pv_shape(name)
        packaged = {d.field: d.values.max(axis=0) for d in self.series(None)}
        if packaged:  # powers come from profiles, whose peaks they keep
            of = {"load": factors, "sgen": sun[:, np.newaxis]}
            set_by = [Delta(f, of[f.table] * peak) for f, peak in packaged.items()]
            return tuple(set_by), {"pv": sun}
        found = [Delta(p_mw, factors, SCALE), Delta(q_mvar, factors, SCALE)]
        present = self.present(p_mw)
        generators = self.whole("gen", "p_mw")
        if generators.elements:
            total = (factors @ present / present.sum())[:, np.newaxis]
            found.append(Delta(generators, np.tile(total, len(generators.elements)), SCALE))
        return tuple(found), {"pv": sun}

    def secure_branches(self, asked: Any) -> tuple[Field, ...]:
        """Lines, transformers and generators that can go out one at a time."""
        return outage_fields(self.given, asked)

    def outage_sets(self, pairs: Any) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
        """What can go out together, with names."""
        return outage_sets(self.given, pairs)

    def disturbance(self, given: Any) -> tuple[str, dict[tuple[str, str], dict[Any, float]]]:
        """A disturbance ``{"load.p_mw": {3: 0.2}}``: columns and elements with their values.

        Raises:
            ValueError: It is not of this form.
        """
        if given is None:
            return "", {}
        if not isinstance(given, Mapping) or not all(
            isinstance(v, Mapping) for v in given.values()
        ):
            raise ValueError(
                "situations: expected disturbances of a net like {'load.p_mw': {3: 0.2}}, got "
                f"{given!r}"
            )
        change = {
            split_key(key): {element: float(value) for element, value in values.items()}
            for key, values in given.items()
        }
        name = ", ".join(
            f"{table}.{column}[{element}] = {value:g}"
            for (table, column), values in change.items()
            for element, value in values.items()
        )
        return name, change

    # -- limits -------------------------------------------------------------------------------

    def limits(
        self, given: Mapping[str, Any], warns: bool = True
    ) -> tuple[list[Limit], list[Constraint]]:
        """The limits that hold: those given, else those in the tables.

        A user's net without a voltage band or loading limits warns (`MissingLimits`); a packaged
        case is as its source has it.

        Args:
            given: Overrides the tables; None takes a limit away: ``vm_pu`` (low, high) at all
                buses, ``loading_percent`` of all branches, ``gen_q_mvar``, ``ext_grid_p_mw``
                (also of slack generators) and ``ext_grid_q_mvar`` (low, high), ``radial`` True,
                ``loading_margin_percent`` the least one of every situation (`LoadingMargin`);
                those on voltages, loadings and machines also as a `Chance`.
            warns: Whether missing limits are warned of.

        Raises:
            ValueError: An unknown limit.
        """
        given, chances = without_chances(check_limits(given, self.limit_names))
        entries = grid_limits(self.net, given, warns=warns and self.case is None)
        for table, quantity in (("gen", "q_mvar"), ("ext_grid", "p_mw"), ("ext_grid", "q_mvar")):
            key = f"{table}_{quantity}"
            if given.get(key, ()) is not None:
                entries += machine_limits(self.net, table, quantity, given.get(key))
                if quantity == "p_mw":  # slack generators stand for external grids
                    entries += machine_limits(self.net, "gen", quantity, given.get(key))
        others: list[Constraint] = [radial_constraint(self.net)] if given.get("radial") else []
        if given.get("loading_margin_percent") is not None:
            growth = None if self.growth is None else self.growth.bind(self.net)
            others.append(LoadingMargin(given["loading_margin_percent"], growth))
        return with_shares(entries, chances), others

    def objectives_in(self, situations: Situations) -> Mapping[str, Objective]:
        """Objectives by name."""
        if self.growth is None:
            return OBJECTIVES
        name, along = "loading_margin_percent", MarginAlong(self.growth.bind(self.net))
        return {**OBJECTIVES, name: replace(OBJECTIVES[name], quantity=along)}

    # -- solving ------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Where the quantities stand in a state."""
        return layout_of(self.net)

    def check(self, joint: Any, present: Settings) -> None:
        """Refuses machines at one bus with set-points of their own.

        Raises:
            ValueError: The message names two of them.
        """
        check_set_points(self.net, joint.controls, joint.fields, present)

    def why_not_solved(self, settings: Settings, situation: int) -> str:
        """What is wrong with a situation that is not solved, for an error."""
        return why_not_solved(self.net, settings, situation)

    def content(self) -> pandapowerNet:
        """What tells this grid from others."""
        return self.given

    def engine(self, name: str, joint: Any, present: Settings) -> tuple[Engine, str, str]:
        """The engine, its name, and why it is that one.

        Raises:
            ValueError: An unknown name.
            UnsupportedByEngine: The named engine cannot represent the net.
        """
        return choose_engine(name, self.net, present, self.name)

    def present_settings(self, joint: Any, rows: slice | None = None) -> Settings:
        """The tables of the net, in every situation or in some that follow each other."""
        return joint.present(rows)

    def apply(
        self, engine: Engine, settings: Settings, situation: int, finish: Callable[[Any], None]
    ) -> pandapowerNet:
        """A copy of the net with the settings of a situation, solved by ``pandapower.runpp``.

        Args:
            engine: Not used.
            settings: One row per situation.
            situation: Which of them.
            finish: Adds what settings do not say, before the net is solved.

        Raises:
            PowerFlowNotConverged: It does not converge.
        """
        net = copy.deepcopy(self.net)
        apply_settings(net, settings, situation)
        finish(net)
        try:
            pp.runpp(net, **runpp_options(self.net))
        except NO_SOLUTION as error:
            raise PowerFlowNotConverged(f"{self.name}: these settings diverge: {error}") from error
        return net

    def write(
        self,
        folder: Path,
        controlled: SettingsMapping,
        applied: Callable[[], pandapowerNet],
    ) -> None:
        """Writes the solved net into ``net.json``."""
        pp.to_json(applied(), str(folder / "net.json"))

    def figures(self, shown: Shown) -> dict[str, Figure]:
        """Voltages and loadings before and after: per element, or over time."""
        from gridproblems import plotting

        situations = shown.situations
        if situations.n > 1:
            hours, title = situations.hours, shown.title
            names = situations.names if situations.n > situations.n_time else None
            loading = {name: state.line_loading_percent for name, state in shown.states.items()}
            vm_pu = {name: state.vm_pu for name, state in shown.states.items()}
            band = shown.voltage_band_pu
            return {
                "line_loading": plotting.plot_line_loading(
                    loading, hours=hours, names=names, title=title
                ),
                "voltage_band": plotting.plot_voltage_band(
                    vm_pu, band=band, hours=hours, names=names, title=title
                ),
            }
        before, after = shown.states["before"], shown.states.get("after")
        return {
            "voltage": plotting.plot_voltage_profile(self.net, before, after, title=shown.title),
            "loading": plotting.plot_branch_loading(self.net, before, after, title=shown.title),
        }

    def map_of_changes(self, changes: Sequence[Change], shown: Shown) -> dict[str, Figure]:
        """The map with what was changed, where there is something to mark and a place for it."""
        from gridproblems.plotting.changes import can_show, plot_changes

        if not can_show(self.net, changes):
            return {}
        return {"changes": plot_changes(shown.solved(0), changes, title=shown.title)}

    def settings_of(self, net: pandapowerNet, fields: tuple[Field, ...]) -> dict[Any, Any]:
        """What the tables of another net hold in some columns."""
        return {(f.table, f.column): _column(net, f) for f in fields}

    def measured(self, state: GridState) -> dict[str, float]:
        """Nothing more than objectives and limits say."""
        return {}

    def worst_situation(self, state: GridState) -> int:
        """The situation of the most loaded branch, of those that are solved."""
        loading = np.nan_to_num(np.asarray(state["branch_loading_percent"]), nan=-1.0)
        return int(loading.max(axis=-1, initial=-1.0).argmax())


def _column(net: pandapowerNet, field: Field) -> dict[int, float]:
    """What a net has of a field's elements."""
    if field.table not in net or field.column not in net[field.table]:
        raise ValueError(f"net: expected one with a column {field}")
    values = pd.to_numeric(net[field.table][field.column], errors="coerce")
    return {e: float(values.at[e]) for e in field.elements if e in values.index}
