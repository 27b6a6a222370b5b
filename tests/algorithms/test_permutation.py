"""Permutation operators by value, and the genetic algorithms built of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymoo.core.callback import Callback
from pymoo.core.population import Population
from pymoo.core.problem import ElementwiseProblem, Problem
from pymoo.operators.crossover.ox import OrderCrossover, ox
from pymoo.optimize import minimize
from pymoo.problems.single import Sphere

from algorithms.permutation import (
    BlockCrossover,
    CycleCrossover,
    FitnessProportionalSelection,
    InsertionMutation,
    OneOf,
    PermutationGA,
    PermutationSampling,
    RandomSwaps,
    SwapMutation,
    blocks_of,
    cycles,
    order_ga,
    permutation_ga,
)

RANDOM = np.random.default_rng(1)


class Sorting(Problem):
    """Distance of two permutations, of 6 and of 4, from given ones, plus 1."""

    permutation_blocks = (6, 4)
    target = np.array([3, 1, 5, 0, 4, 2, 2, 0, 3, 1], dtype=float)

    def __init__(self) -> None:
        super().__init__(n_var=10, n_obj=1, xl=0.0, xu=np.repeat([5.0, 3.0], [6, 4]))

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        assert_permutations(X, self)
        out["F"] = 1.0 + np.abs(X - self.target).sum(axis=1)


class SortingWithNeighbours(Sorting):
    """As `Sorting`; offers the swap of the two worst places first, then all others."""

    def neighbours(self, x: np.ndarray, n_wanted: int | None = None) -> np.ndarray:
        pairs = [
            pair
            for block in blocks_of(self)
            for pair in itertools.combinations(range(block.start, block.stop), 2)
        ]
        X = np.tile(x, (len(pairs), 1))
        for row, (i, j) in zip(X, pairs, strict=True):
            row[[i, j]] = row[[j, i]]
        return X[np.abs(X - self.target).sum(axis=1).argsort(kind="stable")[:n_wanted]]


class RoundTrip(ElementwiseProblem):
    """Length of the round trip of eight cities on a circle; no permutation_blocks."""

    def __init__(self) -> None:
        super().__init__(n_var=8, n_obj=1, xl=0.0, xu=7.0)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        at = np.exp(2j * np.pi * x * 3 / 8)  # neighbours on the circle are three numbers apart
        out["F"] = np.abs(at - np.roll(at, 1)).sum()


def assert_permutations(X: np.ndarray, problem: Problem) -> None:
    for block in blocks_of(problem):
        n = block.stop - block.start
        np.testing.assert_array_equal(
            np.sort(X[:, block], axis=1), np.tile(np.arange(n), (len(X), 1))
        )


def sample(n: int) -> np.ndarray:
    return PermutationSampling()._do(Sorting(), n, random_state=RANDOM)


def test_sampling_draws_every_permutation_alike() -> None:
    X = sample(6000)
    assert_permutations(X, Sorting())
    _, counts = np.unique(X[:, 6:], axis=0, return_counts=True)
    assert len(counts) == 24
    assert (np.abs(counts - 250) < 6 * np.sqrt(250)).all()


def test_cycles_and_crossover_as_published() -> None:
    a = np.array([1, 2, 3, 4, 5, 6, 7, 8]) - 1
    b = np.array([2, 4, 6, 8, 7, 5, 3, 1]) - 1
    np.testing.assert_array_equal(cycles(a, b), [0, 0, 1, 0, 1, 1, 1, 0])
    crossover = CycleCrossover(alternate=True)
    X = np.array([a, b], dtype=float)[:, np.newaxis]
    first, second = crossover._do(None, X, random_state=RANDOM)[:, 0] + 1
    np.testing.assert_array_equal(first, [1, 2, 6, 4, 7, 5, 3, 8])
    np.testing.assert_array_equal(second, [2, 4, 3, 8, 5, 6, 7, 1])


def test_crossovers_keep_permutations_and_positions() -> None:
    X = np.stack([sample(200), sample(200)])
    Y = BlockCrossover(CycleCrossover())._do(Sorting(), X, random_state=RANDOM)
    for child in Y:
        assert_permutations(child, Sorting())
        assert ((child == X[0]) | (child == X[1])).all()
    from_first = (Y[0] == X[0])[X[0] != X[1]].mean()
    assert from_first == pytest.approx(0.5, abs=0.06)
    Y = BlockCrossover(OrderCrossover())._do(Sorting(), X, random_state=RANDOM)
    for child in Y:
        assert_permutations(child, Sorting())
    assert (Y != X).any()


def test_order_crossover_is_pymoos() -> None:
    """Positions 2 to 4 of the donor, the rest in the order of the receiver."""
    child = ox(np.array([0, 1, 2, 3, 4, 5]), np.array([5, 3, 1, 0, 2, 4]), seq=(2, 4))
    np.testing.assert_array_equal(child, [3, 4, 1, 0, 2, 5])


def test_swap_and_insertion() -> None:
    X = sample(500)
    swapped = SwapMutation()._do(Sorting(), X, random_state=RANDOM)
    inserted = InsertionMutation()._do(Sorting(), X, random_state=RANDOM)
    for Y in (swapped, inserted):
        assert_permutations(Y, Sorting())
        assert (Y != X).any(axis=1).all()
        in_first = (Y != X)[:, :6].any(axis=1)
        assert in_first.mean() == pytest.approx(0.6, abs=0.08)  # by length
        assert not (in_first & (Y != X)[:, 6:].any(axis=1)).any()
    assert ((swapped != X).sum(axis=1) == 2).all()
    moved = inserted[0]
    found = [
        (i, j)
        for i, j in itertools.permutations(range(10), 2)
        if np.array_equal(np.insert(np.delete(X[0], i), j, X[0, i]), moved)
    ]
    assert found


def test_one_of_uses_all_and_mutation_has_a_chance() -> None:
    X = np.tile(np.arange(10.0), (1000, 1))
    X[:, 6:] -= 6
    Y = OneOf((SwapMutation(), InsertionMutation()))._do(Sorting(), X, random_state=RANDOM)
    n_changed = (Y != X).sum(axis=1)
    assert (n_changed >= 2).all()
    # half are insertions, of which three fifths move by more than one place
    assert (n_changed > 2).mean() == pytest.approx(0.3, abs=0.05)
    pop = Population.new(X=X)
    pop = SwapMutation(prob=0.1)(Sorting(), pop, random_state=RANDOM)
    assert (pop.get("X") != X).any(axis=1).mean() == pytest.approx(0.1, abs=0.03)


def selected(f: list[float], cv: list[float]) -> np.ndarray:
    pop = Population.new(F=np.array(f)[:, None], G=np.array(cv)[:, None])
    pop.apply(lambda individual: individual.set("evaluated", {"F", "G"}))
    parents = FitnessProportionalSelection()._do(
        Sorting(), pop, 4000, 2, random_state=np.random.default_rng(3)
    )
    assert parents.shape == (4000, 2)
    return np.bincount(parents.ravel(), minlength=len(f)) / parents.size


def test_roulette_wheel() -> None:
    np.testing.assert_allclose(selected([1.0, 3.0, 4.0], [0, 0, 0]), [0.75, 0.25, 0], atol=0.03)
    np.testing.assert_allclose(selected([2.0, 2.0], [0, 0]), [0.5, 0.5], atol=0.03)
    np.testing.assert_allclose(selected([5.0, 4.0, 0.0], [0, 0, 1]), [0, 1, 0], atol=0.03)
    np.testing.assert_allclose(selected([0.0, 0.0, 0.0], [3, 2, 1]), [0, 1 / 3, 2 / 3], atol=0.03)


def test_study_ga_has_the_parameters_of_the_study() -> None:
    algorithm = order_ga(Sorting())
    assert algorithm.pop_size == 10
    assert isinstance(algorithm.mating.selection, FitnessProportionalSelection)
    assert isinstance(algorithm.mating.crossover.crossover, OrderCrossover)
    assert algorithm.mating.mutation.prob.value == 0.1
    result = minimize(Sorting(), algorithm, ("n_gen", 10), seed=1)
    assert result.algorithm.evaluator.n_eval == 100


@pytest.mark.parametrize("problem", [Sorting(), SortingWithNeighbours()])
@pytest.mark.parametrize("search", [None, False, True])
def test_permutation_ga_finds_the_optimum(problem: Sorting, search: bool | None) -> None:
    algorithm = permutation_ga(problem, pop_size=20, neighbour_search=search)
    result = minimize(problem, algorithm, ("n_evals", 1500), seed=2)
    assert result.F[0] == 1
    np.testing.assert_array_equal(result.X, problem.target)
    X = result.pop.get("X")
    assert len(np.unique(X, axis=0)) == len(X) <= 20


def test_search_over_offered_neighbours_needs_fewer_evaluations() -> None:
    def n_evals(search: bool) -> float:
        runs = []
        for seed in range(5):
            algorithm = PermutationGA(pop_size=20, neighbour_search=search)
            found = minimize(SortingWithNeighbours(), algorithm, ("fmin", 1.5), seed=seed).algorithm
            runs.append(found.evaluator.n_eval)
        return float(np.median(runs))

    assert n_evals(True) < 0.5 * n_evals(False)


def test_searches_count_as_the_generations_they_are_worth() -> None:
    class Recorded(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, int]] = []

        def notify(self, algorithm: PermutationGA) -> None:
            self.seen.append((algorithm.n_gen, algorithm.evaluator.n_eval))

    recorded = Recorded()
    algorithm = PermutationGA(pop_size=20, neighbour_search=True)
    minimize(Sorting(), algorithm, ("n_gen", 10), seed=1, callback=recorded)
    n_gens, n_evals = zip(*recorded.seen, strict=True)
    assert n_gens == tuple(range(1, 11))
    # Batches of a search are four; generations alone would be 200 evaluations.
    assert 200 <= n_evals[-1] < 220
    assert all(a < b for a, b in itertools.pairwise(n_evals))


def test_permutations_asked_and_told_are_counted() -> None:
    problem, algorithm = Sorting(), PermutationGA(pop_size=20, neighbour_search=True)
    algorithm.setup(problem, termination=("n_eval", 300), seed=3)
    while algorithm.has_next():
        asked = algorithm.ask()
        asked.set("F", problem.evaluate(asked.get("X")))
        algorithm.tell(infills=asked)
    expected = minimize(problem, PermutationGA(20, neighbour_search=True), ("n_eval", 300), seed=3)
    assert algorithm.evaluator.n_eval == expected.algorithm.evaluator.n_eval >= 300
    np.testing.assert_array_equal(algorithm.pop.get("X"), expected.pop.get("X"))


def test_same_seed_same_result() -> None:
    def run() -> tuple[np.ndarray, np.ndarray]:
        np.random.seed()  # noqa: NPY002
        algorithm = PermutationGA(pop_size=10, neighbour_search=True)
        result = minimize(Sorting(), algorithm, ("n_evals", 300), seed=7)
        return result.pop.get("X"), result.pop.get("F")

    for one, other in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_problem_without_blocks_is_one_permutation() -> None:
    result = minimize(RoundTrip(), PermutationGA(pop_size=40), ("n_evals", 3000), seed=1)
    assert result.F[0] == pytest.approx(16 * np.sin(np.pi / 8))


def test_random_swaps_are_swaps() -> None:
    x = sample(1)[0]
    Y = RandomSwaps(Sorting(), RANDOM).neighbours(x, 12)
    assert Y.shape == (12, 10)
    assert ((x != Y).sum(axis=1) == 2).all()


@pytest.mark.parametrize("make", [permutation_ga, order_ga])
def test_problems_without_permutations_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"vectors are permutations.*got Sphere"):
        make(Sphere())  # type: ignore[operator]
    two = Sorting()
    two.n_obj = 2
    with pytest.raises(ValueError, match="one objective, got 2"):
        make(two)  # type: ignore[operator]
    with pytest.raises(TypeError, match="unknown option"):
        make(Sorting(), popsize=3)  # type: ignore[operator]
