"""Sequential quadratic programming, on problems whose optimum is known."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.core.variable import Integer, Real
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from pymoo.util.archive import SingleObjectiveArchive
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from algorithms import ALGORITHMS, MVMO, SQP, HarmonySearch
from algorithms._curvature import Curvature, convex, sparse, updated
from algorithms._quadratic import best_step
from gridproblems import ReactivePowerDispatch
from gridproblems._progress import Recorder
from gridproblems.study.specs import algorithm_of


class RosenSuzuki(Problem):
    """Problem 43 of Hock & Schittkowski (1981): -44 at (0, 1, 2, -1), two constraints bind."""

    BEST = np.array([0.0, 1.0, 2.0, -1.0])

    def __init__(self, gives: bool = True) -> None:
        super().__init__(n_var=4, n_obj=1, n_ieq_constr=3, xl=-10.0, xu=10.0)
        self.gives, self.n_asked = gives, 0

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        a, b, c, d = X.T
        self.n_asked += len(X)
        out["F"] = a**2 + b**2 + 2 * c**2 + d**2 - 5 * a - 5 * b - 21 * c + 7 * d
        squares = a**2 + b**2 + c**2 + d**2
        out["G"] = np.column_stack(
            [
                squares + a - b + c - d - 8,
                squares + b**2 + d**2 - a - d - 10,
                2 * a**2 + b**2 + c**2 + 2 * a - b - d - 5,
            ]
        )
        if self.gives:
            one, none = np.ones(len(X)), np.zeros(len(X))
            out["dF"] = np.stack([2 * a - 5, 2 * b - 5, 4 * c - 21, 2 * d + 7], axis=1)[:, None]
            rows = [
                [2 * a + one, 2 * b - one, 2 * c + one, 2 * d - one],
                [2 * a - one, 4 * b, 2 * c, 4 * d - one],
                [4 * a + 2 * one, 2 * b - one, 2 * c, none - one],
            ]
            out["dG"] = np.moveaxis(np.array(rows), 2, 0)


class Bowl(Problem):
    """Distance to (0.3, 2.6, 4.8), the last two whole, with x + k >= 3.5: best at (0.5, 3, 5)."""

    def __init__(self) -> None:
        names = {"x": Real(bounds=(0, 1)), "k": Integer(bounds=(0, 9)), "m": Integer(bounds=(0, 9))}
        xl, xu = np.zeros(3), np.array([1.0, 9.0, 9.0])
        super().__init__(vars=names, n_obj=1, n_ieq_constr=1, xl=xl, xu=xu)
        self.n_whole = 0

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        centre = np.array([0.3, 2.6, 4.8])
        out["F"] = ((X - centre) ** 2).sum(axis=1)
        out["G"] = 3.5 - X[:, 0] - X[:, 1]
        out["dF"] = 2.0 * (X - centre)[:, None]
        out["dG"] = np.tile([-1.0, -1.0, 0.0], (len(X), 1, 1))


@pytest.mark.parametrize(
    ("limit", "price", "best", "multiplier"),
    [(2.0, 1.0, 1.0, 0.0), (0.3, 1.0, 0.3, 0.7), (0.3, 0.5, 0.5, 0.5), (-4.0, 9.0, -2.0, 9.0)],
    ids=["free", "bound", "cheaper to violate", "out of reach"],
)
def test_a_step_worked_by_hand(limit: float, price: float, best: float, multiplier: float) -> None:
    # min d^2 / 2 - d + price max(d - limit, 0) within |d| <= 2
    one = np.ones(1)
    none = np.zeros(0, dtype=int)
    step = best_step(-one, np.eye(1), np.eye(1), limit * one, -2 * one, 2 * one, price, none)
    assert step.d[0] == pytest.approx(best, abs=1e-6)
    assert step.multipliers[0] == pytest.approx(multiplier, abs=1e-5)


@pytest.mark.parametrize("price", [0.05, 1.0, 100.0])
def test_a_step_from_a_working_set_is_the_best_of_all_constraints(price: float) -> None:
    # Optimal where the slope is what multipliers between 0 and the price and bounds hold against:
    # the price itself for broken constraints, 0 for slack ones.
    rng = np.random.default_rng(3)
    n, m = 12, 40
    g, A, root = rng.normal(size=n), rng.normal(size=(m, n)), rng.normal(size=(n, n))
    b = rng.uniform(-0.3, 1.0, m)
    B, low, high = root @ root.T + np.eye(n), np.full(n, -0.3), np.full(n, 0.4)
    step = best_step(g, B, A, b, low, high, price, np.arange(3))
    left = A @ step.d - b
    slope = g + B @ step.d + A.T @ step.multipliers
    inside = (step.d > low + 1e-6) & (step.d < high - 1e-6)
    np.testing.assert_allclose(slope[inside], 0.0, atol=1e-5)
    assert (slope[step.d <= low + 1e-6] > -1e-5).all()
    assert (slope[step.d >= high - 1e-6] < 1e-5).all()
    np.testing.assert_allclose(step.multipliers[left > 1e-6], price, rtol=1e-5)
    np.testing.assert_allclose(np.minimum(left, 0.0) * step.multipliers, 0.0, atol=1e-7)
    assert (step.multipliers <= price * (1.0 + 1e-5)).all()
    gives_way = (left > 1e-6) & (b > 0.0)  # constraints that hold where it starts
    assert gives_way.any() == (price < 100.0)


@pytest.mark.parametrize("price", [0.05, 100.0])
def test_a_sparse_programme_has_the_step_of_the_dense_one(price: float) -> None:
    # most entries of A are too small to be in the programme, yet count in its solution
    rng = np.random.default_rng(5)
    n, m = 60, 30
    A = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-5.0, 0.0, (m, n))
    g, b = rng.normal(size=n), rng.uniform(-0.3, 1.0, m)
    B, low, high = np.diag(rng.uniform(1.0, 2.0, n)), np.full(n, -0.3), np.full(n, 0.4)
    dense = best_step(g, B, A, b, low, high, price, np.arange(3))
    own = best_step(g, sparse(B), csr_matrix(A), b, low, high, price, np.arange(3))
    np.testing.assert_allclose(own.d, dense.d, atol=2e-4)
    broken = np.maximum(A @ dense.d - b, 0.0).sum()
    assert np.maximum(A @ own.d - b, 0.0).sum() == pytest.approx(broken, abs=1e-4)


def test_a_sparse_hessian_keeps_what_is_large_and_bends_no_less() -> None:
    rng = np.random.default_rng(1)
    small = rng.normal(size=(200, 200)) * 1e-3
    B = np.diag(rng.uniform(1.0, 2.0, 200)) + small @ small.T
    kept = sparse(B)
    assert kept.nnz <= 40 * 200 + 200
    assert (np.linalg.eigvalsh(kept.toarray() - B) > -1e-12).all()


class Wide(Problem):
    """1,200 variables, each at least 0.1, and as far as that lets them at 0 or 0.3 in turn; the
    slopes of limits within 0.3 alone, where they are asked for."""

    gives_slopes = True
    gives_near_slopes = True

    def __init__(self) -> None:
        super().__init__(n_var=1200, n_obj=1, n_ieq_constr=1200, xl=0.0, xu=2.0)
        self.centre = np.where(np.arange(1200) % 2, 0.3, 0.0)
        self.asked: set[str] = set()

    def do(self, X: Any, return_values_of: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked |= set(return_values_of)
        out: dict[str, Any] = {"F": ((X - self.centre) ** 2).sum(axis=1), "G": 0.1 - X}
        out["dF"] = 2.0 * (X - self.centre)[:, None]
        out["dG_near"] = np.empty(len(X), dtype=object)
        out["dG_near"][:] = [csr_matrix(np.diag(-1.0 * (0.1 - x >= -0.3))) for x in X]
        return self._format_dict(out, len(X), return_values_of)


@pytest.mark.parametrize("cls", [SQP, HarmonySearch, MVMO])
def test_thousands_of_variables_with_slopes_of_near_limits_alone(cls: type[Algorithm]) -> None:
    problem = Wide()
    algorithm = SQP(n_starts=1) if cls is SQP else cls()
    result = minimize(problem, algorithm, ("n_evals", 80), seed=1)
    assert result.CV[0] == 0.0
    assert result.F[0] == pytest.approx(6.0, abs=1e-3)
    assert "dG" not in problem.asked


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_of_a_curved_problem_is_found(seed: int) -> None:
    problem = RosenSuzuki()
    result = minimize(problem, SQP(n_starts=1), ("n_evals", 100), seed=seed)
    assert result.algorithm.evaluator.n_eval == problem.n_asked <= 60
    assert result.F[0] == pytest.approx(-44.0, abs=1e-4)
    np.testing.assert_allclose(result.X, RosenSuzuki.BEST, atol=1e-2)
    assert (result.G <= 0).all()


def test_whole_variables_end_whole_beside_limits() -> None:
    result = minimize(Bowl(), SQP(n_starts=1), ("n_evals", 100), seed=2)
    np.testing.assert_allclose(result.X, [0.5, 3.0, 5.0], atol=1e-5)
    X = result.pop.get("X")
    np.testing.assert_array_equal(X[:, 1:], np.round(X[:, 1:]))


@pytest.mark.parametrize("problem", [RosenSuzuki(), Bowl()], ids=["real", "mixed"])
@pytest.mark.parametrize("n_evals", [1, 2, 17, 150])
def test_the_budget_is_kept_exactly(problem: Problem, n_evals: int) -> None:
    result = minimize(problem, SQP(), ("n_evals", n_evals), seed=1)
    assert result.algorithm.evaluator.n_eval == n_evals


def test_same_seed_same_run_also_after_pickling() -> None:
    runs = []
    for interrupted in (False, True):
        algorithm = SQP()
        algorithm.setup(Bowl(), termination=("n_evals", 60), seed=4)
        while algorithm.has_next():
            algorithm.next()
            if interrupted:
                algorithm = cloudpickle.loads(cloudpickle.dumps(algorithm))
        runs.append(algorithm.pop.get("X"))
    np.testing.assert_array_equal(*runs)
    assert pickle.loads(pickle.dumps(SQP(radius=0.1))).radius == 0.1


def test_starts_are_taken_in_their_order() -> None:
    starts = np.array([[0.0, 1.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    algorithm = SQP(sampling=starts, n_starts=2)
    result = minimize(RosenSuzuki(), algorithm, ("n_evals", 200), seed=1, save_history=True)
    first = [entry.off[0].X for entry in result.history]
    assert np.array_equal(first[0], starts[0])
    assert any(np.array_equal(x, starts[1]) for x in first[1:])


def test_ask_and_tell() -> None:
    problem = RosenSuzuki()
    algorithm = SQP()
    algorithm.setup(problem, termination=("n_evals", 1000), seed=1)
    for _ in range(60):
        infills = algorithm.ask()
        values = ["F", "G", "dF", "dG"]
        out = problem.evaluate(infills.get("X"), return_values_of=values, return_as_dictionary=True)
        for name in values:
            infills.set(name, out[name])
        algorithm.tell(infills=infills)
    assert algorithm.opt[0].F[0] == pytest.approx(-44.0, abs=1e-4)


def test_problems_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="gives dF and dG"):
        minimize(RosenSuzuki(gives=False), SQP(), ("n_evals", 5))
    with pytest.raises(ValueError, match="gives dF and dG"):
        ALGORITHMS["sqp"](RosenSuzuki(gives=False))
    with pytest.raises(ValueError, match="one objective"):
        minimize(get_problem("zdt1"), SQP(), ("n_evals", 5))
    with pytest.raises(ValueError, match="rounding"):
        SQP(rounding=0.0)
    with pytest.raises(TypeError, match="unknown option"):
        SQP(raduis=1.0)


@pytest.mark.parametrize(("case", "n_evals"), [("ieee39", 40), ("ieee57", 80), ("ieee118", 90)])
def test_dispatch_comes_to_a_ten_thousandth_of_the_best_known(case: str, n_evals: int) -> None:
    problem = ReactivePowerDispatch(case)
    result = minimize(problem, ALGORITHMS["sqp"](problem), ("n_evals", n_evals), seed=1)
    assert result.F[0] <= problem.best_known.value * (1 + 1e-4)
    f, g = problem.evaluate(result.X)
    assert f[0] == result.F[0]
    assert (g <= 0).all()


class LargestOfThree(Problem):
    """CB2 of Charalambous and Bandler (1976): the smallest largest value is 1.9522245."""

    def __init__(self, has_pieces: bool) -> None:
        super().__init__(n_var=2, n_obj=1, xl=-3.0, xu=3.0)
        self.has_pieces = has_pieces

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        x, y = X.T
        tail = 2.0 * np.exp(y - x)
        f = np.stack([x**2 + y**4, (2 - x) ** 2 + (2 - y) ** 2, tail], axis=1)
        slopes = [(2 * x, 4 * y**3), (2 * x - 4, 2 * y - 4), (-tail, tail)]
        df = np.stack([np.stack(slope, axis=1) for slope in slopes], axis=1)
        each = np.arange(len(X))
        out["F"] = f.max(axis=1, keepdims=True)
        out["dF"] = df[each, f.argmax(axis=1)][:, np.newaxis]
        if self.has_pieces:
            out["F_pieces"], out["dF_pieces"] = f, df


def test_all_pieces_of_a_largest_value_are_better_than_the_slope_of_one() -> None:
    found = [
        minimize(LargestOfThree(has), SQP(n_starts=1), ("n_eval", 15), seed=1).F[0]
        for has in (True, False)
    ]
    assert found[0] == pytest.approx(1.9522245, abs=1e-5)
    assert found[1] > found[0] + 1e-3


class WithinLargestOfMany(Problem):
    """The longest step along (1, 2) within a polygon of 24 sides, one constraint for all."""

    def __init__(self, has_pieces: bool) -> None:
        super().__init__(n_var=2, n_obj=1, n_ieq_constr=1, xl=-3.0, xu=3.0)
        angle = np.arange(24) * np.pi / 12
        self.normals = np.column_stack([np.cos(angle), np.sin(angle)])
        self.has_pieces = has_pieces

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        along = np.array([1.0, 2.0])
        g = X @ self.normals.T - 1.0
        out["F"] = -X @ along[:, np.newaxis]
        out["dF"] = np.tile(-along, (len(X), 1, 1))
        out["G"] = g.max(axis=1, keepdims=True)
        out["dG"] = self.normals[g.argmax(axis=1)][:, np.newaxis]
        if self.has_pieces:
            out["G_pieces"], out["dG_pieces"] = g, np.tile(self.normals, (len(X), 1, 1))


def test_all_pieces_of_a_constraint_lead_to_its_corner_in_a_few_steps() -> None:
    corner = linprog([-1.0, -2.0], WithinLargestOfMany(True).normals, np.ones(24)).fun
    found = [
        minimize(WithinLargestOfMany(has), SQP(n_starts=1, radius=1.0), ("n_eval", 4), seed=1)
        for has in (True, False)
    ]
    assert found[0].F[0] == pytest.approx(corner, abs=1e-5)
    assert found[1].F is None or found[1].F[0] > corner + 1e-3


@pytest.mark.parametrize("n_evals", [3, 6, 60])
def test_points_between_whole_numbers_are_never_the_best_of_a_run(n_evals: int) -> None:
    recorder = Recorder(1, n_evals)
    minimize(Bowl(), SQP(), ("n_evals", n_evals), seed=2, evaluator=recorder.evaluator)
    (x,) = recorder.X
    np.testing.assert_array_equal(x[1:], np.round(x[1:]))
    assert recorder.F[0, 0] == ((x - np.array([0.3, 2.6, 4.8])) ** 2).sum()
    assert recorder.gradients == recorder.evaluations == n_evals


@pytest.mark.parametrize("name", ["sqp", "hs", "mvmo"])
def test_an_archive_holds_whole_values_only(name: str) -> None:
    problem, archive = Bowl(), SingleObjectiveArchive()
    algorithm = minimize(
        problem, ALGORITHMS[name](problem), ("n_evals", 60), seed=2, archive=archive
    ).algorithm
    assert len(algorithm.archive) > 0
    X = algorithm.archive.get("X")
    np.testing.assert_array_equal(X[:, 1:], np.round(X[:, 1:]))
    assert algorithm.archive.get("F").min() == algorithm.opt.get("F").min()


def test_evaluations_without_slopes_are_no_gradients() -> None:
    recorder = Recorder(1, 100)
    algorithm = ALGORITHMS["mvmo"](Bowl(), gradients=False)
    minimize(Bowl(), algorithm, ("n_evals", 100), evaluator=recorder.evaluator)
    assert (recorder.gradients, recorder.evaluations) == (0, 100)


def test_an_update_meets_the_secant_equation_or_is_damped() -> None:
    s, y = np.array([1.0, 2.0]), np.array([3.0, 1.0])
    B = updated(np.eye(2), s, y)
    np.testing.assert_allclose(B @ s, y)
    damped = updated(np.eye(2), s, -y)
    # s'y = -5, s's = 5: theta = 0.8 * 5 / 10, and s'B s is then 0.2 of what it was
    assert s @ damped @ s == pytest.approx(1.0)
    assert (np.linalg.eigvalsh(damped) > 0).all()


def test_the_hessian_is_that_of_the_lagrangian_of_the_multipliers_given() -> None:
    # objective x'A x / 2, one constraint x'C x / 2: the Hessian is A + m C for any m
    A, C = np.diag([4.0, 1.0]), np.array([[1.0, 0.5], [0.5, 2.0]])
    curvature, both = Curvature(), np.arange(1)
    for s in np.eye(2):
        for _ in range(40):
            curvature.learn(s, A @ s, (C @ s)[np.newaxis], both)
            curvature.learn(np.ones(2), A @ np.ones(2), (C @ np.ones(2))[np.newaxis], both)
    for m in (0.0, 3.0):
        found = curvature.hessian(np.array([m]), np.ones(2))
        np.testing.assert_allclose(found, A + m * C, rtol=1e-6)
    nothing = Curvature().hessian(None, np.array([5.0, -100.0]))
    np.testing.assert_allclose(nothing, np.eye(2))


def test_without_room_only_slopes_of_near_constraints_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("algorithms._curvature.MOST_NUMBERS", 100)
    curvature = Curvature()
    s, slopes = np.array([1.0, 0.0]), np.array([[2.0, 0.0], [7.0, 0.0]])
    curvature.learn(s, np.array([4.0, 0.0]), slopes, np.array([0]))
    of_first = curvature.hessian(np.array([1.0, 0.0]), np.ones(2))
    of_both = curvature.hessian(np.array([1.0, 1.0]), np.ones(2))
    assert of_first[0, 0] == of_both[0, 0] == pytest.approx(6.0)


class Asked(RosenSuzuki):
    """Keeps what is asked for; slopes are computed where they are wanted only."""

    gives_slopes = True

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[bool] = []

    def do(self, X: Any, return_values_of: Any, *args: Any, **kwargs: Any) -> Any:
        self.gives = "dF" in return_values_of
        self.wanted += [self.gives] * len(X)
        return super().do(X, return_values_of, *args, **kwargs)


POPULATIONS = pytest.mark.parametrize("cls", [HarmonySearch, MVMO])


@POPULATIONS
@pytest.mark.parametrize("n_evals", [5, 23, 80])
def test_populations_use_slopes_where_a_problem_offers_them(
    cls: type[Algorithm], n_evals: int
) -> None:
    problem = Asked()
    result = minimize(problem, cls(), ("n_evals", n_evals), seed=1)
    assert len(problem.wanted) == result.algorithm.evaluator.n_eval == n_evals
    assert result.algorithm.n_gradients == sum(problem.wanted)
    if n_evals == 80:
        assert 5 < sum(problem.wanted) < 80
        assert result.F[0] == pytest.approx(-44.0, abs=1e-3)
        assert (result.G <= 0).all()


@POPULATIONS
def test_slopes_can_be_turned_off(cls: type[Algorithm]) -> None:
    problem = Asked()
    result = minimize(problem, cls(gradients=False), ("n_evals", 400), seed=1)
    assert not any(problem.wanted)
    assert result.algorithm.n_gradients == 0


@POPULATIONS
def test_a_population_holds_whole_values_only(cls: type[Algorithm]) -> None:
    recorder = Recorder(1, 120)
    algorithm = cls()
    algorithm.setup(Bowl(), termination=("n_evals", 120), seed=3, evaluator=recorder.evaluator)
    asked = []
    while algorithm.has_next():
        algorithm.next()
        asked += [ind.X for ind in algorithm.off]
        X = algorithm.pop.get("X")
        np.testing.assert_array_equal(X[:, 1:], np.round(X[:, 1:]))
    assert any((x[1:] != np.round(x[1:])).any() for x in asked)  # others are tried between
    np.testing.assert_allclose(algorithm.opt[0].X, [0.5, 3.0, 5.0], atol=1e-4)
    assert recorder.gradients == algorithm.n_gradients > 0
    assert recorder.evaluations == 120


@POPULATIONS
def test_values_alone_are_enough_for_ask_and_tell(cls: type[Algorithm]) -> None:
    problem = Asked()
    algorithm = cls()
    algorithm.setup(problem, termination=("n_evals", 1000), seed=1)
    for _ in range(60):
        infills = algorithm.ask()
        f, g = problem.evaluate(infills.get("X"), return_values_of=["F", "G"])
        infills.set("F", f, "G", g)
        algorithm.tell(infills=infills)
    assert algorithm.n_gradients == 0
    assert len(algorithm.pop) >= 10


@POPULATIONS
def test_a_copy_in_the_middle_of_a_search_with_slopes_goes_on_alike(cls: type[Algorithm]) -> None:
    algorithm = cls()
    algorithm.setup(Bowl(), termination=("n_evals", 90), seed=4)
    while algorithm.n_gradients < 4:
        algorithm.next()
    copied = cloudpickle.loads(cloudpickle.dumps(algorithm))
    for one in (algorithm, copied):
        one.run()
    np.testing.assert_array_equal(copied.pop.get("X"), algorithm.pop.get("X"))
    assert copied.n_gradients == algorithm.n_gradients


@POPULATIONS
def test_slopes_that_are_asked_for_have_to_come(cls: type[Algorithm]) -> None:
    with pytest.raises(ValueError, match="gradients: expected a problem that gives dF and dG"):
        minimize(RosenSuzuki(gives=False), cls(gradients=True), ("n_evals", 100), seed=1)
    equal = Problem(n_var=2, n_obj=1, n_eq_constr=1, xl=0.0, xu=1.0)
    equal._evaluate = lambda X, out, *_, **__: out.update(F=X[:, :1], H=X[:, 1:])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="with vectors and without equality constraints"):
        minimize(equal, cls(gradients=True), ("n_evals", 100), seed=1)


@POPULATIONS
def test_populations_come_to_the_best_known_losses_in_a_hundred_evaluations(
    cls: type[Algorithm],
) -> None:
    problem = ReactivePowerDispatch("ieee118")
    result = minimize(problem, cls(), ("n_evals", 100), seed=1)
    assert result.F[0] <= problem.best_known.value * (1 + 1e-4)
    assert result.algorithm.n_gradients < result.algorithm.evaluator.n_eval == 100
    f, g = problem.evaluate(result.X)
    assert f[0] == pytest.approx(result.F[0], rel=1e-12)
    assert (g <= 0).all()


def test_without_slopes_of_the_engine_differences_stay() -> None:
    problem = ReactivePowerDispatch("ieee14", engine="reference")
    assert not problem.gives_slopes
    assert ReactivePowerDispatch("ieee14").gives_slopes
    own = [lambda settings, state: float(state.p_loss_mw[0])]  # whose slopes nobody knows
    assert not ReactivePowerDispatch("ieee14", own).gives_slopes


class WithHessian(RosenSuzuki):
    """With second derivatives, by hand: the functions are sums of squares and linear terms."""

    gives_hessian = True

    def __init__(self) -> None:
        super().__init__()
        self.n_hessians = 0

    def hessian(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self.n_hessians += 1
        squares = np.array([[1, 1, 2, 1], [1, 1, 1, 1], [1, 2, 1, 2], [2, 1, 1, 0]])
        return np.diag(2.0 * np.asarray(weights) @ squares)


def evaluations_to_the_best(problem: RosenSuzuki, algorithm: Algorithm) -> int:
    algorithm.setup(problem, termination=("n_eval", 200), seed=1)
    while algorithm.has_next():
        algorithm.next()
        best = algorithm.pop[0]
        if best.cv <= 0.0 and best.f < -44.0 + 1e-4:
            break
    np.testing.assert_allclose(best.X, RosenSuzuki.BEST, atol=1e-2)
    return int(algorithm.evaluator.n_eval)


def test_hessians_that_a_problem_offers_save_evaluations() -> None:
    problem = WithHessian()
    without = evaluations_to_the_best(problem, SQP(hessian=False))
    assert not problem.n_hessians
    assert evaluations_to_the_best(problem, SQP()) < without
    assert problem.n_hessians
    with pytest.raises(ValueError, match="hessian: expected a problem"):
        SQP(hessian=True).setup(RosenSuzuki(), seed=1)


def test_hessians_save_most_evaluations_on_a_grid() -> None:
    problem = ReactivePowerDispatch("ieee118")
    assert problem.best_known is not None
    spent = []
    for name in ("sqp", "sqp?hessian=false"):
        recorder = Recorder(1, 100)
        algorithm = algorithm_of(name, problem, 100)
        algorithm.setup(problem, termination=("n_eval", 100), seed=1, evaluator=recorder.evaluator)
        while algorithm.has_next():
            algorithm.next()
            if recorder.feasible and recorder.F[0, 0] < 1.0001 * problem.best_known.value:
                break
        assert recorder.F[0, 0] < 1.0001 * problem.best_known.value
        spent.append(recorder.evaluations)
    assert spent[0] < 0.5 * spent[1]


def test_a_matrix_is_made_convex_by_the_magnitudes_of_its_eigenvalues() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    made = convex(turn @ np.diag([3.0, -2.0]) @ turn.T)
    np.testing.assert_allclose(made, turn @ np.diag([3.0, 2.0]) @ turn.T, atol=1e-12)
    flat = np.linalg.eigvalsh(convex(turn @ np.diag([5.0, 0.0]) @ turn.T))
    np.testing.assert_allclose(flat, [5e-8, 5.0], rtol=1e-6)


class Step(Problem):
    """Smallest k + y with 10 k >= 14 and y >= 0.2: best at (2, 0.2); the nearest to 1.4 is 1."""

    def __init__(self) -> None:
        names = {"k": Integer(bounds=(0, 9)), "y": Real(bounds=(0, 1))}
        xl, xu = np.zeros(2), np.array([9.0, 1.0])
        super().__init__(vars=names, n_obj=1, n_ieq_constr=2, xl=xl, xu=xu)

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = X.sum(axis=1)
        out["G"] = np.column_stack([1.4 - X[:, 0], 0.2 - X[:, 1]])
        out["dF"] = np.ones((len(X), 1, 2))
        out["dG"] = np.tile(-np.eye(2), (len(X), 1, 1))


def test_a_rounding_that_leaves_nothing_within_the_constraints_is_taken_back() -> None:
    result = minimize(Step(), SQP(n_starts=1), ("n_eval", 60), seed=1)
    np.testing.assert_allclose(result.X, [2.0, 0.2], atol=1e-5)


class Narrow(Step):
    """Smallest k + 2 y with k + y >= 1.4 and y <= 0.399: best at (2, 0).

    The nearest to 1.4 is 1, where y can mend all but 0.001; k = 1 comes again until the limit is
    tightened by 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.xu = np.array([9.0, 0.399])

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = X @ [1.0, 2.0]
        out["G"] = np.column_stack([1.4 - X.sum(axis=1), np.full(len(X), -1.0)])
        out["dF"] = np.tile([[1.0, 2.0]], (len(X), 1, 1))
        out["dG"] = np.tile([[-1.0, -1.0], [0.0, 0.0]], (len(X), 1, 1))


