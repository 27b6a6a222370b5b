"""Command line: ``gridproblems list``, ``solve``, ``compare``, ``report`` and ``export``.

Importing it loads neither pandapower nor pymoo: names are checked first (`gridproblems.cli.names`),
and what takes seconds to load is imported by the command that needs it.
"""

from __future__ import annotations

from gridproblems.cli.main import app

__all__ = ["app"]
