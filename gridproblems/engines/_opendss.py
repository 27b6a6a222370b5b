"""OpenDSS by opendssdirect: one context per worker, reset exactly before every candidate.

OpenDSS remembers: tap positions, voltages and inverter states of one solution are where the next
one starts, and with a dead band the same settings then end elsewhere. So before every candidate
each tap goes to its position in the feeder file, inverter controls start anew, ``SolveDirect`` puts
the voltages where they are without load, and only then the power flow is solved. That is bitwise
what a freshly built circuit gives. A feeder with controls of other kinds is built anew instead.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from gridproblems.engines._load_opendss import THREADS_ARE_SAFE, opendssdirect
from gridproblems.engines._trial import try_out
from gridproblems.errors import UnsupportedByEngine
from gridproblems.feeders import Command, Feeder
from gridproblems.state import Field, FloatArray, GridState, Layout, Settings

DSSException = opendssdirect.DSSException

DEAD_PU = 0.1  # a phase below this has no supply
PHASES = ("1", "2", "3")
KM_PER_UNIT = {0: 1.0, 1: 1.609344, 2: 0.3048, 3: 1.0, 4: 1e-3, 5: 3.048e-4, 6: 2.54e-5, 7: 1e-5}
CONTROL_LIMIT_EXCEEDED = 485
# Classes of elements that act on their own or remember; those reset without building anew.
MEMORY = frozenset(
    {
        "CapControl",
        "ESPVLControl",
        "ExpControl",
        "Fuse",
        "GenDispatcher",
        "Generator",
        "IndMach012",
        "InvControl",
        "Recloser",
        "RegControl",
        "Relay",
        "Storage",
        "StorageController",
        "SwtControl",
        "UPFCControl",
        "VSConverter",
    }
)
RESET_EXACTLY = frozenset({"CapControl", "RegControl", "InvControl"})
#: Types of capacitor controls that their reset brings back exactly, each on a capacitor of its own
#: and never yet solved; the others are built anew.
RESET_TYPES = frozenset({"current", "kvar", "voltage"})

_PLAIN_NAME = re.compile(r"""[^\s.,=!/"'()\[\]{}]+""")

Values = dict[str, float]
Planned = tuple[str, str, list[tuple[str, int]]]


@dataclass(frozen=True)
class Regulator:
    """What a regulator control is now.

    Attributes:
        name: Name of the control.
        transformer: Transformer whose tap it moves.
        vreg_v: Set-point on the secondary side of its voltage transformer. [V]
        nominal_v: Nominal voltage there. [V]
        tap: Position in the feeder file, as a whole number of steps.
        min_tap, max_tap: Range of the tap changer.
    """

    name: str
    transformer: str
    vreg_v: float
    nominal_v: float
    tap: int
    min_tap: int
    max_tap: int


