"""What is fuzzed and how it is judged: each input works, or ends in one clear line.

A target takes a recipe, plain data that hypothesis draws and a reader can repeat, does with it
what a user would, and says ``"worked"`` or ``"refused"``; anything else raises. ``make fuzz``, that
is ``python tests/fuzzing.py --inputs 10000``, runs all targets and lists every distinct defect with
the shortest input that shows it; ``tests/test_fuzz.py`` runs a short part, and what once failed.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pandas as pd
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pandapower.auxiliary import pandapowerNet
from typer.testing import CliRunner

import gridproblems
from gridproblems import PROBLEMS
from gridproblems.errors import GridProblemError
from gridproblems.problem import arguments_of

CPU_S, WALL_S = 30.0, 240.0  # of one input
RAW = re.compile(  # Python's own words, which tell a user of power grids nothing
    r"could not (convert|broadcast|cast)|invalid literal|unhashable|setting an array element|"
    r"truth value|object (has|is)|unsupported operand|not supported between|NoneType|"
    r"index \d+ is out of bounds|list index|cannot convert|cannot reindex|ambiguous|"
    r"must be real number|positional argument|unexpected keyword|Unable to parse string|"
    r"buffer|astype|dtype(?!=)|inhomogeneous|not in index|maximum recursion|takes \d"
)
Recipe = Any
Target = Callable[[Recipe], str]


class Unclear(AssertionError):
    """A refusal that does not tell the user what is wrong."""


class Hang(AssertionError):
    """An input that takes too long."""


# -- judging --------------------------------------------------------------------------------


@contextmanager
def deadline() -> Iterator[None]:
    """Ends an input that takes too long, in time of the processor or of the clock."""

    def stop(number: int, frame: Any) -> None:
        raise Hang(f"over {CPU_S:.0f} s of the processor or {WALL_S:.0f} s by the clock")

    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    faulthandler.dump_traceback_later(2 * WALL_S, exit=True)  # compiled code that never returns
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def check_message(message: str, names: tuple[str, ...] = ()) -> None:
    """A message is one line, in words of the user, and says which of the arguments it means."""
    if len(message) < 12 or len(message.strip().splitlines()) != 1:
        raise Unclear(f"expected one line that says what is wrong: {message!r}")
    if raw := RAW.search(message):
        raise Unclear(f"Python's words ({raw.group()!r}) instead of the user's: {message!r}")
    if names and not any(name.lower() in message.lower() for name in names):
        raise Unclear(f"names none of {names}: {message!r}")


def refused(call: Callable[[], Any], names: tuple[str, ...] = ()) -> Any:
    """What the call gives, or ``Refused`` after a clear error; other exceptions pass through."""
    try:
        return call()
    except (ValueError, GridProblemError) as error:
        try:
            check_message(str(error), names)
        except Unclear as unclear:
            raise unclear from error
        return Refused


class Refused:
    """Stands for a call that was refused clearly."""


def check_values(out: Mapping[str, Any]) -> None:
    for name in ("F", "G"):
        values = np.asarray(out[name], dtype=float)
        assert np.isfinite(values).all(), f"{name} is {values}"


def exercise(problem: Any, many: bool = True) -> None:
    """Evaluates the base and random vectors; solves and describes one, as a user would."""
    rng = np.random.default_rng(0)
    X = rng.uniform(problem.xl, problem.xu, (3, problem.n_var))
    for out in problem.evaluate_many([problem.base_x, *X] if many else X[:1]):
        check_values(out)
    if many:
        refused(lambda: problem.describe(X[0]))
        refused(lambda: problem.apply(X[0]))
        repr(problem)
        str(problem)


# -- nets with mutated cells ------------------------------------------------------------------

NETS: dict[str, Callable[[], pandapowerNet]] = {
    "simple_four_bus_system": pn.simple_four_bus_system,
    "example_simple": pn.example_simple,
    "simple_mv_open_ring_net": pn.simple_mv_open_ring_net,
    "case14": pn.case14,
    "case33bw": pn.case33bw,
    "cigre_mv": lambda: pn.create_cigre_network_mv(with_der="all"),
    "multivoltage": pn.example_multivoltage,
}


@functools.lru_cache(None)
def _net(name: str) -> pandapowerNet:
    return NETS[name]()


def base_net(name: str) -> pandapowerNet:
    return copy.deepcopy(_net(name))


VALUES: tuple[Any, ...] = (
    None, float("nan"), float("inf"), -float("inf"), 0, -1, 1, 0.5, 2.5, 1e30, -1e30, 1e-30, "abc",
    "", "1.0", True, False, 10**6, "NaN", (1, 2),
)  # fmt: skip
TABLES = (
    "bus", "line", "trafo", "trafo3w", "load", "sgen", "gen", "ext_grid", "shunt", "switch",
    "storage", "impedance", "ward", "xward", "motor", "asymmetric_load", "dcline", "controller",
    "poly_cost",
)  # fmt: skip
OPS = ("cell", "column", "drop_column", "drop_table", "drop_row", "duplicate", "text_index",
       "empty_table", "object_column", "repeat_index", "add")  # fmt: skip
# columns that the power flow or a task reads, drawn more often than the others
COLUMNS = (
    "in_service", "bus", "from_bus", "to_bus", "hv_bus", "lv_bus", "vn_kv", "vm_pu", "p_mw",
    "q_mvar", "scaling", "length_km", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "max_i_ka",
    "max_loading_percent", "min_vm_pu", "max_vm_pu", "tap_pos", "tap_min", "tap_max",
    "tap_step_percent", "tap_side", "tap_changer_type", "tap_neutral", "sn_mva", "vk_percent",
    "vkr_percent", "closed", "et", "element", "min_q_mvar", "max_q_mvar", "slack", "slack_weight",
    "controllable", "parallel", "df", "step", "max_step", "va_degree", "shift_degree", "name",
    "max_e_mwh", "const_z_p_percent",
)  # fmt: skip


@functools.lru_cache(None)
def _columns_of(net: str, table: str) -> tuple[str, ...]:
    found = _net(net)
    present = list(found[table].columns) if table in found else []
    known = [c for c in present if c in COLUMNS]
    return tuple(known * 4 + present) or ("p_mw",)


def mutations(net: str) -> st.SearchStrategy[Any]:
    present = [t for t in TABLES if t in _net(net) and len(_net(net)[t])]

    def of(table: str) -> st.SearchStrategy[Any]:
        return st.tuples(
            st.sampled_from(("cell",) * 8 + OPS),
            st.just(table),
            st.sampled_from(_columns_of(net, table)),
            st.integers(0, 30),
            st.sampled_from(VALUES),
        )

    return st.sampled_from([*present * 4, *TABLES]).flatmap(of)


def mutate(net: pandapowerNet, op: str, table: str, column: str, row: int, value: Any) -> None:
    """One change of a net; a change that has no place is none."""
    if table not in net or not isinstance(net[table], pd.DataFrame):
        return
    frame = net[table]
    if op == "drop_table":
        del net[table]
    elif op == "empty_table":
        net[table] = frame.iloc[:0]
    elif op == "drop_column":
        net[table] = frame.drop(columns=column, errors="ignore")
    elif op == "add" and table in ADDERS:
        with suppress(Exception):  # pandapower adds to sound tables alone
            ADDERS[table](net)
    elif not len(frame):
        return
    elif op == "drop_row":
        net[table] = frame.drop(index=frame.index[row % len(frame)])
    elif op == "duplicate":
        net[table] = pd.concat([frame, frame.iloc[[row % len(frame)]]])
    elif op == "repeat_index":
        frame.index = [*frame.index[1:], frame.index[0]] if row % 2 else [0] * len(frame)
    elif op == "text_index":
        frame.index = [f"{table}{i}" for i in frame.index]
    elif column not in frame:
        return
    elif op == "object_column":
        frame[column] = frame[column].astype(object)
    elif op == "column":
        frame[column] = [value] * len(frame)
    elif op == "cell":
        frame[column] = frame[column].astype(object)
        frame.iat[row % len(frame), list(frame.columns).index(column)] = value
        if isinstance(value, (int, float)) and row % 3:  # mostly as a table keeps numbers
            frame[column] = frame[column].infer_objects()


ADDERS: dict[str, Callable[[pandapowerNet], Any]] = {
    "dcline": lambda net: pp.create_dcline(
        net, *net.bus.index[:2], p_mw=0.1, loss_percent=1, loss_mw=0.01, vm_from_pu=1, vm_to_pu=1
    ),
    "asymmetric_load": lambda net: pp.create_asymmetric_load(net, net.bus.index[-1], p_a_mw=0.01),
    "motor": lambda net: pp.create_motor(net, net.bus.index[-1], 0.01, 0.9),
    "ward": lambda net: pp.create_ward(net, net.bus.index[-1], 0.01, 0, 0.01, 0),
    "xward": lambda net: pp.create_xward(net, net.bus.index[-1], 0.01, 0, 0, 0, 0.1, 0.1, 1.0),
    "storage": lambda net: pp.create_storage(net, net.bus.index[-1], 0.0, 0.1),
    "gen": lambda net: pp.create_gen(net, net.bus.index[0], 0.0),
    "ext_grid": lambda net: pp.create_ext_grid(net, net.bus.index[-1]),
    "switch": lambda net: pp.create_switch(net, net.bus.index[0], net.bus.index[-1], "b"),
    "impedance": lambda net: pp.create_impedance(net, *net.bus.index[:2], 0.01, 0.01, 1.0),
    "shunt": lambda net: pp.create_shunt(net, net.bus.index[-1], 0.01),
}
TASK_ARGUMENTS: dict[str, dict[str, Any]] = {
    "orpd": {},
    "reconfiguration": {},
    "placement": {"n_units": 1, "kind": "dg"},
    "storage": {"series": {("load", "p_mw"): 2}},
    "allocation": {"load": 2},
}
nets = st.sampled_from(sorted(NETS)).flatmap(
    lambda net: st.tuples(
        st.just(net),
        st.lists(mutations(net), min_size=1, max_size=3),
        st.sampled_from(("orpd", "orpd", *TASK_ARGUMENTS)),
        st.sampled_from(("auto", "newton", "auto", "sweep", "reference")),
    )
)


def _over_time(net: pandapowerNet, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Loads over two snapshots, where a task needs a series."""
    made = dict(arguments)
    if "series" in made or "load" in made:
        table = np.ones((2, len(net.load))) * 0.01 if "load" in net else np.ones((2, 1))
        if "series" in made:
            made["series"] = {("load", "p_mw"): table}
            made["storages"] = [{"bus": net.bus.index[-1], "power_mw": 0.01, "energy_mwh": 0.02}]
        else:
            made["load"] = table
    return made


