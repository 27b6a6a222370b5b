"""OpenDSS by opendssdirect: one context per worker, reset exactly before every candidate."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gridproblems.engines.opendss.circuit import check_fields
from gridproblems.engines.opendss.context import build, give_back, new_context, take_context
from gridproblems.engines.opendss.load import THREADS_ARE_SAFE
from gridproblems.engines.opendss.reading import circuit_of
from gridproblems.engines.opendss.trial import try_out
from gridproblems.engines.opendss.workspace import Workspace
from gridproblems.feeders import Feeder
from gridproblems.state import FloatArray, GridState, Layout, Settings


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
        dss = take_context(self.feeder)
        build(dss, self.feeder)
        c = self.circuit = circuit_of(dss, self.feeder)
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

    def _new_workspace(self, dss: Any) -> Workspace:
        options = (
            "Set Mode=Snapshot ControlMode=Static Number=1 MaxIterations=100 "
            f"MaxControlIter={self.max_control_iterations} Tolerance={self.tolerance!r}"
        )
        return Workspace(dss, self.feeder, self.circuit, self.layout, options)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("feeder", "tolerance", "max_control_iterations", "sequential")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def check(self, settings: Settings) -> None:
        """Raises `UnsupportedByEngine` for a setting that is not in the list above."""
        check_fields(self.circuit, settings.fields)

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
    def _workspace(self) -> Iterator[Workspace]:
        """A context that no other thread uses meanwhile; which one it is changes nothing."""
        with self._lock:
            workspace = self._idle.pop() if self._idle else None
        if workspace is None:
            workspace = self._new_workspace(take_context(self.feeder))
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


def _give_back(feeder: Feeder, workspaces: list[Workspace]) -> None:
    give_back(feeder, (workspace.dss for workspace in workspaces))