@dataclass(frozen=True)
class Circuit:
    """Names and numbers of a feeder as it is built, in OpenDSS's order; all names in lower case.

    Attributes:
        nodes: Phases of buses, ``"bus.phase"``, in the order of ``node_vm_pu``.
        buses: Buses with phases, in the order of ``bus_mean_vm_pu``.
        first_node: First node of each bus, shape (n_buses,).
        distance_km: Length of lines from the source to each bus, shape (n_buses,). [km]
        loads: Active and reactive power of each load. [kW, kvar]
        load_nodes: Nodes of each load on phases by its name, as positions in ``nodes``.
        regulators: Regulator controls by name.
        capacitor_steps: Switching state of the steps of each capacitor.
        capacitor_controls: Capacitor that each capacitor control switches.
        irradiance: Irradiance of each PV system. [kW/m2]
        load_multiplier: What multiplies all loads.
        volt_var: Points of the volt-var curves of inverter controls: voltages and reactive powers.
        load_shapes: Multipliers of the load shapes. [1]
        lines, transformers: Names, in the order of their loadings.
        generators: Names.
        remembers: Classes with elements that cannot be reset exactly.
    """

    nodes: tuple[str, ...]
    buses: tuple[str, ...]
    first_node: NDArray[np.int64]
    distance_km: FloatArray
    loads: dict[str, tuple[float, float]]
    load_nodes: dict[str, NDArray[np.int64]]
    regulators: dict[str, Regulator]
    capacitor_steps: dict[str, tuple[int, ...]]
    capacitor_controls: dict[str, str]
    irradiance: dict[str, float]
    load_multiplier: float
    volt_var: dict[str, tuple[FloatArray, FloatArray]]
    load_shapes: dict[str, FloatArray]
    lines: tuple[str, ...]
    transformers: tuple[str, ...]
    generators: tuple[str, ...]
    remembers: tuple[str, ...]

    def elements(self, table: str) -> tuple[str, ...]:
        """Names of the elements that a table of settings knows."""
        names: dict[str, Sequence[str]] = {
            "regcontrol": tuple(self.regulators),
            "capacitor": tuple(self.capacitor_steps),
            "load": tuple(self.loads),
            "pvsystem": tuple(self.irradiance),
            "xycurve": [
                f"{name}[{i + 1}]" for name, (x, _) in self.volt_var.items() for i in range(len(x))
            ],
            "line": self.lines,
            "generator": self.generators,
            "solution": ("all",),
        }
        if table not in names:
            raise ValueError(f"{table!r}: no such kind of element; known: {', '.join(names)}")
        return tuple(names[table])

    def base(self, table: str, column: str, element: str) -> float:
        """What a setting is in the feeder file.

        Raises:
            ValueError: There is no such element or column.
        """
        if element not in self.elements(table):
            known = ", ".join(self.elements(table)) or "none"
            raise ValueError(f"the feeder has no {table} {element!r}; known: {known}")
        if column == "closed" and table in SWITCHED:
            return 1.0
        if (table, column) not in COLUMNS:
            known = ", ".join(f"{t}.{c}" for t, c in COLUMNS)
            raise ValueError(
                f"{table}.{column} cannot be set; known: {known}, and closed of {SWITCHED}"
            )
        values: dict[str, Callable[[], float]] = {
            "vreg_v": lambda: self.regulators[element].vreg_v,
            "tap": lambda: float(self.regulators[element].tap),
            "steps": lambda: float(sum(self.capacitor_steps[element])),
            "kw": lambda: self.loads[element][0],
            "kvar": lambda: self.loads[element][1],
            "irradiance": lambda: self.irradiance[element],
            "load_multiplier": lambda: self.load_multiplier,
            "y_pu": lambda: self._point(element),
        }
        return values[column]()

    def _point(self, element: str) -> float:
        curve, point = curve_point(element)
        return float(self.volt_var[curve][1][point])


COLUMNS = (
    ("regcontrol", "vreg_v"),
    ("regcontrol", "tap"),
    ("capacitor", "steps"),
    ("load", "kw"),
    ("load", "kvar"),
    ("pvsystem", "irradiance"),
    ("xycurve", "y_pu"),
    ("solution", "load_multiplier"),
)
SWITCHED = ("line", "capacitor", "generator", "pvsystem")


def curve_point(element: str) -> tuple[str, int]:
    """Curve and position of an element of the table ``xycurve``: ``"curve[1]"`` is the first."""
    curve, _, number = element.rstrip("]").rpartition("[")
    return curve, int(number) - 1


def plan_of(fields: Sequence[Field]) -> list[Planned]:
    """What settings of these fields set: kind of element, name, and columns with their position.

    The points of a curve are columns of the curve, for OpenDSS takes all of them at once.
    """
    plan: dict[tuple[str, str], list[tuple[str, int]]] = {}
    position = 0
    for field in fields:
        for element in field.elements:
            name, column = element, field.column
            if field.table == "xycurve":
                name, point = curve_point(element)
                column = str(point)
            plan.setdefault((field.table, name), []).append((column, position))
            position += 1
    return [(table, name, columns) for (table, name), columns in plan.items()]


def commands_of(circuit: Circuit, table: str, element: str, values: Values) -> list[str]:
    """The commands that give one element these settings.

    Args:
        circuit: The circuit as it is built.
        table: Kind of element.
        element: Its name.
        values: Settings by column.
    """
    commands = []
    if "closed" in values and table == "generator":  # OpenDSS lets an open one feed in
        commands.append(edit(table, element, f"enabled={'yes' if values['closed'] else 'no'}"))
    elif "closed" in values:
        verb = "Close" if values["closed"] else "Open"
        terminals = (1, 2) if table == "line" else (1,)
        name = f"{table}.{element}" if _PLAIN_NAME.fullmatch(element) else f'"{table}.{element}"'
        commands += [f"{verb} {name} {terminal}" for terminal in terminals]
    if "vreg_v" in values:
        commands.append(edit(table, element, f"vreg={values['vreg_v']!r}"))
    if "tap" in values:
        commands.append(edit(table, element, f"TapNum={values['tap']:.0f}"))
    if "steps" in values:
        n_steps = len(circuit.capacitor_steps[element])
        states = " ".join("1" if i < values["steps"] else "0" for i in range(n_steps))
        commands.append(edit(table, element, f"states=[{states}]"))
    if table == "load":
        kw, kvar = circuit.loads[element]
        commands.append(edit(table, element, f"kW={values.get('kw', kw)!r}"))
        commands.append(edit(table, element, f"kvar={values.get('kvar', kvar)!r}"))
    if "irradiance" in values:
        commands.append(edit(table, element, f"irradiance={values['irradiance']!r}"))
    if "load_multiplier" in values:
        commands.append(f"Set LoadMult={values['load_multiplier']!r}")
    if table == "xycurve":
        x, y = circuit.volt_var[element]
        points = " ".join(repr(float(values.get(str(i), y[i]))) for i in range(len(x)))
        commands.append(edit(table, element, f"yarray=[{points}]"))
    return commands


