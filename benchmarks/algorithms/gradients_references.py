"""The local search beside Ipopt from the same starts, and beside pandapower's ``runopp``.

    python benchmarks/algorithms/gradients_references.py [--case ieee39 ...] [--starts 11]

Ipopt solves the power flow as constraints (`benchmarks/references/orpd_relaxation.py`) from the
settings that `sqp` starts from, with the voltages of the base case beside them; taps are then
rounded at once and by halves, and the better one counts. ``runopp`` moves continuous set-points
alone, no taps and no shunts, and starts where it starts; all three are compared on these too, with
taps as the case has them. Losses of all are those of ``runpp`` with the settings found. Writes
docs/tables/algorithms_gradients_references.md where all cases are asked for. Needs the package
casadi.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandapower as pp
import typer
from markdown_lines import head, line
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "references"))

from orpd_relaxation import FEASIBLE, Relaxation, losses_mw, run, violation

from gridproblems import ReactivePowerDispatch
from gridproblems._progress import Recorder
from gridproblems.cases import load_case
from gridproblems.study.specs import algorithm_of

OUT = Path(__file__).parents[2] / "docs" / "tables" / "algorithms_gradients_references.md"
SETPOINTS = ("gen", "ext_grid")
ROUNDED_AT_ONCE = (1.0, 0.5)
EVALS = 1000
CASES = ("ieee39", "ieee57", "ieee118", "ieee300")


class Found(NamedTuple):
    """Losses [MW], inf if none were found, how many evaluations or iterations, processor time."""

    loss: float
    steps: int
    seconds: float


def by_sqp(problem: ReactivePowerDispatch, seed: int) -> tuple[Found, NDArray[np.float64]]:
    """One start of `sqp`, and where it began."""
    recorder = Recorder(1, EVALS)
    before = time.process_time()
    algorithm = algorithm_of("sqp?n_starts=1", problem, EVALS)
    algorithm.setup(problem, termination=("n_eval", EVALS), seed=seed, evaluator=recorder.evaluator)
    first = algorithm.ask()
    start = np.array(first[0].X)
    algorithm.evaluator.eval(problem, first)
    algorithm.tell(infills=first)
    while algorithm.has_next():
        algorithm.next()
    loss = float(recorder.F[0, 0]) if recorder.feasible else np.inf
    return Found(loss, recorder.evaluations, time.process_time() - before), start


def by_ipopt(relaxation: Relaxation, settings: Any) -> Found:
    """Ipopt from these settings, whole numbers rounded afterwards."""
    start = relaxation.base_start
    at = len(start) - sum(len(c.index) for c in relaxation.controls)
    for control in relaxation.controls:
        own = settings[control.table, control.column]
        for i, element in enumerate(control.index):
            start[at + i] = own.get(element, start[at + i])
        at += len(control.index)
    before, steps, losses = time.process_time(), 0, []
    relaxed = relaxation.solve(start)
    steps = int(relaxation._solver.stats()["iter_count"])
    if relaxed is not None:
        for share in ROUNDED_AT_ONCE if len(relaxation.whole) else (1.0,):
            x = relaxation.round(relaxed[1], share)
            measured = None if x is None else relaxation.evaluate(relaxation.settings(x))
            if measured is not None and measured[1] <= FEASIBLE:
                losses.append(measured[0])
    return Found(min(losses, default=np.inf), steps, time.process_time() - before)


def by_runopp(relaxation: Relaxation) -> Found:
    """pandapower's optimal power flow with active powers as they are: set-points alone."""
    net = relaxation.with_settings({})
    net.poly_cost = net.poly_cost.drop(net.poly_cost.index)
    net.gen["controllable"] = True
    net.gen["min_p_mw"] = net.gen["max_p_mw"] = net.gen.p_mw
    net.ext_grid["controllable"] = True
    for column, value in (("min_p_mw", -1e5), ("max_p_mw", 1e5)):
        net.ext_grid[column] = value
    for table in ("line", "trafo"):
        net[table] = net[table].drop(columns="max_loading_percent", errors="ignore")
    for element in net.ext_grid.index:
        pp.create_poly_cost(net, element, "ext_grid", cp1_eur_per_mw=1.0)
    before = time.process_time()
    try:
        pp.runopp(net, init="pf", calculate_voltage_angles=True)
    except (pp.OPFNotConverged, pp.LoadflowNotConverged):
        return Found(np.inf, 0, time.process_time() - before)
    spent = time.process_time() - before
    for table in SETPOINTS:
        buses = net[table].bus.to_numpy()
        net[table]["vm_pu"] = net.res_bus.vm_pu.loc[buses].to_numpy()
    run(net)
    is_feasible = violation(net) <= 1e-5  # its own tolerance
    return Found(losses_mw(net, relaxation.objective) if is_feasible else np.inf, 0, spent)


def row(case: str, moved: str, method: str, best: float, found: list[Found]) -> str:
    """A row of the table."""
    losses = np.array([f.loss for f in found])
    known = losses[np.isfinite(losses)]
    steps = np.median([f.steps for f in found])
    gaps = 100.0 * (known / best - 1.0)
    cells = [
        case, moved, method, str(len(found)), f"{len(known)} of {len(found)}",
        *((f"{np.median(gaps):.4f} %", f"{gaps.max():.4f} %") if len(known) else ("–", "–")),
        f"{steps:.0f}" if steps else "–", f"{np.median([f.seconds for f in found]):.2g}",
    ]  # fmt: skip
    return line(cells)


def main(
    case: Annotated[list[str] | None, typer.Option(help="Print these alone.")] = None,
    starts: Annotated[int, typer.Option(help="Random starts.")] = 11,
) -> None:
    """Prints the table, and writes it where it is whole."""
    lines = head(
        ["case", "moved", "method", "starts", "feasible", "gap, median", "gap, largest",
         "evaluations or iterations, median", "processor s, median"]
    )  # fmt: skip
    typer.echo("\n".join(lines))
    for name in case or CASES:
        problem = ReactivePowerDispatch(name)
        assert problem.best_known is not None
        objective = problem.best_known.objectives[0]
        for moved, groups in (
            ("set-points, taps, shunts", problem.best_known.controls),
            ("set-points", SETPOINTS),
        ):
            own = ReactivePowerDispatch(name, controls=groups, objectives=[objective])
            own.gradients(own.base_x)
            relaxation = Relaxation(load_case(name), objective, groups)
            sqp, ipopt = [], []
            for seed in range(1, starts + 1):
                found, start = by_sqp(own, seed)
                sqp.append(found)
                ipopt.append(by_ipopt(relaxation, own.controlled(start)))
            others = [("Ipopt", ipopt)]
            if groups == SETPOINTS:
                others.append(("`runopp`", [by_runopp(relaxation)]))
            best = min(f.loss for f in [*sqp, *ipopt])
            if groups != SETPOINTS:
                best = problem.best_known.value
            for method, runs in [("`sqp`", sqp), *others]:
                lines.append(row(name, moved, method, best, runs))
                typer.echo(lines[-1])
    if not case:
        OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
