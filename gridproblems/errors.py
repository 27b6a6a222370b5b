"""Errors a caller may want to catch; bad arguments raise ``ValueError`` at construction."""

from __future__ import annotations


class GridProblemError(Exception):
    """Base of the errors of this package."""


class PowerFlowNotConverged(GridProblemError):
    """The power flow of a net that has to be solved (base case, ``apply``) did not converge."""


class UnsupportedByEngine(GridProblemError):
    """An engine was asked for something its model cannot represent."""


class MissingLimits(UserWarning):
    """A net without voltage band or loading limits is optimised, so nothing keeps it within any."""
