"""The price of security: losses against the number of outages that settings survive.

    python benchmarks/quality/price_of_security.py [--case ieee39] [--evals 1500] [--seed 1]
        [--front-evals 20000] [--out docs/tables/price_of_security.md]
        [--image docs/images/price-of-security.png]

Two ways to the front. Step by step: outages are ordered by how far the settings of least losses
are beyond limits in each, and `mvmo` minimises the losses with limits in the first k of them, for
every k above the number that the settings of least losses survive anyway, started from those of
one more; all outages count that its settings survive. And at
once: `nsga2` with the objectives ``p_loss_mw`` and ``survived_outages``. The ends are known: the
best known losses, and those of ``benchmarks/references/secure_dispatch.json`` with all outages.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import typer
from pymoo.optimize import minimize
from secure import controls_of, problem_of, reference

from algorithms import ALGORITHMS
from gridproblems import GridProblem
from gridproblems.by_situation import by_situation
from gridproblems.cases import load_case
from gridproblems.plotting import plot_price_of_security
from gridproblems.situations import Outages

OBJECTIVES = ("p_loss_mw", "survived_outages")


def solved(problem: GridProblem, evals: int, seed: int, start: Any = None) -> Any:
    """The best feasible vector that `mvmo` finds, None without."""
    more = {} if start is None else {"sampling": np.atleast_2d(start)}
    algorithm = ALGORITHMS["mvmo"](problem, **more)
    return minimize(problem, algorithm, ("n_evals", evals), seed=seed).X


def secured(case: str, outages: list[tuple[str, int]]) -> GridProblem:
    """Losses with limits in some outages."""
    out: dict[str, list[int]] = {}
    for table, element in outages:
        out.setdefault(table, []).append(element)
    band = reference(case)["emergency_vm_pu"]
    return GridProblem(
        case,
        controls_of(case),
        Outages(out) if out else None,
        emergency_limits={"vm_pu": band} if band and out else None,
    )


def by_hardness(case: str, x: Any) -> list[tuple[str, int]]:
    """Outages by how far settings are beyond limits in them, the easiest first."""
    problem = problem_of(case, OBJECTIVES)
    found = by_situation(problem, x)
    beyond = np.where(found.solved, found.violation, np.inf)[1:]
    room = np.where(found.solved, found.room, -np.inf)[1:]
    order = np.lexsort((-room, beyond))
    names = [name.split() for name in found.names[1:]]
    return [(names[i][0], int(names[i][1])) for i in order]


def step_by_step(case: str, evals: int, seed: int) -> list[tuple[int, float]]:
    """Outages survived and losses of the best settings with limits in the first k outages."""
    full = problem_of(case, OBJECTIVES)
    start = solved(secured(case, []), evals, seed)
    order = by_hardness(case, start)
    F = full.evaluate(start)[0]
    free = round(-float(F[1]))
    points, x = [(free, float(F[0]))], None
    typer.echo(f"no outages: {free} survived, {points[0][1]:.4f} MW")
    for k in range(len(order), free, -1):
        found = solved(secured(case, order[:k]), evals, seed, x)
        if found is None:
            continue
        x = found
        F, G = full.evaluate(x)
        if (G <= 0).all():
            points.append((round(-float(F[1])), float(F[0])))
            typer.echo(f"{k} outages: {points[-1][0]} survived, {points[-1][1]:.4f} MW")
    return points


def at_once(case: str, evals: int, seed: int) -> list[tuple[int, float]]:
    """The front of `nsga2`."""
    problem = problem_of(case, OBJECTIVES)
    found = minimize(problem, ALGORITHMS["nsga2"](problem), ("n_evals", evals), seed=seed)
    return [] if found.F is None else [(round(-float(f[1])), float(f[0])) for f in found.F]


def least(points: list[tuple[int, float]], n_outages: int) -> np.ndarray:
    """The least losses that survive at least k outages, by k, NaN for none."""
    return np.array(
        [
            min((loss for survived, loss in points if survived >= k), default=np.nan)
            for k in range(n_outages + 1)
        ]
    )


def main(
    case: str = "ieee39",
    evals: int = 1500,
    front_evals: int = 20_000,
    seed: int = 1,
    out: Path | None = None,
    image: Path | None = None,
) -> None:
    """Prints the table, and writes it and the picture where asked."""
    warnings.simplefilter("ignore")
    known = reference(case)
    unsecured = next(
        b
        for b in load_case(case).best_known
        if b.objectives == ("p_loss_mw",) and set(b.controls) == set(load_case(case).controls)
    ).value
    n = len(known["outages"])
    steps = least(step_by_step(case, evals, seed), n)
    front = least(at_once(case, front_evals, seed), n)
    first = int(np.flatnonzero(steps == steps[0])[-1])  # survived at no cost
    lines = [
        f"`{case}`, {n} outages, losses in MW; best known without any {unsecured:.4f}, "
        f"by Ipopt with all {known['p_loss_mw']:.4f}. Step by step: {evals:,} evaluations each; "
        f"nsga2: {front_evals:,} evaluations, seed {seed}",
        "",
        "| outages survived, at least | step by step | more than without any | nsga2 |",
        "|---|---|---|---|",
    ]
    shown = sorted({0, first, *range(first, n + 1, 2), n - 1, n})
    for k in shown:
        lines.append(
            f"| {k} of {n} | {_text(steps[k])} | {_text(steps[k] / unsecured - 1, '.2%')} "
            f"| {_text(front[k])} |"
        )
    text = "\n".join(lines) + "\n"
    typer.echo(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if image is not None:
        figure = plot_price_of_security(
            np.arange(n + 1),
            {"step by step": steps, "nsga2": front},
            n_outages=n,
            label="losses [MW]",
            known={
                "best known": (float(first), unsecured),
                "Ipopt, all outages": (float(n), known["p_loss_mw"]),
            },
            title=case,
        )
        figure.savefig(image, dpi=150)


def _text(value: float, form: str = ".4f") -> str:
    return "none" if np.isnan(value) else f"{value:{form}}"


if __name__ == "__main__":
    typer.run(main)
