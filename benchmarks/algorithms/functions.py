"""Functions with known optima: shifted and rotated ones, and the same with partly whole variables.

Forms after the noiseless BBOB functions: N. Hansen, S. Finck, R. Ros, A. Auger, Real-parameter
black-box optimization benchmarking 2009: noiseless functions definitions, INRIA research report
RR-6829 (2009). The instances are of this file: where the optimum lies and how the axes are turned
is drawn from a seed, every function has one rotation, and BBOB's oscillation and asymmetry are left
out. The variables with few values are in the manner of bbob-mixint: T. Tušar, D. Brockhoff,
N. Hansen, Mixed-integer benchmark problems for single- and bi-objective optimization, GECCO 2019,
doi:10.1145/3321707.3321868.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem
from pymoo.core.variable import Integer, Real, Variable
from scipy.stats import ortho_group

FloatArray = NDArray[np.float64]
BOUND = 5.0
OPTIMUM_BOUND = 4.0
#: Numbers of values of whole variables; a fifth of the variables each, the last fifth stays real.
N_VALUES = (2, 4, 8, 16)


def sphere(Z: FloatArray) -> FloatArray:
    """Sum of squares."""
    return np.asarray((Z**2).sum(axis=1))


def ellipsoid(Z: FloatArray) -> FloatArray:
    """Squares with weights from 1 to 1e6."""
    return np.asarray((Z**2 * _weights(Z, 1e6)).sum(axis=1))


def bent_cigar(Z: FloatArray) -> FloatArray:
    """One easy direction, all others weigh 1e6."""
    return np.asarray(Z[:, 0] ** 2 + 1e6 * (Z[:, 1:] ** 2).sum(axis=1))


def step_ellipsoid(Z: FloatArray) -> FloatArray:
    """An ellipsoid of plateaus, with a gentle slope that points to the optimum."""
    Z = Z * np.sqrt(_weights(Z, 10.0))
    steps = np.where(np.abs(Z) > 0.5, np.floor(0.5 + Z), np.floor(0.5 + 10.0 * Z) / 10.0)
    return np.asarray(
        0.1 * np.maximum(np.abs(Z[:, 0]) / 1e4, (steps**2 * _weights(Z, 100.0)).sum(axis=1))
    )


def rosenbrock(Z: FloatArray) -> FloatArray:
    """A bent valley; with the optimum moved to the origin."""
    Z = max(1.0, np.sqrt(Z.shape[1]) / 8.0) * Z + 1.0
    left, right = Z[:, :-1], Z[:, 1:]
    return np.asarray((100.0 * (left**2 - right) ** 2 + (left - 1.0) ** 2).sum(axis=1))


def rastrigin(Z: FloatArray) -> FloatArray:
    """A regular grid of local optima in a bowl."""
    return np.asarray((10.0 * (1.0 - np.cos(2.0 * np.pi * Z)) + Z**2).sum(axis=1))


def levy(Z: FloatArray) -> FloatArray:
    """Waves along curved valleys; its usual box is twice as wide."""
    W = Z / 2.0
    inner = (W[:, :-1] ** 2 * (1.0 + 10.0 * np.sin(np.pi * W[:, :-1] - 1.0) ** 2)).sum(axis=1)
    last = W[:, -1] ** 2 * (1.0 + np.sin(2.0 * np.pi * W[:, -1]) ** 2)
    return np.asarray(np.sin(np.pi * W[:, 0]) ** 2 + inner + last)


def salomon(Z: FloatArray) -> FloatArray:
    """Rings of equal height on a cone; its usual box is 20 times as wide."""
    radius = 20.0 * np.sqrt((Z**2).sum(axis=1))
    return np.asarray(1.0 - np.cos(2.0 * np.pi * radius) + 0.1 * radius)


def griewank(Z: FloatArray) -> FloatArray:
    """Many small local optima on a wide bowl; its usual box is 100 times as wide."""
    Z = 100.0 * Z
    roots = np.sqrt(np.arange(1, Z.shape[1] + 1))
    return np.asarray(1.0 + (Z**2).sum(axis=1) / 4000.0 - np.cos(Z / roots).prod(axis=1))


def ackley(Z: FloatArray) -> FloatArray:
    """Local optima on a plain with one funnel; its usual box is 6 times as wide.

    Written with expm1, so that the optimum is exactly 0.
    """
    Z = 6.0 * Z
    radius = np.sqrt((Z**2).mean(axis=1))
    waves = (np.cos(2.0 * np.pi * Z) - 1.0).mean(axis=1)
    return np.asarray(-20.0 * np.expm1(-0.2 * radius) - np.e * np.expm1(waves))


def schaffers(Z: FloatArray) -> FloatArray:
    """Schaffer's F7: rings of ever finer local optima."""
    Z = Z * np.sqrt(_weights(Z, 10.0))
    s = np.hypot(Z[:, :-1], Z[:, 1:])
    return np.asarray((np.sqrt(s) * (1.0 + np.sin(50.0 * s**0.2) ** 2)).mean(axis=1) ** 2)


def weierstrass(Z: FloatArray) -> FloatArray:
    """Rugged at every scale, the optimum is one of many; sum of twelve waves."""
    k = np.arange(12)
    waves = np.cos(2.0 * np.pi * 3.0**k * (Z[:, :, None] + 0.5)) - np.cos(np.pi * 3.0**k)
    return np.asarray(10.0 * (waves * 0.5**k).sum(axis=2).mean(axis=1) ** 3)


def different_powers(Z: FloatArray) -> FloatArray:
    """Powers from 2 to 6: the nearer, the more the directions differ."""
    powers = np.linspace(2.0, 6.0, Z.shape[1])
    return np.asarray(np.sqrt((np.abs(Z) ** powers).sum(axis=1)))


