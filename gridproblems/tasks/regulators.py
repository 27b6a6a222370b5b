"""Voltage control on distribution feeders: regulators, capacitors, volt-var curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from typing_extensions import Unpack

from gridproblems.cases import BestKnown
from gridproblems.controls.feeder_controls import Capacitors, Regulators, VoltVar
from gridproblems.controls.joint import Joint
from gridproblems.disturbances import Disturbance, LoadChange, Screening
from gridproblems.engines.opendss import Circuit
from gridproblems.feeders import FEEDERS, Feeder, load_feeder
from gridproblems.grids.feeder import FeederGrid, VoltageFitness
from gridproblems.problem import GridProblem, Options, check_task_arguments
from gridproblems.situations import Disturbances, Hours, Product, Situations
from gridproblems.state import FloatArray, GridState
from gridproblems.tasks._over_time import situations_or

COMBINATIONS = {"worst": "max", "mean": "mean"}

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


class RegulatorControl(GridProblem):
    """Sets regulators, capacitors and volt-var curves of a feeder against bad voltages.

    Args:
        feeder: Name of a packaged feeder (`gridproblems.feeders.FEEDERS`), the path of an OpenDSS
            master file, or a `Feeder`.
        objectives: See `GridProblem`. Default: for a feeder of the user's
            ``"node_voltage_fitness"``, which sees every phase; for a packaged feeder
            ``"voltage_fitness"``, the mean over the phases of the published study.
        variables, regulators, vreg_span_v, vreg_v: See `Regulators`.
        capacitors: Whether the capacitors are variables too, or the names of those that are.
        volt_var: Whether the volt-var curves of inverters are, see `VoltVar`.
        disturbance: What happens to the feeder, see `gridproblems.disturbances`; short forms are a
            load multiplier, the name of an element that drops out, and ``{"load": "s1a", "kw":
            200}``. A list (None for none) is a robust problem: every candidate faces each of them.
        combine: How an objective combines the disturbances of a list: ``"worst"`` or ``"mean"``.
        load_shape: Multipliers of all loads over time, or the name of a load shape of the feeder
            (OpenDSS has one called ``"default"``, a day in 24 hours). Taps and inverters go on
            from one snapshot to the next; objectives are means over time.
        irradiance_shape: Multipliers of the irradiance of all PV systems, as long as
            ``load_shape``, or the name of a load shape.
        situations: See `GridProblem`; instead of ``disturbance``, ``load_shape`` and
            ``irradiance_shape``.
        limits: Constraints: ``vm_pu`` (low, high) of every phase of every bus,
            ``loading_percent`` of every line and transformer. A feeder of the user's has the band
            of ``fitness`` as ``vm_pu`` unless another is given, or None for no limit.
        fitness: Weights of ``voltage_fitness``.
        trust: Run every command of a master file, also those that write files or run programs.
        **options: How it is evaluated, see `GridProblem`. A disturbance that the present settings
            do not survive is no error unless ``require_base_solution=True``.

    Raises:
        ValueError: Unknown feeder, objective, element or limit; a feeder file that is refused or
            fails; loads without supply in the feeder as it is; no regulators; nothing to optimise;
            set-points that make no sense. The message names it.
        PowerFlowNotConverged: The undisturbed feeder does not converge.
    """

    def __init__(
        self,
        feeder: str | Path | Feeder = "ieee123",
        objectives: Any = None,
        variables: str = "vreg",
        *,
        regulators: Sequence[str] | None = None,
        capacitors: bool | Sequence[str] = False,
        volt_var: bool = False,
        disturbance: Any = None,
        combine: str = "worst",
        load_shape: str | Sequence[float] | None = None,
        irradiance_shape: str | Sequence[float] | None = None,
        situations: Any = None,
        vreg_span_v: float = 6.0,
        vreg_v: Band = (110.0, 130.0),
        limits: Mapping[str, Any] | None = None,
        fitness: VoltageFitness | None = None,
        trust: bool = False,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(RegulatorControl.__init__, locals(), options)
        options.setdefault("require_base_solution", False)
        if combine not in COMBINATIONS:
            known = ", ".join(COMBINATIONS)
            raise ValueError(f"combine: unknown {combine!r}; known: {known}")
        grid = FeederGrid(feeder, trust, fitness)
        given = grid.feeder
        is_packaged = given.name in FEEDERS and given == load_feeder(given.name)
        if objectives is None:
            objectives = "voltage_fitness" if is_packaged else "node_voltage_fitness"
        if not is_packaged:
            band = (grid.fitness.low_pu, grid.fitness.high_pu)
            limits = {"vm_pu": band, **(limits or {})}
        several = isinstance(disturbance, Sequence) and not isinstance(disturbance, (str, bytes))
        disturbances = Disturbances(tuple(disturbance) if several else (disturbance,))
        self.disturbances: tuple[Disturbance | None, ...] = disturbances.objects
        in_time = load_shape is not None or irradiance_shape is not None
        if in_time and several and len(disturbance) > 1:
            raise ValueError("disturbance: a list of them cannot go with shapes over time")
        shapes = {"loads": load_shape, "irradiance": irradiance_shape}

        def made() -> Product:
            found = Product((disturbances,))
            if in_time:
                found *= Hours({k: v for k, v in shapes.items() if v is not None})
            return found

        is_given = situations is not None
        situations = situations_or(
            situations,
            made,
            disturbance=disturbance,
            load_shape=load_shape,
            irradiance_shape=irradiance_shape,
        )
        capacitor_names = None if isinstance(capacitors, bool) else capacitors
        asked: list[tuple[Any, Any]] = [
            (Regulators(variables, regulators, vreg_span_v, vreg_v), regulators),
            (Capacitors(capacitor_names), None if capacitors is True else capacitors or ()),
            (VoltVar(), None if volt_var else ()),
        ]
        controls = [control for control, names in asked if names is None or len(names)]
        if not controls:
            raise ValueError(
                "regulators: nothing to optimise; name at least one, or add capacitors=True or "
                "volt_var=True"
            )
        if combine == "mean" and several:
            names = (objectives,) if isinstance(objectives, str) else objectives
            objectives = [(o, "mean") if isinstance(o, str) else o for o in names]
        super().__init__(grid, controls, situations, objectives, limits, **options)
        is_published = (
            feeder == "ieee123"
            and self.disturbances == (LoadChange("s1a", kw=200.0),)
            and grid.fitness == VoltageFitness()
            and self.objective_names == ("voltage_fitness",)
            and variables == "taps"
            and self.n_var == len(grid.circuit.regulators)
            and not (limits or in_time or capacitors or is_given)
        )
        if is_published:
            self.best_known = BEST_TAPS_123

    @property
    def feeder(self) -> Feeder:
        """The commands that build the feeder."""
        feeder: Feeder = self.grid.feeder
        return feeder

    @property
    def circuit(self) -> Circuit:
        """Names and numbers of the feeder."""
        circuit: Circuit = self.grid.circuit
        return circuit

    @property
    def fitness(self) -> VoltageFitness:
        """Weights of ``voltage_fitness``."""
        fitness: VoltageFitness = self.grid.fitness
        return fitness

    @property
    def undisturbed_state(self) -> GridState:
        """The feeder as it is, undisturbed; `base_state` is that under the disturbances."""
        state: GridState = self.grid.undisturbed_state
        return state

    @property
    def disturbed_state(self) -> GridState:
        """`base_state`, by its name until 0.1."""
        return self.base_state

    @property
    def present_taps(self) -> FloatArray:
        """Positions of the undisturbed feeder's taps, in the order of ``circuit.regulators``."""
        taps: FloatArray = self.grid.present_taps
        return taps

    def script(self, x: ArrayLike | Mapping[str, Any]) -> str:
        """OpenDSS commands that give a user's own model of the feeder the settings of ``x``."""
        script: str = self.grid.script(self.controlled(x))
        return script

    def screening(
        self,
        disturbances: Sequence[Disturbance | None],
        x: ArrayLike | Mapping[str, Any] | None = None,
    ) -> Screening:
        """What each of many disturbances does to the feeder, one by one.

        Args:
            disturbances: None for the feeder as it is.
            x: Settings, None for the present ones with the regulators acting.

        Raises:
            ValueError: A disturbance names an element that the feeder does not have.
        """
        situations = Situations([Disturbances(tuple(disturbances)).bind(self.grid)])
        joint = Joint(self.joint.blocks, situations, self.grid)
        if x is None:
            settings = joint.situational()
        else:
            settings = joint.decode(self._checked(x)[np.newaxis]).candidate(0)
        state = self.grid.snapshot_engine.solve(settings)
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
        return Screening(
            table, pd.DataFrame(vm_pu, index=table["disturbance"], columns=self.circuit.buses)
        )

    campaign = screening  # its name until 0.1
