"""Day-ahead reactive dispatch with a budget of tap operations, between two extremes.

    python benchmarks/quality/day_ahead.py [--seeds 5] [--evals 1000] [--jobs 1]
        [--budget 8] [--periods 6] [--out docs/tables/day_ahead.md]

Mean losses of `ieee57` over its synthetic day, with voltages within their limits and none on the
reactive power of machines. The tap changers of the study have 2,001 positions of 0.01 %; here they
have 21 of 1 %, so that an operation is one of a real tap changer. One setting for the day; tap
changers with a value per period and a budget of operations per day and transformer, all else one
setting; and 24 hours each by itself, with nothing between them, which is the least that a day could
lose. Algorithm `hs` with its defaults, which follows gradients. All three have the same number of
evaluations, each of 24 power flows: a quarter of the second's look for one setting, from which the
others start; an hour alone has as many evaluations of one power flow each.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import joblib
import numpy as np
import typer
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import GridProblem, Hours, ReactivePowerDispatch
from gridproblems.cases import load_case
from gridproblems.nets.synthetic import load_shapes

CASE, ALGORITHM, COARSER = "ieee57", "hs", 100
LIMITS: dict[str, Any] = {"gen_q_mvar": None, "ext_grid_q_mvar": None}
NAMES = ("one setting for the day", "a budget of operations", "24 independent hours")


class Day(NamedTuple):
    """Mean losses in MW, infinite where infeasible, and the most operations of a tap changer."""

    loss_mw: float
    operations: float


def coarse_net() -> Any:
    """The case with tap changers of few positions."""
    net = load_case(CASE).net()
    trafo = net.trafo
    for column in ("tap_min", "tap_max", "tap_pos", "tap_neutral"):
        trafo[column] = (trafo[column] / COARSER).round()
    trafo["tap_step_percent"] *= COARSER
    return net


def day(net: Any, hours: slice = slice(None)) -> Hours:
    """Some hours of the synthetic day."""
    factors = load_shapes("day", CASE, len(net.load))
    total = factors @ net.load.p_mw.to_numpy() / net.load.p_mw.sum()
    powers = np.outer(total, net.gen.p_mw.to_numpy())
    return Hours({"load": factors[hours], "gen.p_mw": powers[hours]})


def searched(
    problem: GridProblem, seed: int, evals: int, start: np.ndarray | None = None
) -> tuple[np.ndarray | None, float]:
    """The best feasible vector found and its losses, None and infinite where there is none."""
    more = {} if start is None else {"sampling": start[np.newaxis]}
    algorithm = ALGORITHMS[ALGORITHM](problem, **more)
    found = minimize(problem, algorithm, ("n_evals", evals), seed=seed)
    return (None, np.inf) if found.X is None else (found.X, float(found.F[0]))


def positions(problem: GridProblem, x: np.ndarray) -> np.ndarray:
    """Positions of the tap changers, one row per hour."""
    rows = list(problem.decode(x).get("trafo", "tap_pos").values())
    return np.column_stack([np.broadcast_to(row, problem.situations.n) for row in rows])


def most_operations(taps: np.ndarray) -> float:
    """Of the tap changer with most."""
    return float(np.abs(np.diff(taps, axis=0)).sum(axis=0).max())


def run(seed: int, evals: int, budget: int, periods: int) -> tuple[Day, Day, Day]:
    """The three ways, in the order of `NAMES`."""
    warnings.simplefilter("ignore")
    net = coarse_net()
    controls = load_case(CASE).controls
    one = ReactivePowerDispatch(net, controls=controls, limits=LIMITS, situations=day(net))
    _, loss = searched(one, seed, evals)
    budgeted = ReactivePowerDispatch(
        net,
        controls=controls,
        limits={**LIMITS, "tap_operations_per_day": budget},
        situations=day(net),
        periods={"taps": periods},
    )
    first, _ = searched(one, seed, evals // 4)
    start = None if first is None else budgeted.encode(one.decode(first))
    y, limited = searched(budgeted, seed, evals - evals // 4, start)
    operations = np.inf if y is None else most_operations(positions(budgeted, y))
    hourly, taps = [], []
    for t in range(24):
        hour = ReactivePowerDispatch(
            net, controls=controls, limits=LIMITS, situations=day(net, slice(t, t + 1))
        )
        z, of_hour = searched(hour, seed, evals)
        hourly.append(of_hour)
        taps.append(positions(hour, hour.base_x if z is None else z)[0])
    free = Day(float(np.mean(hourly)), most_operations(np.array(taps)))
    print(f"seed {seed}: {loss:.4f}, {limited:.4f}, {free.loss_mw:.4f} MW", flush=True)
    return Day(loss, 0.0), Day(limited, operations), free


def main(
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    evals: Annotated[int, typer.Option(min=40)] = 1000,
    jobs: int = 1,
    budget: int = 8,
    periods: int = 6,
    out: Path | None = None,
) -> None:
    """Runs all seeds and prints the table."""
    found = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(run)(seed, evals, budget, periods) for seed in range(1, seeds + 1)
    )
    lines = [
        f"`{CASE}` with tap steps of 1 % over its synthetic day, mean losses in MW, `{ALGORITHM}`, "
        f"{evals} evaluations of 24 power flows, seeds 1 to {seeds}; budget of {budget} operations "
        f"per transformer and day, taps in {periods} periods",
        "",
        "| dispatch | median | best | worst | less than one setting, median "
        "| most operations of a transformer in the day |",
        "|---|---|---|---|---|---|",
    ]
    for k, name in enumerate(NAMES):
        loss = np.array([each[k].loss_mw for each in found])
        most = [each[k].operations for each in found]
        less = 100.0 * np.median([1.0 - each[k].loss_mw / each[0].loss_mw for each in found])
        lines.append(
            f"| {name} | {np.median(loss):.4f} | {loss.min():.4f} | {loss.max():.4f} "
            f"| {less:.2f} % | {min(most):g} to {max(most):g} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