def edit(kind: str, name: str, change: str) -> str:
    """The command that changes a property of an element.

    The short form is not for names with dots or blanks, and ends a value at its first quote.
    """
    if _PLAIN_NAME.fullmatch(name) and '"' not in change:
        return f"{kind}.{name}.{change}"
    return f'Edit "{kind}.{name}" {change}'


class OpenDSSEngine:
    """Solves a feeder with OpenDSS.

    Settings are ``regcontrol.vreg_v`` [V], ``regcontrol.tap``, ``capacitor.steps`` (steps switched
    on), ``load.kw``, ``load.kvar``, ``pvsystem.irradiance``, ``xycurve.y_pu`` (a point of a
    volt-var curve, ``"name[1]"`` the first), ``solution.load_multiplier`` (element ``"all"``) and
    ``closed`` of lines, capacitors, generators and PV systems. A regulator whose tap is set keeps
    it; the others act, and so does every other control of the feeder, except those of capacitors
    whose steps are set.

    The state has ``node_vm_pu`` and ``node_va_degree`` of every phase, ``bus_mean_vm_pu`` (mean
    over the phases of a bus), ``tap``, ``line_loading_percent``, ``trafo_loading_percent``,
    ``p_loss_kw``, ``source_p_kw`` and ``source_q_kvar`` (from the source, positive). Phases without
    supply are NaN. ``converged`` is False where the power flow diverges and where the controls do
    not come to rest.

    Args:
        feeder: The circuit.
        tolerance: Of the voltages between two iterations. [p.u.]
        max_control_iterations: Rounds that the controls have to come to rest.
        sequential: Snapshots follow each other in time: controls go on from where the snapshot
            before left them. Else every snapshot starts from the feeder file.

    Raises:
        ValueError: The circuit cannot be built; the message has OpenDSS's own, file and line. Or
            OpenDSS dies of it, which is tried in another process unless the feeder is trusted.
    """

    releases_gil = THREADS_ARE_SAFE

    def __init__(
        self,
        feeder: Feeder,
        *,
        tolerance: float = 1e-6,
        max_control_iterations: int = 100,
        sequential: bool = False,
    ) -> None:
        self.feeder = feeder
        self.tolerance = tolerance
        self.max_control_iterations = max_control_iterations
        self.sequential = sequential
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        try_out(self.feeder)
        dss = _take_context(self.feeder)
        build(dss, self.feeder)
        c = self.circuit = _circuit_of(dss, self.feeder)
        self.layout = Layout(
            {
                "node_vm_pu": len(c.nodes),
                "node_va_degree": len(c.nodes),
                "bus_mean_vm_pu": len(c.buses),
                "tap": len(c.regulators),
                "line_loading_percent": len(c.lines),
                "trafo_loading_percent": len(c.transformers),
                "p_loss_kw": 1,
                "source_p_kw": 1,
                "source_q_kvar": 1,
            }
        )
        self._idle = [self._new_workspace(dss)]
        weakref.finalize(self, _give_back, self.feeder, self._idle).atexit = False

    def _new_workspace(self, dss: Any) -> _Workspace:
        options = (
            "Set Mode=Snapshot ControlMode=Static Number=1 MaxIterations=100 "
            f"MaxControlIter={self.max_control_iterations} Tolerance={self.tolerance!r}"
        )
        return _Workspace(dss, self.feeder, self.circuit, self.layout, options)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("feeder", "tolerance", "max_control_iterations", "sequential")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def check(self, settings: Settings) -> None:
        """Raises `UnsupportedByEngine` for a setting that is not in the list above."""
        _check(self.circuit, settings.fields)

    def solve(self, settings: Settings) -> GridState:
        """Solves the feeder with these settings, of one candidate or of a batch.

        Raises:
            UnsupportedByEngine: A setting that the engine does not know.
        """
        rows = settings.rows
        n_snapshots = settings.n_snapshots
        values = np.empty((len(rows), self.layout.n_values))
        converged = np.empty(len(rows), dtype=np.bool_)
        n_unsupplied = np.empty(len(rows), dtype=np.int64)
        with self._workspace() as workspace:
            workspace.take(settings.fields)
            for i, row in enumerate(rows):
                goes_on = self.sequential and i % n_snapshots > 0
                converged[i], n_unsupplied[i] = workspace.solve(row, goes_on, values[i])
        means = self._bus_means(values[:, self.layout.slices["node_vm_pu"]])
        values[:, self.layout.slices["bus_mean_vm_pu"]] = means
        shape = settings.shape
        return GridState(
            self.layout,
            values.reshape(*shape, -1),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
        )

    def _bus_means(self, vm_pu: FloatArray) -> FloatArray:
        """Mean of the supplied phases of each bus, shape (n, n_buses)."""
        first = self.circuit.first_node
        supplied = ~np.isnan(vm_pu)
        if supplied.all():
            counts = np.diff(first, append=vm_pu.shape[1])
            return np.add.reduceat(vm_pu, first, axis=1) / counts
        counts = np.add.reduceat(supplied, first, axis=1, dtype=float)
        sums = np.add.reduceat(np.where(supplied, vm_pu, 0.0), first, axis=1)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    @contextmanager
    def _workspace(self) -> Iterator[_Workspace]:
        """A context that no other thread uses meanwhile; which one it is changes nothing."""
        with self._lock:
            workspace = self._idle.pop() if self._idle else None
        if workspace is None:
            workspace = self._new_workspace(_take_context(self.feeder))
        yield workspace
        with self._lock:
            self._idle.append(workspace)

    def unsupplied_loads(self, settings: Settings) -> tuple[str, ...]:
        """Names of the loads that the settings of one candidate's first snapshot leave dead."""
        with self._workspace() as workspace:
            workspace.take(settings.fields)
            workspace.solve(settings.rows[0], False, np.empty(self.layout.n_values))
            return workspace.unsupplied_loads()

    def open(self, settings: Settings, snapshot: int = 0) -> tuple[Any, bool]:
        """An OpenDSS context of its own with these settings, solved, and whether it converged.

        Args:
            settings: Of one candidate.
            snapshot: Which snapshot; in a sequence those before it are solved first.
        """
        workspace = self._new_workspace(new_context())
        workspace.take(settings.fields)
        first = 0 if self.sequential else snapshot
        values = np.empty(self.layout.n_values)
        for i, row in enumerate(settings.rows[first : snapshot + 1]):
            converged, _ = workspace.solve(row, self.sequential and i > 0, values)
        return workspace.dss, converged


