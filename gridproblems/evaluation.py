"""From snapped vectors to F and G: decode, solve, judge; no pymoo, no grid, no names of tasks."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridproblems.constraints import ChanceTails, Constraint, Entries, Measure, StateLimits
from gridproblems.controls.block import BlockConstraint, BlockObjective, BlockSearch, PlacedBlock
from gridproblems.controls.joint import Joint
from gridproblems.engines import Engine
from gridproblems.objectives import OF_BUS_BRANCH, Objective
from gridproblems.situations import Situations
from gridproblems.stability import LoadingMargin, MarginAlong
from gridproblems.state import BusBranchSolution, FloatArray, GridState, Settings

FAILED_F = 1e9
FAILED_G = 1e3
MAX_TOGETHER = 1024  # power flows of several candidates in one call of the engine
MAX_SITUATIONS = 8784  # power flows of one candidate in one call: a leap year of hours


class Counts:
    """How often a problem was evaluated, and what came of it.

    Attributes:
        evaluated: Vectors asked for.
        cached: Of these, answered from the cache.
        failed: Candidates whose power flow diverged or left loads without supply.
        power_flows: Power flows solved, one per situation of a candidate.
    """

    def __init__(self) -> None:
        self.evaluated = self.cached = self.failed = self.power_flows = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return self.as_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        names = ("evaluated", "cached", "failed", "power_flows")
        return {name: self.__dict__[name] for name in names}

    def add(
        self, evaluated: int = 0, cached: int = 0, failed: int = 0, power_flows: int = 0
    ) -> None:
        """Adds to the counts; safe from several threads."""
        with self._lock:
            self.evaluated += evaluated
            self.cached += cached
            self.failed += failed
            self.power_flows += power_flows


@dataclass(frozen=True)
class OfBlocks:
    """An objective of settings alone: the sum over the blocks that have it.

    Attributes:
        name, unit: As of `BlockObjective`.
        parts: Of each block its objective, and where the block stands in ``x``.
    """

    name: str
    unit: str
    parts: tuple[tuple[BlockObjective, slice], ...]
    is_negative = False

    def values(self, X: FloatArray) -> FloatArray:
        """Of snapped vectors (n, n_var), shape (n,)."""
        total: FloatArray = sum(
            (own.function(X[:, part]) for own, part in self.parts), np.zeros(len(X))
        )
        return total


@dataclass(frozen=True)
class OfCandidates:
    """A user's function of the settings and the state of one candidate in all its situations."""

    name: str
    unit: str
    function: Callable[[Settings, GridState], Any]
    is_negative = False

    def values(self, settings: Settings, state: GridState) -> FloatArray:
        """Of a batch, shape (n,)."""
        each = [
            self.function(settings.candidate(i), state.candidate(i))
            for i in range(len(state.values))
        ]
        return np.array(each, dtype=float)


@dataclass(frozen=True)
class Searched:
    """An objective that needs power flows of its own, such as a capacity found by bisection.

    Attributes:
        name, unit: As of `BlockSearch`.
        search: What is looked for.
        placed: The blocks that have it.
    """

    name: str
    unit: str
    search: BlockSearch
    placed: tuple[PlacedBlock, ...]

    @property
    def is_negative(self) -> bool:
        """Whether the value is the negative of what the name says."""
        return self.search.is_negative

    def values(self, X: FloatArray, settings: Settings, evaluation: Evaluation) -> FloatArray:
        """Of candidates that solve, shape (n,)."""
        return self.search.function(self.placed, X, settings, evaluation)


@dataclass(frozen=True)
class SurvivedOutages:
    """How many outages solve and break no limit, maximised: the negative is minimised.

    Counted are the situations of groups of limits of their own, which have no weight in other
    objectives. Where they are counted their limits are no constraints.
    """

    name = "survived_outages"
    unit = ""
    is_negative = True


#: Objectives that count situations, of nets and feeders alike.
OF_SITUATIONS = {"survived_outages": SurvivedOutages}
AnyObjective = Objective | OfBlocks | OfCandidates | Searched | SurvivedOutages
#: Situations that follow each other, and settings and states of all candidates in them.
Part = tuple[slice, Settings, GridState]
#: Of candidate and situation, the bus/branch solution.
Again = Callable[[int, int], BusBranchSolution]


