"""Rules of the folder tree: who imports whom, see CONTRIBUTING.md."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _name(path): path
    for package in ("gridproblems", "algorithms")
    for path in sorted((ROOT / package).rglob("*.py"))
}

#: What the modules of a package may not import: what stands above them.
ABOVE = {
    "algorithms": ("gridproblems",),
    "gridproblems.state": ("gridproblems.engines", "gridproblems.controls", "gridproblems.grids"),
    "gridproblems.engines": (
        "gridproblems.controls",
        "gridproblems.grids",
        "gridproblems.objectives",
        "gridproblems.problem",
        "gridproblems.tasks",
        "gridproblems.study",
        "pymoo",
    ),
    "gridproblems.plotting": (
        "gridproblems.controls",
        "gridproblems.grids",
        "gridproblems.problem",
        "gridproblems.tasks",
        "gridproblems.study",
        "pymoo",
    ),
    "gridproblems.controls": (
        "gridproblems.grids",
        "gridproblems.problem",
        "gridproblems.tasks",
        "gridproblems.study",
        "pymoo",
    ),
    "gridproblems.grids": (
        "gridproblems.problem",
        "gridproblems.tasks",
        "gridproblems.study",
        "pymoo",
    ),
    "gridproblems.evaluation": ("gridproblems.grids", "gridproblems.problem", "pymoo"),
    "gridproblems.problem": ("gridproblems.tasks", "gridproblems.study", "gridproblems.cli"),
    "gridproblems.tasks": ("gridproblems.study", "gridproblems.cli", "pymoo"),
    "gridproblems.study": ("gridproblems.cli",),
}


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _imports(name: str) -> set[tuple[str, str]]:
    """(module, imported name) of every import of a module, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}, line {node.lineno}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add((whole, "") if whole in MODULES else (str(node.module), alias.name))
    return found


def test_nothing_imports_in_a_circle() -> None:
    graph = nx.DiGraph()
    for name in MODULES:
        graph.add_edges_from((name, m) for m, _ in _imports(name) if m in MODULES and m != name)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles


def test_nobody_takes_what_is_private_to_another() -> None:
    crossing = []
    for name in MODULES:
        for module, imported in _imports(name):
            owner, underscore, _ = module.partition("._")
            is_crossing = bool(underscore) and not _is_within(name, owner)
            if module in MODULES and (is_crossing or (imported[:1] == "_" != imported[1:2])):
                crossing.append(f"{name} takes {module} {imported}")
    assert not crossing


@pytest.mark.parametrize("package", ABOVE)
def test_imports_run_downwards(package: str) -> None:
    assert any(_is_within(name, package) for name in MODULES)
    upward = [
        f"{name} -> {module}"
        for name in MODULES
        if _is_within(name, package)
        for module, _ in _imports(name)
        if any(_is_within(module, above) for above in ABOVE[package])
    ]
    assert not upward
