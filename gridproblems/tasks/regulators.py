"""Voltage control on distribution feeders: regulators, capacitors, volt-var curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gridproblems._arguments import check_arguments
from gridproblems.cases import BestKnown
from gridproblems.constraints import Constraint, Limit, StateLimits
from gridproblems.controls import Control, ControlSet
from gridproblems.disturbances import (
    Disturbance,
    LoadChange,
    as_disturbance,
    scenario_settings,
)
from gridproblems.engines._opendss import Circuit, OpenDSSEngine, commands_of, curve_point
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.feeders import FEEDERS, Feeder, load_feeder
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.problem import GridProblem
from gridproblems.state import Field, FloatArray, GridState, Settings, SettingsMapping
from gridproblems.tasks._limits import check_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMITS = ("vm_pu", "loading_percent")
COMBINATIONS = ("worst", "mean")
#: Set-points make sense within this band around the nominal voltage. [p.u.]
SENSIBLE_PU = (0.8, 1.2)
SMALLEST_BAND_PU = 0.05
ROTATION = np.exp(2j * np.pi / 3)

Band = tuple[float, float]

_BEST_TAPS: Any = {
    "creg1a": 5.0,
    "creg2a": 0.0,
    "creg3a": 3.0,
    "creg3c": 1.0,
    "creg4a": 6.0,
    "creg4b": -2.0,
    "creg4c": 2.0,
}
#: Of ``ieee123`` with load s1a at 200 kW and all regulators' taps as variables.
BEST_TAPS_123 = BestKnown(
    objectives=("voltage_fitness",),
    controls=("taps",),
    value=0.0133666060,
    unit="",
    status="best found",
    method="Harmony Search, MVMO and a genetic algorithm, 20 seeds of 3,000 evaluations each, end "
    "there; no lower value among all 78,125 positions within two steps",
    settings={("regcontrol", "tap"): _BEST_TAPS},
    relaxation_value=None,
    bound=None,
)


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


@dataclass(frozen=True)
class Campaign:
    """What each of many disturbances does to a feeder.

    Attributes:
        table: One row per disturbance: ``disturbance``, ``voltage_fitness``, ``v_min_pu``,
            ``v_max_pu``, ``nodes_outside`` the band, ``p_loss_kw``, ``n_unsupplied`` loads and
            ``converged``; NaN where the power flow or its controls do not converge.
        bus_vm_pu: Mean voltage of the phases of each bus, disturbances as rows. [p.u.]
    """

    table: pd.DataFrame
    bus_vm_pu: pd.DataFrame


class RegulatorControl(GridProblem):
    """Sets regulators, capacitors and volt-var curves of a feeder against bad voltages.

    Args:
        feeder: Name of a packaged feeder (`gridproblems.feeders.FEEDERS`), the path of an OpenDSS
            master file, or a `Feeder`.
        objectives: Any of `OBJECTIVE_METHODS`, or callables of (settings, state). Default: for a
            feeder of the user's ``"node_voltage_fitness"``, which sees every phase; for a packaged
            feeder ``"voltage_fitness"``, the mean over the phases of the published study.
        variables: ``"vreg"``: set-points of the regulators, real, in volts on the secondary side
            of their voltage transformers; the regulators find the taps. ``"taps"``: tap positions,
            integer; the regulators keep them.
        regulators: Names of the regulators that are variables, None for all.
        capacitors: Whether the capacitors are variables too (binary, or integer with several
            steps), or the names of those that are.
        volt_var: Whether the reactive powers of the volt-var curves of inverters are variables:
            0 to 1 below nominal voltage, -1 to 0 above, the flat ends as one.
        disturbance: What happens to the feeder, see `gridproblems.disturbances`; short forms are a
            load multiplier, the name of an element that drops out, and ``{"load": "s1a", "kw":
            200}``. A list (None for none) is a robust problem: every candidate faces each of them.
        combine: How an objective combines the disturbances of a list: ``"worst"`` or ``"mean"``.
        load_shape: Multipliers of all loads over time, or the name of a load shape of the feeder
            (OpenDSS has one called ``"default"``, a day in 24 hours). Taps and inverters go on
            from one snapshot to the next; objectives are means over time.
        irradiance_shape: Multipliers of the irradiance of all PV systems, as long as
            ``load_shape``, or the name of a load shape.
        vreg_span_v: How far a set-point may go from the present one. [V]
        vreg_v: Lowest and highest set-point. [V]
        limits: Constraints: ``vm_pu`` (low, high) of every phase of every bus,
            ``loading_percent`` of every line and transformer. A feeder of the user's has the band
            of ``fitness`` as ``vm_pu`` unless another is given, or None for no limit.
        fitness: Weights of ``voltage_fitness``.
        trust: Run every command of a master file, also those that write files or run programs.
        n_jobs, cache, aggregate: See `GridProblem`.

    Attributes:
        circuit: Names and numbers of the feeder.
        base_state: The feeder as it is, undisturbed.
        disturbed_state: The feeder with its present settings under the disturbance.

    Raises:
        ValueError: Unknown feeder, objective, element or limit; a feeder file that is refused or
            fails; loads without supply in the feeder as it is; no regulators; set-points that make
            no sense. The message names it.
        PowerFlowNotConverged: The undisturbed feeder does not converge.
    """

    OBJECTIVES: Mapping[str, Objective] = {}
    OBJECTIVE_METHODS: Mapping[str, str] = {
        "voltage_fitness": "",
        "node_voltage_fitness": "",
        "node_voltage_deviation_pu": "p.u.",
        "p_loss_kw": "kW",
        "voltage_unbalance_percent": "%",
        "tap_movements": "",
        "tap_operations": "",
    }

    codec: ControlSet
    engine: OpenDSSEngine

    def __init__(
        self,
        feeder: str | Path | Feeder = "ieee123",
        objectives: Sequence[str | ObjectiveFunction | Objective] | None = None,
        variables: str = "vreg",
        *,
        regulators: Sequence[str] | None = None,
        capacitors: bool | Sequence[str] = False,
        volt_var: bool = False,
        disturbance: Any = None,
        combine: str = "worst",
        load_shape: str | Sequence[float] | None = None,
        irradiance_shape: str | Sequence[float] | None = None,
        vreg_span_v: float = 6.0,
        vreg_v: Band = (110.0, 130.0),
        limits: Mapping[str, Any] | None = None,
        fitness: VoltageFitness | None = None,
        trust: bool = False,
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
    ) -> None:
        check_arguments(RegulatorControl.__init__, locals())
        limits = check_limits(limits, LIMITS)
        _check_choice("combine", {combine}, COMBINATIONS)
        _check_choice("variables", {variables}, ("vreg", "taps"))
        self.feeder = feeder if isinstance(feeder, Feeder) else load_feeder(feeder, trust)
        self.combine = combine
        self.fitness = fitness or VoltageFitness()
        is_packaged = self.feeder.name in FEEDERS and self.feeder == load_feeder(self.feeder.name)
        if objectives is None:
            objectives = ("voltage_fitness" if is_packaged else "node_voltage_fitness",)
        if not is_packaged:
            limits = {"vm_pu": (self.fitness.low_pu, self.fitness.high_pu), **limits}
        if not isinstance(self.fitness, VoltageFitness):
            raise ValueError(f"fitness: expected a VoltageFitness, got {fitness!r}")
        several = isinstance(disturbance, Sequence) and not isinstance(disturbance, (str, bytes))
        self.disturbances = tuple(
            as_disturbance(d) for d in (disturbance if several else [disturbance])
        )
        if not self.disturbances:
            raise ValueError("disturbance: expected at least one, got an empty list")

        in_time = load_shape is not None or irradiance_shape is not None
        if in_time and len(self.disturbances) > 1:
            raise ValueError("disturbance: a list of them cannot go with shapes over time")
        engine = OpenDSSEngine(self.feeder, sequential=in_time)
        self.circuit = engine.circuit
        fixed = scenario_settings(self.circuit, self.disturbances)
        if in_time:
            fixed = _over_time(self.circuit, fixed, load_shape, irradiance_shape)

        self.base_state = engine.solve(Settings.from_mapping({}))
        if not self.base_state.converged.all():
            raise PowerFlowNotConverged(
                f"{self.feeder.name}: the power flow of the undisturbed feeder does not converge, "
                "or its controls do not come to rest"
            )
        if self.base_state.n_unsupplied.any():
            names = engine.unsupplied_loads(Settings.from_mapping({}))
            raise ValueError(
                f"{self.feeder.name}: loads without supply in the feeder as it is: "
                f"{', '.join(names)}; every candidate would fail. Connect or disable them"
            )
        self._phases = _three_phase_buses(self.circuit)
        taps = dict(zip(self.circuit.regulators, self.base_state["tap"][0], strict=True))
        controls = [
            *_regulator_controls(self.circuit, variables, regulators, vreg_v, vreg_span_v),
            *_capacitor_controls(self.circuit, capacitors),
            *(_curve_controls(self.circuit) if volt_var else ()),
        ]
        if not controls:
            raise ValueError(
                "regulators: nothing to optimise; name at least one, or add capacitors=True or "
                "volt_var=True"
            )
        self._present = [
            taps[c.elements[0]]
            if c.column == "tap"
            else self.circuit.base(c.table, c.column, c.elements[0])
            for c in controls
        ]
        super().__init__(
            ControlSet(controls, fixed),
            engine,
            objectives,
            _constraints(engine, limits),
            engine_name="opendss",
            engine_note="the only engine for feeders",
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            name=self.feeder.name,
        )
        self._fixed = fixed
        is_published = (
            feeder == "ieee123"
            and self.disturbances == (LoadChange("s1a", kw=200.0),)
            and self.fitness == VoltageFitness()
            and self.objective_names == ("voltage_fitness",)
            and variables == "taps"
            and len(controls) == len(self.circuit.regulators)
            and not (limits or in_time or capacitors)
        )
        if is_published:
            self.best_known = BEST_TAPS_123
        self.disturbed_state = engine.solve(fixed)

    # -- what it is now, and what a vector means ------------------------------------------

    @property
    def present_taps(self) -> FloatArray:
        """Positions of the undisturbed feeder's taps, in the order of ``circuit.regulators``."""
        return self.base_state["tap"][0]

    @property
    def base_x(self) -> FloatArray:
        """The present settings, moved into the bounds; taps are those of the undisturbed feeder."""
        return self.codec.snap(self._present)

    @property
    def base_solution(self) -> tuple[Settings, GridState]:
        """The present settings under the disturbance, the regulators acting."""
        return self._fixed, self.disturbed_state

    def measured(self, x: ArrayLike | Mapping[str, Any] | None = None) -> dict[str, float]:
        """Range of the voltages of all phases, and how many are outside the band of ``fitness``.

        Args:
            x: Settings; None for the present ones with the regulators acting.

        Returns:
            ``v_min_pu`` and ``v_max_pu`` over all snapshots [p.u.], ``nodes_outside`` of the
            snapshot with most, and the number of ``nodes``; NaN where the power flow fails.
        """
        state = self.disturbed_state if x is None else self.solve(x)
        vm_pu = state["node_vm_pu"] if state.solved.all() else np.full((1, 1), np.nan)
        band = self.fitness.low_pu, self.fitness.high_pu
        outside = ((vm_pu < band[0]) | (vm_pu > band[1])).sum(axis=-1).max()
        failed = np.isnan(vm_pu).all()
        return {
            "v_min_pu": np.nan if failed else float(np.nanmin(vm_pu)),
            "v_max_pu": np.nan if failed else float(np.nanmax(vm_pu)),
            "nodes_outside": np.nan if failed else int(outside),
            "nodes": len(self.circuit.nodes),
        }

    def encode(self, settings: Settings | SettingsMapping) -> FloatArray:
        """The inverse of `decode`.

        Raises:
            ValueError: A controlled element is missing or its value is not on the grid.
        """
        if isinstance(settings, Settings):  # the controls are alike in all snapshots
            settings = Settings(settings.fields, settings.rows[0])
        return super().encode(settings)

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> Any:
        """An OpenDSS context of its own (``opendssdirect``) with the settings of ``x``, solved.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which disturbance of a list, or which snapshot in time.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds; no such snapshot.
            PowerFlowNotConverged: The power flow diverges, or its controls do not come to rest.
        """
        self.check_snapshot(snapshot)
        context, converged = self.engine.open(self.decode(x), snapshot)
        if not converged:
            raise PowerFlowNotConverged(f"{self.name}: these settings do not converge")
        return context

    def script(self, x: ArrayLike | Mapping[str, Any]) -> str:
        """OpenDSS commands that give a user's own model of the feeder the settings of ``x``."""
        values = dict(zip(self.codec.controls, self._checked(x), strict=True))
        by_element: dict[tuple[str, str], dict[str, float]] = {}
        for control, value in values.items():
            for name in control.elements:
                element, column = str(name), control.column
                if control.table == "xycurve":
                    element, point = curve_point(element)
                    column = str(point)
                by_element.setdefault((control.table, element), {})[column] = float(value)
        lines = [f"! settings for feeder {self.name}"]
        for (table, element), columns in by_element.items():
            if "tap" in columns:
                lines.append(f"{table}.{element}.MaxTapChange=0 ! keeps the tap")
            lines += commands_of(self.circuit, table, element, columns)
        return "\n".join(lines) + "\n"

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The settings of ``x`` beside the present ones, one row per element.

        Columns: control, unit, base, new, lower, upper.
        """
        rows = []
        for control, base, new in zip(
            self.codec.controls, self._present, self._checked(x), strict=True
        ):
            number = float if control.kind == "real" else int
            rows += [
                {
                    "control": f"{control.table} {element} {control.column}",
                    "unit": control.unit,
                    "base": number(base),
                    "new": number(new),
                    "lower": number(control.lower),
                    "upper": number(control.upper),
                }
                for element in control.elements
            ]
        return pd.DataFrame(rows, dtype=object)

    def write(self, x: Any, folder: Path) -> None:
        """Writes the settings as OpenDSS commands into ``settings.dss``."""
        (folder / "settings.dss").write_text(self.script(x), encoding="utf-8")

    def figures(self, x: Any) -> dict[str, Figure]:
        """Histogram of bus voltages, and voltages over the distance from the source."""
        from gridproblems.plotting_feeder import plot_distance_profile, plot_voltage_histogram

        return {
            "histogram": plot_voltage_histogram(self, x),
            "profile": plot_distance_profile(self, x),
        }

    def campaign(
        self,
        disturbances: Sequence[Disturbance | None],
        x: ArrayLike | Mapping[str, Any] | None = None,
    ) -> Campaign:
        """What each of many disturbances does to the feeder, one by one.

        Args:
            disturbances: None for the feeder as it is.
            x: Settings, None for the present ones with the regulators acting.

        Raises:
            ValueError: A disturbance names an element that the feeder does not have.
        """
        settings = scenario_settings(self.circuit, disturbances)
        if x is not None:
            settings = ControlSet(self.codec.controls, settings).decode(self._checked(x))
        engine = OpenDSSEngine(self.feeder) if self.engine.sequential else self.engine
        state = engine.solve(settings)
        rows = []
        for i, disturbance in enumerate(disturbances):
            vm_pu, solved = state["node_vm_pu"][i], bool(state.converged[i])
            outside = (vm_pu < self.fitness.low_pu) | (vm_pu > self.fitness.high_pu)
            rows.append(
                {
                    "disturbance": disturbance.name if disturbance else "none",
                    "voltage_fitness": float(self.fitness(state["bus_mean_vm_pu"][i])),
                    "v_min_pu": float(np.nanmin(vm_pu)),
                    "v_max_pu": float(np.nanmax(vm_pu)),
                    "nodes_outside": float(outside.sum()),
                    "p_loss_kw": float(state["p_loss_kw"][i, 0]),
                    "n_unsupplied": int(state.n_unsupplied[i]),
                    "converged": solved,
                }
            )
        table = pd.DataFrame(rows)
        measured = [c for c in table if c not in ("disturbance", "n_unsupplied", "converged")]
        table.loc[~state.converged, measured] = np.nan
        vm_pu = np.where(state.converged[:, np.newaxis], state["bus_mean_vm_pu"], np.nan)
        return Campaign(
            table, pd.DataFrame(vm_pu, index=table["disturbance"], columns=self.circuit.buses)
        )

    # -- objectives ------------------------------------------------------------------------

    def _combined(self, values: FloatArray) -> Any:
        """One value of the snapshots, (..., n_snapshots): mean over time, else as asked."""
        if self.engine.sequential or self.combine == "mean":
            return values.mean(axis=-1)
        return values.max(axis=-1)

    def voltage_fitness(self, settings: Settings, state: GridState) -> Any:
        """`VoltageFitness` of the mean voltages of the buses, as in the published study."""
        return self._combined(self.fitness(state["bus_mean_vm_pu"]))

    def node_voltage_fitness(self, settings: Settings, state: GridState) -> Any:
        """`VoltageFitness` of every phase of every bus: means over a bus hide unbalance."""
        return self._combined(self.fitness(state["node_vm_pu"]))

    def node_voltage_deviation_pu(self, settings: Settings, state: GridState) -> Any:
        """Summed distance from 1 p.u. of every phase of every bus. [p.u.]"""
        return self._combined(np.nansum(np.abs(state["node_vm_pu"] - 1.0), axis=-1))

    def p_loss_kw(self, settings: Settings, state: GridState) -> Any:
        """Active losses of the feeder. [kW]"""
        return self._combined(state["p_loss_kw"][..., 0])

    def voltage_unbalance_percent(self, settings: Settings, state: GridState) -> Any:
        """Negative over positive sequence voltage, of the worst bus with three phases. [%]"""
        v = state["node_vm_pu"] * np.exp(1j * np.radians(state["node_va_degree"]))
        a, b, c = (v[..., self._phases[:, i]] for i in range(3))
        positive = np.abs(a + ROTATION * b + ROTATION**2 * c)
        negative = np.abs(a + ROTATION**2 * b + ROTATION * c)
        ratio = np.nan_to_num(negative / positive)
        return self._combined(100.0 * ratio.max(axis=-1, initial=0.0))

    def tap_movements(self, settings: Settings, state: GridState) -> Any:
        """Steps from the undisturbed feeder's taps; in time, to those of the first snapshot."""
        steps = np.abs(state["tap"] - self.present_taps).sum(axis=-1)
        return steps[..., 0] if self.engine.sequential else self._combined(steps)

    def tap_operations(self, settings: Settings, state: GridState) -> Any:
        """Steps that all taps move between the snapshots in time."""
        if not self.engine.sequential:
            return np.zeros(state.values.shape[:-2])
        return np.abs(np.diff(state["tap"], axis=-2)).sum(axis=(-2, -1))


