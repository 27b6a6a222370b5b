"""`GridProblem`: a grid, controls, situations, objectives and limits as a pymoo problem."""

from __future__ import annotations

import copy
import inspect
import reprlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandapower.auxiliary import pandapowerNet
from pymoo.core import variable as pymoo_variable
from pymoo.core.problem import ElementwiseEvaluationFunction, ElementwiseProblem
from scipy.sparse import csr_matrix

from gridproblems import _summary, _vectors
from gridproblems._arguments import check_arguments, shown
from gridproblems._names import with_nearest
from gridproblems._present import Present
from gridproblems.binding import blocks_of, grid_of, listed_argument, parts_of
from gridproblems.cases import BestKnown, KnownFront
from gridproblems.constraints import Constraint, StateLimits
from gridproblems.constraints import OfCandidates as ConstraintOfCandidates
from gridproblems.controls.block import Shown, concatenated, together
from gridproblems.controls.direct import checked_mapping
from gridproblems.controls.joint import DecodedSettings, Joint
from gridproblems.controls.over_time import limits_over_time, split_limits
from gridproblems.controls.profiles import ProfileBlock
from gridproblems.controls.schedules import ScheduleBlock
from gridproblems.controls.variables import Variable
from gridproblems.engines import Engine
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.evaluation import (
    MAX_SITUATIONS,
    OF_SITUATIONS,
    AnyObjective,
    Evaluation,
    OfBlocks,
    OfCandidates,
    Part,
    Searched,
    SurvivedOutages,
    chunks_of,
    solve_in_time,
)
from gridproblems.fingerprint import derived, fingerprint_of
from gridproblems.gradients import Gradient, Gradients
from gridproblems.hessians import Hessians
from gridproblems.linear_schedules import linear_schedules
from gridproblems.linear_states import LinearStates, Pieces
from gridproblems.objectives import Objective
from gridproblems.parallel import PopulationRunner, SituationRunner
from gridproblems.situations import Situations, axes_of
from gridproblems.state import (
    BusBranchSolution,
    FloatArray,
    GridState,
    Settings,
    SettingsMapping,
)
from gridproblems.violations import Violation, violations
from gridproblems.words import objective_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MANY_VARIABLES = 1_000  # above which the grid as it is is a start
KEPT_STATES = 3  # of vectors whose slopes were asked for one by one, for their Hessians
OF_PIECES = ("F_pieces", "dF_pieces", "G_pieces", "dG_pieces")
MOST_OF_PIECES = 10_000_000  # slopes of constraints that are found together
NEAR = 0.3  # how near to being violated the limits in ``dG_near`` are


class Options(TypedDict, total=False):
    """How a problem is evaluated; every task takes these, see `GridProblem`."""

    engine: str
    n_jobs: int
    cache: bool | int
    aggregate: bool
    require_base_solution: bool
    constraints: Sequence[Callable[..., Any]]


