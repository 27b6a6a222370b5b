"""MATPOWER cases, ``.m`` and ``.mat``, as pandapower nets whose power flow is that of the file.

Every branch has MATPOWER's model: an ideal transformer of ratio and shift at its from-bus, then a
pi section (MATPOWER User's Manual, section 3.2). pandapower's tables can say that of lines without
ratio, and of transformers whose high-voltage side is the from-bus; the others become impedances
with different values for the two directions, or what the notes say.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import scipy.io
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems.cases.pi_branch import Tee
from gridproblems.nets.files.matpower_text import NotData, read_fields
from gridproblems.nets.files.net_file import MAX_BYTES, NetFile, bytes_of, counted, listed
from gridproblems.state import FloatArray

BoolArray = NDArray[np.bool_]

KIND = "MATPOWER"
F_HZ = 50.0  # a case has none; charging in p.u. is the same at any
UNLIMITED = 99999.0  # pandapower's own number for a rating that limits nothing [kA, MVA]
LARGEST_BUS = 1_000_000
TAP_STEP = 1e-4
_REF, _PV, _ISOLATED = 3, 2, 4
_BUS = "number type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin"
_GEN = "bus Pg Qg Qmax Qmin Vg mBase status Pmax Pmin"
_BRANCH = "from to r x b rateA rateB rateC ratio angle status"
#: Names of the first columns of the matrices, which must be there.
_MATRICES = {"bus": _BUS.split(), "gen": _GEN.split(), "branch": _BRANCH.split()}
_MAY_BE_INFINITE = {"Qmax", "Qmin", "Pmax", "Pmin", "rateA", "rateB", "rateC", "Vmax", "Vmin"}
#: Those of them that the power flow does not need, so that NaN is no error.
_OPTIONAL = {"area", "zone", "Vm", "Va", "mBase", "rateB", "rateC"}
_KNOWN = {"version", "baseMVA", "bus", "gen", "branch", "gencost", "dcline", "dclinecost"}
_NAMES = {"bus_name", "gentype", "genfuel"}


@dataclass(frozen=True)
class MatpowerCase:
    """The matrices of a case, as in the file.

    Attributes:
        base_mva: Base power. [MVA]
        bus, gen, branch: Columns as MATPOWER's manual has them, appendix B.
        gencost: Costs, one row per generator, or two; None without.
        dcline: DC lines; None without.
        names: Lists of texts by field.
        notes: What the reader of the file has to say.
    """

    base_mva: float
    bus: FloatArray
    gen: FloatArray
    branch: FloatArray
    gencost: FloatArray | None
    dcline: FloatArray | None
    names: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()


def read_m(path: Path) -> NetFile:
    """The net of a ``.m`` file; its text is read as data and never run.

    Raises:
        ValueError: Unreadable, something in it is no data, or no case; the message names the line.
    """
    try:
        text = bytes_of(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = bytes_of(path).decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{path}: no text, expected a MATPOWER case file")
    try:
        found = read_fields(text)
        notes = [f"computed as the file says: {listed(found.computed)}"] if found.computed else []
        return _net_file(case_of(found.values, notes))
    except NotData as error:
        raise ValueError(f"{path}, {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_mat(path: Path) -> NetFile:
    """The net of a ``.mat`` file, of MATLAB 5 to 7.2.

    Raises:
        ValueError: Unreadable, of another version, or no case.
    """
    content = bytes_of(path)
    if content[:4] == b"\x89HDF" or b"MATLAB 7.3" in content[:128]:
        raise ValueError(
            f"{path}: a MATLAB 7.3 file; save it with save('-v7', ...), or as a .m file with "
            "MATPOWER's savecase"
        )
    _check_inflated(content, path)
    try:
        found = scipy.io.loadmat(str(path), squeeze_me=False, chars_as_strings=True)
    except Exception as error:  # all kinds of errors on malformed data
        raise ValueError(f"{path}: no MATLAB file: {error}") from error
    try:
        return _net_file(case_of(_fields_of_mat(found), []))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_inflated(content: bytes, path: Path) -> None:
    """Refuses a file whose compressed parts are huge when they are inflated."""
    at, total = 128, 0
    order = "<" if content[126:128] == b"IM" else ">"
    while at + 8 <= len(content):
        kind, size = struct.unpack(f"{order}II", content[at : at + 8])
        if kind == 15:
            inflate = zlib.decompressobj()
            part = content[at + 8 : at + 8 + size]
            while part and total <= MAX_BYTES:
                try:
                    total += len(inflate.decompress(part, 2**20))
                except zlib.error as error:
                    raise ValueError(f"{path}: no MATLAB file: {error}") from error
                part = inflate.unconsumed_tail
            if total > MAX_BYTES:
                raise ValueError(f"{path}: more than 256 MiB of data when unpacked")
        at += 8 + size


def _fields_of_mat(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the struct in a MATLAB file, or its variables."""
    for value in found.values():
        if isinstance(value, np.ndarray) and value.dtype.names and "bus" in value.dtype.names:
            if value.size != 1:
                raise ValueError("expected one case, got an array of structs")
            record = value.reshape(-1)[0]
            return {name: _plain(record[name]) for name in value.dtype.names}
    return {name: _plain(v) for name, v in found.items() if not name.startswith("__")}


