"""k-medoids: members of a set that are, in sum, nearest to all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gridproblems.state import FloatArray

IntArray = NDArray[np.int64]

_MOST = 2000  # members whose distances to each other are kept at once
_SAMPLES = 5
_FEW = 500  # members, few enough for several starts
_STARTS = 20


def k_medoids(points: FloatArray, weight: FloatArray, k: int) -> tuple[IntArray, IntArray]:
    """Medoids of weighted points, by Euclidean distance.

    Build and swap of PAM: the medoids are taken one after the other, each where it shortens the
    sum of weighted distances most; then the best swap of a medoid with another point is made until
    none shortens it, which is no proof of the shortest; up to 500 points, also from 20 random
    starts. Of more than 2,000 points, medoids of five samples are compared by what they are worth
    for all (CLARA). The result is the same every time.

    Source:
        L. Kaufman, P. J. Rousseeuw, Finding Groups in Data, Wiley 1990, chapters 2 and 3,
        doi:10.1002/9780470316801; the swaps of a candidate with all medoids together as in
        E. Schubert, P. J. Rousseeuw, Fast and eager k-medoids clustering, Information Systems 101
        (2021) 101804, doi:10.1016/j.is.2021.101804.

    Args:
        points: Shape (n, n_dimensions).
        weight: Shape (n,).
        k: Number of medoids, at most n.

    Returns:
        Rows of the medoids in rising order (k,), and for each point the place of its medoid among
        them (n,).
    """
    from scipy.spatial.distance import cdist

    random = np.random.default_rng(0)
    samples = [np.arange(len(points))]
    if len(points) > _MOST:
        size = max(_MOST, k)
        samples = [np.sort(random.permutation(len(points))[:size]) for _ in range(_SAMPLES)]
    best, nearest, least = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.inf
    for sample in samples:
        own = points[sample]
        medoids = np.sort(sample[_medoids(cdist(own, own), weight[sample], k)])
        distance = cdist(points, points[medoids])
        total = float(weight @ distance.min(axis=1))
        if total < least:
            best, nearest, least = medoids, distance.argmin(axis=1), total
    nearest[best] = np.arange(k)  # equal points: a medoid stands for itself
    return best, nearest


def _medoids(distance: FloatArray, weight: FloatArray, k: int) -> IntArray:
    """Medoids by a matrix of distances (n, n)."""
    starts = [_build(distance, weight, k)]
    if len(distance) <= _FEW:
        random = np.random.default_rng(0)
        starts += [random.choice(len(distance), k, replace=False) for _ in range(_STARTS)]
    found = [_swapped(distance, weight, start) for start in starts]
    return min(found, key=lambda chosen: _total(distance, weight, chosen))


def _build(distance: FloatArray, weight: FloatArray, k: int) -> IntArray:
    medoids = [int((weight @ distance).argmin())]
    while len(medoids) < k:
        near = distance[:, medoids].min(axis=1)
        gain = weight @ np.maximum(near[:, np.newaxis] - distance, 0.0)
        gain[medoids] = -1.0
        medoids.append(int(gain.argmax()))
    return np.array(medoids)


def _total(distance: FloatArray, weight: FloatArray, chosen: IntArray) -> float:
    return float(weight @ distance[:, chosen].min(axis=1))


def _swapped(distance: FloatArray, weight: FloatArray, chosen: IntArray) -> IntArray:
    total = _total(distance, weight, chosen)
    while True:
        change = _change_by_swaps(distance, weight, chosen)
        out, new = np.unravel_index(change.argmin(), change.shape)
        if change[out, new] >= -1e-12 * total:
            return chosen
        chosen[out] = new
        total = _total(distance, weight, chosen)


def _change_by_swaps(distance: FloatArray, weight: FloatArray, chosen: IntArray) -> FloatArray:
    """What each swap adds to the sum of distances, shape (k, n)."""
    n, k = len(distance), len(chosen)
    of_chosen = distance[:, chosen]
    nearest = of_chosen.argmin(axis=1)
    near = of_chosen[np.arange(n), nearest]
    of_chosen[np.arange(n), nearest] = np.inf
    second = of_chosen.min(axis=1)
    joins = np.minimum(distance - near[:, np.newaxis], 0.0)  # a point moves to the new medoid
    if k == 1:
        loses = distance - near[:, np.newaxis]
    else:  # its medoid is gone: it moves to the new one, or to the second nearest
        loses = np.minimum(distance, second[:, np.newaxis]) - near[:, np.newaxis]
    own = np.zeros((k, n))
    own[nearest, np.arange(n)] = weight
    change: FloatArray = weight @ joins + own @ (loses - joins)
    change[:, chosen] = np.inf
    return change