class _Workspace:
    """A context with the circuit in it, and what it was told last.

    Args:
        dss: The context.
        feeder, circuit, layout: As of the engine.
        options: Command that sets how to solve, after the circuit is built.
    """

    def __init__(
        self, dss: Any, feeder: Feeder, circuit: Circuit, layout: Layout, options: str
    ) -> None:
        self.dss = dss
        self._feeder = feeder
        self._circuit = circuit
        self._layout = layout
        self._options = options
        self._arrays = dss.to_dss_python().ActiveCircuit  # the same context, but numpy arrays
        load_nodes = list(circuit.load_nodes.values())
        self._load_nodes = np.concatenate([*load_nodes, np.zeros(0, dtype=np.int64)])
        self._first_load_node = np.cumsum([0, *(len(nodes) for nodes in load_nodes)])[:-1]
        self._build()

    def _build(self) -> None:
        dss = self.dss
        build(dss, self._feeder)
        dss.Text.Command(self._options)
        self._map_nodes()
        branches = {name.lower(): i for i, name in enumerate(dss.PDElements.AllNames())}
        c = self._circuit
        self._lines = np.array([branches[f"line.{name}"] for name in c.lines], dtype=int)
        self._trafos = np.array(
            [branches[f"transformer.{name}"] for name in c.transformers], dtype=int
        )
        order = [name.lower() for name in dss.RegControls.AllNames()]
        self._regulators = [order.index(name) + 1 for name in c.regulators]
        self._reset = _reset_commands(dss, c)
        self._row: list[float] | None = None
        self._fields: tuple[Field, ...] = ()
        self._plan: list[Planned] = []
        self._held: set[str] = set()
        self._steps: dict[str, tuple[int, ...]] = {}
        self._is_built_anew = _is_built_anew(c, ())
        self._switches = True
        self._n_isolated: int | None = None

    def _map_nodes(self) -> None:
        """Where the nodes are in OpenDSS's order, which changes when elements are disabled."""
        place = {name.lower(): i for i, name in enumerate(self.dss.Circuit.AllNodeNames())}
        self._nodes = np.array([place[name] for name in self._circuit.nodes])

    def take(self, fields: tuple[Field, ...]) -> None:
        """Prepares for settings of these fields; what other fields set goes back to its base."""
        if fields is self._fields or fields == self._fields:
            return
        if self._fields:
            self._build()
        _check(self._circuit, fields)
        self._fields = fields
        self._row = None
        self._plan = plan_of(fields)
        self._n_isolated = None
        self._switches = bool(self._circuit.remembers) or any(f.column == "closed" for f in fields)
        self._is_built_anew = _is_built_anew(self._circuit, fields)
        self._hold()

    def _hold(self) -> None:
        """Keeps the feeder's own controls off what the settings set."""
        tapped = {e for table, e, columns in self._plan for c, _ in columns if c == "tap"}
        self._held = tapped
        for name in tapped:
            self.dss.Text.Command(edit("RegControl", name, "MaxTapChange=0"))
        switched = {e for table, e, columns in self._plan for c, _ in columns if c == "steps"}
        for name, capacitor in self._circuit.capacitor_controls.items():
            if capacitor in switched:
                self.dss.Text.Command(edit("CapControl", name, "enabled=no"))
        self._steps = {
            name: self._circuit.capacitor_steps[name]
            for name in self._circuit.capacitor_controls.values()
            if name not in switched
        }

    def solve(self, row: FloatArray, goes_on: bool, out: FloatArray) -> tuple[bool, int]:
        """Solves one power flow.

        Args:
            row: Values of the fields, shape (n_values,).
            goes_on: Start from the snapshot before instead of the feeder file.
            out: The state's values, filled here.

        Returns:
            Whether it converged, and the number of loads without supply.
        """
        dss = self.dss
        if self._is_built_anew and not goes_on and self._row is not None:
            fields = self._fields
            self._build()
            self.take(fields)
        command = dss.Text.Command
        now, last = row.tolist(), self._row
        disables = False
        for table, element, columns in self._plan:
            if last is None or any(now[i] != last[i] for _, i in columns):
                values = {column: now[i] for column, i in columns}
                for text in commands_of(self._circuit, table, element, values):
                    command(text)
                disables = disables or table == "generator"
        self._row = now
        if not goes_on:
            for name, text in self._reset:
                if name not in self._held:
                    command(text)
            self._reset_capacitors()
            dss.Solution.SolveDirect()
        try:
            dss.Solution.Solve()
        except DSSException as error:
            if error.args[0] != CONTROL_LIMIT_EXCEEDED:
                raise
        if disables:
            self._map_nodes()
        converged = bool(dss.Solution.Converged() and dss.Solution.ControlActionsDone())
        return converged, self._read(out)

    def _reset_capacitors(self) -> None:
        """Puts steps and controls back to where they are in the feeder file.

        OpenDSS's ``Reset`` of a capacitor control alone brings back the control and the switch of
        the capacitor, not its steps.
        """
        if self._is_built_anew or not self._steps:
            return
        for name, steps in self._steps.items():
            if _steps(self.dss, name) != steps:
                states = " ".join(str(step) for step in steps)
                self.dss.Text.Command(edit("Capacitor", name, f"states=[{states}]"))
        self.dss.Text.Command("Reset Controls")

    def _read(self, out: FloatArray) -> int:
        dss, slices = self.dss, self._layout.slices
        vm_pu = self._arrays.AllBusVmagPu[self._nodes]
        volts = self._arrays.AllBusVolts.reshape(-1, 2)[self._nodes]
        loading = np.array(dss.PDElements.AllPctNorm())
        source_kva = dss.Circuit.TotalPower()
        dead = vm_pu < DEAD_PU
        if self._n_isolated is None or self._switches:
            self._n_isolated = len(self._isolated_loads())
        n_unsupplied = self._n_isolated
        if dead.any():
            if len(self._load_nodes):
                without = np.logical_or.reduceat(dead[self._load_nodes], self._first_load_node)
                n_unsupplied = max(n_unsupplied, int(without.sum()))
            vm_pu[dead] = np.nan
        out[slices["node_vm_pu"]] = vm_pu
        out[slices["node_va_degree"]] = np.degrees(np.arctan2(volts[:, 1], volts[:, 0]))
        out[slices["tap"]] = self._taps()
        out[slices["line_loading_percent"]] = loading[self._lines]
        out[slices["trafo_loading_percent"]] = loading[self._trafos]
        out[slices["p_loss_kw"]] = dss.Circuit.Losses()[0] / 1e3
        out[slices["source_p_kw"]] = -source_kva[0]
        out[slices["source_q_kvar"]] = -source_kva[1]
        return n_unsupplied

    def unsupplied_loads(self) -> tuple[str, ...]:
        """Names of loads without a way to the source or with a phase without voltage."""
        vm_pu = self._arrays.AllBusVmagPu[self._nodes]
        dead = {
            name
            for name, nodes in self._circuit.load_nodes.items()
            if (vm_pu[nodes] < DEAD_PU).any()
        }
        return tuple(sorted(dead | set(self._isolated_loads())))

    def _isolated_loads(self) -> list[str]:
        """Loads without a way to the source; OpenDSS lists PV systems and disabled loads too."""
        if not self.dss.Topology.NumIsolatedLoads():
            return []
        isolated = (name.lower() for name in self.dss.Topology.AllIsolatedLoads())
        names = [name.partition(".")[2] for name in isolated if name.startswith("load.")]
        return [name for name in names if name in self._circuit.loads]

    def _taps(self) -> list[int]:
        regulators = self.dss.RegControls
        taps = []
        for number in self._regulators:
            regulators.Idx(number)
            taps.append(regulators.TapNumber())
        return taps


