"""Proves optima and fronts of reconfiguration by evaluating every radial configuration.

    python benchmarks/references/reconfiguration_enumeration.py [--case case33bw ...] [--jobs 2]
        [--best 10] [--write] [--checkpoint DIR]

Opens lines in ascending order and leaves a branch of the search as soon as a part of the grid is
cut off, so that every spanning tree is met once. The trees that open the same first two lines are
one piece of work: pieces run on all cores, and with ``--checkpoint`` a killed run goes on where it
was. ``--write`` stores the optima, and for 33 buses the exact fronts of all pairs of objectives, in
the data files of the cases.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per piece; set before numpy is loaded

import itertools
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import typer
from numba import njit
from rich.progress import track

from gridproblems import Reconfiguration
from gridproblems._union_find import union
from gridproblems.cases import DATA
from gridproblems.evaluation import FAILED_F

OBJECTIVES = (
    "p_loss_kw",
    "voltage_deviation_pu",
    "v_min_pu",
    "loading_percent",
    "switching_actions",
)
UNITS = ("kW", "p.u.", "p.u.", "%", "")
CASES = ("case16", "case33bw", "case33mg", "case69")
WITH_FRONTS = ("case33bw",)
TOGETHER = 4096
TIE = 1e-9  # relative: configurations that differ less are the same trade-off
BUILT: dict[tuple[str, tuple[str, ...]], Reconfiguration] = {}


def problem_of(case: str, objectives: tuple[str, ...]) -> Reconfiguration:
    """The problem without limits, built once in each worker."""
    if (case, objectives) not in BUILT:
        limits = {"vm_pu": None, "loading_percent": None}
        BUILT[case, objectives] = Reconfiguration(case, objectives, "spanning_tree", limits=limits)
    return BUILT[case, objectives]


@njit(cache=True)
def connected(edges, closed, above):  # type: ignore[no-untyped-def]
    """Whether closed edges connect all nodes."""
    above[:] = np.arange(len(above))
    parts = len(above)
    for e in range(len(edges)):
        if closed[e] and union(above, edges[e, 0], edges[e, 1]):
            parts -= 1
    return parts == 1


@njit(cache=True)
def next_trees(  # type: ignore[no-untyped-def]
    edges, n_switchable, n_nodes, opened, depth, first_depth, found
):
    """Continues the search from a state and fills ``found`` with trees.

    Args:
        n_switchable: How many edges can open; they come first.
        opened: Edges opened so far, in ascending order, shape (n_loops,); the state, changed.
        depth: How many of them there are.
        first_depth: Where the search ends: the first edges are given.
        found: Filled with the edges opened in each tree, shape (n, n_loops).

    Returns:
        Number of trees found, and the depth to go on from, below ``first_depth`` at the end.
    """
    n_loops = len(opened)
    above = np.empty(n_nodes, dtype=np.int64)
    closed = np.ones(len(edges), dtype=np.bool_)
    for i in range(depth):
        closed[opened[i]] = False
    n = 0
    while depth >= first_depth:
        if depth == n_loops:
            if n == len(found):
                return n, depth
            found[n] = opened
            n += 1
            depth -= 1
            closed[opened[depth]] = True
            e = opened[depth] + 1
        else:
            e = opened[depth - 1] + 1 if opened[depth] < 0 else opened[depth] + 1
        opened[depth] = -1
        while e < n_switchable:
            closed[e] = False
            if connected(edges, closed, above):
                break
            closed[e] = True
            e += 1
        if e < n_switchable:
            opened[depth] = e
            depth += 1
            if depth < n_loops:
                opened[depth] = -1
        else:
            depth -= 1
            if depth >= first_depth:
                closed[opened[depth]] = True
    return n, depth


def trees_from(problem: Reconfiguration, first: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Batches of opened edges, (n, n_loops), of all trees that open these edges first."""
    graph = problem.graph
    n_switchable = int(graph.switchable.sum())
    opened = np.full(graph.n_loops, -1, dtype=np.int64)
    opened[: len(first)] = first
    closed = np.ones(len(graph.edges), dtype=bool)
    closed[list(first)] = False
    if not connected(graph.edges, closed, np.empty(graph.n_nodes, dtype=np.int64)):
        return
    found = np.empty((TOGETHER, graph.n_loops), dtype=np.int64)
    depth = len(first)
    while depth >= len(first):
        n, depth = next_trees(
            graph.edges, n_switchable, graph.n_nodes, opened, depth, len(first), found
        )
        if n:
            yield found[:n]


