"""Best known values of reactive power dispatch: the relaxed problem by Ipopt, then rounded.

The alternating-current power-flow equations in polar form are the constraints of a nonlinear
programme, built from the branch admittances that pandapower itself compiles; taps are continuous.
Ipopt solves it from many random starts; the best results have their taps rounded to the nearest
position, at once or batch by batch, and the rest solved again with them held; the best one that is
feasible in a plain ``pandapower.runpp`` is kept. The relaxation is not convex: its value is a local
optimum and no proven bound.

    python benchmarks/references/orpd_relaxation.py --case ieee39 --starts 50 --write

writes ``gridproblems/cases/data/best_known/ieee39.json``. Needs casadi (``pip install casadi``).
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import casadi as ca
import numpy as np
import pandapower as pp
import pandas as pd
import typer
from numpy.typing import NDArray
from pandapower.pypower.idx_brch import F_BUS, T_BUS
from pandapower.pypower.idx_bus import PD, QD
from rich.console import Console

from gridproblems.cases import CASES, DATA, Case, load_case

FloatArray = NDArray[np.float64]
Settings = dict[tuple[str, str], dict[int, float]]
Key = tuple[str, str, tuple[str, ...]]

VM_MARGIN_PU = 1e-9
"""Kept from the limits of dependent voltages, so that the rounded settings stay inside."""

Q_MARGIN_MVAR = 1e-6
"""Kept from the reactive limits of generators, for the same reason."""

FEASIBLE = 1e-9
"""Largest violation of a limit in the plain power flow, in pu or Mvar."""

ROUNDED_AT_ONCE = (1.0, 0.5, 0.25, 0.1)
"""Shares of the taps that are rounded before the rest is solved again; the best result counts."""

ANGLE_SPREAD_RAD = 0.3
"""Largest distance of a random start from the voltage angles of the base case."""

N_ROUNDED = 3
"""Relaxed optima of different loss, best first, that are rounded."""

SAME_LOSS = 1e-7
"""Relative difference of losses below which two optima are the same."""

DECIMALS = {"vm_pu": 13, "q_mvar": 8, "tap_pos": 0}


@dataclass(frozen=True)
class Control:
    """Free values of one column.

    Attributes:
        table: pandapower table.
        column: pandapower column.
        index: Elements, shape (n,).
        lower, upper: Bounds, shape (n,).
        integer: Whether the values are whole numbers.
    """

    table: str
    column: str
    index: NDArray[np.int64]
    lower: FloatArray
    upper: FloatArray
    integer: bool = False


GROUPS = {
    "gen": ("gen", "vm_pu", "min_vm_pu", "max_vm_pu"),
    "ext_grid": ("ext_grid", "vm_pu", "min_vm_pu", "max_vm_pu"),
    "tap": ("trafo", "tap_pos", "tap_min", "tap_max"),
    "compensator": ("sgen", "q_mvar", "min_q_mvar", "max_q_mvar"),
    "shunt": ("shunt", "q_mvar", "min_q_mvar", "max_q_mvar"),
}


STARTS = ("dc", "auto", "flat")
"""Where the power flow starts: from the next one where it diverges, as 9,241 buses do from "dc"."""


def run(net: Any) -> None:
    """The plain power flow that decides about a candidate.

    Raises:
        pandapower.LoadflowNotConverged: From every start.
    """
    for start in STARTS:
        try:
            pp.runpp(net, init=start, lightsim2grid=False, tolerance_mva=1e-9, max_iteration=30)
        except pp.LoadflowNotConverged:
            if start == STARTS[-1]:
                raise
        else:
            return


def losses_mw(net: Any, objective: str) -> float:
    """Losses of a solved net: of the lines, or of lines and transformers."""
    lines = float(net.res_line.pl_mw.sum())
    return lines if objective == "line_loss_mw" else lines + float(net.res_trafo.pl_mw.sum())


def limits(net: Any, table: str, quantity: str) -> tuple[FloatArray, FloatArray]:
    """Lower and upper limits of a table, infinite where the case has none."""
    lower, upper = (
        net[table].get(f"{end}_{quantity}", pd.Series(np.nan, net[table].index)).to_numpy(float)
        for end in ("min", "max")
    )
    return np.where(np.isnan(lower), -np.inf, lower), np.where(np.isnan(upper), np.inf, upper)


def violation(net: Any) -> float:
    """Largest violation of voltage band and generator limits of a solved net, pu or Mvar."""
    excess = []
    for table, quantity in (("bus", "vm_pu"), ("gen", "q_mvar"), ("ext_grid", "q_mvar")):
        lower, upper = limits(net, table, quantity)
        values = net[f"res_{table}"][quantity].to_numpy()
        excess.append(np.maximum(lower - values, values - upper).max(initial=0.0))
    return float(max(excess))


class Relaxation:
    """The nonlinear programme of one case, objective and choice of controls.

    Args:
        case: Case with limits.
        objective: "line_loss_mw" or "p_loss_mw".
        groups: Control groups that are free.
    """

    def __init__(self, case: Case, objective: str, groups: Sequence[str]) -> None:
        self.objective = objective
        self.net = case.net()
        free = {GROUPS[group][:2] for group in groups}
        for (table, column), values in case.fixed.items():
            if (table, column) not in free:
                self.net[table].loc[list(values), column] = list(values.values())
        self.controls = [self._control(*GROUPS[group]) for group in groups]
        self._build()

    def _control(self, table: str, column: str, lower: str, upper: str) -> Control:
        rows = self.net[table][self.net[table][lower].notna()]
        return Control(
            table,
            column,
            rows.index.to_numpy(),
            rows[lower].to_numpy(float),
            rows[upper].to_numpy(float),
            integer=column == "tap_pos",
        )

    def _compiled(self) -> Any:
        """pandapower's model with free taps at neutral, free shunts and compensators at zero."""
        net = copy.deepcopy(self.net)
        for control in self.controls:
            if control.column == "tap_pos":
                net.trafo.loc[control.index, "tap_pos"] = net.trafo.tap_neutral[control.index]
            elif control.column == "q_mvar":
                net[control.table].loc[control.index, "q_mvar"] = 0.0
        run(net)
        return net

    def _build(self) -> None:
        values = [ca.SX.sym(c.column, len(c.index)) for c in self.controls]
        net = self._compile()
        state, equal, loss = self._situation(net, values)
        self._solver = self._programme([*state, *values], loss, equal)
        self._set_bounds(net, self._bus_of[net.bus.index], self._n_bus, self._base_mva)

    def _compile(self) -> Any:
        """Takes the admittances from pandapower's model, which it gives back."""
        net = self._compiled()
        ppc, self._lookup = net._ppc["internal"], net._pd2ppc_lookups
        self._base_mva = ppc["baseMVA"]
        self._bus_of = self._lookup["bus"]
        self._n_bus = len(ppc["bus"])
        self._demand = ppc["bus"][:, PD], ppc["bus"][:, QD]
        branch = ppc["branch"]
        f, t = branch[:, F_BUS].real.astype(int), branch[:, T_BUS].real.astype(int)
        rows = np.arange(len(branch))
        yf, yt = ppc["Yf"].tocsr(), ppc["Yt"].tocsr()
        y_ff, y_ft, y_tf, y_tt = (
            np.asarray(y[rows, c]).ravel() for y, c in ((yf, f), (yf, t), (yt, f), (yt, t))
        )
        y_shunt = np.asarray(ppc["Ybus"].diagonal()).ravel()
        np.subtract.at(y_shunt, f, y_ff)
        np.subtract.at(y_shunt, t, y_tt)
        self._ends, self._admittances, self._y_shunt = (f, t), (y_ff, y_ft, y_tf, y_tt), y_shunt
        return net

    def _situation(self, net: Any, values: list[Any], out: int | None = None) -> Any:
        """Unknowns, equations and losses of one power flow.

        Args:
            net: The compiled net.
            values: Symbols of the controls.
            out: Row of a branch that is out.

        Returns:
            Lists of symbols and of expressions that are 0, and the losses in MW.
        """
        lookup, bus_of, n_bus = self._lookup, self._bus_of, self._n_bus
        base_mva = self._base_mva
        (f, t), (y_ff, y_ft, y_tf, y_tt) = self._ends, self._admittances
        rows = np.arange(len(f))
        vm, va = ca.SX.sym("vm", n_bus), ca.SX.sym("va", n_bus)
        machine_q = {
            table: ca.SX.sym(f"q_{table}", len(net[table])) for table in ("gen", "ext_grid")
        }
        slack_p = ca.SX.sym("p_slack", len(net.ext_grid))

        ratio_f, ratio_t = [ca.SX.ones(len(f)) for _ in range(2)]
        p_pu, q_pu = (ca.SX(-demand / base_mva) for demand in self._demand)
        equal = [va[bus_of[net.ext_grid.bus]]]
        for control, value in zip(self.controls, values, strict=True):
            table = net[control.table].loc[control.index]
            if control.column == "tap_pos":
                step = ca.DM(table.tap_step_percent.to_numpy(float) / 100)
                ratio = 1 + step * (value - ca.DM(table.tap_neutral.to_numpy(float)))
                first = lookup["branch"]["trafo"][0]
                for i, (row, side) in enumerate(
                    zip(net.trafo.index.get_indexer(control.index), table.tap_side, strict=True)
                ):
                    (ratio_f if side == "hv" else ratio_t)[int(first + row)] = ratio[i]
            elif control.column == "q_mvar":
                for i, b in enumerate(bus_of[table.bus]):
                    q = value[i] / base_mva
                    q_pu[int(b)] += q if control.table == "sgen" else -q * vm[int(b)] ** 2
            else:
                equal.append(vm[bus_of[table.bus]] - value)
        free = {(c.table, c.column) for c in self.controls}
        for table in ("gen", "ext_grid"):
            bus = bus_of[net[table].bus]
            if (table, "vm_pu") not in free:
                equal.append(vm[bus] - ca.DM(net[table].vm_pu.to_numpy(float)))
            active = slack_p if table == "ext_grid" else ca.DM(net.gen.p_mw.to_numpy() / base_mva)
            for i, b in enumerate(bus):
                p_pu[int(b)] += active[i]
                q_pu[int(b)] += machine_q[table][i]

        angle = va[f] - va[t]
        cos, sin = ca.cos(angle), ca.sin(angle)
        vf, vt = vm[f] / ratio_f, vm[t] / ratio_t
        g, b = (lambda y: ca.DM(y.real)), (lambda y: ca.DM(y.imag))
        p_f = g(y_ff) * vf**2 + vf * vt * (g(y_ft) * cos + b(y_ft) * sin)
        q_f = -b(y_ff) * vf**2 + vf * vt * (g(y_ft) * sin - b(y_ft) * cos)
        p_t = g(y_tt) * vt**2 + vf * vt * (g(y_tf) * cos - b(y_tf) * sin)
        q_t = -b(y_tt) * vt**2 - vf * vt * (g(y_tf) * sin + b(y_tf) * cos)
        p_pu -= ca.DM(self._y_shunt.real) * vm**2
        q_pu += ca.DM(self._y_shunt.imag) * vm**2
        closed = ca.DM((rows != (-1 if out is None else out)).astype(float))
        at_f = ca.DM.triplet(list(f), list(rows), closed, n_bus, len(f))
        at_t = ca.DM.triplet(list(t), list(rows), closed, n_bus, len(t))
        equal += [p_pu - at_f @ p_f - at_t @ p_t, q_pu - at_f @ q_f - at_t @ q_t]

        loss = (p_f + p_t) * base_mva
        if self.objective == "line_loss_mw":
            loss = loss[slice(*lookup["branch"]["line"])]
        state = [vm, va, machine_q["gen"], machine_q["ext_grid"], slack_p]
        return state, equal, ca.sum1(loss)

    def _programme(self, symbols: list[Any], loss: Any, equal: list[Any]) -> Any:
        """Ipopt on a nonlinear programme."""
        return ca.nlpsol(
            "orpd",
            "ipopt",
            {"x": ca.vertcat(*symbols), "f": loss, "g": ca.vertcat(*equal)},
            {
                "print_time": False,
                "ipopt": {
                    "print_level": 0,
                    "sb": "yes",
                    "tol": 1e-9,
                    "constr_viol_tol": 1e-11,
                    "bound_relax_factor": 0.0,
                    "honor_original_bounds": "yes",
                    "max_iter": 1000,
                },
            },
        )

    def _set_bounds(self, net: Any, bus: NDArray[np.int64], n_bus: int, base_mva: float) -> None:
        vm_lower, vm_upper = np.zeros(n_bus), np.full(n_bus, 2.0)
        held = net.bus.index.isin([*net.gen.bus, *net.ext_grid.bus])
        margin = np.where(held, 0.0, VM_MARGIN_PU)
        vm_lower[bus] = net.bus.min_vm_pu + margin
        vm_upper[bus] = net.bus.max_vm_pu - margin
        machines = [limits(net, table, "q_mvar") for table in ("gen", "ext_grid")]
        q_lower, q_upper = (np.concatenate(ends) for ends in zip(*machines, strict=True))
        unbounded = np.full(n_bus, np.inf)
        slack = np.full(len(net.ext_grid), np.inf)
        self._lower = np.concatenate(
            [vm_lower, -unbounded, (q_lower + Q_MARGIN_MVAR) / base_mva, -slack]
            + [c.lower for c in self.controls]
        )
        self._upper = np.concatenate(
            [vm_upper, unbounded, (q_upper - Q_MARGIN_MVAR) / base_mva, slack]
            + [c.upper for c in self.controls]
        )
        self._n_state = len(self._lower) - sum(len(c.index) for c in self.controls)
        solved = net.res_bus
        start = np.zeros(len(self._lower))
        start[:n_bus] = 1.0
        start[bus] = solved.vm_pu
        start[n_bus + bus] = np.deg2rad(solved.va_degree)
        start[self._n_state - len(slack) : self._n_state] = net.res_ext_grid.p_mw / base_mva
        self._start = start

    @cached_property
    def whole(self) -> NDArray[np.int64]:
        """Places of the whole numbers in the vector of the programme."""
        integer = np.concatenate([np.full(len(c.index), c.integer) for c in self.controls])
        return self._n_state + np.flatnonzero(integer)

    @property
    def base_start(self) -> FloatArray:
        """State and controls of the base case."""
        x = self._start.copy()
        controls, first = x[self._n_state :], 0
        for control in self.controls:
            values = self.net[control.table].loc[control.index, control.column].to_numpy(float)
            controls[first : first + len(values)] = values
            first += len(values)
        return x

    def random_start(self, rng: np.random.Generator) -> FloatArray:
        """Controls and voltages uniform within their bounds, angles around those of the base."""
        x = self._start + rng.uniform(-ANGLE_SPREAD_RAD, ANGLE_SPREAD_RAD, len(self._start))
        bounded = np.isfinite(self._lower) & np.isfinite(self._upper)
        x[bounded] = rng.uniform(self._lower[bounded], self._upper[bounded])
        return x

    def solve(
        self, start: FloatArray, held: NDArray[np.int64] | None = None
    ) -> tuple[float, FloatArray] | None:
        """Local optimum from a start.

        Args:
            start: State and controls, shape (n_variables,).
            held: Places that keep their start value.

        Returns:
            Loss in MW with state and controls, or None if Ipopt did not converge.
        """
        lower, upper = self._lower.copy(), self._upper.copy()
        if held is not None:
            lower[held] = upper[held] = start[held]
        result = self._solver(
            x0=np.clip(start, lower, upper), lbx=lower, ubx=upper, lbg=0.0, ubg=0.0
        )
        if not self._solver.stats()["success"]:
            return None
        return float(result["f"]), np.asarray(result["x"]).ravel()

    def round(self, x: FloatArray, share: float) -> FloatArray | None:
        """Rounds the relaxed whole numbers, the nearest ones first, solving again in between.

        Where no solution is left, fewer are rounded at once, and a single one to the other side.

        Args:
            x: State and controls of the relaxed optimum, shape (n_variables,).
            share: Share of the whole numbers to round before the next solve; 1 rounds all at once.

        Returns:
            State and controls, or None if there is no solution on either side of a whole number.
        """
        free = self.whole
        batch = max(1, int(np.ceil(share * len(free))))
        while len(free):
            distance = np.abs(x[free] - np.round(x[free]))
            nearest = free[np.argsort(distance, kind="stable")[:batch]]
            remaining = np.setdiff1d(free, nearest)
            held = np.setdiff1d(self.whole, remaining)
            down, up = np.floor(x[nearest]), np.ceil(x[nearest])
            first = np.round(x[nearest])
            for rounded in (first, down + up - first)[: 1 if batch > 1 else 2]:
                start = x.copy()
                start[nearest] = rounded
                solved = self.solve(start, held)
                if solved is not None:
                    x, free = solved[1], remaining
                    break
            else:
                if batch == 1:
                    return None
                batch = batch // 2
        return x

    def settings(self, x: FloatArray) -> Settings:
        """Control values by table, column and element, rounded for the data file."""
        controls = x[self._n_state :]
        result, first = {}, 0
        for control in self.controls:
            values = controls[first : first + len(control.index)]
            first += len(control.index)
            values = np.clip(
                np.round(values, DECIMALS[control.column]), control.lower, control.upper
            )
            result[control.table, control.column] = dict(
                zip(control.index.tolist(), values.tolist(), strict=True)
            )
        return result

    def with_settings(self, settings: Settings) -> Any:
        """A copy of the net with these settings."""
        net = copy.deepcopy(self.net)
        for (table, column), values in settings.items():
            net[table].loc[list(values), column] = list(values.values())
        return net

    def evaluate(self, settings: Settings) -> tuple[float, float] | None:
        """Loss in MW and largest violation by ``pandapower.runpp``, or None if it diverges."""
        net = self.with_settings(settings)
        try:
            run(net)
        except pp.LoadflowNotConverged:
            return None
        return losses_mw(net, self.objective), violation(net)


