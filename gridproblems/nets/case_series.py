"""Series of a problem from tables, CSV files or the packaged case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown
from gridproblems.cases import Case
from gridproblems.nets.profiles import profile_table, warn_of_kw
from gridproblems.nets.series import series_settings
from gridproblems.state import FloatArray, Settings

_POSITIVE = {("load", "p_mw"), ("sgen", "p_mw")}  # a wrong sign there is a common slip
_PACKAGED = {"generation": ("sgen", "p_mw"), "load": ("load", "p_mw")}


def case_series(
    net: pandapowerNet, case: Case | None, series: Mapping[Any, Any] | None
) -> Settings | None:
    """Settings with one row per snapshot, None without series.

    Args:
        net: The net.
        case: The packaged case, if it is one.
        series: ``{("load", "p_mw"): table, ...}``, also with keys like ``"load.p_mw"``. Tables are
            DataFrames with the elements (index or name) as columns, arrays with one column per
            element of the table, or paths of CSV files or workbooks whose header names elements
            (index or name), or which have one column per element in service. None: those of the
            packaged case, if it has any.

    Raises:
        ValueError: A key, table or value that cannot be; the message names it.
    """
    if series is None:
        packaged = case.profiles if case else {}
        series = {_PACKAGED[kind]: path for kind, path in packaged.items()}
    if not series:
        return None
    tables: dict[tuple[str, str], Any] = {}
    for key, table in series.items():
        if isinstance(key, str):
            key = tuple(key.split(".", 1))
        if not isinstance(key, tuple) or len(key) != 2:
            raise ValueError(
                "series: expected tables by (table, column) or 'table.column', such as "
                f"'load.p_mw', got {shown(key)}"
            )
        name, column = key
        where = f"series {name}.{column}"
        if isinstance(table, (str, Path)):
            if name not in net or "in_service" not in net[name]:
                raise ValueError(f"{where}: the net has no such table")
            signed = (name, column) not in _POSITIVE
            table = profile_table(table, where, signed=signed)
            table.columns = elements_of_header(net, name, table.columns.tolist(), where)
        else:
            if (name, column) == ("load", "p_mw"):
                profile_table(table, where)
            if isinstance(table, pd.DataFrame) and name in net:
                table = table.rename(columns=_elements_by_name(net, name, table.columns))
        tables[name, column] = table
    settings = series_settings(net, tables)
    powers = {
        f"series {field}": pd.DataFrame(values)
        for field, values in settings
        if field.column == "p_mw" and field.table in ("load", "sgen")
    }
    warn_of_kw(net, powers)
    return settings


def _elements_by_name(net: pandapowerNet, table: str, labels: pd.Index) -> dict[Any, int]:
    """Elements by those labels that are the name of one of them, none where any is an index."""
    if "name" not in net[table] or labels.isin(net[table].index).any():
        return {}
    names = net[table]["name"].dropna().astype(str).str.strip()
    own = names[~names.duplicated(keep=False)]
    by_name = {name: int(element) for element, name in own.items()}
    return {label: by_name[str(label)] for label in labels if str(label) in by_name}


def elements_of_header(net: pandapowerNet, table: str, header: list[str], where: str) -> list[int]:
    """The elements that the columns of a file stand for.

    Args:
        net: The net.
        table: Of the elements.
        header: Names of the columns: all indices or all names of elements, else in the order of
            those in service.
        where: How messages begin.

    Raises:
        ValueError: Names of two meanings, unknown ones, or another number of columns.
    """
    index = net[table].index
    in_service = index[net[table].in_service.astype(bool)].tolist()
    by_index = {str(element): int(element) for element in index}
    names = net[table]["name"] if "name" in net[table] else pd.Series(None, index)
    by_name: dict[str, int] = {}
    for element, name in names.items():
        if name is not None and str(name):
            text = str(name).strip()
            by_name[text] = -1 if text in by_name else int(element)  # -1: of several
    found = [
        [known[column] for column in header]
        for known in (by_index, by_name)
        if all(known.get(column, -1) >= 0 for column in header)
    ]
    if len(found) == 2 and found[0] != found[1]:
        if found[0] == in_service:
            return in_service
        raise ValueError(
            f"{where}: the header stands for indices {found[0][:3]}... and for elements of these "
            f"names, {found[1][:3]}...; write indices in a DataFrame, or other names"
        )
    if found:
        return found[0]
    if len(header) != len(in_service):
        unknown = next(c for c in header if c not in by_index and by_name.get(c, -1) < 0)
        raise ValueError(
            f"{where}: expected {len(in_service)} columns, one per {table} in service, or indices "
            f"or names of elements as header, got {len(header)} columns; no {table} is called "
            f"{unknown!r}"
        )
    return in_service


def pv_profile(
    case: Case | None, profile: Any, series: Settings | None, needed: bool
) -> FloatArray:
    """Output of pv over its rating, shape (n_snapshots,).

    Args:
        case: The packaged case, if it is one.
        profile: One number per snapshot, or the path of a CSV file with one column. None: 1 for a
            single snapshot, the sum of the case's own generation scaled to a peak of 1 for a
            packaged case with profiles.
        series: The series, if any.
        needed: Whether there are units with this profile.

    Raises:
        ValueError: No profile over a series, the wrong length, a number outside [0, 1].
    """
    n_snapshots = series.n_snapshots if series else None
    if profile is None:
        if n_snapshots is None:
            return np.ones(1)
        if not needed:
            return np.ones(n_snapshots)
        if not (case and "generation" in case.profiles):
            raise ValueError("profile: expected the output of pv over its rating per snapshot")
        total = profile_table(case.profiles["generation"], "generation").sum(axis=1)
        profile = (total / total.max()).to_numpy()
    elif isinstance(profile, (str, Path)):
        profile = profile_table(profile, "profile", 1).iloc[:, 0]
    try:
        values = np.asarray(profile, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"profile: expected one number per snapshot or the path of a CSV file, "
            f"got {shown(profile)}"
        ) from error
    if values.ndim != 1 or len(values) != (n_snapshots or len(values)) or not len(values):
        expected = "n_snapshots" if n_snapshots is None else n_snapshots
        raise ValueError(f"profile: expected {expected} numbers, got shape {values.shape}")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        raise ValueError(
            f"profile: expected shares of the rated power, 0 to 1, got {values[bad[0]]} in "
            f"snapshot {bad[0]}"
        )
    return values
