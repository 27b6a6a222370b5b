"""Fingerprints of content: equal for equal content, in every process and on every machine.

A fingerprint is the SHA-256 of a canonical walk through a value: numbers by value (1 and 1.0 are
the same), tables by the names of their columns, sets and dicts in an order of their own, functions
and classes of installed packages by name, those of the user by their source. It says that two
things are the same; nothing can be read back from it.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import math
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Packages whose code is told by its name; their versions are kept beside every run.
OWN_PACKAGES = ("gridproblems", "algorithms")
#: Attributes of pymoo's classes that say how a run is watched, or what it left behind.
RUNTIME = {
    "pymoo.core.algorithm.Algorithm": (
        "callback", "data", "display", "evaluator", "history", "is_initialized", "output",
        "random_state", "save_history", "seed", "start_time", "verbose",
    ),
    "pymoo.core.problem.Problem": ("cache", "callback", "elementwise_runner"),
}  # fmt: skip
_RUNTIME_TYPES = (
    types.ModuleType,
    types.GeneratorType,
    types.FrameType,
    weakref.ReferenceType,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
)
#: What a net holds beside its tables and changes its power flow.
_NET_VALUES = ("sn_mva", "f_hz", "user_pf_options")
_DIGITS_OF_DERIVED = 30
_DEEPEST = 100


def fingerprint_of(value: Any) -> str:
    """The fingerprint of any value, 64 hexadecimal digits.

    Objects count by their class and attributes (``__getstate__`` where the class has one), without
    `RUNTIME` and without what holds no content: modules, locks, generators of random numbers. An
    object with a method ``fingerprint`` says it itself.

    Not seen are values that code reads from elsewhere: files, the environment, other modules.
    """
    return _Walk().digest(value)


def fingerprint_of_problem(problem: Any) -> str:
    """The fingerprint of a pymoo problem, by its own method ``fingerprint`` where it has one."""
    own = getattr(problem, "fingerprint", None)
    return str(own()) if callable(own) else fingerprint_of(problem)


def fingerprint_of_arguments(
    make: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], but: Set[str]
) -> str:
    """The fingerprint of the arguments of a call, defaults filled in.

    Args:
        make: What is called; a class for its constructor.
        args, kwargs: The arguments.
        but: Names of arguments that do not count.

    Returns:
        The fingerprint, or an empty text if the call does not fit.
    """
    try:
        bound = inspect.signature(make).bind(*args, **kwargs)
    except TypeError:
        return ""
    bound.apply_defaults()
    return fingerprint_of({k: v for k, v in bound.arguments.items() if k not in but})


def commands_content(feeder: Any) -> list[list[str]]:
    """What builds a feeder, wherever its files are."""
    return [_without_paths(command) for command in feeder.commands]


def _without_paths(command: Any) -> list[str]:
    """A command of a feeder, with the SHA-256 of each file that it reads in place of its path."""
    text = command.text
    digests = []
    for path in command.files:
        text = text.replace(path, "")
        if Path(path).is_file():
            digests.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    return [text, *digests]


def derived(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computed numbers to nine digits, so that rounding differs on no machine."""
    mantissa, exponent = np.frexp(np.where(np.abs(values) < 1e-12, 0.0, values))
    scale = 2.0**_DIGITS_OF_DERIVED
    return np.asarray(np.ldexp(np.rint(mantissa * scale) / scale, exponent), dtype=float)