@lru_cache
def _relaxation(name: str, objective: str, groups: tuple[str, ...]) -> Relaxation:
    """The programme of a case, built once per process."""
    return Relaxation(load_case(name), objective, groups)


def _solve_start(key: Key, seed: int | None) -> tuple[tuple[float, FloatArray] | None, float]:
    """Relaxed optimum from a random start, without a seed from the base case, and the processor
    time of Ipopt in seconds."""
    relaxation = _relaxation(*key)
    start = relaxation.base_start
    if seed is not None:
        start = relaxation.random_start(np.random.default_rng(seed))
    before = time.process_time()
    return relaxation.solve(start), time.process_time() - before


def _round(key: Key, x: FloatArray, share: float) -> tuple[float, Settings] | None:
    """Loss and settings after rounding; None if they are not feasible in the power flow."""
    relaxation = _relaxation(*key)
    rounded = relaxation.round(x, share)
    if rounded is None:
        return None
    settings = relaxation.settings(rounded)
    measured = relaxation.evaluate(settings)
    if measured is None or measured[1] > FEASIBLE:
        return None
    return measured[0], settings


def distinct(optima: list[tuple[float, FloatArray]]) -> list[tuple[float, FloatArray]]:
    """Optima of different loss, the best first."""
    result: list[tuple[float, FloatArray]] = []
    for value, x in sorted(optima, key=lambda optimum: optimum[0]):
        if not result or value - result[-1][0] > SAME_LOSS * value:
            result.append((value, x))
    return result


