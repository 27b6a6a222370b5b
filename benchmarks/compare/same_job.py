"""The same dispatch by other packages: pandapower's ``runopp``, and optimisers of pygmo, mealpy and
cma on problems of this package.

    python benchmarks/compare/same_job.py [--case ieee39 ...] [--evals 5000] [--seeds 5] [--jobs 1]

Two jobs. First all controls of a case (set-points, whole tap positions, shunts), where every
optimiser has the same number of evaluations of the same problem, its own defaults, and its own rule
for limits or a penalty (`benchmarks/algorithms/peers.py` says which). Then set-points of machines
alone, taps as the case has them, which is all that ``runopp`` can move; its losses are those of
``runpp`` with what it found. Writes docs/tables/compare_optimisers.md and compare_runopp.md.

Needs, in an environment of its own or beside this package::

    pip install --no-deps mealpy==3.0.3 opfunu
    pip install pygmo==2.20.0 cma==4.5.0 casadi
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import importlib.metadata
import statistics
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from joblib import Parallel, delayed
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem

sys.path.append(str(Path(__file__).parents[1] / "algorithms"))
sys.path.append(str(Path(__file__).parents[1] / "references"))

import peers
from gradients_references import SETPOINTS, by_runopp
from markdown_lines import head, line
from orpd_relaxation import Relaxation

from gridproblems import ReactivePowerDispatch
from gridproblems.cases import load_case
from gridproblems.study.run import BudgetEvaluator, BudgetSpent
from gridproblems.study.specs import algorithm_of

TABLES = Path(__file__).parents[2] / "docs" / "tables"
#: What a run is called, its package, and what makes it: a word of ours, or a peer.
OPTIMISERS: dict[str, tuple[str, Any]] = {
    "`sqp`": ("gridproblems", "sqp"),
    "`hs`": ("gridproblems", "hs"),
    "`mvmo`": ("gridproblems", "mvmo"),
    "`hs`, no gradients": ("gridproblems", "hs?gradients=false"),
    "`mvmo`, no gradients": ("gridproblems", "mvmo?gradients=false"),
    "GA": ("pymoo", "ga"),
    "DE": ("pymoo", "de"),
    "PSO": ("pymoo", "pso"),
    "BIPOP-CMA-ES": ("cma", peers.bipop_cmaes),
    "IHS": ("pygmo", peers.pygmo_ihs),
    "extended ACO": ("pygmo", "gaco"),
    "HS, original": ("mealpy", peers.mealpy_hs),
    "HS, developed": ("mealpy", peers.mealpy_devhs),
    "L-SHADE": ("mealpy", "SHADE.L_SHADE"),
    "PSO, original": ("mealpy", "PSO.OriginalPSO"),
}


class Found(NamedTuple):
    """Losses [MW], inf without a feasible point, and processor time [s]."""

    loss: float
    seconds: float


def optimiser(package: str, made_by: Any, problem: Problem, n_evals: int) -> Algorithm:
    """The optimiser of an entry of `OPTIMISERS`."""
    if callable(made_by):
        made: Algorithm = made_by(problem, n_evals)
        return made
    if package == "pygmo":
        return peers.PygmoACO(n_evals)
    if package == "mealpy":
        return peers.MealpyOf(n_evals, made_by)
    return algorithm_of(made_by, problem, n_evals)


def run_one(case: str, controls: Any, name: str, n_evals: int, seed: int) -> Found:
    """One run to the end of its budget; between whole values nothing counts as found."""
    warnings.simplefilter("ignore")
    problem = ReactivePowerDispatch(case, controls=controls)
    algorithm = optimiser(*OPTIMISERS[name], problem, n_evals)
    best = [np.inf]

    def see(evaluated: Population) -> None:
        for one in evaluated:
            if one.CV[0] <= 0.0 and not one.data.get("is_between"):
                best[0] = min(best[0], float(one.F[0]))

    evaluator = BudgetEvaluator(n_evals, see)
    before = time.process_time()
    with suppress(BudgetSpent):
        algorithm.setup(problem, termination=("n_eval", n_evals), seed=seed, evaluator=evaluator)
        algorithm.run()
    return Found(best[0], time.process_time() - before)


def version(package: str) -> str:
    """Name and version; that of this package stands on the page."""
    return (
        package if package == "gridproblems" else f"{package} {importlib.metadata.version(package)}"
    )


def cells(found: list[Found], known: float) -> list[str]:
    """Feasible runs, gaps and time."""
    gaps = [100.0 * (f.loss / known - 1.0) for f in found if np.isfinite(f.loss)]
    spread = (f"{statistics.median(gaps):.4f} %", f"{max(gaps):.4f} %") if gaps else ("–", "–")
    seconds = statistics.median(f.seconds for f in found)
    return [f"{len(gaps)} of {len(found)}", *spread, f"{seconds:.2g}"]


def main(
    case: Annotated[list[str] | None, typer.Option(help="Packaged case; repeatable")] = None,
    evals: Annotated[int, typer.Option(help="Evaluations of every run")] = 5000,
    seeds: Annotated[int, typer.Option(help="Runs of every optimiser")] = 5,
    jobs: Annotated[int, typer.Option(help="Processes")] = 1,
) -> None:
    """Runs all and writes the tables."""
    cases = case or ["ieee39", "ieee57"]
    lines = head(
        [
            "optimiser",
            "package",
            "case",
            "feasible",
            "gap, median",
            "gap, largest",
            "processor s, median",
        ]
    )
    for each in cases:
        known = ReactivePowerDispatch(each).best_known.value
        rows = []
        for name, (package, _) in OPTIMISERS.items():
            found = Parallel(jobs)(
                delayed(run_one)(each, None, name, evals, seed) for seed in range(1, seeds + 1)
            )
            loss = [f.loss for f in found]
            order = (-sum(map(np.isfinite, loss)), statistics.median(loss))
            rows.append((order, line([name, version(package), f"`{each}`", *cells(found, known)])))
            print(rows[-1][1], flush=True)
        lines += [text for _, text in sorted(rows, key=lambda row: row[0])]
    (TABLES / "compare_optimisers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_runopp(cases)


def write_runopp(cases: list[str]) -> None:
    """Set-points of generators and of the slack by ``runopp`` and by ours; all controls by ours."""
    lines = head(["method", "controls", "case", "evaluations", "losses [MW]", "processor s"])
    for each in cases:
        found = by_runopp(Relaxation(load_case(each), "p_loss_mw", SETPOINTS))
        told = [("`runopp`", "set-points", "–", found)]
        for name, evaluations in (("`sqp`", 200), ("`hs`", 1000), ("`mvmo`", 1000)):
            one = run_one(each, SETPOINTS, name, evaluations, 1)
            told.append((name, "set-points", str(evaluations), one))
        everything = tuple(dict.fromkeys((*load_case(each).controls, *SETPOINTS)))
        one = run_one(each, everything, "`mvmo`", 1000, 1)
        told.append(("`mvmo`", "set-points, taps, shunts", "1000", one))
        lines += [
            line([method, moved, f"`{each}`", n, f"{one.loss:.5f}", f"{one.seconds:.2g}"])
            for method, moved, n, one in told
        ]
    (TABLES / "compare_runopp.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
