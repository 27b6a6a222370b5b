"""The reference lists every public class, and nothing that is not there."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = (
    "gridproblems",
    "gridproblems.controls",
    "gridproblems.engines",
    "gridproblems.grids",
    "gridproblems.plotting",
    "gridproblems.study",
    "algorithms",
)


def listed(page: Path) -> list[str]:
    """Names in the tables of a page."""
    tables = re.findall(r"autosummary::\n((?:   .*\n|\n)+)", page.read_text(encoding="utf-8"))
    return [name for table in tables for name in re.findall(r"^   (\w[\w.]*)$", table, re.M)]


def found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_every_listed_name_is_there_once() -> None:
    names = listed(DOCS / "api.md")
    assert len(names) > 100
    objects = [found(name) for name in names]
    assert len({id(one) for one in objects}) == len(objects)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_class_and_function_has_a_page(module: str) -> None:
    pages = {id(found(name)) for name in listed(DOCS / "api.md")}
    public = importlib.import_module(module)
    objects = {name: getattr(public, name) for name in public.__all__}
    own = [name for name, one in objects.items() if inspect.isclass(one) or callable(one)]
    assert [name for name in own if id(objects[name]) not in pages] == []


@pytest.mark.parametrize("page", sorted((DOCS / "parts").glob("*.md")), ids=lambda page: page.name)
def test_tables_of_other_pages_link_to_pages_that_exist(page: Path) -> None:
    assert set(listed(page)) <= set(listed(DOCS / "api.md"))