def _plain(value: Any) -> Any:
    """Matrices and texts of a MATLAB file; None for what is neither."""
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind in "fiub":
        return float(value.reshape(-1)[0]) if value.size == 1 else value.astype(float)
    if value.dtype.kind == "U":
        return str(value.reshape(-1)[0]) if value.size else ""
    if value.dtype == object:
        cells = [np.asarray(cell).reshape(-1) for cell in value.reshape(-1)]
        return [
            str(cell[0]) if cell.size == 1 and cell.dtype.kind in "Ufi" else "" for cell in cells
        ]
    return None


def case_of(fields: Mapping[str, Any], notes: Sequence[str]) -> MatpowerCase:
    """A case of the fields of a file.

    Raises:
        ValueError: A matrix is missing or has too few columns, or a number is none; the message
            names matrix, row and column.
    """
    matrices = {name: _matrix(fields, name) for name in _MATRICES}
    base_mva = fields.get("baseMVA")
    if isinstance(base_mva, np.ndarray) and base_mva.size == 1:
        base_mva = float(base_mva.reshape(-1)[0])
    if not isinstance(base_mva, float) or not 0 < base_mva < math.inf:
        raise ValueError(f"baseMVA: expected a positive number, got {base_mva!r}")
    others = [
        name for name in fields if name not in _KNOWN | _NAMES and not _is_scalar(fields[name])
    ]
    notes = [*notes, *([f"not read: {listed(others)}"] if others else [])]
    names = {}
    for name, of in (("bus_name", "bus"), ("gentype", "gen"), ("genfuel", "gen")):
        texts = fields.get(name)
        if isinstance(texts, list) and len(texts) == len(matrices[of]):
            names[name] = [str(text).strip() for text in texts]
        elif texts is not None:
            notes.append(f"{name}: not read, expected one text per row of {of}")
    return MatpowerCase(
        base_mva,
        **matrices,
        gencost=_more(fields, "gencost"),
        dcline=_more(fields, "dcline"),
        names=names,
        notes=tuple(notes),
    )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (float, str))


def _more(fields: Mapping[str, Any], name: str) -> FloatArray | None:
    value = fields.get(name)
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.size:
        return value
    return None


def _matrix(fields: Mapping[str, Any], name: str) -> FloatArray:
    """A matrix, its numbers checked."""
    value = fields.get(name)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"no MATPOWER case: the matrix {name} is missing")
    columns = _MATRICES[name]
    if value.ndim != 2 or not len(value) or value.shape[1] < len(columns):
        raise ValueError(
            f"{name}: expected a matrix of at least one row and {len(columns)} columns, got shape "
            f"{value.shape}"
        )
    for j, column in enumerate(columns):
        allowed = np.isnan(value[:, j]) if column in _OPTIONAL else np.zeros(len(value), dtype=bool)
        if column in _MAY_BE_INFINITE:
            allowed |= np.isinf(value[:, j])
        bad = np.flatnonzero(~(np.isfinite(value[:, j]) | allowed))
        if len(bad):
            raise ValueError(
                f"{name}: row {bad[0] + 1} has {value[bad[0], j]:g} in column {column}, expected a "
                "number"
            )
    return value.copy()


def _net_file(case: MatpowerCase) -> NetFile:
    writer = _Writer(case)
    net = writer.write()
    bus, place = case.bus, writer.number_of
    is_flat = bool(np.all((bus[:, 7] == bus[0, 7]) & (bus[:, 8] == 0)))
    voltages = {
        place[int(number)]: (float(vm), float(va))
        for number, kind, vm, va in bus[:, [0, 1, 7, 8]]
        if kind != _ISOLATED and np.isfinite(vm) and np.isfinite(va)
    }
    return NetFile(net, KIND, tuple(writer.notes), {} if is_flat else voltages)


