"""`FeederGrid`: an OpenDSS feeder as a grid of a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gridproblems.constraints import Constraint, Limit
from gridproblems.controls.block import Change, Shown
from gridproblems.disturbances import as_disturbance
from gridproblems.engines.opendss import Circuit, OpenDSSEngine
from gridproblems.engines.opendss.circuit import curve_point
from gridproblems.engines.opendss.commands import commands_of
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.feeders import Command, Feeder, load_feeder
from gridproblems.fingerprint import commands_content
from gridproblems.grids.limits import check_limits, with_shares, without_chances
from gridproblems.objectives import Objective
from gridproblems.situations import SCALE, Delta, Situations
from gridproblems.state import Field, FloatArray, GridState, Layout, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEEDER_LIMITS = ("vm_pu", "loading_percent")
#: Objectives on feeders, and the methods of `FeederQuantities` that give them.
OF_FEEDERS = {
    "voltage_fitness": "voltage_fitness",
    "node_voltage_fitness": "node_voltage_fitness",
    "node_voltage_deviation_pu": "node_voltage_deviation_pu",
    "voltage_deviation_pu": "voltage_deviation_pu",
    "p_loss_kw": "p_loss_kw",
    "p_loss_mw": "p_loss_kw",
    "loading_percent": "loading_percent",
    "voltage_unbalance_percent": "voltage_unbalance_percent",
    "tap_movements": "tap_movements",
    "tap_operations": "tap_operations",
}
_UNITS = {
    "voltage_fitness": "",
    "node_voltage_fitness": "",
    "node_voltage_deviation_pu": "p.u.",
    "voltage_deviation_pu": "p.u.",
    "p_loss_kw": "kW",
    "p_loss_mw": "MW",
    "loading_percent": "%",
    "voltage_unbalance_percent": "%",
    "tap_movements": "",
    "tap_operations": "",
}
SMALLEST_BAND_PU = 0.05
ROTATION = np.exp(2j * np.pi / 3)


@dataclass(frozen=True)
class VoltageFitness:
    """Penalty outside a band, squared distance from 1 inside, and spread of voltages.

    ``sum_i penalty (V_i - limit)^2`` over voltages outside the band, ``sum_i (V_i - 1)^2`` over
    those inside, plus ``variance_weight`` times the variance of all.

    Attributes:
        low_pu, high_pu: The band. [p.u.]
        penalty: Weight of the squared distance to the band.
        variance_weight: Weight of the variance.
    """

    low_pu: float = 0.95
    high_pu: float = 1.05
    penalty: float = 1000.0
    variance_weight: float = 10.0

    def __call__(self, vm_pu: FloatArray) -> FloatArray:
        """Value of voltages of shape (..., n), shape (...); those without supply (NaN) left out."""
        outside = np.maximum(self.low_pu - vm_pu, 0.0) + np.maximum(vm_pu - self.high_pu, 0.0)
        terms = np.where(outside > 0.0, self.penalty * outside**2, (vm_pu - 1.0) ** 2)
        variance: FloatArray = np.nanvar(vm_pu, axis=-1)
        total: FloatArray = np.nansum(terms, axis=-1) + self.variance_weight * variance
        return total


class FeederGrid:
    """A feeder, its present values and limits; it knows neither ``x`` nor pymoo.

    Its own controls act, unless what they move is set.

    Args:
        feeder: Name of a packaged feeder (`gridproblems.feeders.FEEDERS`), the path of an OpenDSS
            master file, or a `Feeder`.
        trust: Run every command of a master file, also those that write files or run programs.
        fitness: Weights of ``voltage_fitness``.

    Attributes:
        feeder: The commands that build it, with what controls have added.
        given: Names and numbers of the feeder as it was given.
        circuit: Those with what controls have added.
        added: Commands that controls have added, one tuple per control.
        undisturbed_state: The feeder as it is.

    Raises:
        ValueError: Unknown feeder, or a file that is refused or fails.
        PowerFlowNotConverged: The feeder does not converge as it is.
    """

    kind = "feeder"
    case = None
    limit_names = FEEDER_LIMITS
    has_between = False
    measures_states = True

    def __init__(
        self,
        feeder: str | Path | Feeder,
        trust: bool = False,
        fitness: VoltageFitness | None = None,
    ) -> None:
        self.fitness = fitness or VoltageFitness()
        self.added: tuple[tuple[str, ...], ...] = ()
        self._build(feeder if isinstance(feeder, Feeder) else load_feeder(feeder, trust))
        self.given = self.circuit

    def _build(self, feeder: Feeder) -> None:
        """Takes a feeder and solves it as it is."""
        self.feeder, self.name = feeder, feeder.name
        self.snapshot_engine = OpenDSSEngine(self.feeder)
        self.circuit = self.snapshot_engine.circuit
        self.undisturbed_state = self.snapshot_engine.solve(Settings.from_mapping({}))
        if not self.undisturbed_state.converged.all():
            raise PowerFlowNotConverged(
                f"{self.name}: the power flow of the undisturbed feeder does not converge, "
                "or its controls do not come to rest"
            )
        if self.undisturbed_state.n_unsupplied.any():
            names = self.snapshot_engine.unsupplied_loads(Settings.from_mapping({}))
            raise ValueError(
                f"{self.name}: loads without supply in the feeder as it is: "
                f"{', '.join(names)}; every candidate would fail. Connect or disable them"
            )

    def add(self, commands: Iterable[str]) -> None:
        """Adds elements that a control needs, before any control is bound.

        Args:
            commands: ``New ...`` of OpenDSS, one element each.

        Raises:
            ValueError: OpenDSS refuses one.
        """
        new = tuple(commands)
        self.added = (*self.added, new)
        more = tuple(Command(text, self.name) for text in new)
        self._build(replace(self.feeder, commands=(*self.feeder.commands, *more)))

    # -- elements ---------------------------------------------------------------------------

    @property
    def present_taps(self) -> FloatArray:
        """Positions of the undisturbed feeder's taps, in the order of ``circuit.regulators``."""
        return self.undisturbed_state["tap"][0]

    def present(self, field: Field) -> FloatArray:
        """What the feeder has in a column after its regulators acted, shape (n_elements,).

        Raises:
            ValueError: The feeder has no such column or element.
        """
        if (field.table, field.column) == ("regcontrol", "tap"):
            taps = dict(zip(self.circuit.regulators, self.present_taps.tolist(), strict=True))
            return np.array([taps[name] for name in field.elements], dtype=float)
        values = [self.circuit.base(field.table, field.column, name) for name in field.elements]
        return np.array(values, dtype=float)

    def whole(self, table: str, column: str) -> Field:
        """A column of all elements of a kind."""
        return Field(table, column, self.circuit.elements(table))

    def loads(self) -> tuple[Field, ...]:
        """The multiplier of all loads."""
        return (Field("solution", "load_multiplier", ("all",)),)

    def label(self, table: str, element: Any) -> str:
        """What a reader calls an element."""
        return f"{table} {element}"

    @property
    def voltage_labels(self) -> list[str]:
        """Names of the voltages of a state, for figures."""
        return list(self.circuit.nodes)

    # -- situations ---------------------------------------------------------------------------

    def shapes(self, name: str) -> tuple[tuple[Delta, ...], dict[str, FloatArray]]:
        """None: a feeder has load shapes of its own.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"situations: Hours({name!r}): a feeder has no series of that name; give "
            'Hours({"loads": ..., "irradiance": ...}), values or the name of a load shape'
        )

    def series(self, tables: Mapping[Any, Any] | Settings | None) -> tuple[Delta, ...]:
        """Multipliers of all loads (``"loads"``) and of the irradiance (``"irradiance"``) in time.

        Raises:
            ValueError: Another name, an unknown load shape, shapes of unequal length, negative or
                not finite values, an irradiance without PV systems.
        """
        if isinstance(tables, Settings):
            return tuple(Delta(field, values) for field, values in tables)
        given = dict(tables or {})
        fields = {
            "loads": Field("solution", "load_multiplier", ("all",)),
            "irradiance": Field("pvsystem", "irradiance", tuple(self.circuit.irradiance)),
        }
        for name in given:
            if name not in fields:
                raise ValueError(f"series: unknown {name!r}; known: {', '.join(fields)}")
        loads = _shape("load_shape", self.circuit, given.get("loads"))
        sun = _shape("irradiance_shape", self.circuit, given.get("irradiance"))
        if loads is not None and sun is not None and len(loads) != len(sun):
            raise ValueError(
                f"irradiance_shape: expected {len(loads)} values as in load_shape, got {len(sun)}"
            )
        if sun is not None and not self.circuit.irradiance:
            raise ValueError("irradiance_shape: the feeder has no PV systems")
        return tuple(
            Delta(field, np.tile(values[:, np.newaxis], len(field.elements)), SCALE)
            for field, values in ((fields["loads"], loads), (fields["irradiance"], sun))
            if values is not None
        )

    def secure_branches(self, asked: Any) -> tuple[Field, ...]:
        """Not for feeders, which are radial.

        Raises:
            ValueError: Always; a line that drops out is a disturbance.
        """
        raise ValueError("outages: a feeder is radial; give disturbances such as 'line.l10'")

    def outage_sets(self, pairs: Any) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
        """Not for feeders, as `secure_branches`."""
        if not pairs:
            return ()
        raise ValueError("outages: a feeder is radial; give disturbances such as 'line.l10'")

    def disturbance(self, given: Any) -> tuple[str, SettingsMapping]:
        """Name and settings of a disturbance, see `gridproblems.disturbances`."""
        try:
            disturbance = as_disturbance(given)
        except ValueError as error:
            raise ValueError(f"situations: {error}") from None
        if disturbance is None:
            return "", {}
        return disturbance.name, disturbance.settings(self.circuit)

    # -- limits and objectives ------------------------------------------------------------------

    def limits(
        self, given: Mapping[str, Any], warns: bool = True
    ) -> tuple[list[Limit], list[Constraint]]:
        """The limits given: ``vm_pu`` (low, high) of every phase of every bus,
        ``loading_percent`` of every line and transformer; also as a `Chance`.

        Raises:
            ValueError: An unknown limit, or one that cannot be.
        """
        given, chances = without_chances(check_limits(given, FEEDER_LIMITS))
        entries: list[Limit] = []
        if given.get("vm_pu") is not None:
            low, high = given["vm_pu"]
            if not 0.0 < low < high:
                raise ValueError(f"limits: vm_pu: expected 0 < low < high, got {(low, high)}")
            scale = max(high - low, SMALLEST_BAND_PU)
            for i, node in enumerate(self.circuit.nodes):
                for side, limit in (("min", low), ("max", high)):
                    name = f"node {node} vm_pu {side}"
                    entries.append(Limit("node_vm_pu", i, name, limit, scale, side == "max"))
        if given.get("loading_percent") is not None:
            limit = float(given["loading_percent"])
            for kind, names in (("line", self.circuit.lines), ("trafo", self.circuit.transformers)):
                quantity = f"{kind}_loading_percent"
                entries += [
                    Limit(quantity, i, f"{kind} {name} loading_percent", limit, limit, True)
                    for i, name in enumerate(names)
                ]
        return with_shares(entries, chances), []

    def objectives_in(self, situations: Situations) -> Mapping[str, Objective]:
        """Objectives by name."""
        own = FeederQuantities(self, situations.n_time)
        how = {"tap_movements": "first", "tap_operations": "sum", "loading_percent": "max"}
        return {
            name: Objective(
                name,
                _UNITS[name],
                getattr(own, method),
                how.get(name, "mean"),
                "max",
                factor=1e-3 if name == "p_loss_mw" else 1.0,
            )
            for name, method in OF_FEEDERS.items()
        }

    # -- solving ------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Where the quantities stand in a state."""
        return self.snapshot_engine.layout

    def check(self, joint: Any, present: Settings) -> None:
        """Nothing more to check."""

    def why_not_solved(self, settings: Settings, situation: int) -> str:
        """What is wrong with a situation that is not solved, for an error."""
        return f"does not converge, or leaves loads without supply, in situation {situation}"

    def content(self) -> Any:
        """What tells this grid from others."""
        return [commands_content(self.feeder), self.fitness]

    def engine(self, name: str, joint: Any, present: Settings) -> tuple[OpenDSSEngine, str, str]:
        """OpenDSS; controls go on from one snapshot in time to the next."""
        if name not in ("auto", "opendss"):
            raise ValueError(f"engine: {name!r} is none for feeders; known: auto, opendss")
        in_time = any(axis.is_time for axis in joint.situations.axes)
        engine = self.snapshot_engine
        if in_time:
            engine = OpenDSSEngine(self.feeder, sequential=True)
        return engine, "opendss", "the only engine for feeders"

    def present_settings(self, joint: Any, rows: slice | None = None) -> Settings:
        """The situations alone, all or some that follow each other: the feeder's controls act."""
        return joint.situational(rows)

    def apply(
        self, engine: Any, settings: Settings, situation: int, finish: Callable[[Any], None]
    ) -> Any:
        """An OpenDSS context of its own (``opendssdirect``) with settings of a situation, solved.

        Raises:
            PowerFlowNotConverged: The power flow diverges, or its controls do not come to rest.
        """
        context, converged = engine.open(settings, situation)
        if not converged:
            raise PowerFlowNotConverged(f"{self.name}: these settings do not converge")
        finish(context)
        return context

    def script(self, settings: SettingsMapping) -> str:
        """OpenDSS commands that give a user's own model of the feeder these settings."""
        by_element: dict[tuple[str, str], dict[str, float]] = {}
        for (table, column), values in settings.items():
            for name, value in values.items():
                element, key = str(name), column
                if table == "xycurve":
                    element, point = curve_point(element)
                    key = str(point)
                by_element.setdefault((table, element), {})[key] = float(value)
        lines = [f"! settings for feeder {self.name}", *(c for new in self.added for c in new)]
        for (table, element), columns in by_element.items():
            if "tap" in columns:
                lines.append(f"{table}.{element}.MaxTapChange=0 ! keeps the tap")
            lines += commands_of(self.circuit, table, element, columns)
        return "\n".join(lines) + "\n"

    def write(self, folder: Path, controlled: SettingsMapping, applied: Callable[[], Any]) -> None:
        """Writes the settings as OpenDSS commands into ``settings.dss``."""
        (folder / "settings.dss").write_text(self.script(controlled), encoding="utf-8")

    def map_of_changes(self, changes: Sequence[Change], shown: Shown) -> dict[str, Figure]:
        """None: a feeder's nodes have no places on a map here."""
        return {}

    def figures(self, shown: Shown) -> dict[str, Figure]:
        """Histogram of bus voltages, and voltages over the distance from the source.

        Of several situations the one is drawn that is the worst for the voltages.
        """
        from gridproblems.plotting import plot_distance_profile, plot_voltage_histogram

        band = shown.voltage_band_pu or (self.fitness.low_pu, self.fitness.high_pu)
        row = self._worst_voltages((shown.after or shown.before)[1])
        name, title = shown.situations.names[row], shown.title
        states = {"baseline": (self.undisturbed_state, 0)}
        if name:
            states["disturbed"] = (shown.before[1], row)
            title += f", {name}"
        if shown.after is not None:
            states["optimised"] = (shown.after[1], row)
        return {
            "histogram": plot_voltage_histogram(states, band, title=title),
            "profile": plot_distance_profile(self.circuit, states, band, title=title),
        }

    def _worst_voltages(self, state: GridState) -> int:
        """The situation that solves with the largest fitness of the phases' voltages."""
        fitness = self.fitness(state["node_vm_pu"])
        return int(np.where(state.solved, fitness, -np.inf).argmax())

    def measured(self, state: GridState) -> dict[str, float]:
        """Range of the voltages of all phases, and how many are outside the band of ``fitness``.

        Returns:
            ``v_min_pu`` and ``v_max_pu`` over all situations [p.u.], ``nodes_outside`` of the
            situation with most, and the number of ``nodes``; NaN where the power flow fails.
        """
        failed = not state.solved.all()
        vm_pu = np.full((1, 1), np.nan) if failed else state["node_vm_pu"]
        outside = (vm_pu < self.fitness.low_pu) | (vm_pu > self.fitness.high_pu)
        return {
            "v_min_pu": np.nan if failed else float(np.nanmin(vm_pu)),
            "v_max_pu": np.nan if failed else float(np.nanmax(vm_pu)),
            "nodes_outside": np.nan if failed else int(outside.sum(axis=-1).max()),
            "nodes": len(self.circuit.nodes),
        }

    def worst_situation(self, state: GridState) -> int:
        """The first: the settings hold in all."""
        return 0