def fuzz_net(recipe: Recipe) -> str:
    name, changes, task, engine = recipe
    net = base_net(name)
    for change in changes:
        mutate(net, *change)
    if "bus" not in net or not len(net.bus):
        arguments: Mapping[str, Any] = {}
    else:
        arguments = _over_time(net, TASK_ARGUMENTS[task])
    problem = refused(lambda: PROBLEMS[task](net, engine=engine, **arguments))
    if problem is Refused:
        return "refused"
    exercise(problem)
    return "worked"


# -- arguments of the constructors -------------------------------------------------------------

CASE_OF = {
    "orpd": "ieee14", "reconfiguration": "case33bw", "placement": "case33bw", "storage": "lv18",
    "allocation": "lv18", "regulators": "village",
}  # fmt: skip
scalars = st.one_of(
    st.sampled_from(VALUES),
    st.integers(-3, 40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=5),
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=2),
    ),
    max_leaves=5,
)


def mostly(likely: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> Any:
    """Four of five from the first strategy (`one_of` would merge the alternatives of both)."""
    return st.integers(0, 4).flatmap(lambda i: other if i == 4 else likely)


bands = st.one_of(
    st.tuples(scalars, scalars),
    st.just((0.95, 1.05)),
    st.just((0.8, 1.2)),
    st.just(120.0),
    st.none(),
    scalars,
)
LIMIT_NAMES = (
    "vm_pu", "loading_percent", "gen_q_mvar", "ext_grid_p_mw", "ext_grid_q_mvar", "gen_vm_pu",
    "ext_grid_vm_pu", "radial", "nonsense",
)  # fmt: skip
OBJECTIVE_NAMES = (
    "p_loss_mw", "p_loss_kw", "line_loss_mw", "voltage_deviation_pu", "v_min_pu", "l_index",
    "loading_percent", "energy_loss_kwh", "exchange_peak_kw", "exchange_energy_kwh",
    "switching_actions", "saifi_per_year", "saidi_hours_per_year", "unit_cost_eur_per_year",
    "line_loading_sum_percent", "voltage_fitness", "node_voltage_fitness", "tap_movements",
    "voltage_unbalance_percent", "tap_operations", "nonsense",
)  # fmt: skip
tables = st.one_of(
    st.tuples(st.just(24), st.sampled_from((17, 32)), st.sampled_from((0.002, 0.0, "0.001"))).map(
        lambda t: ("table", *t)
    ),
    st.tuples(st.integers(0, 4), st.integers(0, 40), st.sampled_from(VALUES)).map(
        lambda t: ("table", *t)
    ),
    junk,
)
#: Values by argument that are sometimes right; every other argument gets anything.
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("every_snapshot", "repair", "sort", "require_base_solution", "volt_var"), st.booleans()
    ),
    **dict.fromkeys(
        ("max_size", "size_step", "max_hosting_mw", "vreg_span_v"), st.floats(0.01, 3.0)
    ),
    "max_switching_actions": st.integers(-1, 12),
    "objectives": st.one_of(
        st.lists(st.sampled_from(OBJECTIVE_NAMES[:4]), min_size=1, max_size=2, unique=True),
        st.lists(st.sampled_from(OBJECTIVE_NAMES), max_size=3),
    ),
    "limits": st.dictionaries(st.sampled_from(LIMIT_NAMES), bands, max_size=3),
    "controls": st.one_of(
        st.lists(st.sampled_from(("gen", "tap", "shunt", "ext_grid", "compensator", "x"))),
        st.dictionaries(
            st.sampled_from(("gen", "tap", "shunt", "ext_grid", "compensator")),
            st.lists(st.integers(-1, 5), max_size=3),
            max_size=2,
        ),
    ),
    "engine": st.sampled_from(("auto", "newton", "sweep", "reference", "opendss", "x")),
    "n_jobs": st.sampled_from((1, 1, 1, 0, None, "2", 1.5)),
    "cache": st.sampled_from((True, False, 3, 0, -1, None, "yes", 1.5)),
    "aggregate": st.booleans(),
    "coding": st.sampled_from(("nearest_tree", "spanning_tree", "loops", "x")),
    "switchable": st.one_of(
        st.lists(st.integers(1, 37), min_size=20, unique=True),
        st.lists(st.integers(-1, 40), max_size=40),
    ),
    "series": st.dictionaries(
        st.one_of(
            st.sampled_from((("load", "p_mw"), "load.p_mw", ("sgen", "p_mw"), "line", ("a", "b"))),
            st.text(max_size=3),
        ),
        tables,
        max_size=2,
    ),
    "generation": tables,
    "load": tables,
    "profile": tables,
    "hours": st.one_of(st.floats(0.1, 24.0), scalars),
    "periods": st.integers(-1, 4),
    "n_units": st.integers(-1, 3),
    "kind": st.one_of(
        st.sampled_from(("pv", "dg", "capacitor", "storage", "x")),
        st.lists(st.sampled_from(("pv", "dg", "capacitor", "storage")), max_size=3),
    ),
    "buses": st.one_of(
        st.lists(st.integers(2, 18), min_size=1, unique=True),
        st.lists(st.integers(-1, 40), max_size=5),
    ),
    "bus_variable": st.sampled_from(("integer", "choice", "x")),
    "power_factor": st.one_of(
        st.floats(-1.2, 1.2), st.tuples(st.floats(0.5, 1), st.floats(0.5, 1))
    ),
    "storage_hours": st.one_of(scalars, st.tuples(st.floats(0, 4), st.floats(0, 4))),
    "battery": st.dictionaries(
        st.sampled_from(("round_trip_efficiency", "soc_min", "soc_max", "soc_start", "x")),
        st.one_of(st.floats(0, 1), scalars),
        max_size=2,
    ),
    "outages": st.one_of(st.just("lines"), st.lists(st.integers(-1, 40), max_size=3)),
    "zip_percent": st.one_of(
        st.tuples(st.floats(0, 60), st.floats(0, 60)), st.tuples(scalars, scalars)
    ),
    "costs": st.dictionaries(
        st.sampled_from(("pv", "dg", "storage", "x")),
        st.dictionaries(
            st.sampled_from(("rate", "years", "per_mw", "per_mwh", "per_unit", "x")), scalars
        ),
        max_size=2,
    ),
    "storages": st.lists(
        st.dictionaries(
            st.sampled_from(("bus", "power_mw", "energy_mwh", "x")),
            st.one_of(st.integers(1, 10), st.floats(0.001, 0.01), scalars),
        ),
        max_size=2,
    ),
    "variables": st.sampled_from(("vreg", "taps", "x")),
    "disturbance": st.one_of(
        scalars,
        st.sampled_from(("line.l1", ("line.l1", None))),
        st.dictionaries(st.sampled_from(("load", "kw", "factor", "x")), scalars, max_size=3),
    ),
    "combine": st.sampled_from(("worst", "mean", "x")),
    "load_shape": st.one_of(st.just("default"), st.lists(st.floats(0, 2), max_size=4), scalars),
    "irradiance_shape": st.one_of(
        st.just("default"), st.lists(st.floats(0, 2), max_size=4), scalars
    ),
    "vreg_v": bands,
    "capacitors": st.one_of(st.booleans(), st.lists(st.text(max_size=4), max_size=2)),
    "regulators": st.lists(st.text(max_size=4), max_size=2),
    "fixed": st.dictionaries(
        st.sampled_from((("gen", "vm_pu"), ("x", "y"))),
        st.dictionaries(st.integers(-1, 3), scalars, max_size=2),
        max_size=1,
    ),
}
# run any file or start processes; n_jobs > 1 is drawn for vectors only
LEFT_OUT = {"trust"}


