"""Tables over time as settings: one row per snapshot, one column per element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown
from gridproblems.state import Field, FloatArray, Settings


def series_settings(net: pandapowerNet, series: Mapping[tuple[str, str], Any]) -> Settings:
    """Settings with one row per snapshot.

    Args:
        net: The net whose elements are set.
        series: ``{("load", "p_mw"): table, ...}``; a DataFrame has the elements as columns, an
            array of shape (n_snapshots, n_elements) those of the whole table in its order.

    Raises:
        ValueError: An unknown table, column or element, a wrong shape, unequal lengths, or a value
            that is not finite; the message names it.
    """
    if not series:
        raise ValueError("series: expected at least one table")
    fields: list[Field] = []
    values: list[FloatArray] = []
    for key, table in series.items():
        if not isinstance(key, tuple) or len(key) != 2:
            raise ValueError(
                f"series: expected tables by (table, column), such as ('load', 'p_mw'), "
                f"got {shown(key)}"
            )
        name, column = key
        where = f"series {name}.{column}"
        if name not in net or column not in net[name]:
            raise ValueError(f"{where}: the net has no such table or column")
        frame = table if isinstance(table, pd.DataFrame) else _frame(net, name, table, where)
        missing = [element for element in frame.columns if element not in net[name].index]
        if missing:
            raise ValueError(f"{where}: the net has no {name} {missing[0]}")
        numbers = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
        bad = np.argwhere(~np.isfinite(numbers))
        if len(bad):
            row, place = bad[0]
            raise ValueError(
                f"{where}: {name} {frame.columns[place]} has no finite value in row {row}"
            )
        if values and len(numbers) != len(values[0]):
            raise ValueError(
                f"{where}: expected {len(values[0])} rows as in the first table, got {len(numbers)}"
            )
        if not len(numbers):
            raise ValueError(f"{where}: expected at least one row")
        fields.append(Field(name, column, tuple(frame.columns)))
        values.append(numbers)
    return Settings(tuple(fields), np.concatenate(values, axis=1))


def _frame(net: pandapowerNet, table: str, values: Any, where: str) -> pd.DataFrame:
    n = len(net[table])
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: expected numbers of shape (n_snapshots, {n}), got {shown(values)}"
        ) from error
    if array.ndim != 2 or array.shape[1] != n:
        raise ValueError(f"{where}: expected shape (n_snapshots, {n}), got {array.shape}")
    return pd.DataFrame(array, columns=net[table].index)
