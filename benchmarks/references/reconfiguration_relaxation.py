"""Proves radial configurations of least losses: branch and bound over a cone relaxation.

    python benchmarks/references/reconfiguration_relaxation.py --case case118zh --write

1. Branch exchange from many trees gives a configuration to beat.
2. At the root every state of every line is tried: where the relaxation (`_tree_relaxation.py`)
   loses more than the configuration to beat, the state is taken away for good. Ranges of squared
   voltages are tightened the same way.
3. What is left is split, the part with the lowest bound first, on the direction of the line that
   raises the bounds of both halves most. Each relaxation is also rounded to a tree and improved by
   branch exchange.

Nothing is cut off unless its bound is within 1e-6 of the losses to beat, or above, so "proven"
means that no configuration loses less by more than a millionth. Bounds are dual values of Clarabel,
whose tolerances are 1e-8. What is left to search is saved in the results folder, and goes on there
when started again.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from _tree_relaxation import (
    BACKWARD,
    FORWARD,
    OPEN,
    STATES,
    Domains,
    Feeder,
    FloatArray,
    Infeasible,
    Relaxation,
    propagate,
)
from reconfiguration_enumeration import write_entries
from rich.console import Console

from gridproblems import Reconfiguration
from gridproblems.cases import CASES, load_case

TOLERANCE = 1e-6  # of the losses: parts with a bound this close are not searched
V_MARGIN = 1e-6  # squared voltages are widened by this
TRIED = 6  # lines tried before a split
SAVE_EVERY_S = 30.0

FEEDERS = [name for name in CASES if "reconfiguration" in load_case(name).tasks]
DEFAULT_CASES = ("case33bw", "case136ma", "case118zh")


class BranchExchange:
    """Radial configurations of a problem and their losses, by power flow.

    Attributes:
        x: The best vector so far.
        loss_kw: Its losses. [kW]
    """

    def __init__(self, problem: Reconfiguration) -> None:
        self.problem = problem
        self.x = problem.base_x
        self.loss_kw = float(self._losses_kw(self.x[np.newaxis])[0])

    @property
    def open_branches(self) -> list[int]:
        """Published numbers of the open branches of the best vector."""
        return [line + 1 for line in self.problem.open_lines(self.x)[0]]

    def _losses_kw(self, x: FloatArray) -> FloatArray:
        return np.array([out["F"][0] for out in self.problem.evaluate_many(x)])

    def offer(self, x: FloatArray) -> None:
        """Takes a vector whose losses are lower than the best, improved as far as it goes."""
        loss_kw = self._losses_kw(x[np.newaxis])[0]
        if loss_kw < self.loss_kw:
            self.descend(x, loss_kw)

    def descend(self, x: FloatArray, loss_kw: float) -> None:
        """The best exchange, again and again until none is better."""
        while True:
            if loss_kw < self.loss_kw:
                self.x, self.loss_kw = x, float(loss_kw)
            neighbours = self.problem.neighbours(x)
            losses_kw = self._losses_kw(neighbours)
            if not len(losses_kw) or losses_kw.min() >= loss_kw * (1 - 1e-12):
                return
            x, loss_kw = neighbours[losses_kw.argmin()], losses_kw.min()

    def restart(self, n_starts: int, seed: int = 0) -> None:
        """Descends from the present configuration, then from random exchanges of the best one."""
        rng = np.random.default_rng(seed)
        self.descend(self.x, self.loss_kw)
        for _ in range(n_starts):
            x = self.x
            for _ in range(rng.integers(2, 8)):
                neighbours = self.problem.neighbours(x)
                x = neighbours[rng.integers(len(neighbours))]
            self.descend(x, float(self._losses_kw(x[np.newaxis])[0]))


@dataclass(order=True)
class Part:
    """Configurations that are still to be searched, the lowest bound first."""

    bound_kw: float
    number: int
    domains: Domains
    share: FloatArray | None


class Search:
    """Branch and bound.

    Attributes:
        best: The configuration to beat.
        parts: A heap of what is still to be searched.
        n_solved: Number of relaxations solved.
    """

    def __init__(self, feeder: Feeder, best: BranchExchange) -> None:
        self.feeder, self.best = feeder, best
        self.v_range = feeder.widest_v_range()
        self.parts: list[Part] = []
        self.n_solved = 0
        self._numbers = itertools.count()

    @property
    def cutoff_kw(self) -> float:
        """Parts whose bound is this or more are not searched."""
        return self.best.loss_kw * (1 - TOLERANCE)

    @property
    def bound_kw(self) -> float:
        """No configuration loses less than this."""
        return min([self.cutoff_kw, *(part.bound_kw for part in self.parts[:1])])

    def bounded(self, domains: Domains, least_kw: float) -> Part:
        """A part with the bound of its relaxation, or the one it had if the solver gives none.

        Raises:
            Infeasible: No configuration in it beats the best one.
        """
        domains = propagate(self.feeder, domains)
        found_kw, share = Relaxation(self.feeder, domains, self.v_range).least_loss_kw()
        self.n_solved += 1
        if found_kw > -np.inf:
            self._round(share)
        if found_kw >= self.cutoff_kw:
            raise Infeasible
        return Part(max(found_kw, least_kw), next(self._numbers), domains, share)

    def _round(self, share: FloatArray) -> None:
        """Offers the tree of the lines that are the least open."""
        graph = self.best.problem.graph
        keys = 1.0 - share[graph.lines[graph.switchable], 0]
        self.best.offer(self.best.problem.snap(np.nan_to_num(keys, nan=0.5)))

    def root(self, console: Console) -> None:
        """Tightens ranges and takes away states until nothing changes; leaves one part."""
        try:
            part = self.bounded(self.feeder.all_states(), 0.0)
            self._report(console, "root", part)
            while True:
                n_states = count(part.domains)
                self._tighten(part.domains)
                part = self.bounded(self._probe(part.domains), part.bound_kw)
                self._report(console, "probed", part)
                if count(part.domains) == n_states:
                    break
            self.parts = [part]
        except Infeasible:
            self.parts = []

    def _report(self, console: Console, what: str, part: Part) -> None:
        console.print(
            f"{what}: bound {part.bound_kw:.4f} kW, to beat {self.best.loss_kw:.4f} kW, "
            f"{count(part.domains)} states to decide, {self.n_solved} relaxations",
            highlight=False,
        )

    def _tighten(self, domains: Domains) -> None:
        """Narrows the squared voltages to those that configurations better than the best have."""
        for node in range(1, len(self.v_range)):
            relaxation = Relaxation(self.feeder, domains, self.v_range)
            low, high = relaxation.v_range_of(node, self.best.loss_kw)
            self.n_solved += 2
            self.v_range[node, 0] = max(self.v_range[node, 0], low - V_MARGIN)
            if np.isfinite(high):
                self.v_range[node, 1] = min(self.v_range[node, 1], high + V_MARGIN)

    def _probe(self, domains: Domains) -> Domains:
        """Takes away every state whose relaxation does not beat the best configuration."""
        for k in range(len(domains)):
            for state in STATES:
                if not domains[k] & state or domains[k] == state:
                    continue
                try:
                    self.bounded(with_state(domains, k, state), 0.0)
                except Infeasible:
                    domains = propagate(self.feeder, with_state(domains, k, domains[k] & ~state))
        return domains

    def step(self) -> None:
        """Splits the part with the lowest bound."""
        part = heapq.heappop(self.parts)
        if part.bound_kw >= self.cutoff_kw:
            return
        if part.share is None:  # read from a file
            try:
                part = self.bounded(part.domains, part.bound_kw)
            except Infeasible:
                return
        best_score, best_halves = -1.0, None
        for k, state in undecided(part)[:TRIED]:
            halves = []
            for states in (state, part.domains[k] & ~state):
                with contextlib.suppress(Infeasible):
                    halves.append(self.bounded(with_state(part.domains, k, states), part.bound_kw))
            rises = [half.bound_kw - part.bound_kw for half in halves]
            rises += [self.cutoff_kw - part.bound_kw] * (2 - len(halves))
            score = (rises[0] + 1e-6) * (rises[1] + 1e-6)
            if score > best_score:
                best_score, best_halves = score, halves
            if len(halves) < 2:
                best_halves = halves
                break
        for half in best_halves or []:
            heapq.heappush(self.parts, half)

    def save(self, path: Path, seconds: float) -> None:
        """Writes what is left to do."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            x=self.best.x,
            v_range=self.v_range,
            bounds_kw=np.array([part.bound_kw for part in self.parts]),
            domains=np.array([part.domains for part in self.parts]),
            n_solved=self.n_solved,
            seconds=seconds,
        )
        partial.replace(path)

    def load(self, path: Path) -> float:
        """Reads what is left to do; the seconds it took so far."""
        with np.load(path) as saved:
            self.best.offer(saved["x"])
            self.v_range = saved["v_range"]
            self.n_solved = int(saved["n_solved"])
            self.parts = [
                Part(float(bound_kw), next(self._numbers), domains, None)
                for bound_kw, domains in zip(saved["bounds_kw"], saved["domains"], strict=True)
            ]
            heapq.heapify(self.parts)
            return float(saved["seconds"])