def constructor_arguments(task: str) -> st.SearchStrategy[Any]:
    names = list(arguments_of(PROBLEMS[task]))
    case = names[0]
    of = {name: mostly(LIKELY.get(name, junk), junk) for name in names[1:] if name not in LEFT_OUT}
    of["n_jobs"] = LIKELY["n_jobs"]
    few = st.lists(st.sampled_from(sorted(of)), min_size=1, max_size=2, unique=True)
    return st.tuples(
        st.just(task),
        few.flatmap(lambda chosen: st.fixed_dictionaries({name: of[name] for name in chosen})),
        mostly(st.just(CASE_OF[task]), mostly(st.just(CASE_OF[task]), junk)),
    ).map(lambda made: (made[0], {**made[1], case: made[2]}))


def _materialised(value: Any) -> Any:
    """Tables of recipes, ``("table", rows, columns, value)``, as arrays with one odd value."""
    if isinstance(value, tuple) and len(value) == 4 and value[0] == "table":
        _, rows, columns, odd = value
        table = np.full((rows, columns), 0.001, dtype=object)
        if table.size:
            table[-1, -1] = odd
        frame = pd.DataFrame(table)
        return frame.infer_objects() if columns % 2 else table
    if isinstance(value, Mapping):
        return {key: _materialised(inner) for key, inner in value.items()}
    return value


