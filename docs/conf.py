"""Sphinx settings; build with ``make docs``."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for examples_gallery.py

project = "gridproblems"
author = "the gridproblems developers"
release = version = installed_version("gridproblems")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"gridproblems {release}"
exclude_patterns = [
    "_build",
    "examples",
    "tables",
    "gallery/backreferences",
]

# examples write files, so copies of them are run
shutil.rmtree(HERE / "_build" / "examples", ignore_errors=True)
shutil.copytree(HERE / "examples", HERE / "_build" / "examples")
sphinx_gallery_conf = {
    "examples_dirs": "_build/examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("gridproblems", "algorithms"),
    "filename_pattern": r"\.py$",
    "within_subsection_order": "examples_gallery.place",
    "image_scrapers": ("examples_gallery.pictures",),
    "ignore_repr_types": "matplotlib",
    "first_notebook_cell": "# pip install gridproblems\n%matplotlib inline",
    "abort_on_example_error": True,
    "default_thumb_file": str(HERE / "images" / "ieee39-convergence.png"),
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}

templates_path = ["_templates"]  # of the page of a class

# fields of tuples are listed once, in the text of their class
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # attributes of the same name in several classes
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