def vectors(problem: Reconfiguration, opened: np.ndarray) -> np.ndarray:
    """Random keys of trees: 0 for the opened edges (n, n_loops), 1 for the other lines."""
    closed = np.ones((len(opened), len(problem.graph.edges)))
    np.put_along_axis(closed, opened, 0.0, axis=1)
    return closed[:, problem.graph.switchable]


def piece(case: str, objectives: tuple[str, ...], first: tuple[int, ...], best: int) -> Any:
    """The best trees, and those on a front, among all that open these edges first.

    Returns:
        Number of trees and of failed ones, values (n, n_obj), open branches (n, n_loops).
    """
    problem = problem_of(case, objectives)
    kept_f, kept_open, n_trees, n_failed = [], [], 0, 0
    for opened in trees_from(problem, first):
        f, _ = problem.evaluation(vectors(problem, opened))
        works = f[:, 0] < FAILED_F
        n_trees += len(f)
        n_failed += int((~works).sum())
        kept_f.append(f[works])
        kept_open.append(problem.graph.lines[opened[works]] + 1)
        keep = worth_keeping(np.concatenate(kept_f), best)
        kept_f = [np.concatenate(kept_f)[keep]]
        kept_open = [np.concatenate(kept_open)[keep]]
    if not kept_f:
        return 0, 0, np.empty((0, len(objectives))), np.empty((0, problem.graph.n_loops), int)
    return n_trees, n_failed, kept_f[0], kept_open[0]


def worth_keeping(f: np.ndarray, best: int) -> np.ndarray:
    """Rows among the best of each objective, or on the front of a pair of objectives."""
    rows = {int(i) for column in f.T for i in np.argsort(column, kind="stable")[:best]}
    for a, b in itertools.combinations(range(f.shape[1]), 2):
        rows.update(front(f[:, [a, b]]))
    return np.array(sorted(rows), dtype=int)


def front(f: np.ndarray) -> list[int]:
    """Rows that no other row beats in one of two objectives without losing in the other."""
    order = np.lexsort((f[:, 1], f[:, 0]))
    rows, lowest = [], np.inf
    for i in order:
        if f[i, 1] < lowest - TIE * max(1.0, abs(lowest if np.isfinite(lowest) else 1.0)):
            rows.append(int(i))
            lowest = f[i, 1]
    return rows


def pieces_of(problem: Reconfiguration) -> list[tuple[int, ...]]:
    """The edges that each piece of work opens first."""
    n_switchable = int(problem.graph.switchable.sum())
    return list(itertools.combinations(range(n_switchable), min(2, problem.graph.n_loops)))


def enumerate_case(
    case: str, objectives: tuple[str, ...], best: int, jobs: int, folder: Path | None
) -> tuple[int, int, np.ndarray, np.ndarray]:
    """All trees of a case: number, failed ones, and what is worth keeping of them."""
    problem = problem_of(case, objectives)
    pieces = pieces_of(problem)
    store = None if folder is None else folder / f"{case}-{len(objectives)}.json"
    done: dict[str, Any] = {}
    if store is not None and store.exists():
        done = json.loads(store.read_text(encoding="utf-8"))
    todo = [first for first in pieces if str(first) not in done]
    BUILT.clear()  # workers build their own
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    results = parallel(joblib.delayed(piece)(case, objectives, first, best) for first in todo)
    last = time.monotonic()
    for first, result in track(
        zip(todo, results, strict=True), description=case, total=len(todo), transient=True
    ):
        n, failed, f, opened = result
        done[str(first)] = [n, failed, f.tolist(), opened.tolist()]
        if store is not None and time.monotonic() - last > 5.0:
            save(store, done)
            last = time.monotonic()
    if store is not None:
        save(store, done)
    n_obj, n_loops = len(objectives), problem.graph.n_loops
    parts = [done[str(first)] for first in pieces]
    f = np.concatenate([np.array(p[2]).reshape(-1, n_obj) for p in parts])
    opened = np.concatenate([np.array(p[3], dtype=int).reshape(-1, n_loops) for p in parts])
    return sum(p[0] for p in parts), sum(p[1] for p in parts), f, opened