def count(domains: Domains) -> int:
    """States that could still be taken away from lines."""
    n_states = sum((domains & state != 0).astype(int) for state in STATES)
    return int((n_states - 1).sum())


def with_state(domains: Domains, line: int, states: int) -> Domains:
    """A copy in which a line has these states."""
    changed = domains.copy()
    changed[line] = states
    return changed


def undecided(part: Part) -> list[tuple[int, int]]:
    """Lines and states that a part can be split on, those nearest to a half first."""
    assert part.share is not None
    choices = [
        (min(part.share[k, i], 1.0 - part.share[k, i]), k, state)
        for k in range(len(part.domains))
        for i, state in enumerate((OPEN, FORWARD, BACKWARD))
        if part.domains[k] & state and part.domains[k] != state
    ]
    return [(k, state) for _, k, state in sorted(choices, key=lambda c: (-c[0], c[1:]))]


def scip_optimum(feeder: Feeder) -> tuple[float, float, list[int]]:
    """Value and bound [kW] of the whole programme by SCIP, and the open branches, from 1.

    SCIP meets the cones to 1e-6 p.u., which lets losses come out lower by some 1e-5 of them.
    """
    import pyscipopt

    relaxation = Relaxation(feeder, feeder.all_states(), feeder.widest_v_range())
    model = pyscipopt.Model()
    model.hideOutput()
    shares = {arc.share for arc in relaxation.arcs}
    currents = {arc.current for arc in relaxation.arcs}
    columns = [
        model.addVar(vtype="B") if c in shares else model.addVar(lb=0.0 if c in currents else None)
        for c in range(relaxation.model.n_columns)
    ]

    def expression(terms: Any) -> Any:
        return pyscipopt.quicksum(factor * columns[c] for c, factor in terms)

    for terms, b in relaxation.model.equal_rows:
        model.addCons(expression(terms) == b)
    for terms, b in relaxation.model.least_rows:
        model.addCons(expression(terms) >= b)
    for cone in relaxation.model.cones:
        p, q, current = columns[cone.p], columns[cone.q], columns[cone.current]
        model.addCons(p * p + q * q <= expression(cone.v) * current)
    model.setObjective(expression(relaxation.loss_kw))
    model.optimize()
    closed = {
        a.line for a in relaxation.arcs if a.share is None or model.getVal(columns[a.share]) > 0.5
    }
    opened = [k + 1 for k in range(len(feeder.ends)) if k not in closed]
    return model.getObjVal(), model.getDualbound(), opened


