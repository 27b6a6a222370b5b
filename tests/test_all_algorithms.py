"""What every algorithm of the registry must do, on problems small enough to know the answer."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import ElementwiseProblem, Problem
from pymoo.core.result import Result
from pymoo.core.variable import Binary, Choice, Integer, Real
from pymoo.indicators.hv import HV
from pymoo.operators.sampling.rnd import FloatRandomSampling
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from pymoo.termination.collection import TerminationCollection
from pymoo.termination.max_eval import MaximumFunctionCallTermination
from pymoo.termination.max_gen import MaximumGenerationTermination

from algorithms import ALGORITHMS, MVMO, HarmonySearch

ON_PERMUTATIONS = ("permutation-ga", "order-ga")  # tested in test_permutation.py
WITH_GRADIENTS = ("sqp",)  # tested in test_sqp.py
NAMES = [n for n in ALGORITHMS if n not in (*ON_PERMUTATIONS, *WITH_GRADIENTS, "nsga3")]
ON_VECTORS = [name for name in NAMES if name != "mixed-ga"]
ON_DICTS = ["hs", "mvmo", "mvmo-s", "mvmo-sh", "mixed-ga"]
OWN = ["hs", "mvmo", "mvmo-s", "mvmo-sh"]
MULTI = ["hs", "mvmo", "mvmo-s", "nsga2", "nsga3", "mixed-ga"]

VARIABLES = {
    "x": Real(bounds=(-2.0, 2.0)),
    "y": Real(bounds=(0.0, 10.0)),
    "k": Integer(bounds=(-5, 20)),
    "on": Binary(),
    "size": Choice(options=[0.5, 1.0, 2.0, 8.0]),
    "type": Choice(options=["a", "b", "c"]),
}
VECTOR_BOUNDS = np.array([-2.0, 0, -5, 0, 0, 0]), np.array([2.0, 10, 20, 1, 3, 2])


class Mixed(ElementwiseProblem):
    """Best at x 1, y 4, k 7, on, size 2.0, type "b" with F = 1; there x + y >= 5 is active."""

    def __init__(self, vectors: bool, n_obj: int = 1) -> None:
        xl, xu = VECTOR_BOUNDS if vectors else (None, None)
        super().__init__(vars=VARIABLES, n_obj=n_obj, n_ieq_constr=1, xl=xl, xu=xu)
        self.vectors = vectors
        self.seen: list[Any] = []

    def _evaluate(self, x: Any, out: dict, *args: object, **kwargs: object) -> None:
        self.seen.append(copy.deepcopy(x))
        if isinstance(x, dict):
            x, y, k, on, size, kind = x.values()
        else:
            x, y, k, on, size, kind = x
            size, kind = VARIABLES["size"].options[int(size)], "abc"[int(kind)]
        misses = (k - 7) ** 2 / 50 + 0.5 * (not on) + abs(size - 2.0) + 0.7 * (kind != "b")
        distance = (x - 0.5) ** 2 + (y - 3.5) ** 2
        out["F"] = [2 * distance + misses, (x + 1) ** 2 + (y - 6) ** 2 + misses][: self.n_obj]
        out["G"] = [5.0 - x - y]


def run(name: str, problem: Problem, n_evals: int, seed: int = 1, **parameters: Any) -> Result:
    algorithm = ALGORITHMS[name](problem, **parameters)
    return minimize(problem, algorithm, ("n_evals", n_evals), seed=seed)


def problem_for(name: str) -> Mixed:
    return Mixed(vectors=name in ON_VECTORS)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result_whatever_the_global_generator_does(name: str) -> None:
    first = run(name, problem_for(name), 400, seed=3)
    np.random.seed(99)  # noqa: NPY002
    np.random.random(7)  # noqa: NPY002
    second, other = (
        run(name, problem_for(name), 400, seed=3),
        run(name, problem_for(name), 400, seed=4),
    )
    assert np.array_equal(first.X, second.X)
    assert np.array_equal(first.F, second.F)
    assert not np.array_equal(first.pop.get("X"), other.pop.get("X"))


@pytest.mark.parametrize("name", OWN)
def test_the_global_generator_is_not_touched(name: str) -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    run(name, problem_for(name), 300)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", ON_VECTORS)
def test_every_evaluated_vector_is_allowed(name: str) -> None:
    problem = Mixed(vectors=True)
    run(name, problem, 600)
    X = np.array(problem.seen)
    xl, xu = VECTOR_BOUNDS
    assert X.dtype == float
    np.testing.assert_array_equal(np.clip(X, xl, xu), X)
    np.testing.assert_array_equal(X[:, 2:], np.round(X[:, 2:]))


@pytest.mark.parametrize("name", ON_DICTS)
def test_every_evaluated_dict_holds_allowed_values(name: str) -> None:
    problem = Mixed(vectors=False)
    run(name, problem, 600)
    for point in problem.seen:
        assert list(point) == list(VARIABLES)
        assert -2.0 <= point["x"] <= 2.0
        assert 0.0 <= point["y"] <= 10.0
        assert isinstance(point["k"], int | np.integer)
        assert -5 <= point["k"] <= 20
        assert isinstance(point["on"], bool | np.bool_)
        assert point["size"] in (0.5, 1.0, 2.0, 8.0)
        assert point["type"] in ("a", "b", "c")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("n_evals", [3, 57, 500])
def test_the_budget_is_kept_exactly(name: str, n_evals: int) -> None:
    problem = Mixed(vectors=True)
    res = run(name, problem, n_evals)
    assert len(problem.seen) == res.algorithm.evaluator.n_eval == n_evals


@pytest.mark.parametrize("name", OWN)
def test_the_budget_is_found_inside_other_terminations(name: str) -> None:
    problem = Mixed(vectors=True)
    termination = TerminationCollection(
        MaximumGenerationTermination(10_000), MaximumFunctionCallTermination(203)
    )
    minimize(problem, ALGORITHMS[name](problem), termination, seed=1)
    assert len(problem.seen) == 203


@pytest.mark.parametrize("name", OWN)
def test_schedules_follow_generations_too(name: str) -> None:
    res = minimize(problem_for(name), ALGORITHMS[name](problem_for(name)), ("n_gen", 20), seed=1)
    assert res.algorithm.n_gen == 21
    assert res.algorithm.progress() == 1.0


@pytest.mark.parametrize("name", OWN)
def test_without_a_termination_a_run_has_the_documented_length(name: str) -> None:
    problem = get_problem("sphere", n_var=2)
    res = minimize(problem, ALGORITHMS[name](problem), seed=1)
    assert res.algorithm.evaluator.n_eval == 10_000


@pytest.mark.parametrize("name", NAMES)
def test_a_constrained_mixed_problem_is_solved(name: str) -> None:
    problem = problem_for(name)
    res = run(name, problem, 3000)
    assert res.CV[0] <= 0.0
    best = list(res.X.values()) if isinstance(res.X, dict) else list(res.X)
    if name in OWN:
        best = list(res.X.values()) if isinstance(res.X, dict) else list(res.X)
        assert res.F[0] == pytest.approx(1.0, abs=0.02)
        assert best[2:] == [7, 1, 2, 1]
    else:
        # One wrong option, or two, still cost less than this.
        assert 1.0 <= res.F[0] < 2.5


@pytest.mark.parametrize("name", OWN)
def test_both_forms_of_a_problem_give_the_same_run(name: str) -> None:
    vector, mapping = run(name, Mixed(True), 500), run(name, Mixed(False), 500)
    np.testing.assert_array_equal(vector.F, mapping.F)


@pytest.mark.parametrize(
    ("problem_name", "best", "within"),
    [("g1", -15.0, 3.0), ("g4", -30665.539, 250.0), ("g9", 680.63, 3.0), ("g11", 0.7499, 0.05)],
)
@pytest.mark.parametrize("name", OWN)
def test_published_constrained_problems(
    name: str, problem_name: str, best: float, within: float
) -> None:
    # g11 has an equality constraint.
    res = run(name, get_problem(problem_name), 4000)
    assert res.CV[0] <= 0.0
    assert best - 1e-2 <= res.F[0] <= best + within


@pytest.mark.parametrize(
    ("name", "sphere", "rosenbrock"),
    [("hs", 1e-4, 3.0), ("mvmo-s", 1e-4, 3.0), ("mvmo", 1e-9, 1e-2), ("mvmo-sh", 1e-9, 1e-2)],
)
def test_published_unconstrained_problems(name: str, sphere: float, rosenbrock: float) -> None:
    assert run(name, get_problem("sphere", n_var=10), 2000).F[0] < sphere
    assert run(name, get_problem("rosenbrock", n_var=5), 3000).F[0] < rosenbrock


@pytest.mark.parametrize("name", MULTI)
def test_several_objectives_give_a_front(name: str) -> None:
    problem = Mixed(vectors=name != "mixed-ga", n_obj=2)
    size = {"mvmo": "n_particles", "mvmo-s": "n_particles", "nsga3": "ref_dirs"}.get(
        name, "pop_size"
    )
    parameters = {size: 40}
    res = run(name, problem, 3000, **parameters)
    F = res.opt.get("F")
    assert len(F) > 20
    assert (res.opt.get("CV") <= 0).all()
    assert HV(ref_point=np.array([10.0, 10.0]))(F) > 50.0


@pytest.mark.parametrize("name", ["hs", "mvmo", "nsga2", "nsga3"])
def test_the_front_of_zdt1_is_found(name: str) -> None:
    problem = get_problem("zdt1", n_var=10)
    res = run(name, problem, 8000)
    # The whole front dominates 1.1^2 - 1/3 = 0.8767 of the reference box.
    assert HV(ref_point=np.array([1.1, 1.1]))(res.F) > 0.80


@pytest.mark.parametrize("name", ["ga", "de", "pso", "cmaes", "mvmo-sh"])
def test_several_objectives_are_refused_by_algorithms_for_one(name: str) -> None:
    problem = get_problem("zdt1")
    with pytest.raises(ValueError, match=f"{name}: expected a problem with one objective, got 2"):
        ALGORITHMS[name](problem)


@pytest.mark.parametrize("name", ["ga", "de", "pso", "cmaes", "nsga2"])
def test_dicts_are_refused_by_vector_algorithms(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a problem with numeric xl and xu"):
        ALGORITHMS[name](Mixed(vectors=False))


def test_vectors_without_vars_are_refused_by_the_mixed_ga() -> None:
    with pytest.raises(ValueError, match="mixed-ga: expected a problem with vars"):
        ALGORITHMS["mixed-ga"](get_problem("sphere"))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_parameters_are_named(name: str) -> None:
    with pytest.raises(TypeError, match=r"unknown option \['pop_sise'\], known are .*'seed'"):
        ALGORITHMS[name](problem_for(name), pop_sise=10)


@pytest.mark.parametrize(("name", "cls"), [("hs", HarmonySearch), ("mvmo", MVMO)])
def test_a_name_is_the_class_with_its_defaults(name: str, cls: type[Algorithm]) -> None:
    problem = get_problem("rosenbrock", n_var=5)
    named, made = ALGORITHMS[name](problem), cls()
    assert type(named) is cls
    assert parameters_of(named) == parameters_of(made)
    of_name, of_class = (minimize(problem, a, ("n_evals", 600), seed=4) for a in (named, made))
    np.testing.assert_array_equal(of_name.pop.get("X"), of_class.pop.get("X"))


def parameters_of(algorithm: Algorithm) -> dict[str, object]:
    """Arguments of the constructors, as the algorithm keeps them."""
    names = [
        name
        for cls in type(algorithm).__mro__
        if cls is not Algorithm and "__init__" in vars(cls)
        for name in inspect.signature(cls).parameters
    ]
    return {name: getattr(algorithm, name, None) for name in names}


def test_forms_of_mvmo_differ_in_their_local_search() -> None:
    problem = get_problem("rosenbrock", n_var=5)
    found = {name: ALGORITHMS[name](problem).local_search for name in ("mvmo", "mvmo-s", "mvmo-sh")}
    assert found == {"mvmo": None, "mvmo-s": False, "mvmo-sh": True}
    F = {
        name: minimize(problem, ALGORITHMS[name](problem), ("n_evals", 600), seed=4).F[0]
        for name in found
    }
    assert F["mvmo"] == F["mvmo-sh"] < F["mvmo-s"]


@pytest.mark.parametrize("cls", [HarmonySearch, MVMO])
def test_unknown_setup_options_are_named(cls: type[Algorithm]) -> None:
    with pytest.raises(TypeError, match=r"unknown option \['sead'\]"):
        minimize(get_problem("sphere"), cls(), ("n_evals", 50), sead=1)


def advanced(name: str, problem: Problem, n_evals: int) -> Algorithm:
    parameters = {"local_search_rate": 100.0} if name == "mvmo-sh" else {}
    algorithm = ALGORITHMS[name](problem, **parameters)
    algorithm.setup(problem, termination=("n_evals", 900), seed=7)
    while algorithm.evaluator.n_eval < n_evals:
        algorithm.next()
    return algorithm


@pytest.mark.parametrize("form", [pickle, cloudpickle, copy])
@pytest.mark.parametrize("name", OWN)
def test_a_copy_made_half_way_continues_like_the_original(name: str, form: Any) -> None:
    problem = get_problem("g1")
    original = advanced(name, problem, 450)
    if name == "mvmo-sh":
        # The copy is made in the middle of a local search.
        while original._search is None and original.has_next():
            original.next()
        assert original.has_next()
    copied = copy.deepcopy(original) if form is copy else form.loads(form.dumps(original))
    for algorithm in (original, copied):
        algorithm.run()
        assert algorithm.evaluator.n_eval == 900
    np.testing.assert_array_equal(copied.pop.get("X"), original.pop.get("X"))
    np.testing.assert_array_equal(copied.opt.get("F"), original.opt.get("F"))
    assert copied.random_state.random() == original.random_state.random()


@pytest.mark.parametrize("name", OWN)
def test_ask_and_tell_is_the_same_run(name: str) -> None:
    problem = get_problem("g1")
    algorithm = ALGORITHMS[name](problem)
    algorithm.setup(problem, termination=("n_evals", 600), seed=2)
    while algorithm.has_next():
        infills = algorithm.ask()
        algorithm.evaluator.eval(problem, infills)
        algorithm.tell(infills=infills)
    np.testing.assert_array_equal(algorithm.result().F, run(name, problem, 600, seed=2).F)


@pytest.mark.parametrize("name", OWN)
def test_ask_and_tell_with_an_evaluation_of_its_own_is_the_same_run(name: str) -> None:
    problem = get_problem("g1")
    algorithm = ALGORITHMS[name](problem)
    algorithm.setup(problem, termination=("n_evals", 600), seed=2)
    n_told = 0
    while algorithm.has_next():
        infills = algorithm.ask()
        f, g = problem.evaluate(infills.get("X"), return_values_of=["F", "G"])
        infills.set("F", f, "G", g)
        algorithm.tell(infills=infills)
        n_told += len(infills)
    assert n_told == algorithm.evaluator.n_eval == 600
    assert algorithm.progress() == 1.0
    np.testing.assert_array_equal(algorithm.result().F, run(name, problem, 600, seed=2).F)


@pytest.mark.parametrize("name", OWN)
def test_given_solutions_come_first_and_are_left_alone(name: str) -> None:
    problem = get_problem("sphere", n_var=3)
    X = np.array([[0.5, 0.5, 0.51], [0.1, 0.2, 0.3]])
    untouched = X.copy()
    algorithm = ALGORITHMS[name](problem, sampling=X)
    algorithm.setup(problem, seed=1)
    first = algorithm.ask().get("X")
    np.testing.assert_array_equal(first[:2], X)
    assert len(first) in (10, 20)
    assert run(name, problem, 100, sampling=X).F[0] <= 1.0001e-4
    np.testing.assert_array_equal(X, untouched)


@pytest.mark.parametrize("name", OWN)
def test_given_populations_dicts_and_samplings(name: str) -> None:
    problem = get_problem("sphere", n_var=3)
    known = Population.new(X=np.array([[0.5, 0.5, 0.5], [2.0, 0.3, 0.3]]))
    known[:1].set("F", [np.array([-1.0])])
    known[0].evaluated.update("FGH")
    res = run(name, problem, 60, sampling=known)
    # The evaluated one is believed and costs nothing; the other is moved into the bounds.
    assert res.F[0] == -1.0
    assert res.algorithm.evaluator.n_eval == 60
    np.testing.assert_array_equal(known[1].X, [2.0, 0.3, 0.3])
    assert set(known[0].data) == set()
    assert len(run(name, problem, 60, sampling=FloatRandomSampling()).pop) in (10, 20)
    points = [{"x": 1.0, "y": 4.0, "k": 7, "on": True, "size": 2.0, "type": "b"}]
    assert run(name, Mixed(vectors=False), 40, sampling=points).F[0] <= 1.0


@pytest.mark.parametrize("name", OWN)
def test_options_of_a_run_are_left_as_they_were(name: str) -> None:
    problem = get_problem("sphere", n_var=3)
    algorithm = ALGORITHMS[name](problem)
    before = {k: v for k, v in vars(algorithm).items() if isinstance(v, int | float | str | tuple)}
    minimize(problem, algorithm, ("n_evals", 100), seed=1, copy_algorithm=False)
    after = vars(algorithm)
    changed = {k for k, v in before.items() if after[k] != v}
    assert changed <= {"seed", "is_initialized", "n_iter", "verbose"}


@pytest.mark.parametrize("name", OWN)
def test_state_does_not_grow_with_the_run(name: str) -> None:
    problem = get_problem("sphere", n_var=5)
    sizes = []
    for n_evals in (1500, 6000):
        algorithm = ALGORITHMS[name](problem)
        algorithm.setup(problem, termination=("n_evals", n_evals), seed=1)
        algorithm.run()
        sizes.append(len(pickle.dumps(algorithm)))
    assert sizes[1] < 1.3 * sizes[0]