def save(store: Path, done: dict[str, Any]) -> None:
    """Writes the finished pieces; a kill in between leaves the file before."""
    store.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.with_suffix(".tmp")
    temporary.write_text(json.dumps(done), encoding="utf-8")
    temporary.replace(store)


def entries(case: str, n_trees: int, f: np.ndarray, opened: np.ndarray) -> list[dict[str, Any]]:
    """Optima, and fronts where wanted, as in the data files."""
    method = f"exhaustive enumeration of all {n_trees} radial configurations"
    result: list[dict[str, Any]] = []
    for i, (name, unit) in enumerate(zip(OBJECTIVES, UNITS, strict=True)):
        if i >= f.shape[1]:
            break
        best = int(f[:, i].argmin())
        value = round(float(f[best, i]), 9)
        result.append(
            {
                "objectives": [name],
                "value": value,
                "unit": unit,
                "status": "proven",
                "method": method,
                "bound": value,
                "settings": {"open": opened[best].tolist()},
            }
        )
    if case in WITH_FRONTS:
        for a, b in itertools.combinations(range(f.shape[1]), 2):
            rows = front(f[:, [a, b]])
            result.append(
                {
                    "objectives": [OBJECTIVES[a], OBJECTIVES[b]],
                    "status": "proven",
                    "method": method,
                    "front": [
                        [np.round(f[i, [a, b]], 9).tolist(), {"open": opened[i].tolist()}]
                        for i in rows
                    ],
                }
            )
    return result


def write_entries(case: str, new: list[dict[str, Any]]) -> None:
    """Replaces the entries of the case for the same objectives, keeps all others."""
    path = DATA / "best_known" / f"{case}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    replaced = [entry["objectives"] for entry in new]
    kept = [entry for entry in old if entry["objectives"] not in replaced]
    lines = ",\n".join(" " + json.dumps(entry) for entry in [*new, *kept])
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main(
    case: Annotated[list[str] | None, typer.Option(help="Name of a case; may be repeated")] = None,
    best: Annotated[int, typer.Option(help="How many of the best to print")] = 10,
    jobs: Annotated[int, typer.Option(help="Processes")] = 2,
    losses_only: Annotated[bool, typer.Option(help="Losses alone, which is fastest")] = False,
    write: Annotated[bool, typer.Option(help="Write into the data files of the cases")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder for finished pieces")] = None,
) -> None:
    """Prints number of trees, time and the best configurations, and writes them where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    for name in case or CASES:
        objectives = OBJECTIVES[:1] if losses_only else OBJECTIVES
        problem = problem_of(name, objectives)
        expected = problem.graph.n_spanning_trees()
        piece(name, objectives, pieces_of(problem)[0], best)  # compiled before the clock starts
        start = time.perf_counter()
        n_trees, n_failed, f, opened = enumerate_case(name, objectives, best, jobs, checkpoint)
        seconds = time.perf_counter() - start
        if n_trees != expected:
            raise SystemExit(f"{name}: met {n_trees} of {expected} radial configurations")
        typer.echo(
            f"{name}: {n_trees} radial configurations, {n_failed} without a solution, "
            f"{seconds:.1f} s with {jobs} processes"
        )
        for i in np.argsort(f[:, 0], kind="stable")[:best]:
            typer.echo(f"  {f[i, 0]:.6f} kW  open {'-'.join(map(str, sorted(opened[i])))}")
        if write:
            write_entries(name, entries(name, n_trees, f, opened))


if __name__ == "__main__":
    typer.run(main)