def main(
    case: Annotated[list[str], typer.Option(help="Cases.")] = list(DEFAULT_CASES),  # noqa: B006
    starts: Annotated[int, typer.Option(help="Restarts of branch exchange.")] = 60,
    seconds: Annotated[float, typer.Option(help="Most time per case.")] = 3600.0,
    folder: Annotated[Path, typer.Option(help="Where work is saved.")] = Path("results/relaxation"),
    scip: Annotated[bool, typer.Option(help="Solve with SCIP instead; small cases.")] = False,
    write: Annotated[bool, typer.Option(help="Write into the case data files.")] = False,
) -> None:
    """Proves the least losses of radial configurations."""
    console = Console()
    for name in case:
        if name not in FEEDERS:
            raise typer.BadParameter(f"{name!r} is no feeder; known: {', '.join(FEEDERS)}")
        net = load_case(name).net()
        feeder = Feeder.from_net(net)
        start = time.perf_counter()
        if scip:
            value_kw, bound_kw, opened = scip_optimum(feeder)
            console.print(
                f"{name}: SCIP, open {opened}, {value_kw:.4f} kW, bound {bound_kw:.4f} kW, "
                f"{time.perf_counter() - start:.0f} s",
                highlight=False,
            )
            continue
        best = BranchExchange(Reconfiguration(net, coding="spanning_tree"))
        search = Search(feeder, best)
        path = folder / f"{name}.npz"
        if path.exists():
            start = time.perf_counter() - search.load(path)
        else:
            best.restart(starts)
            search.root(console)
        saved = time.perf_counter()
        while search.parts and time.perf_counter() - start < seconds:
            search.step()
            if time.perf_counter() - saved > SAVE_EVERY_S:
                saved = time.perf_counter()
                search.save(path, saved - start)
                console.print(
                    f"bound {search.bound_kw:.4f} kW, to beat {best.loss_kw:.4f} kW, "
                    f"{len(search.parts)} parts, {search.n_solved} relaxations",
                    highlight=False,
                )
        took_s = time.perf_counter() - start
        search.save(path, took_s)
        entry = known(search, took_s)
        console.print(
            f"{name}: {entry['status']}, open {best.open_branches}, {best.loss_kw:.6f} kW, "
            f"bound {search.bound_kw:.6f} kW\n  {entry['method']}",
            highlight=False,
        )
        if write:
            write_entries(name, [entry])


def known(search: Search, took_s: float) -> dict[str, Any]:
    """What goes into the case data."""
    gap_percent = 100 * (1 - search.bound_kw / search.best.loss_kw)
    return {
        "objectives": ["p_loss_kw"],
        "value": round(search.best.loss_kw, 6),
        "unit": "kW",
        "bound": round(search.bound_kw, 6),
        "status": "best found" if search.parts else "proven",
        "method": (
            "branch and bound over a cone relaxation of the DistFlow equations "
            f"(clarabel {version('clarabel')}): {search.n_solved} relaxations, {took_s:.0f} s, "
            f"gap {gap_percent:.4f} %"
        ),
        "settings": {"open": search.best.open_branches},
    }


if __name__ == "__main__":
    typer.run(main)