def _without_base(dss: Any, bus: str) -> str:
    """Why a bus has no nominal voltage."""
    if not np.isnan(_distances(dss, [bus.lower()])[0]):
        return (
            f"bus {bus} has no nominal voltage; end the feeder file with Set VoltageBases=[...] "
            "and CalcVoltageBases"
        )
    loads = [
        load.Name()
        for load in dss.Loads
        if dss.CktElement.BusNames()[0].partition(".")[0].lower() == bus.lower()
    ]
    at_bus = f"; loads without supply there: {', '.join(loads)}" if loads else ""
    return f"bus {bus} has no way to the source and so no nominal voltage{at_bus}"


def _is_built_anew(circuit: Circuit, fields: Sequence[Field]) -> bool:
    """Whether nothing less than a new circuit forgets the candidate before.

    Controls of capacitors whose steps are set are off. Resetting a control closes its capacitor,
    also one that a setting has opened.
    """
    controlled = set(circuit.capacitor_controls.values())
    of_capacitors = [field for field in fields if field.table == "capacitor"]
    held = {e for field in of_capacitors if field.column == "steps" for e in field.elements}
    opened = {e for field in of_capacitors if field.column == "closed" for e in field.elements}
    remembers = set(circuit.remembers)
    if controlled <= held:
        remembers -= {"CapControl"}
    return bool(remembers or controlled & opened)


