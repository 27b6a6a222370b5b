"""Other packages' Harmony Search and MVMO, made to run in a `Study`; for comparison only.

They evaluate one solution at a time through a function; here that function asks the evaluator of
the run, which counts, keeps, and ends the run when the budget is spent. Settings are the packages'
defaults; where a package leaves one to its user, that of its examples.

``mealpy-hs``, ``mealpy-devhs``
    mealpy 3.0.3, ``HS.OriginalHS`` and ``HS.DevHS``: defaults; penalty; ``IntegerVar``.
``pyharmonysearch``
    pyHarmonySearch 1.4.4: hms 50, hmcr 0.99, par 0.5, mpap 0.25, mpai 2; penalty; whole variables
    by its own rules.
``pygmo-ihs``
    pygmo 2.20.0, ``ihs``: defaults, 20 individuals; constraints and whole variables by its own
    rules.
``PygmoACO``, ``MealpyOf``
    pygmo's ``gaco`` with 64 ants, constraints and whole variables by its own rules; any optimiser
    of mealpy by its name, penalty, ``IntegerVar``. Used by `benchmarks/compare/same_job.py` alone.
``pypi-mvmo``
    MVMO 1.1.0: a tenth of the variables mutated and ten times as many solutions, which is its tip;
    penalty; whole variables by its own rules. It rounds objectives to four decimals.
``bipop-cmaes``
    cma 4.5.0: ``fmin2`` with BIPOP restarts from random points, standard deviations of 0.3 of the
    ranges; penalty; ``integer_variables``.

Penalty: f where feasible, 1e9 (1 + violation) elsewhere, with which ranks are feasibility first.

    pip install --no-deps mealpy==3.0.3 opfunu MVMO==1.1.0 pyDOE==0.3.8
    pip install pyharmonysearch==1.4.4 pygmo==2.20.0 tqdm cma==4.5.0

mealpy asks for an older numpy than it needs, hence ``--no-deps``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.individual import Individual
from pymoo.core.problem import Problem
from pymoo.core.result import Result

from algorithms._variables import Variables

FloatArray = NDArray[np.float64]
PENALTY = 1e9


class Peer(Algorithm):
    """An optimiser of another package that ends when the evaluator of the study raises.

    Attributes:
        budget: Evaluations; an optimiser that is given a number of iterations gets enough of them.
    """

    def __init__(self, n_evals: int) -> None:
        """Keeps the budget."""
        super().__init__()
        self.budget = n_evals

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        self.variables = Variables(problem)

    def run(self) -> Result:
        """Runs the optimiser until the budget is spent.

        Raises:
            RuntimeError: It ended before that.
        """
        self.search(int(self.random_state.integers(2**31)))
        raise RuntimeError(f"{type(self).__name__} ended before {self.budget} evaluations")

    def search(self, seed: int) -> None:
        """Runs the optimiser with more iterations than the budget allows."""
        raise NotImplementedError

    def judged(self, x: Any) -> Individual:
        """The evaluated solution, clipped to the bounds and rounded where whole."""
        vector = self.variables.snap(np.nan_to_num(np.asarray(x, dtype=float)))
        individual: Individual = self.variables.population(vector[None, :])[0]
        self.evaluator.eval(self.problem, individual, algorithm=self)
        return individual

    def penalised(self, x: Any) -> float:
        """One value: the objective where feasible, else above all of these."""
        individual = self.judged(x)
        violation = float(individual.CV[0])
        return PENALTY * (1.0 + violation) if violation > 0.0 else float(individual.F[0])


class MealpyHS(Peer):
    """mealpy's Harmony Search, "original" or "developed"."""

    def __init__(self, n_evals: int, model: str) -> None:
        """Args: n_evals: the budget. model: "OriginalHS" or "DevHS"."""
        super().__init__(n_evals)
        self.model = model

    def search(self, seed: int) -> None:
        """See `Peer`."""
        from mealpy import HS, FloatVar, IntegerVar

        variables = self.variables
        bounds = [
            FloatVar(lb=low, ub=high) if is_real else IntegerVar(lb=int(low), ub=int(high))
            for low, high, is_real in zip(
                variables.lower, variables.upper, variables.real, strict=True
            )
        ]
        task = {"bounds": bounds, "minmax": "min", "obj_func": self.penalised, "log_to": None}
        optimiser = getattr(HS, self.model)()
        optimiser.set_parameters({"epoch": self.budget // optimiser.pop_size + 1})
        optimiser.solve(task, seed=seed)


class MealpyOf(Peer):
    """An optimiser of mealpy with its defaults, a penalty and whole variables."""

    def __init__(self, n_evals: int, model: str) -> None:
        """Args: n_evals: the budget. model: module and class, "SHADE.L_SHADE"."""
        super().__init__(n_evals)
        self.model = model

    def search(self, seed: int) -> None:
        """See `Peer`."""
        import mealpy

        module, name = self.model.split(".")
        v = self.variables
        bounds = [
            mealpy.FloatVar(lb=low, ub=high)
            if is_real
            else mealpy.IntegerVar(lb=int(low), ub=int(high))
            for low, high, is_real in zip(v.lower, v.upper, v.real, strict=True)
        ]
        task = {"bounds": bounds, "minmax": "min", "obj_func": self.penalised, "log_to": None}
        optimiser = getattr(getattr(mealpy, module), name)()
        optimiser.set_parameters({"epoch": self.budget})
        optimiser.solve(task, seed=seed)


class PyHarmonySearch(Peer):
    """pyHarmonySearch, whose examples give the settings."""

    def __init__(
        self,
        n_evals: int,
        hms: int = 50,
        hmcr: float = 0.99,
        par: float = 0.5,
        mpap: float = 0.25,
        mpai: int = 2,
    ) -> None:
        """Keeps the budget and the settings in the words of the package."""
        super().__init__(n_evals)
        self.hms, self.hmcr, self.par, self.mpap, self.mpai = hms, hmcr, par, mpap, mpai

    def search(self, seed: int) -> None:
        """See `Peer`."""
        from pyharmonysearch import HarmonySearch

        random.seed(seed)
        HarmonySearch(_Instrument(self)).run()


class _Instrument:
    """What pyHarmonySearch asks of its ``ObjectiveFunctionInterface``."""

    def __init__(self, peer: PyHarmonySearch) -> None:
        self.peer, self.variables = peer, peer.variables

    def get_fitness(self, vector: list[float]) -> float:
        return self.peer.penalised(vector)

    def get_value(self, i: int, j: int | None = None) -> float:
        low, high = self.variables.lower[i], self.variables.upper[i]
        if not self.is_discrete(i):
            return random.uniform(low, high)
        return low + (random.randint(0, int(high - low)) if j is None else j)

    def get_index(self, i: int, v: float) -> int:
        return int(v - self.variables.lower[i])

    def get_num_discrete_values(self, i: int) -> float:
        span = self.variables.upper[i] - self.variables.lower[i]
        return int(span) + 1 if self.is_discrete(i) else float("inf")

    def get_lower_bound(self, i: int) -> float:
        return float(self.variables.lower[i])

    def get_upper_bound(self, i: int) -> float:
        return float(self.variables.upper[i])

    def is_discrete(self, i: int) -> bool:
        return not self.variables.real[i]

    def is_variable(self, i: int) -> bool:
        return bool(self.variables.upper[i] > self.variables.lower[i])

    def get_num_parameters(self) -> int:
        return len(self.variables)

    def use_random_seed(self) -> bool:
        return False

    def get_max_imp(self) -> int:
        return self.peer.budget

    def get_hms(self) -> int:
        return self.peer.hms

    def get_hmcr(self) -> float:
        return self.peer.hmcr

    def get_par(self) -> float:
        return self.peer.par

    def get_mpap(self) -> float:
        return self.peer.mpap

    def get_mpai(self) -> int:
        return self.peer.mpai

    def maximize(self) -> bool:
        return False


class PygmoIHS(Peer):
    """pygmo's improved Harmony Search, which knows constraints and whole variables itself."""

    def __init__(self, n_evals: int, pop_size: int = 20) -> None:
        """Keeps the budget and the number of individuals."""
        super().__init__(n_evals)
        self.pop_size = pop_size

    def search(self, seed: int) -> None:
        """See `Peer`."""
        import pygmo

        population = pygmo.population(pygmo.problem(_Udp(self)), self.pop_size, seed=seed)
        pygmo.algorithm(pygmo.ihs(gen=self.budget, seed=seed)).evolve(population)


class PygmoACO(PygmoIHS):
    """pygmo's extended ant colony, which knows constraints and whole variables itself."""

    def __init__(self, n_evals: int, pop_size: int = 64) -> None:
        """Keeps the budget and the number of ants, at least its kernel of 63."""
        super().__init__(n_evals, pop_size)

    def search(self, seed: int) -> None:
        """See `Peer`."""
        import pygmo

        population = pygmo.population(pygmo.problem(_Udp(self)), self.pop_size, seed=seed)
        pygmo.algorithm(pygmo.gaco(gen=self.budget, seed=seed)).evolve(population)


class _Udp:
    """The problem as pygmo sees it: real variables first, equalities before inequalities."""

    def __init__(self, peer: PygmoIHS) -> None:
        self.peer = peer
        self.order = np.argsort(~peer.variables.real, kind="stable")

    def __deepcopy__(self, memo: dict[int, Any]) -> _Udp:
        return self  # pygmo copies problems; there must be one evaluator

    def fitness(self, x: FloatArray) -> FloatArray:
        vector = np.empty(len(x))
        vector[self.order] = x
        individual = self.peer.judged(vector)
        return np.concatenate([individual.F, individual.H, individual.G])

    def get_bounds(self) -> tuple[FloatArray, FloatArray]:
        variables = self.peer.variables
        return variables.lower[self.order], variables.upper[self.order]

    def get_nix(self) -> int:
        return int((~self.peer.variables.real).sum())

    def get_nec(self) -> int:
        return int(self.peer.problem.n_eq_constr)

    def get_nic(self) -> int:
        return int(self.peer.problem.n_ieq_constr)


class PypiMVMO(Peer):
    """The MVMO of the Python package index, by its own tip for the settings."""

    def search(self, seed: int) -> None:
        """See `Peer`."""
        from MVMO import MVMO

        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - it draws from the global generator
        variables = self.variables
        n_mutated = max(1, round(0.1 * len(variables)))
        optimiser = MVMO(
            iterations=self.budget,
            num_mutation=n_mutated,
            population_size=10 * n_mutated,
            logger=False,
        )
        with np.errstate(all="ignore"):
            optimiser.optimize(
                self.penalised,
                list(zip(variables.lower, variables.upper, strict=True)),
                integer=np.flatnonzero(~variables.real).tolist(),
            )


class BipopCMAES(Peer):
    """CMA-ES of its authors' package, restarted with small and large populations.

    Source: N. Hansen, Benchmarking a BI-population CMA-ES on the BBOB-2009 function testbed, GECCO
    2009, doi:10.1145/1570256.1570333.
    """

    def search(self, seed: int) -> None:
        """See `Peer`."""
        import cma

        variables, rng = self.variables, np.random.default_rng(seed)
        moving = np.flatnonzero(variables.span > 0)  # cma wants bounds that differ
        low, high = variables.lower[moving], variables.upper[moving]
        x = variables.lower.copy()

        def value(z: FloatArray) -> float:
            x[moving] = z
            return self.penalised(x)

        options = {
            "bounds": [low.tolist(), high.tolist()],
            "CMA_stds": (0.3 * (high - low)).tolist(),
            "integer_variables": np.flatnonzero(~variables.real[moving]).tolist(),
            "seed": seed % 2**31 + 1,
            "verbose": -9,
        }
        while True:
            cma.fmin2(value, lambda: rng.uniform(low, high), 1.0, options, restarts=9, bipop=True)


def mealpy_hs(problem: Problem, n_evals: int) -> Algorithm:
    """mealpy's ``OriginalHS``."""
    return MealpyHS(n_evals, "OriginalHS")


def mealpy_devhs(problem: Problem, n_evals: int) -> Algorithm:
    """mealpy's ``DevHS``."""
    return MealpyHS(n_evals, "DevHS")


def pyharmonysearch(problem: Problem, n_evals: int) -> Algorithm:
    """pyHarmonySearch."""
    return PyHarmonySearch(n_evals)


def pygmo_ihs(problem: Problem, n_evals: int) -> Algorithm:
    """pygmo's ``ihs``."""
    return PygmoIHS(n_evals)


def pypi_mvmo(problem: Problem, n_evals: int) -> Algorithm:
    """The package MVMO."""
    return PypiMVMO(n_evals)


def bipop_cmaes(problem: Problem, n_evals: int) -> Algorithm:
    """The package cma with BIPOP restarts."""
    return BipopCMAES(n_evals)


PEERS: dict[str, Callable[[Problem, int], Algorithm]] = {
    "mealpy-hs": mealpy_hs,
    "mealpy-devhs": mealpy_devhs,
    "pyharmonysearch": pyharmonysearch,
    "pygmo-ihs": pygmo_ihs,
    "pypi-mvmo": pypi_mvmo,
    "bipop-cmaes": bipop_cmaes,
}