def _weights(Z: FloatArray, condition: float) -> FloatArray:
    """From 1 to the condition number, evenly on a logarithmic scale, shape (n_var,)."""
    return np.geomspace(1.0, condition, Z.shape[1])


class ShiftedRotated(Problem):
    """A function around an optimum somewhere in the box, in axes that are turned.

    Attributes:
        x_opt: The optimum, in [-4, 4], shape (n_var,). The box is [-5, 5]; the value there is 0.
        rotation: Orthogonal matrix, shape (n_var, n_var).
    """

    def __init__(
        self, function: Callable[[FloatArray], FloatArray], n_var: int, instance: int = 1
    ) -> None:
        """Draws the instance.

        Args:
            function: Of rows of variables, with value 0 at the origin and more elsewhere.
            n_var: Number of variables, at least 2.
            instance: Which instance; name of the function, n_var and this are its seed.
        """
        super().__init__(n_var=n_var, n_obj=1, xl=-BOUND, xu=BOUND, vtype=float)
        self.function = function
        random_state = np.random.default_rng(_seed(function.__name__, n_var, instance))
        self.x_opt = random_state.uniform(-OPTIMUM_BOUND, OPTIMUM_BOUND, n_var)
        self.rotation = ortho_group(n_var, seed=random_state).rvs()

    def values(self, X: FloatArray) -> FloatArray:
        """Of points of shape (n, n_var)."""
        return self.function((X - self.x_opt) @ self.rotation.T)

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = self.values(np.asarray(X, dtype=float))

    def _calc_pareto_front(self) -> FloatArray:
        return np.zeros((1, 1))

    def _calc_pareto_set(self) -> FloatArray:
        return self.x_opt[None, :]


def lunacek(Z: FloatArray) -> FloatArray:
    """Only a name for the instances of `Lunacek`: the waves of Rastrigin."""
    return np.asarray(10.0 * (1.0 - np.cos(2.0 * np.pi * Z)).sum(axis=1))


class Lunacek(ShiftedRotated):
    """Lunacek's double Rastrigin: two funnels, the wider one leads away from the optimum.

    Centres of the funnels are mu0 = 2.5 and mu1 = -sqrt((mu0^2 - 1) / s) in coordinates that are
    twice as long, turned towards the middle of the box so that both lie inside.
    """

    MU0 = 2.5

    def __init__(self, n_var: int, instance: int = 1) -> None:
        """Draws the instance, see `ShiftedRotated`."""
        super().__init__(lunacek, n_var, instance)

    def values(self, X: FloatArray) -> FloatArray:
        """Of points of shape (n, n_var)."""
        n_var = X.shape[1]
        Y = 2.0 * np.where(self.x_opt < 0.0, -1.0, 1.0) * (X - self.x_opt)
        s = 1.0 - 1.0 / (2.0 * np.sqrt(n_var + 20.0) - 8.2)
        between = self.MU0 + np.sqrt((self.MU0**2 - 1.0) / s)
        funnels = np.minimum((Y**2).sum(axis=1), n_var + s * ((Y + between) ** 2).sum(axis=1))
        return np.asarray(funnels + self.function(Y @ self.rotation.T))


class PartlyWhole(Problem):
    """A shifted and rotated function most of whose variables have few values only.

    Fifths of the variables have 2, 4, 8 and 16 values, the last fifth is real. The values 0, 1, ...
    of a whole variable stand for coordinates evenly over [-4, 4], and the optimum is on them.

    Attributes:
        x_opt: The optimum, shape (n_var,).
    """

    def __init__(
        self, function: Callable[[FloatArray], FloatArray], n_var: int, instance: int = 1
    ) -> None:
        """Draws the instance.

        Args:
            function: As for `ShiftedRotated`.
            n_var: Number of variables, a multiple of 5.
            instance: Which instance.

        Raises:
            ValueError: n_var is no multiple of 5.
        """
        if n_var % 5:
            raise ValueError(f"n_var: expected a multiple of 5, got {n_var}")
        n_values = np.repeat([*N_VALUES, 0], n_var // 5)
        self.whole = n_values > 0
        variables: list[Variable] = [
            Integer(bounds=(0, int(n) - 1)) if n else Real(bounds=(-BOUND, BOUND)) for n in n_values
        ]
        low, high = np.array([variable.bounds for variable in variables], dtype=float).T
        super().__init__(vars=dict(enumerate(variables)), n_obj=1, xl=low, xu=high)
        self.spacing = np.where(self.whole, 2.0 * OPTIMUM_BOUND / np.maximum(n_values - 1, 1), 1.0)
        self.inner = ShiftedRotated(function, n_var, instance)
        self.x_opt = np.where(self.whole, np.round(self._whole(self.inner.x_opt)), self.inner.x_opt)
        self.inner.x_opt = self._coordinates(self.x_opt)

    def _coordinates(self, X: FloatArray) -> FloatArray:
        return np.where(self.whole, np.round(X) * self.spacing - OPTIMUM_BOUND, X)

    def _whole(self, coordinates: FloatArray) -> FloatArray:
        return np.asarray((coordinates + OPTIMUM_BOUND) / self.spacing)

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = self.inner.values(self._coordinates(np.asarray(X, dtype=float)))

    def _calc_pareto_front(self) -> FloatArray:
        return np.zeros((1, 1))

    def _calc_pareto_set(self) -> FloatArray:
        return self.x_opt[None, :]


def _seed(name: str, n_var: int, instance: int) -> list[int]:
    return [zlib.crc32(name.encode()), n_var, instance]