def _check(circuit: Circuit, fields: Sequence[Field]) -> None:
    for field in fields:
        for element in field.elements:
            try:
                circuit.base(field.table, field.column, element)
            except ValueError as error:
                raise UnsupportedByEngine(str(error)) from None


_creation_lock = threading.Lock()
#: Deques, for the collector of garbage may give back at any moment, also to a thread that takes.
_spare_contexts: dict[Feeder, deque[Any]] = {}


def _take_context(feeder: Feeder) -> Any:
    """A context that an engine of the same feeder has left, or a new one.

    OpenDSS does not free the memory of a context (about 3 MB with 123 nodes), and defaults such as
    the frequency outlive the circuit, so contexts are used again, and for their feeder alone.
    """
    try:
        return _spare_contexts[feeder].pop()
    except (KeyError, IndexError):
        dss = new_context()
    # it would list all buses at every solution, for objects that the engine does not use
    dss._api_util.unregister_callbacks()
    return dss


def _give_back(feeder: Feeder, workspaces: list[_Workspace]) -> None:
    _spare_contexts.setdefault(feeder, deque()).extend(w.dss for w in workspaces)


def new_context() -> Any:
    """A fresh OpenDSS that neither opens windows nor changes the working directory."""
    with _creation_lock:
        here = os.getcwd()
        dss = opendssdirect.dss.NewContext()
        os.chdir(here)  # a new context may go to where OpenDSS was loaded
        dss.Basic.AllowChangeDir(False)
        dss.Basic.AllowEditor(False)
        dss.Basic.AllowForms(False)
    return dss


def build(dss: Any, feeder: Feeder) -> None:
    """Builds the feeder in a context, in place of what is in there.

    What the commands of a trusted feeder write without a whole path goes to a temporary folder of
    the context: two contexts cannot have the same file open. OpenDSS writes some of it to the
    working directory of the process, which is that folder during such a command.

    Raises:
        ValueError: A command fails; the message has file, line and OpenDSS's words.
    """
    dss.Text.Command("Clear")
    dss.Text.Command(f'Set DataPath="{_folder_of(dss)}"')
    for command in feeder.commands:
        if command.selects:
            _run(dss, f"Select {command.selects}", command)
        with _inside(_folder_of(dss)) if command.by_trust else nullcontext():
            _run(dss, command.text, command)
    if not dss.Basic.NumCircuits():
        raise ValueError(f"feeder {feeder.name}: its commands build no circuit")
    dss.Text.Command("MakeBusList")


_folders: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_folder_of_process: dict[int, tempfile.TemporaryDirectory[str]] = {}