class _Walk:
    """One walk; remembers what it has met, so that circles end."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._depth = 0

    def digest(self, value: Any) -> str:
        return self._of(value).hex()

    def _of(self, value: Any) -> bytes:
        if isinstance(value, enum.Enum):
            return self._tagged("enum", self._name(type(value)), value.name)
        plain = _plain(value)
        if plain is not None:
            return _sha(plain)
        if self._depth > _DEEPEST:
            return self._tagged("deep", self._name(type(value)))
        if id(value) in self._met:
            return self._tagged("again", str(self._met[id(value)]))
        self._met[id(value)] = len(self._met)
        self._depth += 1
        try:
            found = self._of_structure(value)
        finally:
            self._depth -= 1
        del self._met[id(value)]  # it counts on the way down only: sharing is no difference
        return found

    def _tagged(self, tag: str, *parts: str | bytes) -> bytes:
        return _sha(tag, *parts)

    def _of_structure(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return self._of_array(value)
        if isinstance(value, (pd.DataFrame, pd.Series, pd.Index)):
            return self._of_frame(value)
        if _is_net(value):
            return self._of_net(value)
        if isinstance(value, Mapping):
            return self._of_items("dict", value.items())
        if isinstance(value, Set):
            return self._tagged("set", *sorted(self._of(entry) for entry in value))
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return self._tagged("list", *(self._of(entry) for entry in value))
        if isinstance(value, functools.partial):
            return self._tagged("partial", *map(self._of, (value.func, value.args, value.keywords)))
        if isinstance(value, types.MethodType):
            return self._tagged("method", self._of(value.__func__), self._of(value.__self__))
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            return self._of_class(value)
        return self._of_object(value)

    def _of_items(self, tag: str, items: Iterable[tuple[Any, Any]]) -> bytes:
        pairs = sorted((self._of(key), self._of(entry)) for key, entry in items)
        return self._tagged(tag, *(part for pair in pairs for part in pair))

    def _of_array(self, values: NDArray[Any]) -> bytes:
        shape = str(values.shape)
        if values.dtype.kind in "iuf":
            numbers = values.astype("<f8")
            if values.dtype.kind == "f" or np.array_equal(numbers.astype(values.dtype), values):
                return self._tagged("numbers", shape, _number_bytes(numbers))
        if values.dtype.kind == "b":
            return self._tagged("flags", shape, values.astype("u1").tobytes())
        if values.dtype.kind == "c":
            parts = (values.real.astype("<f8"), values.imag.astype("<f8"))
            return self._tagged("complex", shape, *map(_number_bytes, parts))
        return self._tagged("array", shape, *(self._of(entry) for entry in values.ravel().tolist()))

    def _of_frame(self, frame: pd.DataFrame | pd.Series | pd.Index) -> bytes:
        """By the names of columns, whose order does not count; the order of rows does."""
        if isinstance(frame, pd.Index):
            return self._tagged("index", self._of_column(frame.to_series()))
        if isinstance(frame, pd.Series):
            return self._tagged("series", self._of(frame.index), self._of_column(frame))
        columns = [(name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
        told = sorted(
            self._tagged("column", self._of(name), self._of_column(column))
            for name, column in columns
            if not column.isna().all() or not len(column)
        )
        return self._tagged("frame", str(len(frame)), self._of(frame.index), *told)

    def _of_column(self, column: pd.Series) -> bytes:
        if column.dtype.kind in "iufb" and isinstance(column.dtype, np.dtype):
            return self._of_array(column.to_numpy())
        entries = [None if _is_missing(entry) else entry for entry in column.tolist()]
        if entries and all(isinstance(e, (bool, np.bool_)) for e in entries):
            return self._of_array(np.array(entries, dtype=bool))
        if all(e is None or (_is_number(e) and not isinstance(e, bool)) for e in entries):
            return self._of_array(np.array([np.nan if e is None else e for e in entries], float))
        return self._tagged("cells", *(self._of(entry) for entry in entries))

    def _of_net(self, net: Mapping[str, Any]) -> bytes:
        """Tables that hold something, without results, and what changes a power flow."""
        tables = {
            name: table
            for name, table in net.items()
            if isinstance(table, pd.DataFrame) and len(table) and not name.startswith(("_", "res_"))
        }
        values = {name: net[name] for name in _NET_VALUES if name in net}
        return self._of_items("net", [*tables.items(), *values.items()])

    def _of_function(self, function: types.FunctionType) -> bytes:
        name = self._name(function)
        if _is_packaged(function):
            captured = [cell.cell_contents for cell in _filled(function.__closure__)]
            return self._tagged("function", name, self._of(captured))
        code = function.__code__
        known = function.__globals__
        return self._tagged(
            "own function",
            self._source(function, code),
            self._of([cell.cell_contents for cell in _filled(function.__closure__)]),
            self._of([function.__defaults__, function.__kwdefaults__]),
            self._of({n: known[n] for n in sorted(_names_in(code)) if _counts(known.get(n))}),
        )

    def _of_class(self, cls: type) -> bytes:
        if _is_packaged(cls):
            return self._tagged("class", self._name(cls))
        own = {
            name: _unwrapped(entry)
            for name, entry in vars(cls).items()
            if name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__",
                            "__firstlineno__", "__static_attributes__", "__abstractmethods__",
                            "_abc_impl", "__slotnames__")
        }  # fmt: skip
        return self._tagged(
            "own class", cls.__qualname__, self._of(list(cls.__bases__)), self._of(own)
        )

    def _of_object(self, value: Any) -> bytes:
        own = getattr(value, "fingerprint", None)
        if callable(own) and not inspect.isbuiltin(own):
            return self._tagged("own fingerprint", str(own()))
        cls = type(value)
        if isinstance(value, _RUNTIME_TYPES) or cls.__module__ in ("_thread", "threading"):
            return self._tagged("runtime", self._name(cls))
        if isinstance(getattr(value, "py_func", None), types.FunctionType):  # compiled by numba
            return self._of_function(value.py_func)
        if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
            return self._tagged("builtin", str(getattr(value, "__name__", self._name(cls))))
        return self._tagged("object", self._of_class(cls), self._of(_state_of(value)))

    def _source(self, thing: Any, code: types.CodeType) -> bytes:
        try:
            return self._tagged("source", inspect.getsource(thing))
        except (OSError, TypeError):
            inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
            consts = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
            return self._tagged(
                "code",
                code.co_code,
                self._of([consts, list(code.co_names), list(code.co_varnames)]),
                *(self._source(c, c) for c in inner),
            )

    @staticmethod
    def _name(thing: Any) -> str:
        return f"{thing.__module__}.{thing.__qualname__}"


def _sha(tag: str | bytes, *parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in (tag, *parts):
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def _plain(value: Any) -> str | None:
    """Scalars as text that starts with their kind, None for everything else."""
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return "none"
    if isinstance(value, bool):
        return f"flag {value}"
    if isinstance(value, int):
        return f"number {value}"
    if isinstance(value, float):
        if math.isfinite(value) and value == int(value):
            return f"number {int(value)}"
        return f"number {value.hex()}"
    if isinstance(value, complex):
        return f"complex {value.real.hex()} {value.imag.hex()}"
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, (bytes, bytearray)):
        return f"bytes {bytes(value).hex()}"
    if isinstance(value, PurePath):
        return f"text {value}"
    return None


def _number_bytes(numbers: NDArray[np.float64]) -> bytes:
    """With one NaN and one zero."""
    same = numbers + 0.0
    same[np.isnan(same)] = np.nan
    return np.ascontiguousarray(same).tobytes()


def _is_missing(entry: Any) -> bool:
    is_nan = isinstance(entry, (float, np.floating)) and bool(np.isnan(entry))
    return is_nan or entry is None or entry is pd.NA or entry is pd.NaT


def _is_number(entry: Any) -> bool:
    return isinstance(entry, (int, float, np.integer, np.floating))


def _is_net(value: Any) -> bool:
    return type(value).__name__ == "pandapowerNet" and isinstance(value, Mapping)


@functools.lru_cache
def _package_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys(paths[key] for key in ("stdlib", "purelib", "platlib")))


def is_packaged(file: str) -> bool:
    """Whether a file of code belongs to Python or an installed package."""
    return file.startswith(_package_folders())


def _is_packaged(thing: Any) -> bool:
    """Whether code is of an installed package, which its name and version tell."""
    module = getattr(thing, "__module__", None) or ""
    if module.partition(".")[0] in OWN_PACKAGES:
        return True
    if module == "builtins":  # also code that was run without a module
        return not _is_code(thing)
    if module == "__main__" or module not in sys.modules:
        return False
    file = getattr(sys.modules[module], "__file__", None)
    return file is None or is_packaged(file)


def _is_code(thing: Any) -> bool:
    return isinstance(thing, types.FunctionType) or (
        isinstance(thing, type) and any(map(_is_code, vars(thing).values()))
    )


def _filled(closure: tuple[types.CellType, ...] | None) -> list[types.CellType]:
    cells = []
    for cell in closure or ():
        try:
            _ = cell.cell_contents
        except ValueError:  # a function that names itself, not yet bound
            continue
        cells.append(cell)
    return cells


def _names_in(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _names_in(const)
    return names


def _counts(value: Any) -> bool:
    """Whether a global that user code names is data, or more code of the user."""
    if isinstance(value, (types.FunctionType, type)):
        return not _is_packaged(value)
    return _plain(value) not in (None, "none") or isinstance(
        value, (list, tuple, dict, set, frozenset, np.ndarray, pd.DataFrame, pd.Series)
    )


def _unwrapped(entry: Any) -> Any:
    if isinstance(entry, (staticmethod, classmethod)):
        return entry.__func__
    if isinstance(entry, property):
        return [entry.fget, entry.fset]
    if isinstance(entry, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return None
    return entry


def _state_of(value: Any) -> Any:
    """The attributes of an object that count."""
    if is_dataclass(value):
        state: Any = {f.name: getattr(value, f.name) for f in fields(value) if f.compare}
    elif isinstance(value, (list, tuple)):
        state = {"entries": list(value), **getattr(value, "__dict__", {})}
    else:
        state = _pickled_state(value)
    if not isinstance(state, dict):
        return state
    ignored = {
        name
        for cls in type(value).__mro__
        for name in RUNTIME.get(f"{cls.__module__}.{cls.__qualname__}", ())
    }
    return {name: entry for name, entry in state.items() if name not in ignored}


def _pickled_state(value: Any) -> Any:
    own = getattr(type(value), "__getstate__", None)
    if own is not None and own is not getattr(object, "__getstate__", None):
        return own(value)
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
    return state if state else _reduced(value)


def _reduced(value: Any) -> Any:
    """What pickle would keep of an object without attributes, such as one written in C."""
    try:
        reduced = value.__reduce_ex__(4)
    except (TypeError, AttributeError):
        return None
    return None if isinstance(reduced, str) else [e for e in reduced[1:3] if e is not None]