def best_known(
    name: str, objective: str, groups: tuple[str, ...], starts: int, jobs: int
) -> dict[str, Any]:
    """The entry of the data file for one case, objective and choice of controls.

    Raises:
        RuntimeError: If no start leads to a feasible result.
    """
    key = (name, objective, groups)
    with ProcessPoolExecutor(jobs) as pool:
        seeds = [*range(starts), None]
        solved = [pool.submit(_solve_start, key, seed) for seed in seeds]
        optima = [optimum for future in solved if (optimum := future.result()[0]) is not None]
        seconds = [future.result()[1] for future in solved]
        candidates = [
            (relaxed, pool.submit(_round, key, x, share))
            for relaxed, x in distinct(optima)[:N_ROUNDED]
            for share in ROUNDED_AT_ONCE
        ]
        results = [
            (*result, relaxed)
            for relaxed, future in candidates
            if (result := future.result()) is not None
        ]
    if not results:
        raise RuntimeError(f"{name}, {objective}, {groups}: none of {starts} starts is feasible")
    value, settings, relaxed = min(results, key=lambda result: result[0])
    found = np.array([optimum[0] for optimum in optima])
    net = load_case(name).net()
    is_shipped = "shipped" in json.loads((DATA / f"{name.split('-')[0]}.json").read_text())
    return {
        "objectives": [objective],
        "controls": list(groups),
        "value": round(value, 8),
        "status": "best found",
        "relaxation_value": round(relaxed, 8),
        "method": (
            f"power-flow NLP with continuous taps, Ipopt (casadi {version('casadi')}), the base "
            f"case and {starts} random starts (seeds 0..): {len(found)} converged, median "
            f"{np.median(found):.6f}, worst {found.max():.6f} MW, median {np.median(seconds):.2g} "
            f"s of processor time each; taps of the best rounded at once and in batches with the "
            f"rest solved again, evaluated with pandapower.runpp; "
            f"{datetime.date.today().isoformat()}"
        ),
        "settings": {
            f"{table}.{column}": _written(net[table], column, values, by_name=not is_shipped)
            for (table, column), values in settings.items()
        },
    }


