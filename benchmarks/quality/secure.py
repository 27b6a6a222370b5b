"""Dispatch that survives every outage, by two algorithms and by Ipopt.

    python benchmarks/quality/secure.py [--seeds 31] [--evals 5000] [--jobs 2]
        [--case ieee39 ...] [--out docs/tables/secure.md]

The losses of the whole grid are minimised; the same set-points, taps and shunts hold the limits
with every line and transformer out that leaves all buses supplied. The reference is
``benchmarks/references/secure_dispatch.json``: a nonlinear programme with all outages at once, by
Ipopt, taps rounded. The best settings of each algorithm are tried by a plain loop of
``pandapower.runpp`` over the outages.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import pandapower as pp
import typer
from runs import Run, best_within
from sections import show_sections

from algorithms import ALGORITHMS
from gridproblems import GridProblem
from gridproblems.cases import load_case
from gridproblems.controls import Fixed, Setpoints, Shunts, Taps
from gridproblems.situations import Outages

REFERENCES = Path(__file__).parents[1] / "references" / "secure_dispatch.json"
ALGORITHM_NAMES = ("hs", "mvmo")
GROUPS: dict[str, Any] = {
    "gen": lambda: Setpoints("gen"),
    "ext_grid": lambda: Setpoints("ext_grid"),
    "tap": Taps,
    "shunt": Shunts,
}


def reference(case: str) -> dict[str, Any]:
    """What Ipopt found for a case."""
    found: dict[str, Any] = json.loads(REFERENCES.read_text(encoding="utf-8"))[case]
    return found


def controls_of(case: str) -> list[Any]:
    """What a case lets one set, and what is fixed."""
    data = load_case(case)
    return [*(GROUPS[group]() for group in data.controls), Fixed(data.fixed)]


@lru_cache
def problem_of(case: str, objectives: tuple[str, ...] = ("p_loss_mw",)) -> GridProblem:
    """Secure dispatch of a case, built once in each worker."""
    known = reference(case)
    out: dict[str, list[int]] = {}
    for table, element in known["outages"]:
        out.setdefault(table, []).append(element)
    emergency: dict[str, Any] = {}
    if known["emergency_vm_pu"]:
        emergency["vm_pu"] = known["emergency_vm_pu"]
    if not known["has_q_limits_after_outages"]:
        emergency |= {"gen_q_mvar": None, "ext_grid_q_mvar": None}
    return GridProblem(
        case,
        controls_of(case),
        Outages(out),
        objectives,
        emergency_limits=emergency or None,
    )


def run(case: str, algorithm: str, seed: int, evals: int) -> Run:
    """One run."""
    problem = problem_of(case)
    return best_within(problem, ALGORITHMS[algorithm](problem), seed, evals)


def beyond(case: str, x: Any) -> float:
    """How far settings are beyond any limit in any outage, by ``pandapower.runpp``: p.u., Mvar."""
    known, net = reference(case), problem_of(case).apply(x)
    worst = _beyond(net, None)
    for table, element in known["outages"]:
        net[table].loc[element, "in_service"] = False
        pp.runpp(net, init="dc", tolerance_mva=1e-9, max_iteration=30)
        with_q = known["has_q_limits_after_outages"]
        worst = max(worst, _beyond(net, known["emergency_vm_pu"], with_q))
        net[table].loc[element, "in_service"] = True
    return worst


def _beyond(net: Any, band: list[float] | None, has_q_limits: bool = True) -> float:
    low, high = band or (net.bus.min_vm_pu, net.bus.max_vm_pu)
    excess = [(low - net.res_bus.vm_pu).max(), (net.res_bus.vm_pu - high).max()]
    for table in ("gen", "ext_grid") if has_q_limits else ():
        if "max_q_mvar" in net[table]:
            q = net[f"res_{table}"].q_mvar
            excess += [(net[table].min_q_mvar - q).max(), (q - net[table].max_q_mvar).max()]
    return float(np.nanmax([0.0, *excess]))


def section(case: str, seeds: int, evals: int, jobs: int) -> list[str]:
    """Lines of the table of one case."""
    problem, known = problem_of(case), reference(case)
    unsecured = next(
        b
        for b in load_case(case).best_known
        if b.objectives == ("p_loss_mw",) and set(b.controls) == set(load_case(case).controls)
    )
    is_rounded = known["p_loss_mw"] is not None
    secured = known["p_loss_mw"] if is_rounded else known["relaxed_mw"]
    cost = secured - unsecured.value
    taps = f"{known['relaxed_mw']:.4f} with taps between positions"
    if not is_rounded:
        taps = "taps between positions; Ipopt finds no settings with whole ones"
    lines = [
        f"**{case}**: {problem.n_var} variables, {len(known['outages'])} outages, "
        f"{problem.n_ieq_constr} constraints.",
        f"Unsecured {unsecured.value:.4f} MW, secured {secured:.4f} MW ({taps}): security costs "
        f"{cost:.4f} MW or {cost / unsecured.value:.2%}.",
    ]
    if known["emergency_vm_pu"]:
        low, high = known["emergency_vm_pu"]
        q = (
            ""
            if known["has_q_limits_after_outages"]
            else ", machines may leave their reactive limits"
        )
        lines.append(f"After an outage voltages may be {low:g} to {high:g} p.u.{q}.")
    for left_out, why in (
        (known["not_survivable"], "for Ipopt finds no settings that survive them alone"),
        (known["not_together"], "for it finds none that survive them and all others together"),
    ):
        if left_out:
            names = ", ".join(f"{table} {element}" for table, element in left_out)
            lines.append(f"Left out, {why}: {names}.")
    lines += [
        "",
        "| algorithm | median [MW] | quartiles | best | worst | feasible | median gap | cost of "
        "security | beyond limits | s per run |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in ALGORITHM_NAMES:
        runs = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(run)(case, algorithm, seed, evals) for seed in range(1, seeds + 1)
        )
        best = np.array([r.best for r in runs])
        low, median, high = np.quantile(best, [0.25, 0.5, 0.75], method="nearest")
        finest = min(runs, key=lambda r: r.best)
        off = "" if finest.x is None else f"{beyond(case, finest.x):.0e}"
        lines.append(
            f"| `{algorithm}` | {median:.4f} | {low:.4f} to {high:.4f} | {best.min():.4f} "
            f"| {best.max():.4f} | {np.isfinite(best).sum()} of {seeds} "
            f"| {median / secured - 1:.3%} | {median / unsecured.value - 1:.2%} | {off} "
            f"| {np.median([r.seconds for r in runs]):.1f} |"
        )
    return [*lines, ""]


def main(
    seeds: int = 31,
    evals: int = 5000,
    jobs: int = 2,
    case: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table per case, and writes them where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    show_sections(
        f"{evals} evaluations, seeds 1 to {seeds}.",
        case or json.loads(REFERENCES.read_text(encoding="utf-8")),
        lambda name: section(name, seeds, evals, jobs),
        out,
    )


if __name__ == "__main__":
    typer.run(main)