class FeederQuantities:
    """Quantities of a feeder's states, one value per situation.

    Args:
        grid: The feeder.
        n_time: Number of snapshots in time.
    """

    def __init__(self, grid: FeederGrid, n_time: int) -> None:
        self._taps, self._fitness, self._n_time = grid.present_taps, grid.fitness, n_time
        self._phases = _three_phase_buses(grid.circuit)

    def voltage_fitness(self, settings: Settings, state: GridState) -> FloatArray:
        """`VoltageFitness` of the mean voltages of the buses, as in the published study."""
        return self._fitness(state["bus_mean_vm_pu"])

    def node_voltage_fitness(self, settings: Settings, state: GridState) -> FloatArray:
        """`VoltageFitness` of every phase of every bus: means over a bus hide unbalance."""
        return self._fitness(state["node_vm_pu"])

    def node_voltage_deviation_pu(self, settings: Settings, state: GridState) -> FloatArray:
        """Summed distance from 1 p.u. of every phase of every bus. [p.u.]"""
        deviation: FloatArray = np.nansum(np.abs(state["node_vm_pu"] - 1.0), axis=-1)
        return deviation

    def voltage_deviation_pu(self, settings: Settings, state: GridState) -> FloatArray:
        """Summed distance from 1 p.u. of the mean voltages of the buses. [p.u.]"""
        deviation: FloatArray = np.nansum(np.abs(state["bus_mean_vm_pu"] - 1.0), axis=-1)
        return deviation

    def p_loss_kw(self, settings: Settings, state: GridState) -> FloatArray:
        """Active losses of the feeder. [kW]"""
        return state["p_loss_kw"][..., 0]

    def loading_percent(self, settings: Settings, state: GridState) -> FloatArray:
        """Largest loading of all lines and transformers. [%]"""
        loading = [state[f"{kind}_loading_percent"] for kind in ("line", "trafo")]
        largest: FloatArray = np.concatenate(loading, axis=-1).max(axis=-1, initial=0.0)
        return largest

    def voltage_unbalance_percent(self, settings: Settings, state: GridState) -> FloatArray:
        """Negative over positive sequence voltage, of the worst bus with three phases. [%]"""
        v = state["node_vm_pu"] * np.exp(1j * np.radians(state["node_va_degree"]))
        a, b, c = (v[..., self._phases[:, i]] for i in range(3))
        positive = np.abs(a + ROTATION * b + ROTATION**2 * c)
        negative = np.abs(a + ROTATION**2 * b + ROTATION * c)
        ratio = np.nan_to_num(negative / positive)
        worst: FloatArray = 100.0 * ratio.max(axis=-1, initial=0.0)
        return worst

    def tap_movements(self, settings: Settings, state: GridState) -> FloatArray:
        """Steps from the undisturbed feeder's taps; in time, to those of the first snapshot."""
        steps: FloatArray = np.abs(state["tap"] - self._taps).sum(axis=-1)
        return steps

    def tap_operations(self, settings: Settings, state: GridState) -> FloatArray:
        """Steps that all taps move from the snapshot before."""
        taps = state["tap"]
        in_time = taps.reshape(*taps.shape[:-2], -1, self._n_time, taps.shape[-1])
        moved = np.zeros(in_time.shape[:-1])
        moved[..., 1:] = np.abs(np.diff(in_time, axis=-2)).sum(axis=-1)
        return moved.reshape(taps.shape[:-1])


def _shape(
    argument: str, circuit: Circuit, shape: str | Sequence[float] | None
) -> FloatArray | None:
    if shape is None:
        return None
    if isinstance(shape, str):
        if shape.lower() not in circuit.load_shapes:
            raise ValueError(
                f"{argument}: the feeder has no load shape {shape!r}; known: "
                f"{', '.join(circuit.load_shapes)}"
            )
        return circuit.load_shapes[shape.lower()]
    values = np.asarray(shape, dtype=float)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values >= 0.0)).all():
        raise ValueError(f"{argument}: expected a list of finite numbers >= 0, got {shape!r}")
    return values


def _three_phase_buses(circuit: Circuit) -> np.ndarray:
    """Nodes of the phases of buses with all three, shape (n, 3)."""
    place = {node: i for i, node in enumerate(circuit.nodes)}
    rows = [[place.get(f"{bus}.{phase}", -1) for phase in (1, 2, 3)] for bus in circuit.buses]
    found = [row for row in rows if min(row) >= 0]
    return np.array(found, dtype=np.int64).reshape(-1, 3)