def test_limits_are_tightened_further_while_the_same_rounding_comes_again() -> None:
    result = minimize(Narrow(), SQP(n_starts=1), ("n_eval", 200), seed=1)
    np.testing.assert_allclose(result.X, [2.0, 0.0], atol=1e-5)


class Valley(Problem):
    """(a - 0.4)^2 + 2.4 (a - 0.4) (b - 1.42) + 2 (b - 1.42)^2 + y^2, a and b whole.

    0.108 at (1, 1) is best. The nearest first is a = 0, then b is best at 1.42 + 0.6 x 0.4 = 1.66,
    which is 2: 0.276. With b = 1 first, a is best at 0.4 + 1.2 x 0.42 = 0.904, which is 1.
    """

    CENTRE, CURVED = np.array([0.4, 1.42, 0.0]), np.array([[1, 1.2, 0], [1.2, 2, 0], [0, 0, 1]])

    def __init__(self) -> None:
        whole = Integer(bounds=(0, 3))
        names = {"a": whole, "b": whole, "y": Real(bounds=(-1, 1))}
        super().__init__(vars=names, n_obj=1, xl=[0, 0, -1], xu=[3, 3, 1])

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        away = X - self.CENTRE
        out["F"] = np.einsum("ni,ij,nj->n", away, self.CURVED, away)
        out["dF"] = (2.0 * away @ self.CURVED)[:, None]
        out["dG"] = np.zeros((len(X), 0, 3))


def test_later_searches_round_in_another_order() -> None:
    first = minimize(Valley(), SQP(n_starts=1), ("n_eval", 60), seed=1)
    assert first.F[0] == pytest.approx(0.276, abs=1e-6)
    for seed in range(1, 6):
        later = minimize(Valley(), SQP(), ("n_eval", 200), seed=seed)
        np.testing.assert_allclose(later.X, [1.0, 1.0, 0.0], atol=1e-4)
        assert later.F[0] == pytest.approx(0.108, abs=1e-6)


@pytest.mark.parametrize("name", ["sqp", "hs", "mvmo"])
def test_hessians_of_grids_need_no_power_flow_of_their_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = ReactivePowerDispatch("ieee14")
    assert problem.gives_hessian
    n_found: list[int] = []
    hessian = ReactivePowerDispatch.hessian

    def counted(self: ReactivePowerDispatch, x: Any, weights: Any) -> Any:
        n_found.append(self.counts.power_flows)
        found = hessian(self, x, weights)
        assert self.counts.power_flows == n_found[-1]
        return found

    monkeypatch.setattr(ReactivePowerDispatch, "hessian", counted)
    minimize(problem, ALGORITHMS[name](problem), ("n_eval", 150), seed=2)
    assert len(n_found) > 5
