"""Quality of fronts, on objectives that are scaled to [0, 1] over a reference front."""

from __future__ import annotations

import numpy as np
from moocore import is_nondominated
from pymoo.indicators.hv import Hypervolume
from pymoo.indicators.igd_plus import IGDPlus

from gridproblems.study.run import FloatArray

#: The corner of the hypervolume, so that the extremes of the reference front count too.
CORNER = 1.1
MOST_STEPS = 150


def hypervolume(F: FloatArray) -> float:
    """Exact volume dominated by points of shape (n, n_obj), up to 1.1 in every objective."""
    return float(Hypervolume(ref_point=np.full(F.shape[1], CORNER))(F))


def hypervolume_ratio(F: FloatArray, reference: FloatArray) -> float:
    """Hypervolume of points as a share of that of the reference front."""
    return hypervolume(F) / hypervolume(reference)


def igd_plus(F: FloatArray, reference: FloatArray) -> float:
    """Mean distance from the reference points to the region that the points dominate.

    Source:
        H. Ishibuchi et al., Modified distance calculation in generational distance and inverted
        generational distance, EMO 2015, doi:10.1007/978-3-319-15892-1_8.
    """
    return float(IGDPlus(reference)(F))


def additive_epsilon(F: FloatArray, reference: FloatArray) -> float:
    """Smallest amount to subtract from all points so that they dominate every reference point.

    Source:
        E. Zitzler et al., Performance assessment of multiobjective optimizers: an analysis and
        review, IEEE Trans. Evolutionary Computation 7 (2003) 117-132,
        doi:10.1109/TEVC.2003.810758.
    """
    excess = (F[:, None, :] - reference[None, :, :]).max(axis=2)
    return float(excess.min(axis=0).max())


def hypervolume_steps(
    evaluations: FloatArray, F: FloatArray, reference: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The hypervolume ratio over the evaluations of a run.

    Args:
        evaluations: When each point was found, ascending, shape (n,).
        F: The points, shape (n, n_obj).
        reference: The reference front.

    Returns:
        Evaluations and ratio at up to 150 of them, the last included; with more points a ratio
        may appear later than it was reached, never earlier.
    """
    ends = np.append(np.flatnonzero(np.diff(evaluations)), len(evaluations) - 1)
    if len(ends) > MOST_STEPS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, MOST_STEPS).round().astype(int))]
    whole = hypervolume(reference)
    front, start, ratios = F[:0], 0, []
    for end in ends:
        front = np.vstack([front, F[start : end + 1]])
        front = front[is_nondominated(front)]
        ratios.append(hypervolume(front) / whole)
        start = end + 1
    return evaluations[ends], np.array(ratios)


def attainment_surface(fronts: list[FloatArray], share: float) -> FloatArray:
    """The region that at least a share of the runs attained, for two objectives.

    Args:
        fronts: Points of each run, shape (n, 2); empty for a run without any.
        share: 0.5 for the median surface.

    Returns:
        Corners of the surface in the order of the first objective, shape (n, 2): the smallest
        second objective that enough runs reached without exceeding the first.

    Source:
        C. M. Fonseca, P. J. Fleming, On the performance assessment and comparison of stochastic
        multiobjective optimizers, PPSN IV, 1996, doi:10.1007/3-540-61723-X_1022.
    """
    needed = max(1, int(np.ceil(share * len(fronts) - 1e-9)))
    points = [front for front in fronts if len(front)]
    if len(points) < needed:
        return np.empty((0, 2))
    first = np.unique(np.concatenate([front[:, 0] for front in points]))
    reached = np.full((len(points), len(first)), np.inf)
    for row, front in zip(reached, points, strict=True):
        order = np.argsort(front[:, 0], kind="stable")
        lowest = np.minimum.accumulate(front[order, 1])
        position = np.searchsorted(front[order, 0], first, side="right") - 1
        row[position >= 0] = lowest[position[position >= 0]]
    second = np.sort(reached, axis=0)[needed - 1]
    keep = np.isfinite(second) & np.append(True, second[1:] < second[:-1])
    return np.column_stack([first[keep], second[keep]])
