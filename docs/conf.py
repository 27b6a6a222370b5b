"""Sphinx settings; build with ``make docs``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "gridproblems"
author = "the gridproblems developers"
release = version = installed_version("gridproblems")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"gridproblems {release}"
exclude_patterns = ["_build", "tables"]

# fields of tuples are listed once, in the text of their class
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # attributes of the same name in several classes
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