class Workers(Protocol):
    """Threads or processes that share the situations of few candidates."""

    def shares(self, evaluation: Evaluation, n: int) -> list[slice]:
        """The situations in parts for n candidates; none where one worker is to solve all."""
        ...

    def __call__(
        self, evaluation: Evaluation, X: FloatArray, shares: list[slice]
    ) -> Iterator[Part]:
        """Vectors decoded and solved, in the order of the parts; counts the power flows."""
        ...


class Evaluation:
    """Everything between a vector and its values.

    Args:
        joint: The controls in their situations.
        engine: Solves the grid.
        objectives: What is minimised.
        limits: Limits by group of situations; every group of the situations has its own. Those of
            outages are no constraints where `SurvivedOutages` counts them.
        constraints: Further functions of (settings, state), feasible where <= 0.
        over_time: Constraints of single blocks besides their own, with the place of the block.
        every_situation: Limits have entries of every situation instead of the worst one.
        aggregate: One constraint per kind instead of one per element and limit.
        workers: Solve the situations of few candidates side by side.

    Attributes:
        constraint_names: Names of the entries of G; the first is ``"power_flow"``.
        counts: What was evaluated.

    Raises:
        ValueError: An objective that needs the whole state of more situations than are solved
            together.
    """

    def __init__(
        self,
        joint: Joint,
        engine: Engine,
        objectives: Sequence[AnyObjective],
        limits: Sequence[tuple[str, StateLimits]],
        constraints: Sequence[Constraint] = (),
        over_time: Sequence[tuple[BlockConstraint, slice]] = (),
        *,
        aggregate: bool = False,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers
        self.joint, self.engine, self.situations = joint, engine, joint.situations
        self.objectives = tuple(objectives)
        counts = any(isinstance(o, SurvivedOutages) for o in objectives)
        if counts and not any(group for group, _ in limits):
            raise ValueError(
                f"{SurvivedOutages.name}: expected outages among the situations, got none"
            )
        self.limits = tuple((g, limit) for g, limit in limits if not (g and counts))
        #: Limits of groups that an objective counts instead.
        self.counted = tuple((g, limit) for g, limit in limits if g and counts)
        self.constraints = tuple(c for c in constraints if c.names)
        in_all = [c for c in self.constraints if isinstance(c, LoadingMargin) and c.rows is None]
        if counts and in_all:
            raise ValueError(
                f"{SurvivedOutages.name}: the limit {in_all[0].names[0]} holds in all outages, so "
                f"none would be left to count; expected emergency_limits={{{in_all[0].names[0]!r}: "
                "None}"
            )
        self.counts = Counts()
        self.limit_rows = [self.situations.rows_of(group) for group, _ in self.limits]
        self.counted_rows = [self.situations.rows_of(group) for group, _ in self.counted]
        self.of_blocks = [
            (constraint, placed.part)
            for placed in joint.placed
            for constraint in placed.block.constraints
        ] + list(over_time)
        names: list[str] = []
        kinds: list[str] = []
        measures: list[Measure] = []
        for group, limit in self.limits:
            if group:
                names += [f"{group} power_flow", *(f"{group} {name}" for name in limit.names)]
                kinds += [f"{group} power_flow", *(f"{group} {kind}" for kind in limit.kinds)]
                measures.append(Measure(unit="situations without solution"))
            else:
                names += limit.names
                kinds += limit.kinds
            measures += limit.measures
        for one in self.constraints:
            measures += getattr(one, "measures", (Measure(),) * len(one.names))
            names += one.names
            kinds += one.kinds
        for own, _ in self.of_blocks:
            measures += own.measures or (Measure(),) * len(own.names)
            names += own.names
            kinds += own.kinds
        #: The entries of G but the first, before they are aggregated.
        self.entries = Entries(tuple(names), tuple(kinds), tuple(measures))
        self._kinds = tuple(dict.fromkeys(kinds))
        self.aggregate = aggregate and bool(kinds)
        self.kind_of_entry = np.array([self._kinds.index(kind) for kind in kinds], dtype=int)
        self.constraint_names = ("power_flow", *(self._kinds if aggregate else names))
        self.chunks = chunks_of(self.situations, engine)
        s = self.situations
        if len(self.chunks) > 1 and (whole := self._whole()):
            raise ValueError(
                f"{whole}: needs all situations of a candidate at once, and {s.n} are more than "
                f"the {MAX_SITUATIONS} that are solved together"
            )
        #: Whether all situations are solved together, must solve, count, and have the same limits.
        self._is_plain = (
            len(self.chunks) == 1
            and len(s.counted) == s.n
            and bool(s.must_solve.all())
            and [group for group, _ in self.limits] == [""]
        )

    def _whole(self) -> str:
        """What needs all situations of a candidate at once, empty for nothing."""
        whole = [o.name for o in self.objectives if isinstance(o, (OfCandidates, Searched))]
        whole += [c.names[0] for c in self.constraints]
        whole += [limit.names[0] for _, limit in self.limits if limit.n_each and limit.names]
        return whole[0] if whole else ""

    # -- evaluation ------------------------------------------------------------------------

    def __call__(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Objectives (n, n_obj) and constraints (n, n_entries) of snapped vectors (n, n_var)."""
        n_together = max(1, MAX_TOGETHER // self.situations.n)
        if 0 < len(X) <= n_together:
            F, G = self._some(X)
            self._count_failed(G)
            return F, G
        F = np.empty((len(X), len(self.objectives)))
        G = np.empty((len(X), len(self.constraint_names)))
        for first in range(0, len(X), n_together):
            some = slice(first, first + n_together)
            F[some], G[some] = self._some(X[some])
        self._count_failed(G)
        return F, G

    def _count_failed(self, G: FloatArray) -> None:
        failed = int(np.count_nonzero(G[:, 0] > 0.0))
        if failed:
            self.counts.add(failed=failed)

    def _some(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self._workers is not None and (shares := self._workers.shares(self, len(X))):
            return self.tallied(X, self._workers(self, X, shares))
        if self._is_plain:
            settings = self.joint.decode(X)
            return self.judge(X, settings, self.solve(settings))
        if len(self.chunks) > 1:
            return self.tallied(X, self.parts(X))
        _, settings, state = self.part(X, self.chunks[0])
        return self.judge(X, settings, state)

    def parts(self, X: FloatArray) -> Iterator[Part]:
        """Snapped vectors (n, n_var) decoded and solved in one chunk of situations after the other;
        counts the power flows."""
        return map(partial(self.part, X), self.chunks)

    def part(self, X: FloatArray, rows: slice) -> Part:
        """Snapped vectors (n, n_var) decoded and solved in some situations that follow each other;
        counts the power flows."""
        settings = self.joint.decode(X, rows)
        return rows, settings, self.solve(settings)

    @property
    def can_split(self) -> bool:
        """Whether the situations of a candidate may be solved in parts."""
        return not self._whole()

    def tallied(self, X: FloatArray, parts: Iterable[Part]) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of candidates whose states come in chunks of situations.

        Of each chunk no more is kept than the reductions need. Where no candidate is left that
        solves, no further chunk is asked for.
        """
        tally = _Tally(self, X, in_one=False)
        for rows, settings, state in parts:
            tally.add(rows, settings, state)
            if not tally.has_alive:
                break
        return tally.result()

    def with_engine(self, engine: Engine) -> Evaluation:
        """The same with another engine, and counts of its own."""
        new = copy.copy(self)
        new.engine, new.counts = engine, Counts()
        return new

    def solve(self, settings: Settings) -> GridState:
        """The state of settings; counts the power flows."""
        self.counts.add(power_flows=len(settings.rows))
        return solve_in_time(self.engine, settings, self.situations)

    def judge(
        self, X: FloatArray, settings: Settings, state: GridState
    ) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of candidates whose state is known, or estimated."""
        if self._is_plain and state.solved.all():
            F, G = self._measure(X, settings, state)
            if math.isfinite(F.sum() + G.sum()):
                return F, G
        tally = _Tally(self, X, in_one=True)
        tally.add(slice(0, self.situations.n), settings, state)
        return tally.result()

    @property
    def needs_solution(self) -> bool:
        """Whether an objective needs the bus/branch model, which states alone do not hold."""
        return any(
            isinstance(o, Objective) and o.quantity in OF_BUS_BRANCH for o in self.objectives
        )

    @property
    def can_estimate(self) -> bool:
        """Whether `estimate` can judge states that have no bus/branch model."""
        first = self.objectives[0]
        if isinstance(first, SurvivedOutages):
            return False
        if isinstance(first, Objective) and (
            first.quantity in OF_BUS_BRANCH or isinstance(first.quantity, MarginAlong)
        ):
            return False
        return not any(isinstance(constraint, LoadingMargin) for constraint in self.constraints)

    def estimate(
        self, X: FloatArray, settings: Settings, state: GridState, situations: Situations
    ) -> tuple[FloatArray, FloatArray]:
        """First objective and sum of violations, shape (n,) each, of estimated states.

        Args:
            X, settings, state: Of the candidates, in some of the situations.
            situations: These, alike in weight and limits.
        """
        objective = self.objectives[0]
        if isinstance(objective, Objective):
            f = objective.reduce(objective.quantity(settings, state), situations)
        else:
            f = self.other(objective, X, settings, state)
        weight = situations.limit_weight
        parts = [limit(settings, state, None, weight) for g, limit in self.limits if not g]
        parts += [constraint(settings, state) for constraint in self.constraints]
        return f, np.maximum(np.concatenate([*parts, *self.of_settings(X)], axis=1), 0.0).sum(
            axis=1
        )

    def _measure(
        self, X: FloatArray, settings: Settings, state: GridState
    ) -> tuple[FloatArray, FloatArray]:
        """As `_Tally`, for candidates that solve in all situations, which are alike."""
        F = np.empty((len(X), len(self.objectives)))
        for i, objective in enumerate(self.objectives):
            if isinstance(objective, Objective):
                F[:, i] = objective.reduce(objective.quantity(settings, state), self.situations)
            else:
                F[:, i] = self.other(objective, X, settings, state)
        parts = [np.full((len(X), 1), -1.0), self.limits[0][1](settings, state)]
        parts += [constraint(settings, state) for constraint in self.constraints]
        parts += self.of_settings(X)
        G = np.concatenate(parts, axis=1)
        if self.aggregate:
            G = np.concatenate([G[:, :1], self.aggregated(G[:, 1:])], axis=1)
        return F, G

    def other(
        self, objective: AnyObjective, X: FloatArray, settings: Settings, state: GridState
    ) -> FloatArray:
        """An objective that is no quantity of situations, of candidates that solve, shape (n,)."""
        if isinstance(objective, OfBlocks):
            return objective.values(X)
        if isinstance(objective, OfCandidates):
            return objective.values(settings, state)
        assert isinstance(objective, Searched)
        return objective.values(X, settings, self)

    def values_of_entries(self, X: FloatArray, settings: Settings, state: GridState) -> FloatArray:
        """Values of `entries` of candidates that solve, shape (n, n_entries)."""
        plain = copy.copy(self)
        plain.aggregate = False
        values: FloatArray = plain.judge(X, settings, state)[1][:, 1:]
        return values

    def entries_of(self, X: FloatArray, parts: Iterable[Part] | None = None) -> FloatArray | None:
        """Values of `entries` of one candidate.

        Args:
            X: Its snapped vector, shape (1, n_var).
            parts: Its states in chunks of situations, None to solve them.

        Returns:
            Shape (n_entries,); None where it does not solve, or leaves loads without supply, in a
            situation that must solve.
        """
        parts = self.parts(X) if parts is None else parts
        if len(self.chunks) == 1:
            ((_, settings, state),) = parts
            if not self.solves(state)[0]:
                return None
            values: FloatArray = self.values_of_entries(X, settings, state)[0]
            return values
        plain = copy.copy(self)
        plain.aggregate = False
        tally = _Tally(plain, X, in_one=False)
        for rows, settings, state in parts:
            tally.add(rows, settings, state)
            if not tally.has_alive:
                return None
        return tally.result()[1][0, 1:]

    def joined(self, n: int, parts: Iterable[Part], again: Again) -> GridState:
        """One state of what comes in chunks of situations, for those who want all of it.

        Args:
            n: Number of candidates.
            parts: Their states.
            again: Gives the bus/branch solution of a candidate in a situation.
        """
        s = self.situations
        converged = np.empty((n, s.n), dtype=np.bool_)
        n_unsupplied = np.empty((n, s.n), dtype=np.int64)
        values: FloatArray | None = None
        for rows, _, state in parts:
            if values is None:
                values = np.empty((n, s.n, state.layout.n_values))
            values[:, rows] = state.values
            converged[:, rows], n_unsupplied[:, rows] = state.converged, state.n_unsupplied
        assert values is not None
        return GridState(
            state.layout, values, converged, n_unsupplied, lambda row: again(*divmod(row, s.n))
        )

    def solves(self, state: GridState) -> NDArray[np.bool_]:
        """Which candidates of a batch solve and supply all where they must, shape (n,)."""
        good = state.converged & (state.n_unsupplied == 0)
        solved: NDArray[np.bool_] = good[:, self.situations.must_solve].all(axis=-1)
        return solved

    def breaks_no_limit(self, settings: Settings, state: GridState) -> NDArray[np.bool_]:
        """Which candidates of a batch solve and violate no limit of the grid, shape (n,)."""
        fits = (state.converged & (state.n_unsupplied == 0)).all(axis=-1)
        for (_, limit), rows in zip(self.limits, self.limit_rows, strict=True):
            fits &= (limit(settings, some_situations(state, rows)) <= 0).all(axis=-1)
        for constraint in self.constraints:
            if constraint.needs_state:
                fits &= (constraint(settings, state) <= 0).all(axis=-1)
        return fits

    def aggregated(self, g: FloatArray) -> FloatArray:
        """Per kind the sum of violations, or the largest entry when there are none."""
        entries = [g[:, self.kind_of_entry == kind] for kind in range(len(self._kinds))]
        violation = np.array([np.maximum(part, 0.0).sum(axis=1) for part in entries])
        worst = np.array([part.max(axis=1) for part in entries])
        return np.where(violation > 0, violation, worst).T

    def of_settings(self, X: FloatArray) -> list[FloatArray]:
        """Constraints of the blocks, each (n, n_entries)."""
        return [constraint.function(X[:, part]) for constraint, part in self.of_blocks]


class _Tally:
    """Values of some candidates, taken up from one chunk of situations after the other.

    A candidate that fails where it must not is left out from then on; the only place where failure
    is a value.
    """

    def __init__(self, evaluation: Evaluation, X: FloatArray, in_one: bool) -> None:
        self._e, self._X, self._n, self._in_one = evaluation, X, len(X), in_one
        self._alive = np.ones(self._n, dtype=bool)
        self.F = np.full((self._n, len(evaluation.objectives)), FAILED_F)
        s = evaluation.situations
        n_kept = 0 if self._in_one else len(s.counted)
        self._kept = {
            i: np.empty((self._n, n_kept))
            for i, objective in enumerate(evaluation.objectives)
            if isinstance(objective, Objective)
        }
        self._worst: list[FloatArray | None] = [None] * len(evaluation.limits)
        self._n_failed = [np.zeros(self._n) for _ in evaluation.limits]
        self._n_survived = np.zeros(self._n)
        self._tails = [
            ChanceTails(limit, self._n, s.limit_weight[rows])
            if len(limit.chance) and not self._in_one
            else None
            for (_, limit), rows in zip(evaluation.limits, evaluation.limit_rows, strict=True)
        ]
        self._own: list[FloatArray] = []
        self._settings: Settings | None = None
        self._state: GridState | None = None

    @property
    def has_alive(self) -> bool:
        """Whether there is a candidate that has not failed so far."""
        return bool(self._alive.any())

    def add(self, rows: slice, settings: Settings, state: GridState) -> None:
        """Takes up the states of all candidates in some situations."""
        e, s = self._e, self._e.situations
        good = state.converged & (state.n_unsupplied == 0)
        must = s.must_solve[rows]
        self._alive &= (good if must.all() else good[:, must]).all(axis=-1)
        self._settings, self._state = settings, state
        which = np.flatnonzero(self._alive)
        if not len(which):
            return
        if len(which) < self._n:
            settings, state = settings.candidates(which), state.candidates(which)
            good = good[which]
        self._measure(rows, which, settings, state)
        for k, (group, limit) in enumerate(e.limits):
            own = e.limit_rows[k]
            own = own[(own >= rows.start) & (own < rows.stop)] - rows.start
            if not len(own):
                continue
            solved = good if len(own) == good.shape[1] else good[:, own]
            beyond = limit.beyond(some_situations(state, own), solved)
            weight, tails = s.limit_weight[own + rows.start], self._tails[k]
            part = limit.entries(beyond, weight)
            if tails is not None:
                tails.add(which, beyond[..., limit.chance], weight)
            worst = self._worst[k]
            if worst is None:
                worst = self._worst[k] = np.full((self._n, part.shape[1]), -np.inf)
            worst[which] = np.maximum(worst[which], part)
            if group:
                self._n_failed[k][which] += (~solved).sum(axis=-1)
        for (_, limit), own in zip(e.counted, e.counted_rows, strict=True):
            own = own[(own >= rows.start) & (own < rows.stop)] - rows.start
            if len(own):
                held = (limit.beyond(some_situations(state, own)) <= 0.0).all(axis=-1)
                self._n_survived[which] += (held & good[:, own]).sum(axis=-1)

    def _measure(
        self, rows: slice, which: NDArray[np.int64], settings: Settings, state: GridState
    ) -> None:
        """Objectives of candidates that solve, in the situations that count."""
        e, s = self._e, self._e.situations
        counted = s.counted[(s.counted >= rows.start) & (s.counted < rows.stop)]
        if not len(counted):
            return
        here = counted - rows.start
        if len(here) < rows.stop - rows.start:
            settings = Settings(settings.fields, settings.values[:, here])
            state = some_situations(state, here)
        places = np.searchsorted(s.counted, counted)
        for i, objective in enumerate(e.objectives):
            if isinstance(objective, Objective):
                values = objective.quantity(settings, state)
                if self._in_one:
                    self.F[which, i] = objective.reduce(values, s)
                else:
                    self._kept[i][np.ix_(which, places)] = values
            elif not isinstance(objective, SurvivedOutages):
                self.F[which, i] = e.other(objective, self._X[which], settings, state)

    def result(self) -> tuple[FloatArray, FloatArray]:
        """Objectives (n, n_obj) and constraints (n, n_entries) of all candidates."""
        e, n = self._e, self._n
        for i, objective in enumerate(e.objectives):
            if isinstance(objective, Objective) and not self._in_one:
                self.F[:, i] = objective.reduce(self._kept[i], e.situations)
            elif isinstance(objective, SurvivedOutages):
                self.F[:, i] = -self._n_survived
        own = e.of_settings(self._X)
        parts = [np.full((n, 1), -1.0)]
        for k, ((group, limit), worst) in enumerate(zip(e.limits, self._worst, strict=True)):
            if group:
                parts.append(self._n_failed[k][:, np.newaxis])
            tails = self._tails[k]
            if worst is None:
                worst = np.zeros((n, len(limit.names)))
            elif tails is not None:
                worst[:, limit.chance] = tails.entries()
            worst[np.isneginf(worst)] = 0.0  # nothing solved: the count says so
            parts.append(worst)
        G = np.concatenate([*parts, *(self._of_grid(c) for c in e.constraints), *own], axis=1)
        if e.aggregate:
            G = np.concatenate([G[:, :1], e.aggregated(G[:, 1:])], axis=1)
        self._alive &= np.isfinite(self.F).all(axis=1) & np.isfinite(G).all(axis=1)
        failed_rows = np.flatnonzero(~self._alive)
        if len(failed_rows):
            self.F[failed_rows], G[failed_rows] = FAILED_F, FAILED_G
            of_settings = [self._of_grid(c) for c in e.constraints if not c.needs_state]
            for values in (*of_settings, *own):
                G[failed_rows, 0] += np.maximum(values[failed_rows], 0.0).sum(axis=1)
        return self.F, G

    def _of_grid(self, constraint: Constraint) -> FloatArray:
        """A further constraint; where it needs a state, of the candidates that have one."""
        assert self._settings is not None
        assert self._state is not None
        if not constraint.needs_state or self._alive.all():
            return constraint(self._settings, self._state)
        which = np.flatnonzero(self._alive)
        values = np.zeros((self._n, len(constraint.names)))
        if len(which):
            own = self._settings.candidates(which), self._state.candidates(which)
            values[which] = constraint(*own)
        return values


def some_situations(state: GridState, rows: NDArray[np.int64]) -> GridState:
    """The states of a batch in some of its situations."""
    return state if len(rows) == state.n_snapshots else state.snapshots(rows)


def chunks_of(situations: Situations, engine: Any) -> list[slice]:
    """Situations that are solved together; series in time stay whole as far as they fit, and
    always where the engine goes on in time."""
    n, n_time = situations.n, situations.n_time
    if n <= MAX_SITUATIONS:
        return [slice(0, n)]
    step = MAX_SITUATIONS // n_time * n_time
    if not step:
        step = n_time if getattr(engine, "sequential", False) else MAX_SITUATIONS
    return [slice(first, min(n, first + step)) for first in range(0, n, step)]


def solve_in_time(engine: Engine, settings: Settings, situations: Situations) -> GridState:
    """The state of settings; an engine that goes on in time starts every series anew."""
    n_time = situations.n_time
    if not getattr(engine, "sequential", False) or settings.n_snapshots == n_time:
        return engine.solve(settings)
    n_values = settings.values.shape[-1]
    state = engine.solve(Settings(settings.fields, settings.values.reshape(-1, n_time, n_values)))
    shape = settings.shape
    return GridState(
        state.layout,
        state.values.reshape(*shape, -1),
        state.converged.reshape(shape),
        state.n_unsupplied.reshape(shape),
    )