def _names_in(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What a message may call the arguments: by name, or by a key or text within them."""
    names = list(arguments)
    for value in arguments.values():
        if isinstance(value, Mapping):
            names += [str(k) if not isinstance(k, tuple) else ".".join(map(str, k)) for k in value]
        parts = value if isinstance(value, (list, tuple)) else [value]
        names += [repr(part) for part in parts if isinstance(part, str) and part]
    return tuple(names)


def fuzz_constructor(recipe: Recipe) -> str:
    task, arguments = recipe
    made = {name: _materialised(value) for name, value in arguments.items()}
    if task == "storage":  # the packaged case has none of its own
        made.setdefault("storages", [{"bus": 9, "power_mw": 0.003, "energy_mwh": 0.009}])
    problem = refused(lambda: PROBLEMS[task](**made), _names_in(made))
    if problem is Refused:
        return "refused"
    if problem.n_var < 2000 and problem.situations.n < 200:
        exercise(problem, many=task != "regulators")
    return "worked"


constructors = st.sampled_from(sorted(CASE_OF)).flatmap(constructor_arguments)


# -- vectors ---------------------------------------------------------------------------------

PROBLEMS_OF_VECTORS: dict[str, Callable[[], Any]] = {
    "orpd": lambda: PROBLEMS["orpd"]("ieee14"),
    "reconfiguration": lambda: PROBLEMS["reconfiguration"]("case33bw"),
    "loops": lambda: PROBLEMS["reconfiguration"]("case33bw", coding="loops"),
    "placement": lambda: PROBLEMS["placement"](
        "case33bw", 2, ("dg", "storage"), series={("load", "p_mw"): np.full((2, 32), 0.1)},
        bus_variable="choice",
    ),
    "storage": lambda: PROBLEMS["storage"](
        "lv18", [{"bus": 9, "power_mw": 0.003, "energy_mwh": 0.009}]
    ),
    "allocation": lambda: PROBLEMS["allocation"]("lv18"),
    "regulators": lambda: PROBLEMS["regulators"]("village"),
    "cached": lambda: PROBLEMS["orpd"]("ieee14", cache=True, aggregate=True),
}  # fmt: skip
_made = functools.lru_cache(None)(lambda name: PROBLEMS_OF_VECTORS[name]())
METHODS = (
    "evaluate_many", "evaluate", "decode", "solve", "describe", "apply", "encode", "snap",
    "open_lines", "units", "schedule", "neighbours", "encode_open_lines", "encode_units",
    "encode_schedule", "script", "campaign", "figures_of_base",
)  # fmt: skip
shapes = st.one_of(
    st.tuples(st.just("cells"), st.lists(st.tuples(st.integers(0, 60), scalars), max_size=3)),
    st.tuples(st.just("scaled"), st.floats(-3, 3)),
    st.tuples(st.just("length"), st.integers(0, 80)),
    st.tuples(st.just("matrix"), st.integers(0, 4)),
    st.tuples(st.just("dict"), st.lists(st.tuples(st.integers(0, 60), scalars), max_size=3)),
    st.tuples(st.just("less"), st.integers(0, 60)),
    st.tuples(st.just("more"), st.text(max_size=4)),
    st.tuples(st.just("junk"), junk),
)
vectors = st.tuples(st.sampled_from(sorted(PROBLEMS_OF_VECTORS)), st.sampled_from(METHODS), shapes)


def _vector(problem: Any, shape: tuple[str, Any]) -> Any:
    kind, what = shape
    x = problem.base_x.copy()
    if kind == "cells":
        cells = list(x)
        for i, value in what:
            cells[i % len(cells)] = value
        return cells
    if kind == "scaled":
        return problem.xl + what * (problem.xu - problem.xl)
    if kind == "length":
        return np.resize(x, what)
    if kind == "matrix":
        return np.tile(x, (what, 1))
    if kind == "junk":
        return what
    named: dict[Any, Any] = {}
    for value, variable in zip(x, problem.joint.variables, strict=True):
        named[variable.name] = variable.options[int(value)] if variable.options else value
    names = list(named)
    if kind == "dict":
        for i, value in what:
            named[names[i % len(names)]] = value
    elif kind == "less":
        del named[names[what % len(names)]]
    else:
        named[what] = 1.0
    return named


def fuzz_vector(recipe: Recipe) -> str:
    name, method, shape = recipe
    problem = _made(name)
    x = _vector(problem, shape)
    if method == "evaluate_many":
        done = refused(lambda: problem.evaluate_many([x]))
        if done is not Refused:
            for out in done:
                check_values(out)
    elif method == "evaluate":
        if not isinstance(x, np.ndarray):  # pymoo itself takes arrays
            return "worked"
        done = refused(lambda: problem.evaluate(x, return_as_dictionary=True))
        if done is not Refused:
            check_values(done)
    elif hasattr(problem, method):
        done = refused(lambda: getattr(problem, method)(x))
    else:
        return "worked"
    return "refused" if done is Refused else "worked"


# -- files ------------------------------------------------------------------------------------


@functools.lru_cache(None)
def _json(name: str) -> str:
    return str(pp.to_json(_net(name)))


edits = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1), st.just("")),
        st.tuples(st.just("flip"), st.floats(0, 1), st.sampled_from('{}[]",:0x\\n-eE\x00\xff')),
        st.tuples(st.just("insert"), st.floats(0, 1), st.sampled_from(
            ("null", "NaN", "1e999", '"', "{", "[[[[[", '{"_module": "os"}', "-1", "true"))),
        st.tuples(st.just("number"), st.floats(0, 1), st.sampled_from(
            ("null", "NaN", "1e999", '"x"', "-1", "[]", "{}", "99999999999999999999"))),
        st.tuples(st.just("word"), st.floats(0, 1), st.sampled_from(
            ("pandapowerNet", "DataFrame", "float64", "object", "int64", "builtins", "x"))),
    ),
    max_size=3,
)  # fmt: skip
files = st.tuples(
    st.sampled_from(("example_simple", "case14", "simple_mv_open_ring_net")),
    edits,
    st.sampled_from(sorted(TASK_ARGUMENTS)),
)
NUMBER, WORD = re.compile(r"(?<=[:,\[])-?\d+\.?\d*(?=[,\]}])"), re.compile(r'(?<=")\w+(?=\\*")')


def edited(text: str, changes: list[tuple[str, float, str]]) -> str:
    for what, share, new in changes:
        place = int(share * len(text))
        if what == "cut":
            text = text[:place]
        elif what == "flip":
            text = text[:place] + new + text[place + 1 :]
        elif what == "insert":
            text = text[:place] + new + text[place:]
        elif found := list({"number": NUMBER, "word": WORD}[what].finditer(text)):
            match = found[int(share * (len(found) - 1))]
            text = text[: match.start()] + new + text[match.end() :]
    return text


def fuzz_file(recipe: Recipe) -> str:
    name, changes, task = recipe
    text = edited(_json(name), changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.json"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        arguments = _over_time(_net(name), TASK_ARGUMENTS[task])
        problem = refused(lambda: PROBLEMS[task](path, **arguments))
        if problem is Refused:
            return "refused"
        exercise(problem)
    return "worked"


csvs = st.tuples(
    st.lists(
        st.lists(mostly(st.just("0.001"), mostly(st.just("0.001"), scalars.map(str))), max_size=18),
        max_size=4,
    ),
    mostly(st.just(","), st.sampled_from((";", "\t", ",,"))),
    st.sampled_from(("load", "generation", "series", "profile")),
    st.booleans(),
)  # fmt: skip


def fuzz_csv(recipe: Recipe) -> str:
    rows, separator, argument, whole = recipe
    if whole:  # a table of the right size, with the drawn values in its first rows
        table = [["0.001"] * (1 if argument == "profile" else 17) for _ in range(24)]
        for filled, row in zip(table, rows, strict=False):
            filled[: len(row)] = row[: len(filled)]
        rows = [[f"c{i}" for i in range(len(table[0]))], *table]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_text("\n".join(separator.join(row) for row in rows), errors="surrogatepass")
        if argument == "series":
            storages = [{"bus": 9, "power_mw": 0.003, "energy_mwh": 0.009}]
            call = lambda: PROBLEMS["storage"]("lv18", storages, series={"load.p_mw": str(path)})  # noqa: E731
        elif argument == "profile":
            call = lambda: PROBLEMS["placement"]("lv18", 1, "pv", profile=str(path))  # noqa: E731
        else:
            call = lambda: PROBLEMS["allocation"]("lv18", **{argument: path})  # noqa: E731
        problem = refused(call)
        if problem is Refused:
            return "refused"
        exercise(problem)
    return "worked"


# -- specifications and studies ------------------------------------------------------------------

words = st.sampled_from(
    ("orpd", "reconfiguration", "placement", "storage", "allocation", "regulators", "x", "",
     "ieee14", "case33bw", "lv18", "village", "hs", "mvmo", "ga", "de", "pso", "nsga2", "cmaes")
)  # fmt: skip
keys = st.sampled_from(
    ("objectives", "controls", "limits", "engine", "coding", "n_units", "kind", "series", "hours",
     "pop_size", "par", "hmcr", "archive_size", "x", "", "n_jobs", "cache", "variables",
     "local_search", "neighbour_search", "aggregate")
)  # fmt: skip
texts = st.sampled_from(
    ("p_loss_mw", "p_loss_kw,v_min_pu", "gen,tap", "newton", "loops", "3", "0", "-1", "1e9", "null",
     "true", "[0.3,0.9]", '{"vm_pu":[0.9,1.1]}', '{"a":1}', "[[1]]", "NaN", "", "a=b", "dg", "1.5",
     "Infinity", '"', "[1,")
)  # fmt: skip
specs = st.tuples(
    words,
    st.sampled_from((":", "", "::", "?")),
    words,
    st.lists(st.tuples(keys, st.sampled_from(("=", "", "==")), texts), max_size=3),
).map(lambda s: s[0] + s[1] + s[2] + ("?" + "&".join("".join(p) for p in s[3]) if s[3] else ""))
likely_specs = st.one_of(
    specs,
    st.tuples(
        st.sampled_from(("orpd:ieee14", "reconfiguration:case33bw", "placement:case33bw",
                         "regulators:village", "allocation:lv18")),
        st.lists(st.tuples(keys, st.just("="), texts), max_size=2),
    ).map(lambda s: s[0] + ("?" + "&".join("".join(p) for p in s[1]) if s[1] else "")),
)  # fmt: skip
algorithm_specs = st.tuples(
    st.sampled_from(("hs", "mvmo", "ga", "de", "pso", "nsga2", "cmaes", "mvmo-sh", "x", "")),
    st.lists(st.tuples(keys, st.just("="), texts), max_size=2),
).map(lambda s: s[0] + ("?" + "&".join("".join(p) for p in s[1]) if s[1] else ""))


def fuzz_problem_spec(recipe: Recipe) -> str:
    from gridproblems.study.specs import problem_of

    problem = refused(lambda: problem_of(recipe))
    if problem is Refused:
        return "refused"
    exercise(problem, many=False)
    return "worked"


def fuzz_algorithm_spec(recipe: Recipe) -> str:
    from pymoo.optimize import minimize

    from gridproblems.study.specs import algorithm_of

    name, spec = recipe
    problem = _made(name)
    try:
        algorithm = refused(lambda: algorithm_of(spec, problem, 30))
    except TypeError as error:  # documented for unknown parameters
        check_message(str(error))
        return "refused"
    if algorithm is Refused:
        return "refused"
    done = refused(lambda: minimize(problem, algorithm, ("n_eval", 30), seed=1))
    return "refused" if done is Refused else "worked"


algorithms_on = st.tuples(
    st.sampled_from(("orpd", "reconfiguration", "regulators")), algorithm_specs
)
studies = st.fixed_dictionaries(
    {
        "problems": st.one_of(
            st.lists(likely_specs, max_size=2), st.dictionaries(st.text(max_size=3), specs), junk
        ),
        "algorithms": st.one_of(st.lists(algorithm_specs, max_size=2), junk),
    },
    optional={
        "seeds": st.one_of(st.integers(-1, 2), junk),
        "n_evals": st.one_of(st.integers(-1, 30), junk),
    },
)


def fuzz_study(recipe: Recipe) -> str:
    from gridproblems.study import Study

    with tempfile.TemporaryDirectory() as folder:
        made = refused(lambda: Study(Path(folder) / "s.db", **recipe))
        if made is Refused:
            return "refused"
        if len(made.jobs) > 4:
            return "worked"
        try:
            refused(lambda: made.results().table())
        except OSError as error:
            check_message(str(error))
    return "worked"


# -- the command line -----------------------------------------------------------------------------

options = st.one_of(
    st.tuples(st.just("--case"), st.sampled_from(
        ("ieee14", "case33bw", "lv18", "village", "x", "", "net.json", "broken.json", ".",
         "t.csv"))),
    st.tuples(st.just("--algorithm"), st.one_of(algorithm_specs, words)),
    st.tuples(st.just("--evals"), st.sampled_from(("12", "30", "0", "-1", "x", "1.5"))),
    st.tuples(st.just("--seed"), st.sampled_from(("1", "-1", "x", "99999999999999999999"))),
    st.tuples(st.just("--objectives"), st.sampled_from(
        ("p_loss_mw", "p_loss_mw,voltage_deviation_pu", "", ",", "x", "switching_actions"))),
    st.tuples(st.just("--controls"), st.sampled_from(("gen", "gen,tap", "x", ""))),
    st.tuples(st.just("--engine"), st.sampled_from(("newton", "sweep", "opendss", "x", ""))),
    st.tuples(st.just("--option"), st.tuples(keys, st.sampled_from(("=", "")), texts).map("".join)),
    st.tuples(st.just("--jobs"), st.sampled_from(("1", "0", "x"))),
    st.tuples(st.just("--population"), st.sampled_from(("4", "0", "1", "x"))),
    st.tuples(st.just("--out"), st.sampled_from(("out", "net.json", "net.json/x", "\0", ""))),
    st.tuples(st.sampled_from(("--quiet", "--nonsense", "--limit", "--help"))),
)  # fmt: skip
command_lines = st.one_of(
    st.tuples(st.just("solve"), words, st.lists(options, max_size=4)),
    st.tuples(st.just("solve"), st.sampled_from(sorted(CASE_OF)), st.lists(options, max_size=3)),
    st.tuples(
        st.just("compare"), likely_specs, st.lists(options, max_size=2).map(
            lambda o: [*o, ("--dry-run",), ("--seeds", "1"), ("--evals", "12")])
    ),
    st.tuples(st.sampled_from(("report", "export")), st.sampled_from(
        ("out", "x.db", "net.json", "broken.db", "empty.db", ".", "")),
        st.lists(options, max_size=1)),
    st.tuples(st.one_of(words, st.text(max_size=4)), words, st.just([])),
)  # fmt: skip
USAGE = re.compile(r"^(Usage: |╭|│|╰|Try |Error: )")


def _command(recipe: Recipe) -> list[str]:
    command, argument, given = recipe
    flat = [part for option in given for part in option]
    if command == "solve":
        if "--case" not in flat:
            flat += ["--case", CASE_OF.get(argument, "ieee14")]
        if "--evals" not in flat:
            flat += ["--evals", "12"]
    return [command, argument, *flat]


def _folder_of_files(folder: Path) -> None:
    (folder / "net.json").write_text(_json("example_simple"))
    (folder / "broken.json").write_text(_json("example_simple")[:5000])
    (folder / "broken.db").write_bytes(b"SQLite format 3\0" + b"\7" * 500)
    (folder / "empty.db").write_bytes(b"")
    (folder / "t.csv").write_text("a,b\n1,2\n")


def check_command(code: int, out: str, err: str) -> str:
    """Exit code 0, or 2 with one line of error (or the usage)."""
    assert "Traceback" not in out + err, err
    assert code in (0, 2), f"exit code {code}: {err}"
    if code == 0:
        return "worked"
    lines = [line for line in err.splitlines() if line.strip()]
    if lines and USAGE.match(lines[0]) and not lines[0].startswith("Error: "):
        return "refused"  # what typer says of options that it does not know
    assert len(lines) == 1, f"expected one line: {err!r}"
    check_message(lines[0].removeprefix("Error: "))
    return "refused"


def fuzz_command(recipe: Recipe) -> str:
    from gridproblems.cli import app

    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        _folder_of_files(Path(folder))
        os.chdir(folder)
        try:
            result = CliRunner().invoke(app, _command(recipe), catch_exceptions=False)
        finally:
            os.chdir(before)
    return check_command(result.exit_code, result.stdout, result.stderr)


def fuzz_process(recipe: Recipe) -> str:
    with tempfile.TemporaryDirectory() as folder:
        _folder_of_files(Path(folder))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "gridproblems",
                *(a.replace("\0", "?") for a in _command(recipe)),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(gridproblems.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=WALL_S,
            check=False,
        )
    return check_command(done.returncode, done.stdout, done.stderr)


# -- all targets, and the program ----------------------------------------------------------------

#: Target, what it draws from, and its share of the inputs.
TARGETS: dict[str, tuple[Target, st.SearchStrategy[Any], float]] = {
    "nets": (fuzz_net, nets, 0.28),
    "constructors": (fuzz_constructor, constructors, 0.24),
    "vectors": (fuzz_vector, vectors, 0.20),
    "net files": (fuzz_file, files, 0.06),
    "csv files": (fuzz_csv, csvs, 0.05),
    "problem specifications": (fuzz_problem_spec, likely_specs, 0.05),
    "algorithm specifications": (fuzz_algorithm_spec, algorithms_on, 0.03),
    "studies": (fuzz_study, studies, 0.03),
    "command lines": (fuzz_command, command_lines, 0.0585),
    "processes": (fuzz_process, command_lines, 0.0015),
}


def run(target: Target, recipe: Recipe) -> str:
    """One input, within its time; warnings are no errors here."""
    with deadline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return target(copy.deepcopy(recipe))


@dataclass
class Tally:
    """What became of the inputs of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    defects: dict[str, tuple[int, Recipe, str]] = field(default_factory=dict)
    slowest_s: float = 0.0

    def add(self, target: Target, recipe: Recipe) -> None:
        started = time.process_time()
        try:
            self.outcomes[run(target, recipe)] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self.outcomes["failed"] += 1
            self._note(error, recipe)
        self.slowest_s = max(self.slowest_s, time.process_time() - started)

    def _note(self, error: Exception, recipe: Recipe) -> None:
        cause = error.__cause__ if isinstance(error, Unclear) and error.__cause__ else error
        frames = traceback.extract_tb(cause.__traceback__)
        own = [f for f in frames if re.search(r"/(gridproblems|algorithms)/", f.filename)]
        place = own[-1] if own else frames[-1]
        text = f"{place.filename.rsplit('/wt/', 1)[-1]}:{place.lineno} {place.name}"
        key = f"{type(error).__name__} at {text}"
        if isinstance(error, Unclear):
            key += ": " + re.sub(r"[\d.]+|'[^']*'", "_", str(error))[:90]
        count, shortest, message = self.defects.get(key, (0, recipe, str(error)))
        if len(repr(recipe)) < len(repr(shortest)):
            shortest, message = recipe, str(error)
        self.defects[key] = (count + 1, shortest, message)


def draw(judge: Callable[[Recipe], None], strategy: Any, n: int, first_seed: int) -> None:
    """Hands ``n`` inputs of a strategy to a judge."""

    @seed(first_seed)
    @settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def inputs(recipe: Recipe) -> None:
        judge(recipe)

    inputs()


def fuzz(n_inputs: int, first_seed: int, only: str = "") -> dict[str, Tally]:
    """Runs the targets with their shares of the inputs."""
    tallies = {}
    for name, (target, strategy, share) in TARGETS.items():
        if only and only not in name:
            continue
        tally = tallies[name] = Tally()
        n = n_inputs if only else max(1, round(share * n_inputs))
        started = time.monotonic()
        draw(functools.partial(tally.add, target), strategy, n, first_seed)
        print(
            f"{name}: {sum(tally.outcomes.values())} inputs, {dict(tally.outcomes)}, "
            f"{time.monotonic() - started:.0f} s, slowest {tally.slowest_s:.1f} s",
            flush=True,
        )
        for key, (count, recipe, message) in sorted(tally.defects.items(), key=lambda d: -d[1][0]):
            print(f"  {count} x {key}\n      {message[:300]}\n      {recipe!r}"[:1500], flush=True)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    given_arguments = parser.parse_args()
    tallies = fuzz(given_arguments.inputs, given_arguments.seed, given_arguments.only)
    total: Counter[str] = sum((t.outcomes for t in tallies.values()), Counter())
    defects = sum(len(t.defects) for t in tallies.values())
    print(f"{sum(total.values())} inputs: {dict(total)}, {defects} distinct defects")
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    main()
