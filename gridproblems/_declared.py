"""What modules declare, read from their source without importing them.

The command line knows every name, argument and first line of a docstring before anything is loaded
that takes seconds. A place is ``"package.module:Name"`` or ``"package.module:Class.name"``.

>>> names_in("gridproblems.controls:CONTROLS")[:2]
('setpoints', 'taps')
>>> summary("gridproblems.errors:GridProblemError")
'Base of the errors of this package.'
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias


class NotDeclared(Exception):
    """A module declares no such thing, or not in a form that can be read here."""


Definition: TypeAlias = ast.ClassDef | ast.FunctionDef


def names_in(where: str) -> tuple[str, ...]:
    """Keys of a dict, elements of a list or tuple, or first arguments of calls, as written.

    Raises:
        NotDeclared: There is no such table, or its names are no plain text.
    """
    found: list[str] = []
    for node in _keys(where):
        if isinstance(node, ast.Starred):
            found += names_in(_place_of(_split(where)[0], node.value))
        else:
            found.append(_text(where, node))
    return tuple(found)


def places_in(where: str) -> dict[str, str]:
    """Names of a dict of classes or functions, and where each is declared.

    Raises:
        NotDeclared: There is no such dict.
    """
    module, _ = _split(where)
    table = _assigned(where)
    if not isinstance(table, ast.Dict):
        raise NotDeclared(f"{where}: expected a dict")
    pairs = zip(_keys(where), table.values, strict=True)
    return {_text(where, key): _place_of(module, value) for key, value in pairs}


def calls_in(where: str) -> list[tuple[str, ...]]:
    """Positional arguments of the calls in a table, or of the call that is assigned.

    Texts as they are, names as places.

    Raises:
        NotDeclared: There is no such table.
    """
    module, _ = _split(where)
    return [
        tuple(
            str(a.value) if isinstance(a, ast.Constant) else _place_of(module, a) for a in call.args
        )
        for call in _calls(_assigned(where))
    ]


def text_of(where: str, key: str | None = None) -> str:
    """A text as it is assigned, or that of a key in a dict.

    Raises:
        NotDeclared: There is none.
    """
    node = _assigned(where)
    if key is None:
        return _text(where, node)
    if isinstance(node, ast.Dict):
        for found, value in zip(node.keys, node.values, strict=True):
            if isinstance(found, ast.Constant) and found.value == key:
                return _text(where, value)
    raise NotDeclared(f"{where}: no {key!r}")


def summary(where: str) -> str:
    """The first paragraph of a docstring, in one line; empty without one.

    Raises:
        NotDeclared: There is no such class or function.
    """
    text = inspect.cleandoc(ast.get_docstring(_defined(where)) or "")
    return text.split("\n\n")[0].replace("\n", " ")


def arguments(where: str) -> tuple[str, ...]:
    """Names of the arguments of a function, or of the constructor of a class.

    Raises:
        NotDeclared: There is no such class or function.
    """
    node = _constructor(where)
    if isinstance(node, ast.ClassDef):  # a dataclass
        return tuple(
            n.target.id
            for n in node.body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            if "ClassVar" not in ast.unparse(n.annotation)
        )
    given = node.args
    rest = ([given.vararg], given.kwonlyargs, [given.kwarg])
    named = [*given.posonlyargs, *given.args, *(a for part in rest for a in part if a)]
    return tuple(a.arg for a in named if a.arg != "self")


def made_in(where: str) -> tuple[str, ...]:
    """Places of what a class or function of this package calls by name, and this package has.

    Raises:
        NotDeclared: There is no such class or function.
    """
    module, _ = _split(where)
    found: dict[str, None] = {}
    for node in ast.walk(_defined(where)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        named = _named(_tree(module).body, node.func.id)
        own = isinstance(named, (ast.ClassDef, ast.FunctionDef)) or (
            isinstance(named, ast.ImportFrom)
            and str(named.module).partition(".")[0] == module.partition(".")[0]
        )
        if own:
            found[_place_of(module, node.func)] = None
    return tuple(found)


def takes_others(where: str) -> bool:
    """Whether further arguments may have any name.

    Raises:
        NotDeclared: There is no such class or function.
    """
    node = _constructor(where)
    return isinstance(node, ast.FunctionDef) and node.args.kwarg is not None


def _constructor(where: str) -> Definition:
    """A function, the constructor of a class, or the class where it writes none."""
    node = _defined(where)
    if isinstance(node, ast.ClassDef):
        for inside in node.body:
            if isinstance(inside, ast.FunctionDef) and inside.name == "__init__":
                return inside
    return node


@cache
def _tree(module: str) -> ast.Module:
    top, *parts = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise NotDeclared(f"{module}: no such module")
    path = Path(spec.origin).parent.joinpath(*parts)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError:
        raise NotDeclared(f"{module}: no such module") from None


def _split(where: str) -> tuple[str, str]:
    module, _, name = where.partition(":")
    return module, name


def _named(body: list[ast.stmt], name: str) -> ast.AST | None:
    """The definition of a name in a module or class, or what is assigned to it."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return getattr(node, "value", None)
        if isinstance(node, ast.If):  # imports for type checkers
            found = _named(node.body, name)
            if found is not None:
                return found
        if isinstance(node, ast.ImportFrom) and any(
            (a.asname or a.name) == name for a in node.names
        ):
            return node
    return None


