"""The commands of a feeder that is kept as tables: one CSV file per kind of element."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

_SWITCH = "r1=1e-3 r0=1e-3 x1=0 x0=0 c1=0 c0=0 length=0.001"

Row = dict[str, str]


def commands_of_tables(folder: Path, circuit: str) -> tuple[str, ...]:
    """OpenDSS commands that build the circuit of a folder of tables.

    Args:
        folder: Holds ``transformers.csv``, ``regcontrols.csv``, ``linecodes.csv``, ``lines.csv``,
            ``switches.csv``, ``capacitors.csv`` and ``loads.csv``. The first transformer and
            regulator stand at the source, on the feeder's nominal voltage.
        circuit: Name of the circuit.
    """
    first, *others = _transformers(folder)
    first_regulator, *other_regulators = _rows(folder, "regcontrols")
    head = next(_rows(folder, "transformers"))
    voltages = dict.fromkeys(
        row[column]
        for row in _rows(folder, "transformers")
        if row["phases"] == "3"
        for column in ("kV1", "kV2")
    )
    is_regulator = {row["transformer"] for row in other_regulators}
    return (
        f"New Circuit.{circuit} basekv={head['kV1']} bus1={head['bus1']} pu=1.0 "
        "R1=0 X1=0.0001 R0=0 X0=0.0001",
        first[1],
        _regulator(first_regulator),
        *(_line_code(row) for row in _rows(folder, "linecodes")),
        *(_line(row) for row in _rows(folder, "lines")),
        *(_switch(row) for row in _rows(folder, "switches")),
        *(command for name, command in others if name not in is_regulator),
        *(_capacitor(row) for row in _rows(folder, "capacitors")),
        *(command for name, command in others if name in is_regulator),
        *(_regulator(row) for row in other_regulators),
        *(_load(row) for row in _rows(folder, "loads")),
        f"Set VoltageBases=[{' '.join(voltages)}]",
        "CalcVoltageBases",
    )


def coordinates(folder: Path) -> dict[str, tuple[float, float]]:
    """Position of each bus in ``buscoords.csv``, in the units of the drawing."""
    return {row["bus"]: (float(row["x"]), float(row["y"])) for row in _rows(folder, "buscoords")}


def _rows(folder: Path, table: str) -> Iterator[Row]:
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _transformers(folder: Path) -> Iterator[tuple[str, str]]:
    for row in _rows(folder, "transformers"):
        yield (
            row["name"],
            f"New Transformer.{row['name']} phases={row['phases']} windings=2 "
            f"buses=[{row['bus1']} {row['bus2']}] conns=[{row['conn']} {row['conn']}] "
            f"kVs=[{row['kV1']} {row['kV2']}] kVAs=[{row['kVA']} {row['kVA']}] "
            f"XHL={row['xhl_pct']} %Rs=[{row['r_pct_per_winding']} {row['r_pct_per_winding']}] "
            f"ppm_antifloat={row['ppm_antifloat']}",
        )


def _regulator(row: Row) -> str:
    return (
        f"New RegControl.{row['name']} transformer={row['transformer']} winding={row['winding']} "
        f"vreg={row['vreg']} band={row['band']} ptratio={row['ptratio']} ctprim={row['ctprim']} "
        f"R={row['R']} X={row['X']}"
    )


def _line_code(row: Row) -> str:
    return (
        f"New LineCode.{row['name']} nphases={row['phases']} basefreq=60 units=kft "
        f"rmatrix=[{row['r_ohm_per_kft']}] xmatrix=[{row['x_ohm_per_kft']}] "
        f"cmatrix=[{row['c_nF_per_kft']}]"
    )


def _line(row: Row) -> str:
    return (
        f"New Line.{row['name']} phases={row['phases']} bus1={row['bus1']} bus2={row['bus2']} "
        f"linecode={row['linecode']} length={row['length_kft']} units=kft"
    )


def _switch(row: Row) -> str:
    return (
        f"New Line.{row['name']} phases={row['phases']} bus1={row['bus1']} bus2={row['bus2']} "
        f"{_SWITCH}"
    )


def _capacitor(row: Row) -> str:
    return (
        f"New Capacitor.{row['name']} bus1={row['bus']} phases={row['phases']} "
        f"kvar={row['kvar']} kv={row['kV']}"
    )


def _load(row: Row) -> str:
    return (
        f"New Load.{row['name']} bus1={row['bus']} phases={row['phases']} conn={row['conn']} "
        f"model={row['model']} kv={row['kV']} kW={row['kW']} kvar={row['kvar']}"
    )