def _written(table: pd.DataFrame, column: str, values: dict[int, float], *, by_name: bool) -> Any:
    """Values as data files have them: by name, or for a net that pandapower ships as a list."""
    whole = {i: int(v) if column == "tap_pos" else v for i, v in values.items()}
    if by_name:
        return {table["name"][i]: v for i, v in whole.items()}
    return [whole.get(i) for i in table.index]


def dumps(entries: list[dict[str, Any]]) -> str:
    """JSON with one line per field and per column of settings."""
    texts = []
    for entry in entries:
        fields = [
            f"  {json.dumps(key)}: {json.dumps(value)}"
            for key, value in entry.items()
            if key != "settings"
        ]
        columns = [
            f"   {json.dumps(field)}: {json.dumps(values)}"
            for field, values in entry["settings"].items()
        ]
        fields.append('  "settings": {\n' + ",\n".join(columns) + "\n  }")
        texts.append(" {\n" + ",\n".join(fields) + "\n }")
    return "[\n" + ",\n".join(texts) + "\n]\n"


def choices(case: Case) -> list[tuple[str, ...]]:
    """The free control groups to solve for: those of the case, then with the slack voltage too."""
    if "ext_grid" in case.controls:
        return [case.controls]
    return [case.controls, (*case.controls, "ext_grid")]


def main(
    case: Annotated[list[str], typer.Option(help="Name of a case; all if left out.")] = [],  # noqa: B006
    objective: Annotated[list[str], typer.Option(help="line_loss_mw or p_loss_mw.")] = [  # noqa: B006
        "line_loss_mw",
        "p_loss_mw",
    ],
    starts: Annotated[int, typer.Option(help="Random starts.")] = 50,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    write: Annotated[bool, typer.Option(help="Write into the case data files.")] = False,
) -> None:
    """Prints, and writes if asked, the best known values of the cases."""
    console = Console()
    for name in case or CASES:
        entries = []
        for goal in objective:
            for groups in choices(load_case(name)):
                entry = best_known(name, goal, groups, starts, jobs)
                entries.append(entry)
                console.print(
                    f"{name} {goal} {'+'.join(groups)}: {entry['value']:.6f} MW"
                    f" (relaxed {entry['relaxation_value']:.6f})\n  {entry['method']}",
                    highlight=False,
                )
        if write:
            path = DATA / "best_known" / f"{name}.json"
            path.write_text(dumps(entries), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