def _found(where: str) -> ast.AST:
    module, dotted = _split(where)
    body = _tree(module).body
    found: ast.AST | None = None
    for name in dotted.split("."):
        found = _named(body, name)
        if isinstance(found, ast.ImportFrom):
            found = _found(_place_of_import(found, name))
        if found is None:
            raise NotDeclared(f"{where}: {module} has no {name}")
        body = getattr(found, "body", [])
    assert found is not None
    return found


def _defined(where: str) -> Definition:
    found = _found(where)
    if not isinstance(found, (ast.ClassDef, ast.FunctionDef)):
        raise NotDeclared(f"{where}: no class or function")
    return found


def _assigned(where: str) -> ast.AST:
    found = _found(where)
    if isinstance(found, (ast.ClassDef, ast.FunctionDef)):
        raise NotDeclared(f"{where}: no table")
    return found


def _place_of(module: str, node: ast.AST) -> str:
    """Where the class or function is declared that a name in a module stands for."""
    if not isinstance(node, ast.Name):
        raise NotDeclared(f"{module}: expected a name, got {ast.dump(node)}")
    found = _named(_tree(module).body, node.id)
    if isinstance(found, ast.ImportFrom):
        return _place_of_import(found, node.id)
    return f"{module}:{node.id}"


def _place_of_import(node: ast.ImportFrom, name: str) -> str:
    (original,) = [a.name for a in node.names if (a.asname or a.name) == name]
    found = _named(_tree(str(node.module)).body, original)
    if isinstance(found, ast.ImportFrom):
        return _place_of_import(found, original)
    return f"{node.module}:{original}"


def _calls(node: ast.AST) -> list[ast.Call]:
    """The calls of a list, or of what a comprehension goes through."""
    if isinstance(node, ast.DictComp):
        node = node.generators[0].iter
    elements = node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]
    return [e for e in elements if isinstance(e, ast.Call)]


def _keys(where: str) -> list[ast.AST]:
    node = _assigned(where)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise NotDeclared(f"{where}: expected no other dict inside")
        return [key for key in node.keys if key is not None]
    calls = _calls(node)
    if calls:
        return [call.args[0] for call in calls]
    if isinstance(node, (ast.List, ast.Tuple)):
        return list(node.elts)
    raise NotDeclared(f"{where}: no dict, list or tuple")


def _text(where: str, node: ast.AST) -> str:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise NotDeclared(f"{where}: expected text, got {ast.dump(node)}")
    return node.value