def _folder_of(dss: Any) -> str:
    """The folder of a context for what OpenDSS writes, removed when Python ends."""
    with _creation_lock:
        if dss not in _folders:
            process = os.getpid()  # a forked process must not use its parent's
            if process not in _folder_of_process:
                _folder_of_process[process] = tempfile.TemporaryDirectory(prefix="gridproblems-")
            _folders[dss] = tempfile.mkdtemp(dir=_folder_of_process[process].name)
        return _folders[dss]


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Changes the working directory of the process, of one thread at a time."""
    with _creation_lock:
        here = os.getcwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _run(dss: Any, text: str, command: Command) -> None:
    try:
        dss.Text.Command(text)
        message = dss.Text.Result()
        if not message.startswith("Unknown parameter"):  # of Set and Solve, no exception
            return
    except DSSException as error:
        if error.args[0] == CONTROL_LIMIT_EXCEEDED:  # of a Solve in the file; ours has its own
            return
        message = str(error.args[-1])
    words = " ".join(message.split())
    raise ValueError(
        f"{command.where}: OpenDSS refuses {(command.line or command.text)!r}: {words}"
    )


def _reset_commands(dss: Any, circuit: Circuit) -> list[tuple[str, str]]:
    """Per regulator the command that puts its tap back, and those that restart inverters."""
    commands = [
        (r.name, edit("RegControl", r.name, f"TapNum={r.tap}")) for r in circuit.regulators.values()
    ]
    if set(circuit.remembers) - {"CapControl"}:
        return commands
    inverters = _names(dss, "InvControl")
    for name in inverters:
        systems = " ".join(f'"{system}"' for system in _listed(dss, "InvControl", name, "DERList"))
        commands.append(("", edit("InvControl", name, f"DERList=[{systems}]")))
    for name in circuit.irradiance if inverters else ():
        commands.append(
            ("", edit("PVSystem", name, f"pf={_property(dss, 'PVSystem', name, 'pf')}"))
        )
    return commands


def _circuit_of(dss: Any, feeder: Feeder) -> Circuit:
    """Reads names and numbers of a circuit.

    Raises:
        ValueError: A bus has no voltage base, or a regulator moves something else than the tap
            of a transformer.
    """
    nodes: list[str] = []
    buses: list[str] = []
    first_node: list[int] = []
    kv_base: dict[str, float] = {}
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        kv_base[bus.lower()] = dss.Bus.kVBase()
        phases = [str(node) for node in dss.Bus.Nodes() if str(node) in PHASES]
        if not phases:
            continue
        if not dss.Bus.kVBase():
            raise ValueError(f"feeder {feeder.name}: {_without_base(dss, bus)}")
        first_node.append(len(nodes))
        buses.append(bus.lower())
        nodes += [f"{bus.lower()}.{phase}" for phase in phases]
    place = {node: i for i, node in enumerate(nodes)}
    loads, load_nodes = {}, {}
    for load in dss.Loads:
        name = load.Name().lower()
        loads[name] = (load.kW(), load.kvar())
        bus = dss.CktElement.BusNames()[0].partition(".")[0].lower()
        found = (place.get(f"{bus}.{node}") for node in dss.CktElement.NodeOrder())
        known = [i for i in found if i is not None]
        if known:
            load_nodes[name] = np.array(known, dtype=np.int64)
    remembers = [c for c in MEMORY - RESET_EXACTLY if _names(dss, c)]
    capacitor_controls = {
        name: _property(dss, "CapControl", name, "capacitor").lower()
        for name in _names(dss, "CapControl")
    }
    types = {_property(dss, "CapControl", name, "type").lower() for name in capacitor_controls}
    is_shared = len(set(capacitor_controls.values())) < len(capacitor_controls)
    if not types <= RESET_TYPES or is_shared or (types and _solves(feeder)):
        remembers.append("CapControl")
    for name in _names(dss, "InvControl"):
        systems = _listed(dss, "InvControl", name, "DERList")
        if any(not _is_on(dss, s) or not s.lower().startswith("pvsystem") for s in systems):
            remembers.append("InvControl")
    return Circuit(
        nodes=tuple(nodes),
        buses=tuple(buses),
        first_node=np.array(first_node, dtype=np.int64),
        distance_km=_distances(dss, buses),
        loads=loads,
        load_nodes=load_nodes,
        regulators={name: _regulator(dss, name, kv_base) for name in _names(dss, "RegControl")},
        capacitor_steps={name: _steps(dss, name) for name in _names(dss, "Capacitor")},
        capacitor_controls=capacitor_controls,
        irradiance={p.Name().lower(): p.Irradiance() for p in dss.PVsystems},
        load_multiplier=dss.Solution.LoadMult(),
        volt_var=_volt_var_curves(dss),
        load_shapes={s.Name().lower(): np.array(s.PMult()) for s in dss.LoadShape},
        lines=tuple(_names(dss, "Line")),
        transformers=tuple(_names(dss, "Transformer")),
        generators=tuple(_names(dss, "Generator")),
        remembers=tuple(sorted(remembers)),
    )


def _solves(feeder: Feeder) -> bool:
    """Whether a feeder's own commands let its controls act."""
    verbs = {command.text.split(maxsplit=1)[0].lower() for command in feeder.commands}
    return any((len(verb) > 1 and "solve".startswith(verb)) or verb[0] == "_" for verb in verbs)