class GridProblem(ElementwiseProblem):
    """A grid task made of parts.

    Args:
        grid: Name of a packaged case or feeder, a pandapower net, a `Feeder`, the path of a file,
            or a grid (`gridproblems.grids`).
        controls: What may be set (`gridproblems.controls`), one after the other in ``x``; also in
            words, ``"units:dg:3"``.
        situations: What every candidate is tried in (`gridproblems.situations`): None for the grid
            as it is, one axis, a product, a list of disturbances, or words, ``"hours*outages"``.
        objectives: Names of objectives of the grid or of its controls, `Objective` objects, pairs
            like ``("p_loss_kw", "max")`` and ``("p_loss_kw", "cvar", 0.95)`` that reduce the
            situations otherwise, in words ``"p_loss_kw:cvar:0.95"``, or callables of (settings,
            state) that get one candidate at a time; one or several, all minimised.
        limits: Limits of the grid by name; what is not named holds as in the grid's own tables,
            None takes a limit away, and `Chance` lets it hold in a share of the situations.
            Limits over time (`OVER_TIME`) hold for what the controls set from hour to hour. For
            situations of a group of their own, such as outages, the same limits hold unless
            ``emergency_limits`` overrides them.
        emergency_limits: As ``limits``, for outages.
        constraints: Further functions of (settings, state), feasible where <= 0, that give one
            number or a list of numbers; they get one candidate at a time, as objectives that are
            functions. Objects with the attributes of `Constraint` get a batch.
        every_situation: Constraints of every situation instead of those of the worst one per
            element and limit.
        periods: Number of values over the series of some of the controls, by name: ``{"taps": 6}``;
            others have one for all times.
        engine: Name of an engine, or ``"auto"`` for the first that gives the grid's results.
        n_jobs: Workers that share a population, or the situations of a few candidates; -1 for all
            cores.
        cache: Answer repeated vectors from memory: True for the latest 100,000, or how many.
        aggregate: One constraint per kind (the worst entry, or the sum of violations) instead of
            one per element and limit.
        require_base_solution: Refuse a grid that does not solve as it is now.
        name: What to call the problem, None for the name of the grid.

    Attributes:
        grid, joint, situations, evaluation: The parts, bound to each other.
        base_settings, base_state: The grid as it is now, in all situations; where these are more
            than are solved together, made anew whenever they are asked for.
        engine_name, engine_note: Which engine solves the grid, and why.

    Raises:
        ValueError: An argument is wrong; the message names it.
        PowerFlowNotConverged: The grid does not solve as it is now and has to.
        UnsupportedByEngine: The named engine cannot represent the grid.
    """

    def __init__(
        self,
        grid: Any,
        controls: Sequence[Any],
        situations: Any = None,
        objectives: Any = ("p_loss_mw",),
        limits: Mapping[str, Any] | None = None,
        *,
        emergency_limits: Mapping[str, Any] | None = None,
        constraints: Sequence[Callable[..., Any]] = (),
        every_situation: bool = False,
        periods: Mapping[str, int] | None = None,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
        name: str | None = None,
    ) -> None:
        checked: dict[str, Any] = {
            "limits": limits,
            "emergency_limits": emergency_limits,
            "periods": periods,
            "engine": engine,
            "n_jobs": n_jobs,
            "aggregate": aggregate,
            "every_situation": every_situation,
            "require_base_solution": require_base_solution,
            "name": name,
        }
        check_arguments(GridProblem.__init__, checked)
        if not isinstance(constraints, (tuple, list)) or not all(map(callable, constraints)):
            raise ValueError(f"constraints: expected a list of functions, got {shown(constraints)}")
        self.grid = grid_of(grid)
        self._name = self.grid.name if name is None else name
        # on the grid as given: situations, then what controls add, then what they set
        self.situations = Situations([axis.bind(self.grid) for axis in axes_of(situations)])
        parts = parts_of(controls)
        of_grid, in_time = split_limits(limits or {}, emergency_limits or {})
        blocks = blocks_of(parts, periods or {}, self.grid, self.situations)
        self.joint = Joint(blocks, self.situations, self.grid)
        self._known = self.grid.objectives_in(self.situations)
        self._present = Present(self.grid, self.joint, chunks_of(self.situations, None))
        for _, settings in self._present.parts():
            self.grid.check(self.joint, Settings(settings.fields, settings.rows))
        self.engine, self.engine_name, self.engine_note = self.grid.engine(
            engine, self.joint, self._present.telling()
        )
        self._present = Present(self.grid, self.joint, chunks_of(self.situations, self.engine))
        #: Settings and state of the grid as it is now, where all of it is kept.
        self._base: tuple[Settings, GridState] | None = None
        self._solve_base(require_base_solution)
        self.limits, more = self._limits(of_grid, emergency_limits or {}, every_situation)
        self.objectives: tuple[AnyObjective, ...] = tuple(
            self._objective(given) for given in listed_argument("objectives", objectives)
        )
        runner = PopulationRunner(n_jobs)
        self.evaluation = Evaluation(
            self.joint,
            self.engine,
            self.objectives,
            self.limits,
            (*more, *map(self._constraint, constraints)),
            limits_over_time(self.joint.placed, in_time, self.situations, self.grid),
            aggregate=aggregate,
            workers=SituationRunner(runner.n_jobs, self.engine) if runner.n_jobs > 1 else None,
        )
        for objective in self.objectives:
            if isinstance(objective, OfBlocks):  # raises where the grid lacks what it needs
                objective.values(self.base_x[np.newaxis])
            elif isinstance(objective, Searched):
                ((_, settings, state),) = self._base_parts()
                objective.search.check(objective.placed, self.evaluation, settings, state)
        self._told = {
            "controls": tuple(parts),
            "situations": axes_of(situations),
            "periods": dict(periods or {}),
            "every_situation": every_situation,
            "constraints": tuple(constraints),
            **in_time,
            **({"constraints of the grid": tuple(more)} if more else {}),
        }
        self.constraint_names = self.evaluation.constraint_names
        self.counts = self.evaluation.counts
        self.best_known: BestKnown | None = None
        self.known_front: KnownFront | None = None
        if not isinstance(cache, (bool, Integral)) or cache < 0:
            raise ValueError(f"cache: expected True, False or 0 or more, got {shown(cache)}")
        self._cache_size = 100_000 if cache is True else int(cache)
        self._cache: OrderedDict[bytes, tuple[FloatArray, FloatArray]] = OrderedDict()
        self._cache_lock = threading.Lock()
        #: Linearised states of the vectors whose slopes were asked for last.
        self._kept_states: OrderedDict[bytes, LinearStates] = OrderedDict()
        if hasattr(self.engine, "n_threads"):
            self.engine.n_threads = runner.n_jobs
        super().__init__(
            vars={v.name: _pymoo_variable(v) for v in self.joint.variables},
            n_var=len(self.joint.variables),
            n_obj=len(self.objectives),
            n_ieq_constr=len(self.constraint_names),
            xl=self.joint.xl,
            xu=self.joint.xu,
            elementwise_runner=runner,
        )

    def _solve_base(self, is_required: bool) -> None:
        """Solves the grid as it is now, and keeps that where all situations are solved together.

        Raises:
            PowerFlowNotConverged: It does not solve where it must, and is required to.
        """
        s = self.situations
        for rows, settings in self._present.parts():
            plain = Settings(settings.fields, settings.rows)
            state = solve_in_time(self.engine, plain, s)
            if rows == slice(0, s.n):
                self._base = plain, state
            solved = state.converged & (state.n_unsupplied == 0)
            failed = np.flatnonzero(~solved & s.must_solve[rows])
            if is_required and len(failed):
                why = self.grid.why_not_solved(plain, int(failed[0]))
                raise PowerFlowNotConverged(
                    f"{self.name}: the power flow of the base case {why}; check the net, or pass "
                    "require_base_solution=False if only the candidates have to"
                )

    @property
    def base_settings(self) -> Settings:
        """Settings of the grid as it is now, one row per situation."""
        return self._present.all() if self._base is None else self._base[0]

    @property
    def base_state(self) -> GridState:
        """State of the grid as it is now, in all situations."""
        if self._base is not None:
            return self._base[1]
        return self.evaluation.joined(1, self._base_parts(), self._base_again).candidate(0)

    def _base_parts(self) -> Iterator[Part]:
        """The grid as it is now as a batch of one, in one chunk of situations after the other."""
        if self._base is not None:
            yield slice(0, self.situations.n), *_batch_of_one(*self._base)
            return
        for rows, settings in self._present.parts():
            yield rows, settings, solve_in_time(self.engine, settings, self.situations)

    def _base_again(self, candidate: int, situation: int) -> BusBranchSolution:
        """Bus/branch solution of the grid as it is now in one situation."""
        own = self.grid.present_settings(self.joint, slice(situation, situation + 1))
        return self.engine.solve(own).bus_branch(0)

    def _limits(
        self, given: Mapping[str, Any], emergency: Mapping[str, Any], every_situation: bool
    ) -> tuple[list[tuple[str, StateLimits]], list[Constraint]]:
        """Limits of each group of situations, and what the grid has besides."""
        layout = self.grid.layout()
        found = []
        further: list[tuple[str, NDArray[np.int64], list[Constraint]]] = []
        for group in self.situations.groups:
            of_group = {**given, **emergency} if group else given
            entries, others = self.grid.limits(of_group, warns=not group)
            rows = self.situations.rows_of(group)
            n_each = len(rows) if every_situation and not group else None
            weight = self.situations.limit_weight[rows]
            found.append((group, StateLimits(entries, layout, n_each, weight)))
            further.append((group, rows, others))
        return found, _in_groups(further)

    def _objective(self, given: Any) -> AnyObjective:
        """An objective of an argument ``objectives``."""
        if isinstance(given, (Objective, OfBlocks, OfCandidates, Searched, SurvivedOutages)):
            return given
        if isinstance(given, (tuple, list)) and given:
            objective = self._objective(given[0])
            if not isinstance(objective, Objective) or len(given) not in (2, 3):
                raise ValueError(f"objectives: {given!r}: expected (name, reduction)")
            how = given[1] if len(given) == 2 else tuple(given[1:])
            if given[1] == "probability":
                if len(given) != 3:
                    raise ValueError(f"objectives: {given!r}: expected (name, reduction, bound)")
                objective, how = objective.exceeding(given[2])
            has_rest = self.situations.n > self.situations.n_time
            return objective.over(rest=how) if has_rest else objective.over(time=how)
        if isinstance(given, str):
            named = objective_of(given)
            return self._named(named) if isinstance(named, str) else self._objective(named)
        if callable(given):
            return OfCandidates(getattr(given, "__name__", type(given).__name__), "", given)
        raise ValueError(f"objectives: expected a name or a callable, got {given!r}")

    def _constraint(self, given: Callable[..., Any]) -> Constraint:
        """A constraint of an argument ``constraints``."""
        if all(hasattr(given, name) for name in ("names", "kinds", "needs_state")):
            own: Any = given
            return cast("Constraint", own)
        settings, state = _batch_of_one(self.base_settings, self.base_state)
        return ConstraintOfCandidates(given, settings.candidate(0), state.candidate(0))

    def _named(self, name: str) -> AnyObjective:
        placed = self.joint.placed
        own = [(p.block.objectives[name], p.part) for p in placed if name in p.block.objectives]
        if own:
            return OfBlocks(name, own[0][0].unit, tuple(own))
        having = tuple(p for p in placed if name in p.block.searches)
        if having:
            search = having[0].block.searches[name]
            return Searched(name, search.unit, search, having)
        if name in self._known:
            return self._known[name]
        if name in OF_SITUATIONS:
            return OF_SITUATIONS[name]()
        known = [*self._known, *OF_SITUATIONS]
        known += [o for p in placed for o in (*p.block.objectives, *p.block.searches)]
        raise ValueError(f"objectives: unknown objective {with_nearest(name, known)}")

    def with_engine(self, engine: Engine) -> GridProblem:
        """The same problem solved by an engine, with counts of its own and an empty cache."""
        new = copy.copy(self)
        new._cache, new._kept_states = OrderedDict(), OrderedDict()
        new.engine = engine
        new.evaluation = self.evaluation.with_engine(engine)
        new.counts = new.evaluation.counts
        return new

    def fingerprint(self) -> str:
        """What the results depend on, as a text that is equal for equal content.

        Grid (the content of the net or feeder, not where it came from), controls, situations,
        objectives, limits and engine; the same in every process and on every machine.
        """
        middle = (self.xl + self.xu) / 2.0
        X = self.joint.snap(np.array([self.xl, middle, self.xu]))
        return fingerprint_of(
            {
                **self._told,
                "task": type(self),
                "grid": self.grid.content(),
                "engine": self.engine_name,
                "variables": self.joint.variables,
                "fields": self.joint.fields,
                "values": derived(self.joint.decode(X, slice(0, 1)).values),
                "objectives": self.objectives,
                "limits": [(group, limit.limits) for group, limit in self.limits],
                "aggregate": self.evaluation.aggregate,
            }
        )

    @property
    def name(self) -> str:
        """What the problem is called.

        A property, where pymoo has a method of this name that only its ``__str__`` calls: objects
        of pymoo that copy a problem's attributes keep their own method.
        """
        return self._name

    def __str__(self) -> str:
        return _summary.as_text(self)

    def __repr__(self) -> str:
        return _summary.as_line(self)

    def _repr_html_(self) -> str:
        return _summary.as_html(self)

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives, in the order of F."""
        return tuple(objective.name for objective in self.objectives)

    @property
    def objective_units(self) -> tuple[str, ...]:
        """Units of the objectives, in the order of F."""
        return tuple(objective.unit for objective in self.objectives)

    # -- the grid as it is now ------------------------------------------------------------

    @property
    def neighbours(self) -> Callable[[ArrayLike, int | None], FloatArray]:
        """``neighbours(x, n_wanted=None)``: neighbours of a vector, the most promising first.

        Those of the controls that have any, in turn; snapped, shape (n, n_var).

        Raises:
            AttributeError: No control has any, so that ``hasattr`` tells.
        """
        if not any(placed.block.has_neighbours for placed in self.joint.placed):
            raise AttributeError(f"{self.name}: no control offers neighbours")
        return self._neighbours

    def _neighbours(self, x: ArrayLike, n_wanted: int | None = None) -> FloatArray:
        snapped = self._checked(x)
        found = []
        for placed in self.joint.placed:
            if placed.block.has_neighbours:
                parts = placed.block.neighbours(snapped, n_wanted, placed, self.evaluation)
                near = np.tile(snapped, (len(parts), 1))
                near[:, placed.part] = parts
                found.append(near)
        if len(found) == 1:
            return found[0]
        order = np.argsort(np.concatenate([np.arange(len(near)) for near in found]), kind="stable")
        in_turn: FloatArray = np.concatenate(found)[order][:n_wanted]
        return in_turn

    @property
    def permutation_blocks(self) -> tuple[int, ...]:
        """Lengths of the permutations that make up a vector, one after the other.

        Raises:
            AttributeError: A vector is not made of permutations alone.
        """
        lengths: list[int] = []
        for block in self.joint.blocks:
            if not isinstance(block, ProfileBlock):
                raise AttributeError(f"{self.name}: {block.kind} are no permutations")
            lengths += block.lengths
        return tuple(lengths)

    @property
    def net(self) -> Any:
        """The pandapower net, with what controls added to it."""
        return self.grid.net

    @property
    def base_x(self) -> FloatArray:
        """The vector of the grid as it is now, or the nearest to it, shape (n_var,)."""
        return self.joint.base_x

    @property
    def starts(self) -> FloatArray:
        """Vectors worth starting from, snapped, shape (n, n_var); `sqp`, `hs` and `mvmo` take them.

        Where the objective is a largest value over time (`pieces`) and storages have schedules,
        those that are best on the grid linearised as it is now (`linear_schedules`), for about the
        price of an evaluation with slopes; limits of the grid are left out. Of more than 1,000
        variables the grid as it is now, as random vectors break thousands of limits. Else none.
        """
        usual = np.zeros((0, self.n_var))
        if self.n_var > MANY_VARIABLES:
            usual = self.joint.snap(self.base_x)[np.newaxis]
        if not any(isinstance(p.block, ScheduleBlock) for p in self.joint.placed):
            return usual
        pieces = self.pieces(self.base_x)
        found = None if pieces is None else linear_schedules(self.base_x, pieces, self.joint.placed)
        return usual if found is None else self.joint.snap(found)[np.newaxis]

    def base_values(self) -> FloatArray:
        """Objectives of the grid as it is now, (n_obj,); NaN where its power flow fails."""
        x = self.base_x[np.newaxis]
        if self._base is None:
            F, G = self.evaluation.tallied(x, self._base_parts())
        else:
            F, G = self.evaluation.judge(x, *_batch_of_one(*self._base))
        values = F[0]
        if G[0, 0] > 0:
            values = np.full(len(values), np.nan)
        return values

    @property
    def objective_signs(self) -> FloatArray:
        """-1 for objectives that are the negative of what they are called, else 1, (n_obj,)."""
        return np.array([-1.0 if o.is_negative else 1.0 for o in self.objectives])

    def present_entries(self) -> FloatArray | None:
        """Values of all entries of the constraints for the grid as it is now, (n_entries,); None
        where its power flow fails."""
        return self.evaluation.entries_of(self.base_x[np.newaxis], self._base_parts())

    def violations(self, x: ArrayLike | Mapping[str, Any]) -> list[Violation]:
        """Limits that ``x`` breaks, in physical units, nearest to holding first.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: There is no state: it diverges or leaves loads without supply.
        """
        return violations(self.evaluation.entries, self.entries(x))

    def entries(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """Values of ``evaluation.entries`` for ``x``, shape (n_entries,), feasible where <= 0.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: There is no state: it diverges or leaves loads without supply.
        """
        own = self._checked(x)[np.newaxis]
        values = self.evaluation.entries_of(own, self._parts(own))
        if values is None:
            raise PowerFlowNotConverged(f"{self.name}: no state that limits could be checked in")
        return values

    def vector(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """The snapped vector (n_var,) of a vector or of a dict of variables.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        return self._checked(x)

    def solves(self, x: ArrayLike | Mapping[str, Any]) -> bool:
        """Whether the power flow of ``x`` solves and supplies all wherever it must.

        An outage that cannot be survived is a broken limit instead.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        must = self.situations.must_solve
        return all(
            (state.converged & (state.n_unsupplied == 0))[:, must[rows]].all()
            for rows, _, state in self._parts(self._checked(x)[np.newaxis])
        )

    def remarks(self, x: ArrayLike | Mapping[str, Any]) -> list[str]:
        """What else a reader should know of the settings of ``x``, as sentences."""
        own = self._checked(x)
        return [
            line
            for o in self.objectives
            if isinstance(o, Searched)
            for line in o.search.remarks(o.placed, own, self.evaluation)
        ]

    # -- from x to the grid and back ------------------------------------------------------

    def _flat(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A vector from what an algorithm hands over, a vector or a dict of variables."""
        if isinstance(x, Mapping):
            return _vectors.of_dict(x, self.joint.variables)
        return _vectors.numbers(x, self.joint.variables)

    def _checked(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A user's vector, snapped.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        return self.joint.snap(self._within_bounds(x))

    def _within_bounds(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A user's vector; raises as `_checked`."""
        flat = self._flat(x)
        if flat.shape != (self.n_var,):
            raise ValueError(f"x: expected {self.n_var} values, got an array of {flat.shape}")
        slack = 1e-9 * np.maximum(1.0, np.maximum(np.abs(self.xl), np.abs(self.xu)))
        outside = ~((flat >= self.xl - slack) & (flat <= self.xu + slack))
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"x[{i}] ({self.joint.variables[i].name}): {flat[i]} is not within "
                f"[{self.xl[i]}, {self.xu[i]}]"
            )
        return flat

    def snap(self, x: ArrayLike) -> FloatArray:
        """Snapped vectors, shape (..., n_var): within bounds, integers and choices whole.

        Raises:
            ValueError: Wrong length, or entries that are no finite numbers.
        """
        return self.joint.snap(_vectors.numbers(x, self.joint.variables))

    def check_snapshot(self, snapshot: int) -> None:
        """Raises ValueError for what is no number of one of the power flows of a candidate."""
        n = self.situations.n
        if not isinstance(snapshot, Integral) or not 0 <= snapshot < n:
            raise ValueError(f"snapshot: expected 0 to {n - 1}, got {snapshot!r}")

    def decode(self, x: ArrayLike | Mapping[str, Any]) -> Settings:
        """Settings of a vector, one row per situation."""
        snapped = self._checked(x)
        settings = self.joint.decode(snapped[np.newaxis]).candidate(0)
        return DecodedSettings(settings.fields, settings.values, snapped)

    def encode(self, settings: Settings | SettingsMapping | Any) -> FloatArray:
        """The vector with these settings: those of `decode`, a mapping, or the tables of a net.

        Raises:
            ValueError: A controlled element is missing, or its value is none that a vector has.
        """
        if isinstance(settings, Settings):
            return self.joint.encode_series(settings)
        if isinstance(settings, pandapowerNet):
            settings = self.grid.settings_of(settings, self.joint.controlled_fields)
        return self.joint.encode(checked_mapping(settings))

    def solve(self, x: ArrayLike | Mapping[str, Any]) -> GridState:
        """State of the grid with the settings of ``x`` in all situations.

        Of very many situations it takes much memory: `states` gives one part after the other.
        """
        if self._is_whole:
            return solve_in_time(self.engine, self.decode(x), self.situations)
        own = self._checked(x)[np.newaxis]

        def again(candidate: int, situation: int) -> BusBranchSolution:
            settings = self.joint.decode(own, slice(situation, situation + 1))
            return self.engine.solve(settings).bus_branch(0)

        return self.evaluation.joined(1, self._parts(own), again).candidate(0)

    def states(self, x: ArrayLike | Mapping[str, Any] | None = None) -> Iterator[GridState]:
        """As `solve`, in parts of situations that follow each other and fit in memory.

        Args:
            x: Shape (n_var,), or a dict of variables; None for the grid as it is now.
        """
        parts = self._base_parts() if x is None else self._parts(self._checked(x)[np.newaxis])
        for _, _, state in parts:
            yield state.candidate(0)

    @property
    def _is_whole(self) -> bool:
        """Whether all situations are solved together."""
        return len(self.evaluation.chunks) == 1

    def _parts(self, X: FloatArray) -> Iterator[Part]:
        """Snapped vectors decoded and solved, in one chunk of situations after the other."""
        for rows in self.evaluation.chunks:
            settings = self.joint.decode(X, rows)
            yield rows, settings, solve_in_time(self.engine, settings, self.situations)

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """What ``x`` sets beside what is set now, one row per element."""
        snapped = self._checked(x)
        return concatenated([p.block.describe(snapped[p.part]) for p in self.joint.placed])

    def tables(self, x: ArrayLike | Mapping[str, Any]) -> list[pd.DataFrame]:
        """`describe`, one table for controls that follow each other and have the same columns."""
        snapped = self._checked(x)
        found: list[pd.DataFrame] = []
        for placed in self.joint.placed:
            table = placed.block.describe(snapped[placed.part])
            if found and list(found[-1]) == list(table):
                table = concatenated([found.pop(), table])
            if len(table):
                found.append(table)
        return found

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> Any:
        """A copy of the grid with the settings of ``x`` in one situation, solved by its own tool.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which situation.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds; no such situation.
            PowerFlowNotConverged: The power flow does not converge.
        """
        self.check_snapshot(snapshot)
        snapped = self._checked(x)

        def finish(applied: Any) -> None:
            for placed in self.joint.placed:
                placed.block.finish(applied, snapped[placed.part], snapshot)

        if self._is_whole:
            return self.grid.apply(self.engine, self.decode(snapped), snapshot, finish)
        (rows,) = [r for r in self.evaluation.chunks if r.start <= snapshot < r.stop]
        own = self.joint.decode(snapped[np.newaxis], rows).candidate(0)
        return self.grid.apply(self.engine, own, snapshot - rows.start, finish)

    def write(self, x: Any, folder: Path) -> None:
        """Writes the grid with the settings of ``x`` in its tool's own form, and what controls
        have besides, into a folder; of several situations the one of the most loaded branch."""
        snapped = self._checked(x)
        self.grid.write(
            folder,
            self.controlled(snapped),
            lambda: self.apply(snapped, self._worst_situation(snapped)),
        )
        for name, table in self._tables(snapped).items():
            table.to_csv(folder / f"{name}.csv", index=table.index.name is not None)

    def _worst_situation(self, x: FloatArray) -> int:
        """As of the grid, of all situations: the worst of the worst of each part."""
        if self._is_whole:
            return int(self.grid.worst_situation(self.solve(x)))
        rows: list[int] = []
        worst: list[GridState] = []
        for part, _, state in self._parts(x[np.newaxis]):
            own = state.candidate(0)
            at = self.grid.worst_situation(own)
            rows.append(part.start + at)
            worst.append(own.snapshot(at))
        found = GridState(
            worst[0].layout,
            np.concatenate([state.values for state in worst]),
            np.concatenate([state.converged for state in worst]),
            np.concatenate([state.n_unsupplied for state in worst]),
        )
        return rows[int(self.grid.worst_situation(found))]

    def _tables(self, x: FloatArray) -> dict[str, pd.DataFrame]:
        """Tables of all controls by name, see `Block.tables`."""
        found: dict[str, list[pd.DataFrame]] = {}
        for placed in self.joint.placed:
            for name, table in placed.block.tables(x[placed.part]).items():
                found.setdefault(name, []).append(table)
        return {name: together(tables) for name, tables in found.items()}

    def controlled(self, x: ArrayLike | Mapping[str, Any]) -> SettingsMapping:
        """What the controls of ``x`` set in the first situation, by column and element."""
        settings = self.joint.decode(self._checked(x)[np.newaxis], slice(0, 1))
        first = Settings(settings.fields, settings.rows[0]).as_mapping()
        return {
            (f.table, f.column): {e: first[f.table, f.column][e] for e in f.elements}
            for f in self.joint.controlled_fields
        }

    def measured(self, x: ArrayLike | Mapping[str, Any] | None = None) -> dict[str, float]:
        """Further figures that every result shows, by name; without x of the grid as it is."""
        if not self.grid.measures_states:
            return {}
        figures: dict[str, float] = self.grid.measured(
            self.base_state if x is None else self.solve(x)
        )
        return figures

    def figures(self, x: Any) -> dict[str, Figure]:
        """Figures of the grid before and after, and of its controls, by name."""
        snapped = None if x is None else self._checked(x)
        shown = self._shown(snapped) if self._is_whole else self._shown_in_part(snapped)
        found: dict[str, Figure] = self.grid.figures(shown)
        changes = []
        for placed in self.joint.placed:
            own = None if snapped is None else snapped[placed.part]
            found |= placed.block.figures(own, shown)
            changes += [] if own is None else placed.block.changes(own)
        return found | self.grid.map_of_changes(changes, shown)

    def _shown(self, x: Any) -> Shown:
        return Shown(
            self.name,
            self.situations,
            (self.base_settings, self.base_state),
            None if x is None else (self.decode(x), self.solve(x)),
            voltage_band(self.limits[0][1]),
            {} if x is None else self._tables(x),
            lambda situation: self.apply(x, situation),
        )

    def _shown_in_part(self, x: Any) -> Shown:
        """Of more situations than are solved together the one series in time, or one of what is
        solved together, that has the worst situation of ``x``, or of the present grid's first."""
        s, engine = self.situations, self.engine
        worst = 0 if x is None else self._worst_situation(x)
        n_drawn = s.n_time if 1 < s.n_time <= MAX_SITUATIONS else MAX_SITUATIONS
        first = worst // n_drawn * n_drawn
        rows = slice(first, min(s.n, first + n_drawn))
        some = s.part(rows)
        before = self.grid.present_settings(self.joint, rows)
        after: tuple[Settings, GridState] | None = None
        if x is not None:
            own = self.joint.decode(x[np.newaxis], rows).candidate(0)
            after = own, solve_in_time(engine, own, some)
        return Shown(
            f"{self.name}, situations {rows.start + 1:,} to {rows.stop:,} of {s.n:,}",
            some,
            (before, solve_in_time(engine, before, some)),
            after,
            voltage_band(self.limits[0][1]),
            {} if x is None else self._tables(x),
            lambda situation: self.apply(x, first + situation),
        )

    # -- evaluation -----------------------------------------------------------------------

    def evaluate(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Objectives and constraints of a vector, a dict of variables, or several.

        Args:
            X: Shape (n_var,) or (n, n_var), a dict, or a list of vectors or dicts.
            *args: See pymoo's ``Problem.evaluate``.
            **kwargs: See pymoo's ``Problem.evaluate``.

        Returns:
            F and G, each with one row per vector, without that axis for a single one.

        Raises:
            ValueError: Wrong length, unknown or missing variables, no finite numbers.
        """
        if isinstance(X, Mapping):
            X = self._flat(X)
        elif not _holds_dicts(X):
            X = _vectors.numbers(X, self.joint.variables)
            if X.ndim > 2:
                raise ValueError(
                    f"x: expected vectors of {self.n_var} values, got an array of {X.shape}"
                )
            if not args and self._is_answered_here(X, kwargs):
                return self._answer(X, **kwargs)
        return super().evaluate(X, *args, **kwargs)

    def _answer(
        self,
        X: FloatArray,
        return_values_of: Sequence[str] = ("F", "G"),
        return_as_dictionary: bool = False,
    ) -> Any:
        """What pymoo's ``Problem.evaluate`` answers."""
        F, G, on_grid = self._values(np.atleast_2d(X))
        out = {"F": F, "G": G, "X": on_grid}
        if "H" in return_values_of:
            out["H"] = np.empty((len(F), 0))
        if X.ndim == 1:
            out = {name: values[0] for name, values in out.items()}
        if return_as_dictionary:
            return out
        found = tuple(out[name] for name in return_values_of)
        return found if len(found) > 1 else found[0]

    def _is_answered_here(self, X: FloatArray, asked: Mapping[str, Any]) -> bool:
        """Whether pymoo's own way to the values of vectors would add nothing but time: nobody has
        put a runner, a callback or an evaluation of their own in it, no workers are asked, and
        values alone."""
        own, runner = type(self), self.elementwise_runner
        values = asked.get("return_values_of", "F") or ()
        return (
            len(X) > 0
            and {"return_values_of", "return_as_dictionary"} >= asked.keys()
            and len(values) > 0
            and {"F", "G", "H", "X"} >= set(values)
            and self.callback is None
            and self.replace_nan_values_by is None
            and isinstance(runner, PopulationRunner)
            and (X.ndim == 1 or not runner.asks_workers(self, len(X)))
            and own._evaluate is GridProblem._evaluate
            and own.evaluate_many is GridProblem.evaluate_many
            and self.elementwise_func is ElementwiseEvaluationFunction
        )

    @property
    def gives_slopes(self) -> bool:
        """Whether `gradients` need no further power flows, and may lead a search.

        The engine knows its slopes, and so do all objectives and constraints; no real variable is
        rounded to steps.
        """
        has_steps = any(block.has_steps for block in self.joint.blocks)
        return not has_steps and Gradients(self.evaluation).is_exact

    def gradients(self, x: ArrayLike | Mapping[str, Any], near: float | None = None) -> Gradient:
        """Objectives and constraints of ``x``, and their slopes by its entries.

        Whole numbers count as real between whole values: positions of tap changers and steps of
        shunts may be fractions here, and F and G are those in between. Charge limits of storages
        are constraints; schedules are not repaired. `evaluate` gives the same for many vectors
        with ``return_values_of=["F", "G", "dF", "dG"]``. See the page on gradients for kinks and
        for what has slopes of 0.

        Args:
            x: Shape (n_var,), or a dict of variables.
            near: Find slopes of those limits of the grid only that are violated or as near as
                this to be (``G >= -near``); those of others are then 0. None for all.

        Returns:
            F (n_obj,), G (n_ieq,), dF (n_obj, n_var) and dG (n_ieq, n_var); slopes are 0 where
            the power flow fails.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        relaxed = self.joint.relaxed(self._within_bounds(x)[np.newaxis])
        self.counts.add(1)
        found = self._keeping(relaxed)(relaxed, near=near)
        return Gradient(*(part[0] for part in found))

    @property
    def gives_near_slopes(self) -> bool:
        """Whether pymoo's ``evaluate`` knows ``dG_near``, see `do`."""
        return True

    @property
    def gives_hessian(self) -> bool:
        """Whether `hessian` is exact for all weights."""
        return Hessians(self.evaluation).is_exact(self.base_x)

    def hessian(self, x: ArrayLike | Mapping[str, Any], weights: ArrayLike) -> FloatArray:
        """Second derivatives of a weighted sum of objectives and constraints, as a Lagrangian's.

        Of the same functions as `gradients`: whole numbers count as real between whole values,
        and which situation, element or end decides a largest value is as it is at ``x``, so that
        kinks have no curvature. Exact through the power flow, with one power flow per situation,
        or with those of the slopes of ``x`` where these were among the last asked for; counted as
        no evaluation. With a
        weight for ``l_index``, central differences of exact slopes, all in one batch.

        Args:
            x: Shape (n_var,), or a dict of variables.
            weights: One per objective, then one per constraint, shape (n_obj + n_ieq,); or of
                the objectives alone, shape (n_obj,).

        Returns:
            Shape (n_var, n_var), symmetric; 0 where the power flow fails, and for variables that
            have slopes of 0.

        Raises:
            ValueError: A vector or weights of the wrong length, NaN, or out of bounds.
            UnsupportedByEngine: Something with a weight has slopes that are differences of power
                flows, see `gives_slopes`.
        """
        flat = self._within_bounds(x)
        given = np.asarray(weights, dtype=float)
        n_obj, n_ieq = len(self.objectives), len(self.constraint_names)
        if given.shape not in ((n_obj,), (n_obj + n_ieq,)) or not np.isfinite(given).all():
            raise ValueError(
                f"weights: expected {n_obj} finite numbers for objectives, or {n_obj + n_ieq} for "
                f"objectives and constraints, got {shown(weights)} of shape {given.shape}"
            )
        of_G = np.zeros(n_ieq)
        of_G[: len(given) - n_obj] = given[n_obj:]
        relaxed = self.joint.relaxed(flat)
        with self._cache_lock:
            states = self._kept_states.pop(relaxed.tobytes(), None)
        if states is not None:
            self._keep_states(relaxed, states)
        return Hessians(self.evaluation)(relaxed, given[:n_obj], of_G, states)

    def pieces(self, x: ArrayLike | Mapping[str, Any]) -> Pieces | None:
        """Every situation's value and slopes, where the objective is the largest of them.

        A method that knows all of them does not follow one from kink to kink. pymoo's
        ``evaluate`` gives them as ``"F_pieces"`` and ``"dF_pieces"`` where they are asked for.

        Args:
            x: Shape (n_var,), or a dict of variables.

        Returns:
            F (n_pieces,) and dF (n_pieces, n_var); None where the objective is something else, or
            slopes are not known (see `Gradients.pieces`).

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        relaxed = self.joint.relaxed(self._within_bounds(x)[np.newaxis])
        found = Gradients(self.evaluation).pieces(relaxed)
        return None if found is None else Pieces(*(part[0] for part in found))

    def do(self, X: Any, return_values_of: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """pymoo's hook behind `evaluate`; with slopes where they are asked for.

        ``dG_near`` are sparse matrices, one per vector, with the slopes of those limits that are
        violated or within 0.3 of it.
        """
        if not {"dF", "dG", "dG_near", *OF_PIECES} & set(return_values_of):
            return super().do(X, return_values_of, *args, **kwargs)
        flat = np.array([self._flat(x) for x in X])
        relaxed = self.joint.relaxed(flat)
        of = self._keeping(relaxed)
        near = NEAR if "dG_near" in return_values_of and "dG" not in return_values_of else None
        with_dG = "dG" in return_values_of or near is not None
        pieces: Pieces | None = None
        self.counts.add(len(flat))
        if {"F_pieces", "dF_pieces"} & set(return_values_of):
            found, pieces = of.with_pieces(relaxed, with_dG=with_dG, near=near)
        else:
            found = of(relaxed, with_dG=with_dG, near=near)
        out = {k: v for k, v in found._asdict().items() if k in {"F", "G", *return_values_of}}
        if "dG_near" in return_values_of:
            out["dG_near"] = _sparse(found.dG)
        if pieces is not None:
            out |= {"F_pieces": pieces.F, "dF_pieces": pieces.dF}
        if {"G_pieces", "dG_pieces"} & set(return_values_of):
            out |= self._limit_pieces(relaxed)
        if not any(isinstance(x, Mapping) for x in X):
            out["X"] = relaxed
        return self._format_dict(out, len(X), return_values_of)

    def _limit_pieces(self, relaxed: FloatArray) -> dict[str, FloatArray]:
        """Constraints of controls that are largest values: all they are the largest of.

        Of charge limits the states of charge after every snapshot. A method that knows all of
        them does not follow one from kink to kink.

        Args:
            relaxed: Relaxed vectors, shape (n, n_var).

        Returns:
            ``G_pieces`` (n, n_pieces), <= 0 where G is, and ``dG_pieces`` (n, n_pieces, n_var);
            nothing where there are none, or too many for a dense matrix.
        """
        parts = [(c.pieces, part) for c, part in self.evaluation.of_blocks if c.pieces is not None]
        found = [(*pieces(relaxed[:, part]), part) for pieces, part in parts]
        n_pieces = sum(values.shape[1] for values, _, _ in found)
        if not 0 < n_pieces * self.n_var * len(relaxed) <= MOST_OF_PIECES:
            return {}
        slopes = np.zeros((len(relaxed), n_pieces, self.n_var))
        at = 0
        for values, own, part in found:
            slopes[:, at : at + values.shape[1], part] = own
            at += values.shape[1]
        return {"G_pieces": np.concatenate([v for v, _, _ in found], axis=1), "dG_pieces": slopes}

    def _keeping(self, relaxed: FloatArray) -> Gradients:
        """Gradients of vectors; of a single one the states are kept for its Hessian."""
        of = Gradients(self.evaluation)
        if len(relaxed) == 1:
            of.keep = lambda states: self._keep_states(relaxed[0], states)
        return of

    def _keep_states(self, x: FloatArray, states: LinearStates) -> None:
        """Remembers the latest linearised states of single vectors."""
        with self._cache_lock:
            self._kept_states[x.tobytes()] = states
            while len(self._kept_states) > KEPT_STATES:
                self._kept_states.popitem(last=False)

    def _evaluate(
        self, x: FloatArray | dict[str, Any], out: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        out.update(self.evaluate_many([x])[0])

    def evaluate_many(self, X: Sequence[Any] | NDArray[Any]) -> list[dict[str, Any]]:
        """Evaluates vectors or dicts of variables in few calls of the engine.

        Args:
            X: Any number of vectors, or of dicts.

        Returns:
            For each what pymoo expects in ``out``: F, G, and for vectors X, the vector on the
            grid that was evaluated and that pymoo's population is to keep.

        Raises:
            ValueError: Vectors of the wrong length, or entries that are no finite numbers.
        """
        if not isinstance(X, (np.ndarray, Sequence)) or isinstance(X, (str, bytes)):
            raise ValueError(f"X: expected vectors or dicts of variables, got {reprlib.repr(X)}")
        if not len(X):
            return []
        is_dict = isinstance(X[0], Mapping)
        if is_dict or not isinstance(X, np.ndarray):
            X = np.array([self._flat(x) for x in X])
        flat = _vectors.numbers(X, self.joint.variables)
        if flat.ndim != 2:
            raise ValueError(
                f"x: expected vectors of {self.n_var} values, got an array of {flat.shape}"
            )
        F, G, on_grid = self._values(flat)
        if is_dict:
            return [{"F": f, "G": g} for f, g in zip(F, G, strict=True)]
        return [{"F": f, "G": g, "X": x} for f, g, x in zip(F, G, on_grid, strict=True)]

    def _values(self, X: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """F and G of vectors, and the vectors on the grid that were evaluated; counts them."""
        on_grid = self.joint.snap(X)
        F, G = self._through_cache(on_grid) if self._cache_size else self.evaluation(on_grid)
        self.counts.add(len(X))
        return F, G, on_grid

    def _through_cache(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `_solve`, but solves only what is not remembered, and each vector once."""
        keys = [x.tobytes() for x in X]
        known: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        with self._cache_lock:
            for key in keys:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    known[key] = self._cache[key]
        rows = {key: i for i, key in enumerate(keys) if key not in known}
        if rows:
            solved = self.evaluation(X[list(rows.values())])
            known.update(zip(rows, zip(*solved, strict=True), strict=True))
        with self._cache_lock:
            self._cache.update((key, known[key]) for key in rows)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        self.counts.add(cached=len(X) - len(rows))
        F, G = zip(*(known[key] for key in keys), strict=True)
        return np.array(F), np.array(G)

    # -- pymoo's hooks, copies ------------------------------------------------------------

    def _calc_pareto_front(self, *args: Any, **kwargs: Any) -> FloatArray | None:
        if self.known_front is not None:
            return np.array(self.known_front.values)
        if self.best_known is None or len(self.objectives) > 1:
            return None
        return np.array([[self.best_known.value]])

    def __deepcopy__(self, memo: dict[int, Any]) -> GridProblem:
        """A new problem that shares what never changes: net, engine, counts, cache."""
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        return new

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        del state["_cache_lock"]
        state["_cache"], state["_kept_states"] = OrderedDict(), OrderedDict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache_lock = threading.Lock()
        if self._base is not None:
            settings, base = self._base
            self._base = (
                settings,
                GridState(
                    base.layout,
                    base.values,
                    base.converged,
                    base.n_unsupplied,
                    self._base_solution,
                ),
            )

    def _base_solution(self, row: int) -> BusBranchSolution:
        """Bus/branch solution of the grid as it is, after pickling solved again when asked for."""
        return solve_in_time(self.engine, self.base_settings, self.situations).bus_branch(row)


def voltage_band(limits: StateLimits) -> tuple[float, float] | None:
    """The tightest voltage limits of all buses, None without any."""
    vm_pu = [limit for limit in limits.limits if limit.quantity in ("vm_pu", "node_vm_pu")]
    lower = [limit.limit for limit in vm_pu if not limit.is_upper]
    upper = [limit.limit for limit in vm_pu if limit.is_upper]
    return (max(lower), min(upper)) if lower and upper else None


def _in_groups(
    further: Sequence[tuple[str, NDArray[np.int64], list[Constraint]]],
) -> list[Constraint]:
    """What a grid limits besides quantities of its state, once where all groups ask the same.

    Args:
        further: Per group of situations its name, its situations, and the constraints.

    Raises:
        ValueError: A constraint that is no matter of situations differs between groups.
    """
    told = [[(c.names, getattr(c, "measures", ())) for c in own] for _, _, own in further]
    if all(one == told[0] for one in told):
        return further[0][2]
    names = [{name for names, _ in one for name in names} for one in told]
    for _, _, own in further:
        for c in own:
            if not hasattr(c, "of_group") and not all(set(c.names) <= one for one in names):
                raise ValueError(
                    f"emergency_limits: {c.names[0]}: expected as in limits, for it holds for "
                    "settings, which are the same before and after an outage"
                )
    alike = [c for c in further[0][2] if not hasattr(c, "of_group")]
    return alike + [
        c.of_group(group, rows)
        for group, rows, own in further
        for c in own
        if hasattr(c, "of_group")
    ]


def check_task_arguments(
    make: Callable[..., None], arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Refuses arguments of the wrong kind of a task, `Options` among them.

    Args:
        make: Its constructor.
        arguments: By name; others, such as ``self``, are ignored.
        options: Those of `Options`.

    Raises:
        ValueError: The message names the argument.
        TypeError: An unknown option.
    """
    unknown = [name for name in options if name not in Options.__annotations__]
    if unknown:
        raise TypeError(f"{make.__qualname__}: unknown argument {unknown[0]!r}")
    check_arguments(make, {k: v for k, v in arguments.items() if k != "options"})
    check_arguments(GridProblem.__init__, options)


def arguments_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a task by name, those of `Options` among them."""
    found = dict(inspect.signature(make).parameters)
    if found.pop("options", None) is not None:
        shared = inspect.signature(GridProblem).parameters
        found |= {name: shared[name] for name in Options.__annotations__}
    return found


def _batch_of_one(settings: Settings, state: GridState) -> tuple[Settings, GridState]:
    rows = settings.rows[np.newaxis]
    return Settings(settings.fields, rows), state.batch()


def _sparse(matrices: FloatArray) -> NDArray[np.object_]:
    """Matrices, shape (n, n_rows, n_columns), one by one as sparse ones, shape (n,)."""
    found = np.empty(len(matrices), dtype=object)
    found[:] = [csr_matrix(matrix) for matrix in matrices]
    return found


def _holds_dicts(X: Any) -> bool:
    """Whether these are dicts of variables, or nothing at all."""
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and (not len(X) or isinstance(X[0], Mapping))
    return isinstance(X, list) and (not X or isinstance(X[0], Mapping))


def _pymoo_variable(variable: Variable) -> pymoo_variable.Variable:
    makers: dict[str, Callable[[], pymoo_variable.Variable]] = {
        "real": lambda: pymoo_variable.Real(bounds=(variable.lower, variable.upper)),
        "integer": lambda: pymoo_variable.Integer(
            bounds=(int(variable.lower), int(variable.upper))
        ),
        "binary": lambda: pymoo_variable.Binary(),
        "choice": lambda: pymoo_variable.Choice(options=list(variable.options)),
    }
    return makers[variable.kind]()
