"""Parts of the user's own in words, ``my.py:MyAlgorithm``, and which files may be run for them.

A file is run only after `trust` named it, which the command line does for what was typed on it. A
specification that comes from a file cannot have code run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gridproblems._names import with_nearest

_WHOLE = re.compile(r"(?P<file>[^?*]+\.py):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(:(?P<rest>.*))?")
_WITHIN = re.compile(r"(?:^|[=,;&])\s*([^=,;&?*]+?\.py):[A-Za-z_]")
_TRUSTED: set[Path] = set()
_LOADED: dict[Path, ModuleType] = {}


class Own(NamedTuple):
    """A part of the user's own in words.

    Attributes:
        file, name: Where it is.
        rest: What follows after another colon, empty for nothing.
    """

    file: str
    name: str
    rest: str


def own_part(text: str) -> Own | None:
    """The file and name of ``my.py:name``; None for every other text."""
    found = _WHOLE.fullmatch(text.strip())
    return None if found is None else Own(found["file"], found["name"], found["rest"] or "")


def files_in(texts: Iterable[str]) -> list[str]:
    """The files of all parts of the user's own in specifications."""
    return list(dict.fromkeys(file for text in texts for file in _WITHIN.findall(text)))


def trust(*files: str) -> None:
    """Lets files be run.

    Raises:
        ValueError: There is no such file.
    """
    for file in files:
        path = Path(file).resolve()
        if not path.is_file():
            raise ValueError(f"{file}: no such file")
        _TRUSTED.add(path)


def trusted() -> tuple[str, ...]:
    """The files that may be run."""
    return tuple(sorted(map(str, _TRUSTED)))


def check_trusted(text: str) -> None:
    """Refuses a part of a file that may not be run.

    Raises:
        ValueError: Nobody named the file, or it is not there.
    """
    part = own_part(text)
    if part is None:
        raise ValueError(f"{text!r}: expected file.py:name")
    if not Path(part.file).is_file():
        raise ValueError(f"{part.file}: no such file")
    if Path(part.file).resolve() not in _TRUSTED:
        raise ValueError(
            f"{text}: {part.file} is not run, for it was not named on the command line; if you "
            f"know what is in it: --trust {part.file}"
        )


def load_own(text: str) -> Any:
    """What a file holds under a name; the file is run once.

    Raises:
        ValueError: The file may not be run, is not there, fails, or has no such name.
    """
    check_trusted(text)
    part = own_part(text)
    assert part is not None
    found: Any = _module(Path(part.file).resolve(), part.file)
    for name in part.name.split("."):
        if not hasattr(found, name):
            known = [n for n in vars(found) if not n.startswith("_")]
            raise ValueError(f"{part.file}: no {with_nearest(name, known)}")
        found = getattr(found, name)
    return found


def _module(path: Path, file: str) -> ModuleType:
    if path in _LOADED:
        return _LOADED[path]
    import cloudpickle

    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    if folder not in sys.path:  # last, so that nothing in it stands for an installed package
        sys.path.append(folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{file}: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)  # workers cannot import it
    _LOADED[path] = module
    return module
