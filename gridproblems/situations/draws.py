"""Draws of correlated random numbers: distributions of scipy, spread evenly, a Gaussian copula."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from gridproblems._arguments import shown
from gridproblems.state import FloatArray

_LEAST = 1e-12  # distance of shares from 0 and 1, where distributions may be infinite


class Distribution(Protocol):
    """What is asked of a distribution."""

    def ppf(self, q: Any) -> Any:
        """The value that a share of the probability does not exceed."""
        ...


@dataclass(frozen=True)
class Named:
    """A distribution by its name and parameters, which tell what it is.

    Attributes:
        name: One of `FAMILIES`.
        parameters: As of the family.
    """

    name: str
    parameters: tuple[float, ...]

    def ppf(self, q: Any) -> Any:
        """The value that a share of the probability does not exceed."""
        return FAMILIES[self.name](*self.parameters).ppf(q)


def _normal(mean: float, std: float) -> Distribution:
    from scipy import stats

    _above("std", std)
    return _of_scipy(stats.norm(mean, std))


def _uniform(low: float, high: float) -> Distribution:
    from scipy import stats

    _above("high - low", high - low)
    return _of_scipy(stats.uniform(low, high - low))


def _lognormal(mean: float, std: float) -> Distribution:
    """By mean and standard deviation of the value: ``sigma^2 = ln(1 + (std / mean)^2)``."""
    from scipy import stats

    _above("mean", mean)
    _above("std", std)
    variance = math.log1p((std / mean) ** 2)
    return _of_scipy(stats.lognorm(math.sqrt(variance), scale=mean * math.exp(-variance / 2)))


def _beta(a: float, b: float, low: float = 0.0, high: float = 1.0) -> Distribution:
    from scipy import stats

    _above("a", a)
    _above("b", b)
    _above("high - low", high - low)
    return _of_scipy(stats.beta(a, b, low, high - low))


def _of_scipy(given: Any) -> Distribution:
    found: Distribution = given
    return found


def _above(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"expected {name} above 0, got {value:g}")


#: Distributions by name: functions of their parameters.
FAMILIES: dict[str, Callable[..., Distribution]] = {
    "normal": _normal,
    "uniform": _uniform,
    "lognormal": _lognormal,
    "beta": _beta,
}

_FORMS = (
    "a relative standard deviation, ('normal', mean, std), ('uniform', low, high), "
    "('lognormal', mean, std), ('beta', a, b, low, high), or a distribution of scipy.stats"
)


def distribution(name: str, told: Any) -> Distribution:
    """The distribution of what is drawn, see `gridproblems.situations.Scenarios`.

    Raises:
        ValueError: It is none.
    """
    if _is_number(told):
        told = ("normal", 1.0, told)
    if callable(getattr(told, "ppf", None)):
        return _of_scipy(told)
    is_list = isinstance(told, Sequence) and not isinstance(told, str) and len(told) > 1
    if not is_list or told[0] not in FAMILIES or not all(map(_is_number, told[1:])):
        raise ValueError(f"scenarios: {name}: expected {_FORMS}; got {shown(told)}")
    try:
        FAMILIES[told[0]](*told[1:])
    except (ValueError, TypeError) as error:
        raise ValueError(f"scenarios: {name}: {shown(told)}: {error}") from error
    return Named(told[0], tuple(map(float, told[1:])))


def _is_number(value: Any) -> bool:
    real = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    return real and math.isfinite(value)


@dataclass(frozen=True)
class Draws:
    """What is drawn, and how.

    Attributes:
        n: Number of draws.
        of: Distributions by name.
        seed: Of the draws.
        method: ``"latin"``, ``"sobol"`` or ``"random"``.
        correlation: Of the normal variables behind: a number for all pairs, or by name,
            ``{"load*pv": -0.3, "load": 0.8}``.
        each: Names that have several draws.

    Raises:
        ValueError: Nothing to draw, an unknown name or method, a correlation that is not within
            [-1, 1].
    """

    n: int
    of: Mapping[str, Distribution]
    seed: int = 0
    method: str = "latin"
    correlation: Any = 0.0
    each: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.n < 1 or not self.of:
            what = "what to draw, such as load=0.1" if self.n > 0 else "at least one scenario"
            raise ValueError(f"scenarios: expected {what}, got {self.n} of {list(self.of)}")
        if self.n > MOST:
            raise ValueError(f"scenarios: expected at most {MOST:,}, got {self.n:,}")
        if not isinstance(self.seed, Integral) or isinstance(self.seed, bool) or self.seed < 0:
            raise ValueError(f"seed: expected a whole number of 0 or more, got {self.seed!r}")
        if self.method not in _METHODS:
            raise ValueError(f"method: unknown {self.method!r}; known: {', '.join(_METHODS)}")
        for name in self.each:
            if name not in self.of:
                raise ValueError(f"each: {name!r} is not drawn; known: {', '.join(self.of)}")
        by_name = self.correlation if isinstance(self.correlation, Mapping) else {}
        for pair in by_name:
            for name in _pair(pair):
                if name not in self.of:
                    raise ValueError(
                        f"correlation: {pair!r}: {name!r} is not drawn; known: {', '.join(self.of)}"
                    )
        numbers = by_name.values() if by_name else [self.correlation]
        for value in numbers if not isinstance(self.correlation, Mapping) or by_name else ():
            if not _is_number(value) or not -1 <= value <= 1:
                raise ValueError(f"correlation: expected numbers within [-1, 1], got {value!r}")

    def __call__(self, sizes: Mapping[str, int]) -> dict[str, FloatArray]:
        """Draws by name, each (n, size), those below 0 as 0.

        Args:
            sizes: Number of variables of each name.

        Raises:
            ValueError: Correlations that no variables can have together.
        """
        from scipy.special import ndtr, ndtri

        correlation = self._matrix(sizes)
        shares = _METHODS[self.method](self.n, len(correlation), self.seed)
        shares = np.clip(shares, _LEAST, 1.0 - _LEAST)
        if (correlation != np.eye(len(correlation))).any():
            shares = ndtr(ndtri(shares) @ _root(correlation).T)
            shares = np.clip(shares, _LEAST, 1.0 - _LEAST)
        found, first = {}, 0
        for name, size in sizes.items():
            values = np.asarray(self.of[name].ppf(shares[:, first : first + size]), dtype=float)
            if not np.isfinite(values).all():
                raise ValueError(f"scenarios: {name}: its distribution has values without end")
            found[name] = np.maximum(values, 0.0)
            first += size
        return found

    def _matrix(self, sizes: Mapping[str, int]) -> FloatArray:
        """Correlations of all variables."""
        names = [name for name, size in sizes.items() for _ in range(size)]
        if not isinstance(self.correlation, Mapping):
            matrix = np.full((len(names), len(names)), float(self.correlation))
        else:
            told = {frozenset(_pair(pair)): value for pair, value in self.correlation.items()}
            matrix = np.array([[told.get(frozenset((a, b)), 0.0) for b in names] for a in names])
        np.fill_diagonal(matrix, 1.0)
        return matrix


def _pair(text: Any) -> tuple[str, ...]:
    """``"load*pv"`` or ``("load", "pv")``: two names, or one for its elements."""
    names = text.split("*") if isinstance(text, str) else tuple(text)
    if not 1 <= len(names) <= 2:
        raise ValueError(f"correlation: expected names like 'load*pv', got {text!r}")
    return tuple(str(name).strip() for name in names)


def _root(correlation: FloatArray) -> FloatArray:
    """A matrix R with ``R R^T`` the correlations, which may be singular."""
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < -1e-9 * len(values):
        raise ValueError(
            "correlation: no variables can have these together, the matrix has the negative "
            f"eigenvalue {values[0]:.3g}"
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _latin(n: int, n_variables: int, seed: int) -> FloatArray:
    from scipy.stats import qmc

    return np.asarray(qmc.LatinHypercube(n_variables, rng=np.random.default_rng(seed)).random(n))


def _sobol(n: int, n_variables: int, seed: int) -> FloatArray:
    """The first n of the next power of two points."""
    from scipy.stats import qmc

    sampler = qmc.Sobol(n_variables, rng=np.random.default_rng(seed))
    return np.asarray(sampler.random_base2(math.ceil(math.log2(n)))[:n])


def _random(n: int, n_variables: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).random((n, n_variables))


MOST = 1_000_000  # scenarios that are drawn; more would fill the memory
_METHODS: dict[str, Callable[[int, int, int], FloatArray]] = {
    "latin": _latin,
    "sobol": _sobol,
    "random": _random,
}
