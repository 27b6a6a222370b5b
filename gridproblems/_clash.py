"""Whether ``import algorithms`` finds the package of this project.

The name is a common one: PyPI has another distribution that installs a package ``algorithms``,
and a folder of that name may stand where Python is started.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

OURS = b'"MVMO"'  # in the list of names that the package of this project gives


def clash() -> str | None:
    """What is imported in place of this project's algorithms and what to do, None if nothing is."""
    spec = find_spec("algorithms")
    if spec is not None and spec.origin is not None:
        try:
            found = Path(spec.origin).read_bytes()
        except OSError:
            found = b""
        if OURS in found:
            return None
    where = (
        None
        if spec is None
        else spec.origin or next(iter(spec.submodule_search_locations or []), None)
    )
    if where is None:
        return "the package 'algorithms' of gridproblems is missing: install gridproblems again"
    return (
        f"'import algorithms' finds {where}, which is not the package of gridproblems: rename it, "
        "or uninstall the distribution that it belongs to (pip uninstall algorithms) and install "
        "gridproblems again"
    )
