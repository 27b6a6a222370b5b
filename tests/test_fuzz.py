"""A short part of the fuzzing program, the same inputs every time, and every input that failed."""

from __future__ import annotations

from typing import Any

import pytest
from fuzzing import TARGETS, Tally, draw, run


@pytest.mark.parametrize("n_inputs", [40, pytest.param(240, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "processes"])
def test_each_input_works_or_ends_in_one_clear_line(name: str, n_inputs: int) -> None:
    target, strategy, share = TARGETS[name]
    tally = Tally()
    draw(lambda recipe: tally.add(target, recipe), strategy, max(5, round(share * n_inputs)), 0)
    shown = [
        f"{key}\n  {message}\n  {recipe!r}" for key, (_, recipe, message) in tally.defects.items()
    ]
    assert not shown, "\n".join(shown)


# The shortest input of each defect that was found.
FAILED: list[tuple[str, Any]] = [
    ("nets", ("simple_four_bus_system", [("drop_table", "trafo", "", 0, None)], "orpd", "auto")),
    ("nets", ("example_simple", [("drop_table", "load", "", 0, None)], "orpd", "auto")),
    ("nets", ("example_simple", [("drop_table", "dcline", "", 0, None)], "orpd", "sweep")),
    ("nets", ("cigre_mv", [("drop_column", "shunt", "q_mvar", 0, None)], "orpd", "reference")),
    ("nets", ("cigre_mv",
              [("drop_column", "ext_grid", "in_service", 0, None)], "placement", "auto")),
    ("nets", ("case14", [("drop_column", "ext_grid", "bus", 0, None)], "orpd", "reference")),
    ("nets", ("case14", [("duplicate", "line", "df", 21, 0)], "orpd", "auto")),
    ("nets", ("simple_four_bus_system", [("duplicate", "ext_grid", "", 0, 0)], "orpd", "auto")),
    ("nets", ("simple_mv_open_ring_net", [("cell", "switch", "bus", 0, None)], "orpd", "auto")),
    ("nets", ("simple_mv_open_ring_net",
              [("drop_column", "switch", "closed", 0, 0)], "orpd", "auto")),
    ("nets", ("simple_mv_open_ring_net", [("repeat_index", "line", "", 0, 0)], "orpd", "sweep")),
    ("nets", ("simple_mv_open_ring_net",
              [("cell", "switch", "element", 29, -float("inf"))], "placement", "newton")),
    ("nets", ("simple_mv_open_ring_net",
              [("column", "line", "max_i_ka", 2, "NaN")], "reconfiguration", "auto")),
    ("nets", ("cigre_mv", [("cell", "bus", "in_service", 16, "1.0")], "orpd", "auto")),
    ("nets", ("cigre_mv", [("cell", "sgen", "min_q_mvar", 22, "abc")], "placement", "reference")),
    ("nets", ("example_simple", [("cell", "sgen", "in_service", 24, 10**6)], "orpd", "auto")),
    ("nets", ("multivoltage", [("column", "trafo3w", "in_service", 4, 0.5)], "orpd", "auto")),
    ("nets", ("simple_four_bus_system", [("text_index", "line", "", 1, 0)], "orpd", "sweep")),
    ("nets", ("simple_four_bus_system",
              [("cell", "line", "x_ohm_per_km", 29, "1.0")], "orpd", "reference")),
    ("nets", ("case14", [("cell", "bus", "vn_kv", 21, 0)], "orpd", "auto")),
    ("nets", ("simple_mv_open_ring_net",
              [("text_index", "bus", "", 19, 0), ("add", "switch", "bus", 20, 0)], "orpd", "auto")),
    ("nets", ("simple_mv_open_ring_net",
              [("drop_column", "trafo", "tap_neutral", 21, -1)], "reconfiguration", "auto")),
    ("nets", ("case14", [("drop_column", "trafo3w", "vk_hv_percent", 0, 0)], "orpd", "auto")),
    ("nets", ("case14", [("drop_column", "switch", "et", 0, 0)], "orpd", "auto")),
    ("nets", ("case33bw", [("drop_column", "gen", "vm_pu", 0, 0)], "placement", "auto")),
    ("nets", ("case14",
              [("drop_column", "shunt", "id_characteristic_table", 0, 0)], "orpd", "auto")),
    ("constructors", ("allocation", {"hours": None, "case": "lv18"})),
    ("constructors", ("allocation", {"cache": {"a": 11}, "case": "lv18"})),
    ("constructors", ("allocation", {"zip_percent": (0.9, "abc"), "case": "lv18"})),
    ("constructors", ("allocation", {"zip_percent": {}, "case": "lv18"})),
    ("constructors", ("storage", {"case": {}})),
    ("constructors", ("storage", {"battery": {"soc_min": None}, "case": "lv18"})),
    ("constructors", ("placement", {"max_size": (1.0, 2.0), "case": "case33bw"})),
    ("constructors", ("placement", {"kind": [0.0], "case": "case33bw"})),
    ("constructors", ("orpd", {"controls": float("inf"), "case": "ieee14"})),
    ("constructors", ("orpd", {"fixed": {("gen", "vm_pu"): {3: None}}, "case": "ieee14"})),
    ("constructors", ("orpd", {"fixed": {("gen", "vm_pu"): {9: 1.0}}, "case": "ieee14"})),
    ("constructors", ("orpd", {"fixed": {("x", "y"): {3: 1.0}}, "case": "ieee14"})),
    ("constructors", ("reconfiguration", {"aggregate": True, "case": "case33bw"})),
    ("constructors", ("reconfiguration", {"n_jobs": "2", "case": "case33bw"})),
    ("constructors", ("regulators", {"vreg_v": {"a": 29}, "feeder": "village"})),
    ("constructors", ("regulators", {"vreg_v": (None, True), "feeder": "village"})),
    ("constructors", ("regulators", {"regulators": [], "feeder": "village"})),
    ("constructors", ("regulators", {"disturbance": "jV", "feeder": "village"})),
    ("constructors", ("regulators", {"disturbance": {"load": "1.0", "kw": "1.0"},
                                     "feeder": "village"})),
    ("vectors", ("regulators", "decode", ("dict", [(21, "")]))),
    ("vectors", ("orpd", "describe", ("less", 37))),
    ("vectors", ("placement", "units", ("cells", [(14, "%")]))),
    ("vectors", ("reconfiguration", "encode_open_lines", ("dict", [(6, "")]))),
    ("constructors", ("regulators", {"disturbance": -4.7e16, "feeder": "village"})),
    ("algorithm specifications", ("regulators", "nsga2?pop_size=a=b")),
    ("studies", {"problems": ["orpd:ieee14"], "algorithms": ["hs"], "seeds": ("", 0)}),
    ("studies", {"problems": ["orpd:ieee14"], "algorithms": ["hs"], "n_evals": (None, 1e30)}),
    ("studies", {"problems": None, "algorithms": []}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "recipe"), FAILED, ids=str)
def test_what_once_failed(name: str, recipe: Any) -> None:
    run(TARGETS[name][0], recipe)


PROCESSES = [
    ("solve", "orpd", [("--case", "nothing.json")]),
    ("solve", "orpd", [("--case", "broken.json"), ("--evals", "12")]),
    ("report", "broken.db", []),
]


@pytest.mark.parametrize("recipe", PROCESSES, ids=str)
def test_processes(recipe: Any) -> None:
    assert run(TARGETS["processes"][0], recipe) == "refused"
