"""A context of OpenDSS at work: takes settings, solves, reads the state."""

from __future__ import annotations

from typing import Any

import numpy as np

from gridproblems.engines.opendss.circuit import Circuit, check_fields
from gridproblems.engines.opendss.commands import Planned, commands_of, edit, plan_of
from gridproblems.engines.opendss.context import CONTROL_LIMIT_EXCEEDED, DSSException, build
from gridproblems.engines.opendss.elements import steps_of
from gridproblems.engines.opendss.memory import is_built_anew, reset_commands
from gridproblems.feeders import Feeder
from gridproblems.state import Field, FloatArray, Layout

DEAD_PU = 0.1  # a phase below this has no supply


class Workspace:
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
        self._reset = reset_commands(dss, c)
        self._row: list[float] | None = None
        self._fields: tuple[Field, ...] = ()
        self._plan: list[Planned] = []
        self._held: set[str] = set()
        self._steps: dict[str, tuple[int, ...]] = {}
        self._is_built_anew = is_built_anew(c, ())
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
        check_fields(self._circuit, fields)
        self._fields = fields
        self._row = None
        self._plan = plan_of(fields)
        self._n_isolated = None
        self._switches = bool(self._circuit.remembers) or any(f.column == "closed" for f in fields)
        self._is_built_anew = is_built_anew(self._circuit, fields)
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
            if steps_of(self.dss, name) != steps:
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
