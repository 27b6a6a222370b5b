"""MATPOWER's branch model as a pandapower transformer."""

from __future__ import annotations

import numpy as np


class Tee:
    """The pi branch of MATPOWER as pandapower's T transformer, exactly.

    pandapower's transformer has an inductive magnetising branch between two parts of the leakage
    impedance, at the same side of the ideal ratio. A pi branch with impedance z and charging b is
    such a T when a capacitor of b + |b| at the bus without tap changer is taken out of it: the
    chain matrices of T and capacitor multiply to that of the pi branch. For b < 0 nothing is taken
    out, for b > 0 the two parts of the leakage are not of equal sign; without charging there is no
    magnetising branch and the split has no meaning.

    Args:
        impedance_pu: Series impedance, shape (n_trafo,). [pu]
        charging_pu: Total charging susceptance, shape (n_trafo,), half of it at each end. [pu]

    Attributes:
        series_pu: Impedance of both parts. [pu]
        magnetising_pu: Admittance of the branch between them. [pu]
        shunt_pu: Susceptance of the capacitor that is taken out. [pu]
    """

    def __init__(self, impedance_pu: np.ndarray, charging_pu: np.ndarray) -> None:
        charged = charging_pu != 0
        end_pu = 0.5j * charging_pu
        self.shunt_pu = charging_pu + np.abs(charging_pu)
        forward = 1 + impedance_pu * end_pu
        self.magnetising_pu = end_pu * (1 + forward) - forward * 1j * self.shunt_pu
        denominator = np.where(charged, self.magnetising_pu, 1.0)
        at_other = np.where(charged, (forward - 1) / denominator, impedance_pu / 2)
        at_tap = np.where(
            charged, (forward - impedance_pu * 1j * self.shunt_pu - 1) / denominator, at_other
        )
        self.series_pu = at_tap + at_other
        self._at_tap_pu = at_tap

    def share_at(self, tap_at_hv: np.ndarray) -> np.ndarray:
        """Share of resistance (real) and reactance (imaginary) on the high voltage side."""
        resistance = _ratio(self._at_tap_pu.real, self.series_pu.real)
        reactance = _ratio(self._at_tap_pu.imag, self.series_pu.imag)
        share = resistance + 1j * reactance
        return np.where(tap_at_hv, share, 1 + 1j - share)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), 0.5), where=whole != 0)
