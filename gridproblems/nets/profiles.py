"""Powers over time from tables, CSV files and SimBench, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.nets.files.number_table import read_table
from gridproblems.nets.simbench import simbench_net

_TIMES_CAPACITY = 10.0  # no grid carries that much, but kW read as MW are 1000 times too many

__all__ = ["profile_table", "simbench_net", "warn_of_kw"]


def profile_table(
    source: Any, name: str, n_columns: int | None = None, signed: bool = False
) -> pd.DataFrame:
    """A table of powers, one row per snapshot and one column per profile. [MW]

    Args:
        source: A DataFrame, an array of shape (n_snapshots, n_profiles), or the path of a CSV file
            or workbook with a header (`gridproblems.nets.files.number_table`). Its first column is
            taken for the time, and left out, if it is no number or called hour, time or so.
        name: What to call the table in messages.
        n_columns: How many profiles there must be, None for any number.
        signed: Whether values may be negative.

    Raises:
        ValueError: No such file, no numbers, no rows, another number of columns, a value that is
            not finite, or a negative one; the message names row and column.
    """
    frame = _frame(source, name)
    if n_columns is not None and frame.shape[1] != n_columns:
        raise ValueError(
            f"{name}: expected {n_columns} columns, one per element, got a table of shape "
            f"{frame.shape}"
        )
    if not len(frame) or not frame.shape[1]:
        raise ValueError(f"{name}: expected at least one row and one column, got {frame.shape}")
    numbers = frame.apply(pd.to_numeric, errors="coerce").astype(float)
    values = numbers.to_numpy()
    negative = (values < 0) & (not signed)
    for bad, what in ((~np.isfinite(values), "has no finite value"), (negative, "is negative")):
        places = np.argwhere(bad)
        if len(places):
            row, column = places[0]
            value = frame.iat[row, column]
            raise ValueError(
                f"{name}: column {frame.columns[column]!r} {what} in row {row} ({value}); "
                "expected powers in MW, positive for load and for generation"
            )
    return numbers.reset_index(drop=True)


def _frame(source: Any, name: str) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, (str, Path)):
        return read_table(Path(source), name)
    array = np.asarray(source)
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected a DataFrame, the path of a CSV file or an array of shape "
            f"(n_snapshots, n_profiles), got shape {array.shape}"
        )
    return pd.DataFrame(array)


def warn_of_kw(net: pandapowerNet, tables: Mapping[str, pd.DataFrame]) -> None:
    """Warns of tables whose total is many times what the grid can carry: kW given as MW.

    Args:
        net: The grid; its capacity is that of its transformers, or where it has none that of the
            lines at its external grids.
        tables: Powers over time by name. [MW]
    """
    capacity = _capacity_mva(net)
    for name, table in tables.items():
        total = float(table.to_numpy().sum(axis=1).max())
        if np.isfinite(capacity) and total > _TIMES_CAPACITY * capacity:
            warn_user(
                f"{name}: {total:.4g} MW in total, but the grid is rated {capacity:.4g} MVA; "
                "the table looks like kW, divide it by 1000"
            )


def _capacity_mva(net: pandapowerNet) -> float:
    trafo = net.trafo[net.trafo.in_service.astype(bool)]
    if len(trafo):
        return float((trafo.sn_mva * trafo.parallel).sum())
    sources = net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]
    line = net.line[net.line.from_bus.isin(sources) | net.line.to_bus.isin(sources)]
    if not len(line):
        return np.inf
    vn_kv = net.bus.vn_kv.loc[line.from_bus].to_numpy()
    return float((np.sqrt(3.0) * vn_kv * line.max_i_ka * line.parallel).sum())
