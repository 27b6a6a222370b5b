"""Watches a run from outside: best so far, its history, and a live display."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.indicators.hv import Hypervolume
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.text import Text

from gridproblems.checkpoints import Checkpoint, CheckpointedEvaluator
from gridproblems.evaluation import Counts

SNAPSHOTS = 200


class Recorder:
    """Keeps the best of all evaluated points, whatever the algorithm itself keeps.

    Give its `evaluator` to ``pymoo.optimize.minimize``; it is called after every evaluated batch,
    so what it holds is complete also when the run is interrupted. Points between whole numbers,
    which searches with gradients mark ``is_between``, are counted but never the best: no grid has
    them.

    Args:
        n_obj: Number of objectives.
        budget: Evaluations.
        on_batch: Called after every batch.
        checkpoint: Keeps the evaluations, and answers those that it has.

    Attributes:
        gradients: How many of the evaluations gave slopes too.
        processor_time_s: Of this process, from the start until the latest evaluation. [s]
        F: Nondominated feasible points, shape (n_points, n_obj); while nothing feasible is known,
            the one point of least violation.
        X: Their settings: vectors, or dicts for algorithms that use them.
        violation: Sum of the violated constraints of these points, 0 when feasible.
    """

    def __init__(
        self,
        n_obj: int,
        budget: int,
        on_batch: Callable[[Recorder], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.evaluator: Evaluator = CheckpointedEvaluator(checkpoint, callback=self._record)
        self.checkpoint = checkpoint
        self.F = np.empty((0, n_obj))
        self.X: list[Any] = []
        self.violation = np.inf
        self.gradients = self._n_told = 0
        self.budget = budget
        self.start = time.perf_counter()
        self.processor_time_s = 0.0
        self._processor_start = time.process_time()
        self._on_batch = on_batch
        self._improvements: list[tuple[int, float, float]] = []
        self._fronts: list[tuple[int, np.ndarray]] = []

    @property
    def evaluations(self) -> int:
        """Number of evaluations so far."""
        return int(self.evaluator.n_eval)

    @property
    def feasible(self) -> bool:
        """Whether the points in `F` satisfy every constraint."""
        return self.violation <= 0.0

    @property
    def run_time_s(self) -> float:
        """Time since the recorder was made; with a checkpoint that of all calls of the run. [s]"""
        if self.checkpoint is not None:
            return self.checkpoint.run_time_s
        return time.perf_counter() - self.start

    def history(self) -> pd.DataFrame:
        """Columns evaluations, best, violation: one row per improvement, one for the end.

        ``best`` is the objective; for several objectives the hypervolume of the front as a share
        of the largest possible, with objectives scaled to the ranges of the final front and the
        reference point at 1.1. NaN while nothing feasible is known.
        """
        rows = self._improvements
        if self.F.shape[1] > 1:
            ideal, nadir = self.F.min(axis=0, initial=np.inf), self.F.max(axis=0, initial=-np.inf)
            span = np.where(nadir > ideal, nadir - ideal, 1.0)
            hypervolume = Hypervolume(ref_point=np.full(self.F.shape[1], 1.1))
            largest = 1.1 ** self.F.shape[1]
            rows = [row for row in rows if row[2] > 0.0]
            rows += [
                (n, float(hypervolume((F - ideal) / span)) / largest, 0.0) for n, F in self._fronts
            ]
        if rows and rows[-1][0] < self.evaluations:
            rows = [*rows, (self.evaluations, *rows[-1][1:])]
        return pd.DataFrame(rows, columns=["evaluations", "best", "violation"])

    def _record(self, population: Population) -> None:
        first = self.evaluations - len(population)
        self._account()
        changed = False
        for position, individual in enumerate(population, start=1):
            changed |= self._add(max(first + position, 1), individual)
        if changed and self.feasible and self.F.shape[1] > 1:
            self._keep_front()
        if self._on_batch is not None:
            self._on_batch(self)

    def _account(self) -> None:
        """Takes the processor time, and the evaluations since the last call for gradients if
        slopes are asked for."""
        self.processor_time_s = time.process_time() - self._processor_start
        new, self._n_told = self.evaluations - self._n_told, self.evaluations
        if "dF" in self.evaluator.evaluate_values_of:
            self.gradients += new

    def _add(self, evaluation: int, individual: Any) -> bool:
        if individual.get("is_between"):
            return False
        f = np.asarray(individual.F, dtype=float)
        violation = float(np.sum(individual.CV))
        if violation > self.violation or (violation == self.violation > 0.0):
            return False
        if violation < self.violation:
            kept = []
        elif (f >= self.F).all(axis=1).any():
            return False
        else:
            kept = np.flatnonzero((f > self.F).any(axis=1)).tolist()
        self.X = [*(self.X[row] for row in kept), individual.X.copy()]
        self.F = np.vstack([self.F[kept], f])
        self.violation = violation
        if violation > 0.0 or len(f) == 1:
            best = np.nan if violation > 0.0 else float(f[0])
            self._improvements.append((evaluation, best, violation))
        return True

    def _keep_front(self) -> None:
        last = self._fronts[-1][0] if self._fronts else 0
        if len(self._fronts) > 1 and last - self._fronts[-2][0] < self.budget / SNAPSHOTS:
            self._fronts.pop()
        self._fronts.append((self.evaluations, self.F.copy()))


class LiveDisplay:
    """A progress bar with best value, violation, evaluations per second and gap to best known.

    Args:
        objectives: Names, which end in their units.
        best_known: Best known value of the only objective.
        enabled: False shows nothing.
        sign: -1 where the only objective is the negative of what is shown.
        counts: Of the problem where single evaluations take long: its power flows are shown too,
            also while an evaluation runs.
    """

    def __init__(
        self,
        console: Console,
        budget: int,
        objectives: list[str],
        best_known: float | None,
        enabled: bool = True,
        sign: float = 1.0,
        counts: Counts | None = None,
    ) -> None:
        self.sign = sign
        self.objectives = objectives
        self.best_known = best_known
        self._progress = Progress(
            BarColumn(bar_width=8),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.description}", markup=False),
            *([] if counts is None else [_PowerFlows(counts)]),
            console=console,
            refresh_per_second=8,
            disable=not enabled,
        )
        self._task: TaskID = self._progress.add_task("", total=budget)
        self._next_update = 0.0

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, recorder: Recorder, final: bool = False) -> None:
        """Show the state of the recorder, at most ten times a second and at the end."""
        now = time.perf_counter()
        if now < self._next_update and not final:
            return
        self._next_update = now + 0.1
        self._progress.update(
            self._task, completed=recorder.evaluations, description=self.describe(recorder)
        )

    def describe(self, recorder: Recorder) -> str:
        """One line about the best so far."""
        rate = f"{recorder.evaluations / recorder.run_time_s:,.0f} evals/s"
        if not recorder.feasible:
            return f"not yet feasible, violation {recorder.violation:.3g}, {rate}"
        if len(self.objectives) > 1:
            return f"{len(recorder.F)} nondominated, violation 0, {rate}"
        best = self.sign * float(recorder.F[0, 0])
        known = self.best_known
        gap = "" if known is None else f", gap {gap_percent(best, known):+.3f} %"
        return f"{self.objectives[0]} {best:.6g}, violation 0{gap}, {rate}"


class PowerFlowProgress(Progress):
    """A progress bar of power flows while something is evaluated; nothing without a terminal.

        with PowerFlowProgress(problem.counts, len(X) * problem.situations.n):
            problem.evaluate(X)

    Args:
        counts: Of the problem; followed whenever the bar is drawn.
        total: Power flows that are to come.
        console: Where it is shown, None for the standard error.
    """

    def __init__(self, counts: Counts, total: int, console: Console | None = None) -> None:
        self._counts, self._before = counts, counts.power_flows
        console = console or Console(stderr=True)
        super().__init__(
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} power flows"),
            TimeLeft(),
            console=console,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._task = self.add_task("", total=total)

    def get_renderables(self) -> Iterable[RenderableType]:
        """rich's hook, called whenever the bar is drawn."""
        if hasattr(self, "_task"):
            self.update(self._task, completed=self._counts.power_flows - self._before)
        yield from super().get_renderables()


class _PowerFlows(ProgressColumn):
    """The power flows counted so far."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def render(self, task: Task) -> Text:
        """rich's hook."""
        return Text(f"{self._counts.power_flows:,} power flows")


def gap_percent(value: float, best_known: float) -> float:
    """Distance above the best known value, relative to it; NaN beside a value of 0. [%]"""
    if best_known == 0.0:
        return 0.0 if value == 0.0 else math.nan
    return 100.0 * (value - best_known) / abs(best_known)