def _check_choice(argument: str, given: set[str], known: Sequence[str]) -> None:
    unknown = sorted(given - set(known))
    if unknown:
        raise ValueError(f"{argument}: unknown {unknown[0]!r}; known: {', '.join(known)}")


def _chosen(argument: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names in lower case, as OpenDSS has them."""
    if isinstance(asked, str):
        raise ValueError(f"{argument}: expected a list of names, got the text {asked!r}")
    for name in asked:
        if name.lower() not in known:
            raise ValueError(
                f"{argument}: the feeder has no {name!r}; known: {', '.join(known) or 'none'}"
            )
    return [name.lower() for name in asked]


def _control(table: str, column: str, elements: Any, kind: str, band: Band, unit: str) -> Control:
    return Control(table, column, elements, kind, *band, unit=unit)


def _regulator_controls(
    circuit: Circuit,
    variables: str,
    asked: Sequence[str] | None,
    vreg_v: Band,
    span_v: float,
) -> list[Control]:
    """Set-points near the present ones, or tap positions.

    Raises:
        ValueError: No regulators, an unknown one, or set-points that make no sense.
    """
    if not circuit.regulators:
        raise ValueError("the feeder has no regulators (RegControl): nothing to optimise")
    names = _chosen("regulators", asked, list(circuit.regulators)) if asked is not None else None
    controls = []
    for name in circuit.regulators if names is None else names:
        regulator = circuit.regulators[name]
        if variables == "taps":
            band = (float(regulator.min_tap), float(regulator.max_tap))
            controls.append(_control("regcontrol", "tap", (name,), "integer", band, ""))
            continue
        low = max(vreg_v[0], regulator.vreg_v - span_v)
        high = min(vreg_v[1], regulator.vreg_v + span_v)
        sensible = [factor * regulator.nominal_v for factor in SENSIBLE_PU]
        if not sensible[0] <= low <= high <= sensible[1]:
            raise ValueError(
                f"regulator {name}: set-points from {low:g} to {high:g} V make no sense; expected "
                f"a range within {sensible[0]:.0f} to {sensible[1]:.0f} V, for its nominal voltage "
                f"is {regulator.nominal_v:.1f} V and its present set-point {regulator.vreg_v:g} V"
            )
        controls.append(_control("regcontrol", "vreg_v", (name,), "real", (low, high), "V"))
    return controls


def _capacitor_controls(circuit: Circuit, asked: bool | Sequence[str]) -> list[Control]:
    if isinstance(asked, bool):
        names = list(circuit.capacitor_steps) if asked else []
        if asked and not names:
            raise ValueError("capacitors: the feeder has none")
    else:
        names = _chosen("capacitors", asked, list(circuit.capacitor_steps))
    controls = []
    for name in names:
        n_steps = len(circuit.capacitor_steps[name])
        kind = "binary" if n_steps == 1 else "integer"
        controls.append(_control("capacitor", "steps", (name,), kind, (0.0, float(n_steps)), ""))
    return controls


def _curve_controls(circuit: Circuit) -> list[Control]:
    """Reactive power of the points of volt-var curves; equal ends of a curve move as one.

    Raises:
        ValueError: No inverter control follows a volt-var curve.
    """
    if not circuit.volt_var:
        raise ValueError("volt_var: the feeder has no InvControl with mode=VOLTVAR and a curve")
    controls = []
    for curve, (x, y) in circuit.volt_var.items():
        groups: list[list[int]] = []
        for i in range(len(x)):
            is_flat_end = i in (1, len(x) - 1) and y[i] == y[i - 1]
            if is_flat_end:
                groups[-1].append(i)
            else:
                groups.append([i])
        for group in groups:
            if x[group[-1]] == 1.0:
                continue
            band = (0.0, 1.0) if x[group[-1]] < 1.0 else (-1.0, 0.0)
            elements = tuple(f"{curve}[{i + 1}]" for i in group)
            controls.append(_control("xycurve", "y_pu", elements, "real", band, "p.u."))
    return controls


def _over_time(
    circuit: Circuit,
    fixed: Settings,
    load_shape: str | Sequence[float] | None,
    irradiance_shape: str | Sequence[float] | None,
) -> Settings:
    """The settings of one disturbance, with shapes over time, one row per snapshot.

    Raises:
        ValueError: An unknown shape, shapes of unequal length, negative or not finite values, or
            an irradiance without PV systems.
    """
    loads = _shape("load_shape", circuit, load_shape)
    sun = _shape("irradiance_shape", circuit, irradiance_shape)
    if loads is not None and sun is not None and len(loads) != len(sun):
        raise ValueError(
            f"irradiance_shape: expected {len(loads)} values as in load_shape, got {len(sun)}"
        )
    if sun is not None and not circuit.irradiance:
        raise ValueError("irradiance_shape: the feeder has no PV systems")
    columns: dict[tuple[str, str], dict[Any, Any]] = {**fixed.as_mapping()}
    key = ("solution", "load_multiplier")
    if loads is not None:
        present = columns.get(key, {}).get("all", circuit.load_multiplier)
        columns[key] = {"all": present * loads}
    if sun is not None:
        columns["pvsystem", "irradiance"] = {
            name: present * sun for name, present in circuit.irradiance.items()
        }
    n = len(loads if loads is not None else sun if sun is not None else ())
    fields = tuple(Field(*key, tuple(values)) for key, values in columns.items())
    rows = [np.broadcast_to(v, n) for values in columns.values() for v in values.values()]
    return Settings(fields, np.array(rows, dtype=float).T)


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


def _constraints(engine: OpenDSSEngine, limits: Mapping[str, Any]) -> list[Constraint]:
    entries = []
    if limits.get("vm_pu") is not None:
        low, high = limits["vm_pu"]
        if not 0.0 < low < high:
            raise ValueError(f"limits: vm_pu: expected 0 < low < high, got {(low, high)}")
        scale = max(high - low, SMALLEST_BAND_PU)
        for i, node in enumerate(engine.circuit.nodes):
            for side, limit in (("min", low), ("max", high)):
                name = f"node {node} vm_pu {side}"
                entries.append(Limit("node_vm_pu", i, name, limit, scale, side == "max"))
    if limits.get("loading_percent") is not None:
        limit = float(limits["loading_percent"])
        if not limit > 0.0:
            raise ValueError(f"limits: loading_percent: expected a positive number, got {limit}")
        for kind, names in (("line", engine.circuit.lines), ("trafo", engine.circuit.transformers)):
            quantity = f"{kind}_loading_percent"
            entries += [
                Limit(quantity, i, f"{kind} {name} loading_percent", limit, limit, True)
                for i, name in enumerate(names)
            ]
    return [StateLimits(entries, engine.layout)]
