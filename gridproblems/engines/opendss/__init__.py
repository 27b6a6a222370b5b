"""OpenDSS as an engine: feeders with regulators, capacitors and inverters, phase by phase."""

from __future__ import annotations

from gridproblems.engines.opendss.circuit import Circuit, Regulator
from gridproblems.engines.opendss.engine import OpenDSSEngine

__all__ = ["Circuit", "OpenDSSEngine", "Regulator"]
