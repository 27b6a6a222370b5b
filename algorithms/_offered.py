"""What a problem offers beyond pymoo's own attributes."""

from __future__ import annotations

import inspect
from typing import Any

from pymoo.core.problem import Problem


def offered(problem: Problem, name: str) -> Any:
    """The attribute of a problem, None where it has none.

    Unlike ``getattr`` with a default, this does not take an attribute that fails for one that is
    not there: an AttributeError raised inside of a property reaches the user.
    """
    try:
        inspect.getattr_static(problem, name)
    except AttributeError:
        return getattr(problem, name, None)  # wrappers that hand on what others offer
    return getattr(problem, name)
