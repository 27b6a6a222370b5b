"""Studies that are ready to run: ``gridproblems compare --study papers``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadyStudy:
    """Arguments of a `Study`, small enough for a laptop.

    Attributes:
        title: One line.
        problems: Specifications by name.
        algorithms: Names, with parameters where they differ from the defaults.
        seeds: Number of seeds.
        n_evals: Evaluations of a run, by problem.
        timeout_s: Longest time of a run, None for any. [s]
    """

    title: str
    problems: dict[str, str]
    algorithms: tuple[str, ...]
    seeds: int
    n_evals: dict[str, int]
    timeout_s: float | None = None


#: The problems of the published works, each with what it was solved with and what came later.
STUDIES: dict[str, ReadyStudy] = {
    "papers": ReadyStudy(
        title="Four published works: dispatch, reconfiguration, regulators, allocation",
        problems={
            "dispatch, 39 buses": "orpd:ieee39?objectives=line_loss_mw",
            "reconfiguration, 33 buses": "reconfiguration:case33bw",
            # with the load that the published work disturbs
            "regulators, 123 nodes": 'regulators:ieee123?disturbance={"load": "s1a", "kw": 200}',
            "allocation, 18 buses": "allocation:lv18",
        },
        algorithms=("hs", "mvmo", "ga", "pso"),
        seeds=5,
        n_evals={
            "dispatch, 39 buses": 3000,
            "reconfiguration, 33 buses": 500,
            "regulators, 123 nodes": 500,
            "allocation, 18 buses": 1000,
        },
    ),
    "dispatch": ReadyStudy(
        title="Reactive power dispatch on 39 buses",
        problems={"dispatch, 39 buses": "orpd:ieee39?objectives=line_loss_mw"},
        algorithms=("hs", "mvmo", "ga", "pso"),
        seeds=5,
        n_evals={"dispatch, 39 buses": 3000},
    ),
    "reconfiguration": ReadyStudy(
        title="Losses and switching actions of the 33-bus feeder, against the proven front",
        problems={
            "33 buses": "reconfiguration:case33bw",
            "33 buses, switching": (
                "reconfiguration:case33bw?objectives=p_loss_kw,switching_actions"
            ),
        },
        algorithms=("hs", "mvmo", "nsga2"),
        seeds=11,
        n_evals={"33 buses": 500, "33 buses, switching": 2000},
    ),
}
