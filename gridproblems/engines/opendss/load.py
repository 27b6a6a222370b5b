"""Loads opendssdirect so that threads may use it.

Every new thread that calls OpenDSS reads the environment variables through a pointer that the
library took when it was loaded. The C library moves that table when a variable is added
(``os.environ[...] = ...``), and the thread would read freed memory: a segmentation fault, seen with
dss_python_backend 0.14.5 on Linux. So the library is shown a copy of the table that is never freed.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Any


def _load() -> tuple[Any, bool]:
    """The module, and whether threads are safe: not where it was imported before, on Linux."""
    if not sys.platform.startswith("linux"):
        return importlib.import_module("opendssdirect"), True
    if "dss_python_backend" in sys.modules:
        return importlib.import_module("opendssdirect"), False
    entries = [name + b"=" + value for name, value in os.environb.items()]
    table = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    before = environ.value
    environ.value = ctypes.addressof(table)
    try:
        return importlib.import_module("opendssdirect"), True
    finally:
        environ.value = before


opendssdirect, THREADS_ARE_SAFE = _load()