def _names(dss: Any, kind: str) -> list[str]:
    """Names of the enabled elements of a class."""
    dss.Basic.SetActiveClass(kind)
    if not dss.ActiveClass.NumElements():
        return []
    return [name.lower() for name in dss.ActiveClass.AllNames() if _is_on(dss, f"{kind}.{name}")]


def _is_on(dss: Any, element: str) -> bool:
    dss.Circuit.SetActiveElement(element)
    return bool(dss.CktElement.Enabled())


def _steps(dss: Any, capacitor: str) -> tuple[int, ...]:
    dss.Capacitors.Name(capacitor)
    return tuple(dss.Capacitors.States())


def _property(dss: Any, kind: str, name: str, wanted: str) -> str:
    dss.Text.Command(f'Select "{kind}.{name}"')
    dss.Text.Command(f"? {wanted}")
    text: str = dss.Text.Result()
    return text


def _listed(dss: Any, kind: str, name: str, wanted: str) -> list[str]:
    """A property that is a list of names, as OpenDSS spells them."""
    names = _property(dss, kind, name, wanted).strip("[]").split(",")
    return [part.strip() for part in names if part.strip()]


def _regulator(dss: Any, name: str, kv_base: dict[str, float]) -> Regulator:
    control = dss.RegControls
    control.Name(name)
    transformer = control.Transformer().lower()
    if transformer not in _names(dss, "Transformer"):
        raise ValueError(f"regulator {name}: {transformer!r} is no transformer")
    control.Name(name)
    dss.Transformers.Name(transformer)
    dss.Transformers.Wdg(control.Winding())
    is_delta = dss.Transformers.IsDelta()
    dss.Transformers.Wdg(control.TapWinding())
    step = (dss.Transformers.MaxTap() - dss.Transformers.MinTap()) / dss.Transformers.NumTaps()
    dss.Circuit.SetActiveElement(f"Transformer.{transformer}")
    bus = dss.CktElement.BusNames()[control.Winding() - 1].partition(".")[0].lower()
    nominal_v = kv_base[bus] * 1e3 / control.PTRatio() * (np.sqrt(3.0) if is_delta else 1.0)
    return Regulator(
        name=name,
        transformer=transformer,
        vreg_v=control.ForwardVreg(),
        nominal_v=float(nominal_v),
        tap=control.TapNumber(),
        min_tap=round((dss.Transformers.MinTap() - 1.0) / step),
        max_tap=round((dss.Transformers.MaxTap() - 1.0) / step),
    )


def _volt_var_curves(dss: Any) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Voltages [p.u.] and reactive powers [p.u.] of the curves that inverter controls follow."""
    curves = {}
    for control in _names(dss, "InvControl"):
        name = _property(dss, "InvControl", control, "vvc_curve1").lower()
        if _property(dss, "InvControl", control, "mode").upper() == "VOLTVAR" and name:
            dss.XYCurves.Name(name)
            curves[name] = (np.array(dss.XYCurves.XArray()), np.array(dss.XYCurves.YArray()))
    return curves


def _distances(dss: Any, buses: Sequence[str]) -> FloatArray:
    """Length of lines on the shortest way from the source to each bus, NaN without one. [km]"""
    graph = nx.Graph()
    for branch in dss.PDElements.AllNames():
        if not _is_on(dss, branch):
            continue
        ends = [name.partition(".")[0].lower() for name in dss.CktElement.BusNames()]
        length = 0.0
        if branch.lower().startswith("line."):
            dss.Lines.Name(branch.partition(".")[2])
            length = dss.Lines.Length() * KM_PER_UNIT[int(dss.Lines.Units())]
        graph.add_weighted_edges_from((ends[0], end, length) for end in ends[1:])
    dss.Vsources.First()
    source = dss.CktElement.BusNames()[0].partition(".")[0].lower()
    graph.add_node(source)
    found = nx.single_source_dijkstra_path_length(graph, source)
    return np.array([found.get(bus, np.nan) for bus in buses])