class _Writer:
    """Writes a case into a pandapower net and says what it could not keep.

    Elements keep the numbers of the file: buses theirs, branches and generators their rows, from 1.
    """

    def __init__(self, case: MatpowerCase) -> None:
        self.case = case
        self.notes = list(case.notes)
        self.bus = case.bus
        self.number_of = self._numbers()
        self._kinds = self._bus_kinds()

    def write(self) -> pandapowerNet:
        """The net.

        Raises:
            ValueError: Rows that contradict each other; the message names them.
        """
        self.net = pp.create_empty_network(f_hz=F_HZ, sn_mva=self.case.base_mva)
        self._buses()
        self._loads_and_shunts()
        machines = self._generators()
        self._costs(machines)
        self._branches()
        self._dc_lines()
        return self.net

    def _numbers(self) -> dict[int, int]:
        """Bus number of the file -> index in the net."""
        numbers = self.bus[:, 0]
        for row, number in enumerate(numbers):
            if number % 1 or number < 0:
                raise ValueError(f"bus: row {row + 1} has the number {number:g}, no whole number")
        whole = [int(number) for number in numbers]
        twice = (
            [number for row, number in enumerate(whole) if number in set(whole[:row])]
            if len(set(whole)) < len(whole)
            else []
        )
        if twice:
            raise ValueError(f"bus: the number {twice[0]} occurs twice")
        if max(whole) > LARGEST_BUS:
            self.notes.append("buses are numbered anew from 1; their numbers are their names")
            return {number: i + 1 for i, number in enumerate(whole)}
        return {number: number for number in whole}

    def _place(self, numbers: FloatArray, what: str, column: str) -> NDArray[np.int64]:
        """Buses of elements as indices of the net."""
        for row, number in enumerate(numbers):
            if number not in self.number_of:
                raise ValueError(
                    f"{what}: row {row + 1} has {column} {number:g}, no bus of the case"
                )
        return np.array([self.number_of[int(number)] for number in numbers], dtype=np.int64)

    def _bus_kinds(self) -> dict[int, int]:
        """Index of the net -> type of the bus, as MATPOWER's power flow takes it."""
        kinds = {}
        for row, (number, kind) in enumerate(self.bus[:, :2]):
            if kind not in (1, _PV, _REF, _ISOLATED):
                raise ValueError(f"bus: row {row + 1} has the type {kind:g}, expected 1 to 4")
            kinds[self.number_of[int(number)]] = int(kind)
        on = self.case.gen[:, 7] > 0
        fed = set(self._place(self.case.gen[:, 0], "gen", "bus")[on].tolist())
        sources = [bus for bus, kind in kinds.items() if kind == _REF]
        for bus in sources:
            if bus not in fed:
                kinds[bus] = 1
        if not any(kind == _REF for kind in kinds.values()):
            regulated = [bus for bus, kind in kinds.items() if kind == _PV and bus in fed]
            if not regulated:
                raise ValueError(
                    "no reference bus, and no bus of type 2 with a generator in service"
                )
            kinds[regulated[0]] = _REF
            self.notes.append(
                f"no reference bus has a generator in service: bus {regulated[0]} is it, as in "
                "MATPOWER"
            )
        return kinds

    def _isolated(self, buses: NDArray[np.int64]) -> BoolArray:
        return np.array([self._kinds[bus] == _ISOLATED for bus in buses.tolist()], dtype=bool)

    def _buses(self) -> None:
        bus = self.bus
        vn_kv = bus[:, 9].copy()
        without = ~(vn_kv > 0)
        if without.any():
            vn_kv[without] = 1.0
            self.notes.append(
                f"{counted(int(without.sum()), 'bus', 'buses')} without a base voltage: 1 kV, "
                "which changes nothing in p.u. and MW"
            )
        own = self.case.names.get("bus_name")
        self._vn_kv = dict(zip(self.number_of.values(), vn_kv.tolist(), strict=True))
        pp.create_buses(
            self.net,
            len(bus),
            vn_kv=vn_kv,
            index=list(self.number_of.values()),
            name=own or [str(number) for number in self.number_of],
            zone=[str(int(z)) if np.isfinite(z) else None for z in bus[:, 10]],
            in_service=bus[:, 1] != _ISOLATED,
            min_vm_pu=_finite(bus[:, 12]),
            max_vm_pu=_finite(bus[:, 11]),
        )
        isolated = int((bus[:, 1] == _ISOLATED).sum())
        if isolated:
            self.notes.append(
                f"{counted(isolated, 'isolated bus', 'isolated buses')} (type 4) out of service, "
                "with what is connected there"
            )

    def _loads_and_shunts(self) -> None:
        bus = self.bus
        place = np.array(list(self.number_of.values()), dtype=np.int64)
        alive = ~self._isolated(place)
        has_load = (bus[:, 2:4] != 0).any(axis=1)
        if has_load.any():
            p, q = bus[has_load, 2], bus[has_load, 3]
            self._create_loads(place[has_load], p, q, alive[has_load])
        has_shunt = (bus[:, 4:6] != 0).any(axis=1)
        if has_shunt.any():
            p, q = bus[has_shunt, 4], bus[has_shunt, 5]
            self._create_shunts(place[has_shunt], p, q, alive[has_shunt])

    def _create_loads(
        self, buses: NDArray[np.int64], p: FloatArray, q: FloatArray, alive: BoolArray
    ) -> None:
        pp.create_loads(self.net, buses, p_mw=p, q_mvar=q, index=buses, in_service=alive)
        self.net.load["name"] = self.net.bus.name.loc[buses].to_numpy()

    def _create_shunts(
        self, buses: NDArray[np.int64], p: FloatArray, q: FloatArray, alive: BoolArray
    ) -> None:
        vn_kv = self.net.bus.vn_kv.loc[buses].to_numpy()
        pp.create_shunts(
            self.net, buses, p_mw=p, q_mvar=-q, vn_kv=vn_kv, index=buses, in_service=alive
        )
        self.net.shunt["name"] = self.net.bus.name.loc[buses].to_numpy()

    # -- generators -----------------------------------------------------------------------------

    def _generators(self) -> list[tuple[str, int]]:
        """Creates all machines; table and index of each row."""
        gen = self.case.gen
        buses = self._place(gen[:, 0], "gen", "bus")
        on = (gen[:, 7] > 0) & ~self._isolated(buses)
        names, counts = [], dict.fromkeys(buses.tolist(), 0)
        for bus in buses.tolist():
            counts[bus] += 1
            many = f" ({counts[bus]})" if counts[bus] > 1 else ""
            names.append(f"{self.net.bus.name.at[bus]}{many}")
        set_point = {int(buses[i]): float(gen[i, 5]) for i in np.flatnonzero(on)}  # the last holds
        slack: dict[int, int] = {}
        for i in np.flatnonzero(on).tolist():
            if self._kinds[int(buses[i])] == _REF:
                slack.setdefault(int(buses[i]), i)
        tables = [self._table_of(i, int(buses[i]), bool(on[i]), slack) for i in range(len(gen))]
        limits = {
            name: _bounded(gen[:, column])
            for name, column in (
                ("max_p_mw", 8), ("min_p_mw", 9), ("max_q_mvar", 3), ("min_q_mvar", 4)
            )
        }  # fmt: skip
        self._check_limits(limits, on)
        self._external_grids(slack, buses, on, limits, names, set_point)
        fuel = self.case.names.get("genfuel") or self.case.names.get("gentype")
        for table in ("gen", "sgen"):
            rows = np.array([i for i, t in enumerate(tables) if t == table], dtype=np.int64)
            if not len(rows):
                continue
            common = {
                **{name: values[rows] for name, values in limits.items()},
                "sn_mva": np.where(gen[rows, 6] > 0, gen[rows, 6], np.nan),
                "index": rows + 1,
                "name": [names[i] for i in rows],
                "in_service": on[rows],
                "controllable": True,
            }
            if fuel:
                common["type"] = [fuel[i] for i in rows]
            if table == "gen":
                vm = [set_point.get(int(buses[i]), float(gen[i, 5])) for i in rows]
                vm_pu = np.where(np.array(vm) > 0, vm, 1.0)
                pp.create_gens(self.net, buses[rows], p_mw=gen[rows, 1], vm_pu=vm_pu, **common)
            else:
                beside = np.array([int(buses[i]) in slack and bool(on[i]) for i in rows])
                q_mvar = np.where(beside, 0.0, gen[rows, 2])
                pp.create_sgens(self.net, buses[rows], p_mw=gen[rows, 1], q_mvar=q_mvar, **common)
        self._note_machines(tables, buses, on, slack)
        return list(zip(tables, range(1, len(gen) + 1), strict=True))

    def _table_of(self, row: int, bus: int, on: bool, slack: Mapping[int, int]) -> str:
        if slack.get(bus) == row:
            return "ext_grid"
        if self._kinds[bus] == _PV or (self._kinds[bus] in (_REF, _ISOLATED) and not on):
            return "gen"
        return "sgen"

    def _check_limits(self, limits: Mapping[str, FloatArray], on: BoolArray) -> None:
        for quantity in ("p_mw", "q_mvar"):
            bad = np.flatnonzero((limits[f"min_{quantity}"] > limits[f"max_{quantity}"]) & on)
            if len(bad):
                what = "P" if quantity == "p_mw" else "Q"
                self.notes.append(
                    f"{what} limits of generator rows {listed([str(i + 1) for i in bad])} have the "
                    "lower one above the upper; left out"
                )
                for side in ("min", "max"):
                    limits[f"{side}_{quantity}"][bad] = np.nan

    def _external_grids(
        self,
        slack: Mapping[int, int],
        buses: NDArray[np.int64],
        on: BoolArray,
        limits: Mapping[str, FloatArray],
        names: Sequence[str],
        set_point: Mapping[int, float],
    ) -> None:
        row_of = {place: row for row, place in enumerate(self.number_of.values())}
        for bus, i in slack.items():
            there = (buses == bus) & on
            pp.create_ext_grid(
                self.net,
                bus,
                vm_pu=set_point[bus],
                va_degree=float(np.nan_to_num(self.bus[row_of[bus], 8])),
                index=i + 1,
                name=names[i],
                max_p_mw=float(limits["max_p_mw"][i]),
                min_p_mw=float(limits["min_p_mw"][i]),
                max_q_mvar=float(limits["max_q_mvar"][there].sum()),
                min_q_mvar=float(limits["min_q_mvar"][there].sum()),
            )

    def _note_machines(
        self,
        tables: Sequence[str],
        buses: NDArray[np.int64],
        on: BoolArray,
        slack: Mapping[int, int],
    ) -> None:
        beside = [
            i for i, t in enumerate(tables) if t == "sgen" and int(buses[i]) in slack and on[i]
        ]
        if beside:
            self.notes.append(
                f"{counted(len(beside), 'generator')} at the slack's bus keep their active power "
                "as static generators; the external grid gives the reactive power of all, within "
                "the sum of their limits"
            )
        fixed = [
            str(i + 1)
            for i, t in enumerate(tables)
            if t == "sgen" and on[i] and int(buses[i]) not in slack
        ]
        if fixed:
            self.notes.append(
                f"generator rows {listed(fixed)} at buses of type 1 hold no voltage: static "
                "generators with the reactive power of the file"
            )
        differ: dict[int, set[float]] = {}
        for i in np.flatnonzero(on).tolist():
            differ.setdefault(int(buses[i]), set()).add(float(self.case.gen[i, 5]))
        unlike = [str(bus) for bus, values in differ.items() if len(values) > 1]
        if unlike:
            self.notes.append(
                f"generators at bus {listed(unlike)} have different set-points; that of the last "
                "row holds, as in MATPOWER"
            )

    # -- costs ----------------------------------------------------------------------------------

    def _costs(self, machines: Sequence[tuple[str, int]]) -> None:
        """``poly_cost`` and ``pwl_cost`` of the rows of gencost."""
        costs, n = self.case.gencost, len(machines)
        if costs is None:
            return
        if len(costs) not in (n, 2 * n) or costs.shape[1] < 5:
            self.notes.append(
                f"gencost: not read, expected {n} or {2 * n} rows of at least 5 columns, got shape "
                f"{costs.shape}"
            )
            return
        if (np.nan_to_num(costs[:, 1:3]) != 0).any():
            self.notes.append("costs of start-up and shut-down are left out")
        polynomials: dict[tuple[str, int], dict[str, float]] = {}
        lost: list[str] = []
        offsets: list[str] = []
        for row, entry in enumerate(costs):
            machine, power = machines[row % n], "pq"[row // n]
            model, count = entry[0], int(np.nan_to_num(entry[3]))
            values = entry[4 : 4 + (2 * count if model == 1 else count)]
            if model not in (1, 2) or count < 1 or not np.isfinite(values).all():
                lost.append(str(row + 1))
            elif model == 2 and len(values) == count and not np.any(values[:-3]):
                polynomials.setdefault(machine, {}).update(_polynomial(values, power))
            elif model == 1 and count > 1 and len(values) == 2 * count:
                points = _pieces(values.reshape(-1, 2))
                if points is None:
                    lost.append(str(row + 1))
                    continue
                if values[1] != values[0] * points[0][2]:
                    offsets.append(str(row + 1))
                pp.create_pwl_cost(
                    self.net, machine[1], machine[0], points, power_type=power, check=False
                )
            else:
                lost.append(str(row + 1))
        for (table, element), values_of in polynomials.items():
            full = {"cp1_eur_per_mw": 0.0, **values_of}
            pp.create_poly_cost(self.net, element, table, check=False, **full)
        if lost:
            self.notes.append(
                f"gencost rows {listed(lost)} are left out: neither a polynomial of degree 2 or "
                "less nor ascending points"
            )
        if offsets:
            self.notes.append(
                f"piecewise costs of gencost rows {listed(offsets)} keep their slopes; the cost of "
                "running at no load is left out"
            )

    # -- branches -------------------------------------------------------------------------------

    def _branches(self) -> None:
        branch = self.case.branch
        start = self._place(branch[:, 0], "branch", "from-bus")
        end = self._place(branch[:, 1], "branch", "to-bus")
        for row, (a, b) in enumerate(zip(start, end, strict=True)):
            if a == b:
                raise ValueError(f"branch: row {row + 1} begins and ends at bus {a}")
        on = (branch[:, 10] > 0) & ~self._isolated(start) & ~self._isolated(end)
        from_kv = self.net.bus.vn_kv.loc[start].to_numpy()
        to_kv = self.net.bus.vn_kv.loc[end].to_numpy()
        ratio, shift = branch[:, 8], branch[:, 9]
        if (bad := np.flatnonzero(ratio < 0)).size:
            raise ValueError(f"branch: row {bad[0] + 1} has the ratio {ratio[bad[0]]:g}")
        is_line = (ratio == 0) & (shift == 0) & (from_kv == to_kv)
        no_impedance = (branch[:, 2] == 0) & (branch[:, 3] == 0)
        names = self._branch_names(start, end)
        self._switches(np.flatnonzero(no_impedance), start, end, on, is_line, names)
        kept = ~no_impedance
        self._lines(np.flatnonzero(is_line & kept), start, end, on, names)
        self._transformers(np.flatnonzero(~is_line & kept), start, end, on, names)
        if (on & kept & (branch[:, 3] == 0)).any():
            pp.set_user_pf_options(self.net, init="flat")
            self.notes.append(
                "branches without reactance: power flows begin flat (net.user_pf_options), since a "
                "DC power flow has no solution"
            )
        self._note_branches(is_line, no_impedance, from_kv, to_kv)

    def _branch_names(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> list[str]:
        counts: dict[tuple[int, int], int] = {}
        names = []
        label = {place: number for number, place in self.number_of.items()}
        for pair in zip(start.tolist(), end.tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
            many = f" ({counts[pair]})" if counts[pair] > 1 else ""
            names.append(f"{label[pair[0]]}-{label[pair[1]]}{many}")
        return names

    def _switches(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        on: BoolArray,
        is_line: BoolArray,
        names: Sequence[str],
    ) -> None:
        """Closed couplers for branches without impedance, which no power flow can have."""
        for row in rows.tolist():
            if not is_line[row] or self.case.branch[row, 4]:
                raise ValueError(
                    f"branch: row {row + 1} ({names[row]}) has no impedance, r and x are 0, but a "
                    "ratio or charging"
                )
            pp.create_switch(
                self.net,
                int(start[row]),
                int(end[row]),
                "b",
                closed=bool(on[row]),
                index=row + 1,
                name=names[row],
            )
        if len(rows):
            self.notes.append(
                f"{counted(len(rows), 'branch', 'branches')} without impedance: switches between "
                f"their buses (rows {listed([str(row + 1) for row in rows])})"
            )

    def _lines(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        on: BoolArray,
        names: Sequence[str],
    ) -> None:
        if not len(rows):
            return
        branch = self.case.branch[rows]
        vn_kv = self.net.bus.vn_kv.loc[start[rows]].to_numpy()
        base_ohm = vn_kv**2 / self.case.base_mva
        rated = _rated(branch[:, 5])
        with np.errstate(invalid="ignore"):
            max_i_ka = np.where(rated, branch[:, 5] / (math.sqrt(3.0) * vn_kv), UNLIMITED)
        pp.create_lines_from_parameters(
            self.net,
            from_buses=start[rows],
            to_buses=end[rows],
            length_km=1.0,
            r_ohm_per_km=branch[:, 2] * base_ohm,
            x_ohm_per_km=branch[:, 3] * base_ohm,
            c_nf_per_km=branch[:, 4] / base_ohm / (2e-9 * np.pi * F_HZ),
            max_i_ka=max_i_ka,
            max_loading_percent=np.where(rated, 100.0, np.nan),
            index=rows + 1,
            name=[names[row] for row in rows],
            in_service=on[rows],
        )

    def _transformers(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        on: BoolArray,
        names: Sequence[str],
    ) -> None:
        """Transformers with the from-bus as their high-voltage side, whatever its voltage."""
        if not len(rows):
            return
        branch, base = self.case.branch[rows], self.case.base_mva
        impedance = branch[:, 2] + 1j * branch[:, 3]
        tee = Tee(impedance, branch[:, 4])
        as_tee = ~(tee.magnetising_pu.imag > 0)  # pandapower's magnetising branch is inductive
        self._impedances(rows[~as_tee], start, end, on, names)
        rows, branch, impedance = rows[as_tee], branch[as_tee], impedance[as_tee]
        if not len(rows):
            return
        tee = Tee(impedance, branch[:, 4])
        rated = _rated(branch[:, 5])
        sn_mva = np.where(rated, branch[:, 5], UNLIMITED)
        ratio = np.where(branch[:, 8] == 0, 1.0, branch[:, 8])
        position = np.round((ratio - 1.0) / TAP_STEP)
        has_taps = (branch[:, 8] != 0) & (np.abs(1.0 + position * TAP_STEP - ratio) < 1e-12)
        from_kv = self.net.bus.vn_kv.loc[start[rows]].to_numpy()
        share = tee.share_at(np.ones(len(rows), dtype=bool))
        pp.create_transformers_from_parameters(
            self.net,
            hv_buses=start[rows],
            lv_buses=end[rows],
            sn_mva=sn_mva,
            vn_hv_kv=np.where(has_taps, from_kv, from_kv * ratio),
            vn_lv_kv=self.net.bus.vn_kv.loc[end[rows]].to_numpy(),
            vk_percent=100
            * np.where(tee.series_pu.imag < 0, -1.0, 1.0)
            * np.abs(tee.series_pu)
            * sn_mva
            / base,
            vkr_percent=100 * tee.series_pu.real * sn_mva / base,
            pfe_kw=1e3 * base * tee.magnetising_pu.real,
            i0_percent=100 * np.abs(tee.magnetising_pu) * base / sn_mva,
            shift_degree=branch[:, 9],
            tap_side=["hv" if taps else None for taps in has_taps],
            tap_neutral=np.where(has_taps, 0.0, np.nan),
            tap_pos=np.where(has_taps, position, np.nan),
            tap_step_percent=np.where(has_taps, 100 * TAP_STEP, np.nan),
            tap_changer_type=["Ratio" if taps else None for taps in has_taps],
            max_loading_percent=np.where(rated, 100.0, np.nan),
            leakage_resistance_ratio_hv=share.real,
            leakage_reactance_ratio_hv=share.imag,
            index=rows + 1,
            name=[names[row] for row in rows],
            in_service=on[rows],
        )
        self._charging(rows, end, on, tee, names)

    def _charging(
        self,
        rows: NDArray[np.int64],
        end: NDArray[np.int64],
        on: BoolArray,
        tee: Tee,
        names: Sequence[str],
    ) -> None:
        """The capacitors that complete transformers with capacitive charging."""
        capacitive = np.flatnonzero(tee.shunt_pu)
        if not len(capacitive):
            return
        buses = end[rows[capacitive]]
        first = int(max(self.net.bus.index)) + 1
        pp.create_shunts(
            self.net,
            buses,
            q_mvar=-self.case.base_mva * tee.shunt_pu[capacitive],
            vn_kv=self.net.bus.vn_kv.loc[buses].to_numpy(),
            index=first + np.arange(len(capacitive)),
            name=[f"charging of {names[rows[i]]}" for i in capacitive],
            in_service=on[rows[capacitive]],
        )
        self.notes.append(
            f"{counted(len(capacitive), 'transformer')} with capacitive charging: part of it is a "
            "shunt at the to-bus, which stays when the transformer goes out"
        )

    def _impedances(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        on: BoolArray,
        names: Sequence[str],
    ) -> None:
        """Branches that no transformer of pandapower can be, exactly as impedances."""
        for row in rows.tolist():
            r, x, b, _, _, _, ratio, shift = self.case.branch[row, 2:10]
            tau = (ratio or 1.0) * np.exp(1j * math.radians(shift))
            y = 1.0 / complex(r, x)
            forth, back = tau.conjugate() / y, tau / y
            at_from = (y + 0.5j * b) / abs(tau) ** 2 - 1 / forth
            at_to = y + 0.5j * b - 1 / back
            pp.create_impedance(
                self.net,
                int(start[row]),
                int(end[row]),
                sn_mva=self.case.base_mva,
                rft_pu=forth.real,
                xft_pu=forth.imag,
                rtf_pu=back.real,
                xtf_pu=back.imag,
                gf_pu=at_from.real,
                bf_pu=at_from.imag,
                gt_pu=at_to.real,
                bt_pu=at_to.imag,
                index=row + 1,
                name=names[row],
                in_service=bool(on[row]),
            )
        if len(rows):
            self.notes.append(
                f"{counted(len(rows), 'branch', 'branches')} with a ratio that no transformer of "
                f"pandapower can be: impedances, without rating (rows "
                f"{listed([str(row + 1) for row in rows])})"
            )

    def _note_branches(
        self, is_line: BoolArray, no_impedance: BoolArray, from_kv: FloatArray, to_kv: FloatArray
    ) -> None:
        branch = self.case.branch
        rated = _rated(branch[:, 5])
        if rated.any():
            self.notes.append("ratings in MVA (rateA) limit the current at rated voltage")
        if not rated.all():
            self.notes.append(
                f"{counted(int((~rated).sum()), 'branch', 'branches')} without a rating: nothing "
                "limits their loading"
            )
        other = _rated(branch[:, 6:8]) & (branch[:, 6:8] != branch[:, 5:6])
        if other.any():
            self.notes.append(
                "ratings B and C are not used; give emergency_limits for outages, such as "
                "{'loading_percent': 120}"
            )
        joins = ~no_impedance & ~is_line & (branch[:, 8] == 0) & (from_kv != to_kv)
        if joins.any():
            self.notes.append(
                f"{counted(int(joins.sum()), 'branch', 'branches')} without a ratio join unlike "
                "base voltages: transformers of their ratio"
            )
        if (~is_line & ~no_impedance).any():
            self.notes.append(
                "transformers have their tap at the from-bus, which stands as the high-voltage "
                "side; the file has no tap ranges: set trafo.tap_min and tap_max to control them"
            )
        if branch.shape[1] > 12:
            angles = branch[:, 11:13]
            limited = (np.abs(angles) < 360) & (angles != 0)
            if limited.any():
                n = int(limited.any(axis=1).sum())
                self.notes.append(
                    f"limits on the angle of {counted(n, 'branch', 'branches')} are left out"
                )

    def _dc_lines(self) -> None:
        """DC lines, out of service as in MATPOWER's power flow unless it is told otherwise."""
        lines = self.case.dcline
        if lines is None:
            return
        if lines.shape[1] < 17 or not np.isfinite(lines[:, :9]).all():
            self.notes.append("dcline: not read, expected 17 columns of numbers")
            return
        start = self._place(lines[:, 0], "dcline", "from-bus")
        end = self._place(lines[:, 1], "dcline", "to-bus")
        for row, line in enumerate(lines):
            pp.create_dcline(
                self.net,
                int(start[row]),
                int(end[row]),
                p_mw=line[3],
                loss_percent=100.0 * float(np.nan_to_num(line[16])),
                loss_mw=float(np.nan_to_num(line[15])),
                vm_from_pu=line[7] if line[7] > 0 else 1.0,
                vm_to_pu=line[8] if line[8] > 0 else 1.0,
                index=row + 1,
                max_p_mw=line[10],
                min_q_from_mvar=line[11],
                max_q_from_mvar=line[12],
                min_q_to_mvar=line[13],
                max_q_to_mvar=line[14],
                in_service=False,
            )
        self.notes.append(
            f"{counted(len(lines), 'DC line')} out of service, as in MATPOWER without "
            "toggle_dcline; put net.dcline into service to use them"
        )


def _rated(values: FloatArray) -> BoolArray:
    """Ratings that limit something."""
    found: BoolArray = np.isfinite(values) & (values > 0)
    return found


def _finite(values: FloatArray) -> FloatArray:
    found: FloatArray = np.where(np.isfinite(values), values, np.nan)
    return found


def _bounded(values: FloatArray) -> FloatArray:
    return _finite(values).copy()


def _polynomial(values: FloatArray, power: str) -> dict[str, float]:
    """Coefficients, the highest first, as columns of ``poly_cost``."""
    names = (
        ("cp0_eur", "cp1_eur_per_mw", "cp2_eur_per_mw2")
        if power == "p"
        else ("cq0_eur", "cq1_eur_per_mvar", "cq2_eur_per_mvar2")
    )
    return dict(zip(names, values[::-1].tolist(), strict=False))


def _pieces(points: FloatArray) -> list[list[float]] | None:
    """Points (power, cost) as (from, to, slope); None where they do not ascend."""
    steps = np.diff(points, axis=0)
    if not (steps[:, 0] > 0).all():
        return None
    slopes = steps[:, 1] / steps[:, 0]
    return [
        [float(a), float(b), float(slope)]
        for a, b, slope in zip(points[:-1, 0], points[1:, 0], slopes, strict=True)
    ]
