"""Contexts of OpenDSS: made, used again, and a feeder built in them."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from gridproblems.engines.opendss.load import opendssdirect
from gridproblems.feeders import Command, Feeder

DSSException = opendssdirect.DSSException
CONTROL_LIMIT_EXCEEDED = 485

_creation_lock = threading.Lock()
#: Deques, for the collector of garbage may give back at any moment, also to a thread that takes.
_spare_contexts: dict[Feeder, deque[Any]] = {}


def take_context(feeder: Feeder) -> Any:
    """A context that an engine of the same feeder has left, or a new one.

    OpenDSS does not free the memory of a context (about 3 MB with 123 nodes), and defaults such as
    the frequency outlive the circuit, so contexts are used again, and for their feeder alone.
    """
    try:
        return _spare_contexts[feeder].pop()
    except (KeyError, IndexError):
        dss = new_context()
    # it would list all buses at every solution, for objects that the engine does not use
    dss._api_util.unregister_callbacks()
    return dss


def give_back(feeder: Feeder, contexts: Iterable[Any]) -> None:
    """Leaves contexts to the next engine of the same feeder."""
    _spare_contexts.setdefault(feeder, deque()).extend(contexts)


def new_context() -> Any:
    """A fresh OpenDSS that neither opens windows nor changes the working directory."""
    with _creation_lock:
        here = os.getcwd()
        dss = opendssdirect.dss.NewContext()
        os.chdir(here)  # a new context may go to where OpenDSS was loaded
        dss.Basic.AllowChangeDir(False)
        dss.Basic.AllowEditor(False)
        dss.Basic.AllowForms(False)
    return dss


def build(dss: Any, feeder: Feeder) -> None:
    """Builds the feeder in a context, in place of what is in there.

    What the commands of a trusted feeder write without a whole path goes to a temporary folder of
    the context: two contexts cannot have the same file open. OpenDSS writes some of it to the
    working directory of the process, which is that folder during such a command.

    Raises:
        ValueError: A command fails; the message has file, line and OpenDSS's words.
    """
    dss.Text.Command("Clear")
    dss.Text.Command(f'Set DataPath="{_folder_of(dss)}"')
    for command in feeder.commands:
        if command.selects:
            _run(dss, f"Select {command.selects}", command)
        with _inside(_folder_of(dss)) if command.by_trust else nullcontext():
            _run(dss, command.text, command)
    if not dss.Basic.NumCircuits():
        raise ValueError(f"feeder {feeder.name}: its commands build no circuit")
    dss.Text.Command("MakeBusList")


_folders: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_folder_of_process: dict[int, tempfile.TemporaryDirectory[str]] = {}


def _folder_of(dss: Any) -> str:
    """The folder of a context for what OpenDSS writes, removed when Python ends."""
    with _creation_lock:
        if dss not in _folders:
            process = os.getpid()  # a forked process must not use its parent's
            if process not in _folder_of_process:
                _folder_of_process[process] = tempfile.TemporaryDirectory(prefix="gridproblems-")
            _folders[dss] = tempfile.mkdtemp(dir=_folder_of_process[process].name)
        return _folders[dss]


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Changes the working directory of the process, of one thread at a time."""
    with _creation_lock:
        here = os.getcwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def _run(dss: Any, text: str, command: Command) -> None:
    try:
        dss.Text.Command(text)
        message = dss.Text.Result()
        if not message.startswith("Unknown parameter"):  # of Set and Solve, no exception
            return
    except DSSException as error:
        if error.args[0] == CONTROL_LIMIT_EXCEEDED:  # of a Solve in the file; ours has its own
            return
        message = str(error.args[-1])
    words = " ".join(message.split())
    raise ValueError(
        f"{command.where}: OpenDSS refuses {(command.line or command.text)!r}: {words}"
    )
