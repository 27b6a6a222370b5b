"""One evaluation as most papers do it: write the tables, ``pandapower.runpp``, read the results."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandapower as pp

from gridproblems import ReactivePowerDispatch
from gridproblems.cases import load_case


def random_vectors(problem: ReactivePowerDispatch, n: int) -> np.ndarray:
    """Snapped vectors around the best known one, where an optimiser spends its time."""
    rng = np.random.default_rng(0)
    best = problem.encode(problem.best_known.settings) if problem.best_known else problem.base_x
    spread = 0.3 * (rng.uniform(problem.xl, problem.xu, (n, problem.n_var)) - best)
    return problem.snap(best + spread)


def plain_evaluation(problem: ReactivePowerDispatch) -> Callable[[np.ndarray], tuple]:  # type: ignore[type-arg]
    """Losses and voltage limits of a vector by ``runpp`` with its own defaults."""
    net = copy.deepcopy(problem.net)
    for (table, column), values in load_case(problem.name).fixed.items():
        net[table].loc[list(values), column] = list(values.values())
    fields = [(c.table, c.column, c.elements[0]) for c in problem.joint.controls]
    places: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    for i, (table, column, element) in enumerate(fields):
        positions, elements = places.setdefault((table, column), ([], []))
        positions.append(i)
        elements.append(element)
    low, high = (net.bus[f"{m}_vm_pu"].to_numpy() for m in ("min", "max"))

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        for (table, column), (positions, elements) in places.items():
            net[table].loc[elements, column] = x[positions]
        pp.runpp(net)
        loss_mw = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
        vm_pu = net.res_bus.vm_pu.to_numpy()
        return loss_mw, np.concatenate([vm_pu - high, low - vm_pu])

    return evaluate
