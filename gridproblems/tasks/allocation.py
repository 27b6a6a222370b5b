"""Allocation over time: which generation and which load profile goes to which connection point."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import check_arguments
from gridproblems.cases import Case
from gridproblems.controls import Variable
from gridproblems.linear_estimate import LinearEstimate
from gridproblems.net_problem import NetProblem
from gridproblems.network import label_of, net_of_case, set_zip
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.over_time import OVER_TIME_METHODS, OverTime, check_hours
from gridproblems.profiles import profile_table, warn_of_kw
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping
from gridproblems.tasks._limits import grid_constraints, voltage_band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = {"generation": "sgen", "load": "load"}
MOST_SWAPS, MOST_SNAPSHOTS = 150, 48  # that an estimate looks at
PROFILE = "profile"  # the column of a net's table that names the profile of an element


class DERAllocation(OverTime, NetProblem):
    """Gives every static generator and every load of a net one of as many profiles.

    A candidate is one permutation for the generators, one for the loads: profile (column) ``k``
    goes to element ``order[k]``, elements in the order of the net's tables. The allocation before
    is the identity. Only active powers move, reactive powers stay as in the net.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        generation, load: Profiles, one row per snapshot and one column per element in service of
            ``net.sgen`` and ``net.load``: DataFrame, array or path of a CSV file. None: those of
            the packaged case; for a net of your own its generators or loads then stay as they are.
        objectives: Any of `OBJECTIVES` and `OBJECTIVE_METHODS`, or callables of (settings, state).
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        engine, n_jobs, cache, aggregate, require_base_solution: See `NetProblem`.

    Raises:
        ValueError: Unknown case, objective or limit, no profiles, a table of the wrong shape or
            with values that cannot be. The message names the table, row and column.
        PowerFlowNotConverged: The identity does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    OBJECTIVE_METHODS: Mapping[str, str] = OVER_TIME_METHODS

    codec: PermutationCodec

    def __init__(
        self,
        case: str | Path | pandapowerNet = "lv18",
        generation: Any = None,
        load: Any = None,
        objectives: Sequence[str | ObjectiveFunction | Objective] = ("line_loading_sum_percent",),
        limits: Mapping[str, Any] | None = None,
        *,
        hours: float = 1.0,
        every_snapshot: bool = False,
        outages: str | Sequence[int] | None = None,
        zip_percent: tuple[float, float] | None = None,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
    ) -> None:
        check_arguments(DERAllocation.__init__, locals())
        net, self.case = net_of_case(case)
        if zip_percent is not None:
            set_zip(net, zip_percent)
        self.hours = check_hours(hours)
        tables = _tables(net, self.case, {"generation": generation, "load": load})
        warn_of_kw(net, tables, stacklevel=2)
        codec = PermutationCodec([Block(kind, _field(net, kind), t) for kind, t in tables.items()])
        self.limits, n_minus_1 = grid_constraints(
            net, limits, codec.n_snapshots if every_snapshot else None, outages, self.case
        )
        super().__init__(
            net,
            codec,
            objectives,
            [self.limits, *n_minus_1],
            engine=engine,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            require_base_solution=require_base_solution,
            name=self.case.name if self.case else str(net.name or "net"),
        )

        self._estimate: LinearEstimate | None = None
        given = (generation, load, limits, zip_percent, outages)
        if self.case and all(argument is None for argument in given):
            for best in self.case.best_known:
                if best.objectives == self.objective_names:
                    self.best_known = best

    # -- what it is now, and what a vector means ------------------------------------------

    @property
    def permutation_blocks(self) -> tuple[int, ...]:
        """Lengths of the permutations that make up a vector, one after the other."""
        return tuple(len(block.profiles.columns) for block in self.codec.blocks)

    @property
    def base_x(self) -> FloatArray:
        """The identity: profile k at the k-th element."""
        return np.concatenate([np.arange(n, dtype=float) for n in self.permutation_blocks])

    def _base_settings(self, codec: Any) -> Settings:
        identity = [np.arange(len(block.profiles.columns), dtype=float) for block in codec.blocks]
        return codec.decode(np.concatenate(identity))

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """The inverse of `decode`, also for the column ``profile`` of a net that `apply` gave.

        Raises:
            ValueError: The powers of an element are no profile, or that of another element too.
        """
        if isinstance(settings, pandapowerNet):
            for block in self.codec.blocks:
                if PROFILE not in settings[block.field.table]:
                    raise ValueError(
                        f"net: expected one with a column {block.field.table}.{PROFILE}, as apply "
                        "gives"
                    )
            return self.codec.encode_labels(
                {
                    block.name: settings[block.field.table].loc[list(block.field.elements), PROFILE]
                    for block in self.codec.blocks
                }
            )
        if isinstance(settings, Settings):
            return self.codec.encode_series(settings)
        return super().encode(settings)

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> pandapowerNet:
        """A copy of the net with one snapshot of the allocation, solved by ``runpp``.

        Column ``profile`` of ``net.sgen`` and ``net.load`` names the profile of each element.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which snapshot.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: The power flow does not converge.
        """
        net = super().apply(x, snapshot)
        for block, at_element in self._profiles_at(x):
            labels = pd.Series(None, index=net[block.field.table].index, dtype=object)
            labels.loc[list(block.field.elements)] = block.profiles.columns[at_element].to_numpy()
            net[block.field.table][PROFILE] = labels
        return net

    def _profiles_at(
        self, x: ArrayLike | Mapping[str, Any]
    ) -> list[tuple[Block, NDArray[np.int64]]]:
        """Per block which profile every element has, by its column."""
        parts = self.codec.parts(self._checked(x))
        return [
            (block, np.argsort(order))
            for block, order in zip(self.codec.blocks, parts, strict=True)
        ]

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The profile of every element, one row each.

        Columns: control, bus, base, new, the profiles before and after by their column names, and
        energy_kwh, that of the new profile.
        """
        rows = []
        for block, at_element in self._profiles_at(x):
            table, labels = block.field.table, block.profiles.columns
            energy = 1e3 * self.hours * block.profiles.sum(axis=0).to_numpy()
            for place, element in enumerate(block.field.elements):
                rows.append(
                    {
                        "control": f"{block.name} of {label_of(self.net, table, element)}",
                        "bus": int(self.net[table].at[element, "bus"]),
                        "base": str(labels[place]),
                        "new": str(labels[at_element[place]]),
                        "energy_kwh": float(energy[at_element[place]]),
                    }
                )
        return pd.DataFrame(rows, dtype=object)

    def write(self, x: Any, folder: Path) -> None:
        """The net of the most loaded snapshot in ``net.json``, powers per element in CSV files."""
        import pandapower as pp

        worst = int(self.solve(x)["branch_loading_percent"].max(axis=-1).argmax())
        pp.to_json(self.apply(x, worst), str(folder / "net.json"))
        for block, at_element in self._profiles_at(x):
            powers = block.profiles.iloc[:, at_element]
            powers.columns = [f"{block.field.table} {element}" for element in block.field.elements]
            powers.to_csv(folder / f"{block.name}_p_mw.csv", index_label="snapshot")

    def figures(self, x: Any) -> dict[str, Figure]:
        """Largest line loading and voltage band over time, and the map, before and after."""
        from gridproblems.plotting_series import plot_line_loading, plot_map, plot_voltage_band

        states = {"before": (self.base_settings, self.base_state)}
        if x is not None:
            settings = self.decode(x)
            states["after"] = (settings, self.engine.solve(settings))
        loading = {name: state.line_loading_percent for name, (_, state) in states.items()}
        vm_pu = {name: state.vm_pu for name, (_, state) in states.items()}
        energy = {name: self._bus_energy_kwh(settings) for name, (settings, _) in states.items()}
        return {
            "line_loading": plot_line_loading(loading, hours=self.hours, title=self.name),
            "voltage_band": plot_voltage_band(
                vm_pu, band=voltage_band(self.limits), hours=self.hours, title=self.name
            ),
            "map": plot_map(
                self.net,
                {name: values.max(axis=0) for name, values in loading.items()},
                energy,
                title=self.name,
            ),
        }

    # -- moves -----------------------------------------------------------------------------

    def neighbours(self, x: FloatArray, n_wanted: int | None = None) -> FloatArray:
        """Swaps of two profiles of a vector, those that promise the best objective first.

        The order follows a linear estimate of the grid (`LinearEstimate`), which needs no power
        flow: least violation first, then the first objective. Of many swaps and snapshots it looks
        at some, drawn at random but the same for the same vector.

        Args:
            x: A vector, shape (n_var,).
            n_wanted: Most neighbours wanted, None for all that the estimate looks at.

        Returns:
            Shape (n_swaps, n_var), snapped.
        """
        snapped = self._checked(x)
        random = np.random.default_rng(zlib.crc32(snapped.tobytes()))
        first, second = self.codec.swaps()
        if len(first) > MOST_SWAPS:
            some = random.choice(len(first), MOST_SWAPS, replace=False)
            first, second = first[some], second[some]
        swapped = np.tile(snapped, (len(first), 1))
        rows = np.arange(len(first))
        swapped[rows, first], swapped[rows, second] = snapped[second], snapped[first]
        if self._estimate is None:
            self._estimate = self._linear_estimate()
        if not self._estimate.solved:
            return random.permutation(swapped)[:n_wanted]
        order = self._order(snapped, swapped, first, second, random)
        return swapped[order[:n_wanted]]

    def _order(
        self,
        x: FloatArray,
        swapped: FloatArray,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Swaps by their estimated violation and objective."""
        before, after = self.codec.decode(x), self.codec.decode(swapped)
        if self.codec.n_snapshots > MOST_SNAPSHOTS:
            some = np.sort(random.choice(self.codec.n_snapshots, MOST_SNAPSHOTS, replace=False))
            before = Settings(before.fields, before.values[some])
            after = Settings(after.fields, after.values[:, some])
        places = self.codec.element_places(x)
        assert self._estimate is not None
        state = self._estimate.exchanges(before.values, places[first], places[second])
        f, g = self._measure(after, state)
        return np.lexsort((f[:, 0], np.maximum(g, 0.0).sum(axis=1)))

    def _linear_estimate(self) -> LinearEstimate:
        """Around the mean load without generation, so that every line on the way is loaded."""
        means = [
            np.full(len(block.field.elements), block.by_profile.mean())
            * (len(self.codec.blocks) == 1 or block.name == "load")
            for block in self.codec.blocks
        ]
        origin = np.concatenate(means)
        step = max(float(np.abs(origin).max()), 1e-6)
        return LinearEstimate(self.engine, self.net, Settings(self.codec.fields, origin), step)

    def _bus_energy_kwh(self, settings: Settings) -> pd.Series:
        """Energy generated less energy used at every bus. [kWh]"""
        energy = pd.Series(0.0, index=self.net.bus.index)
        for field, values in settings:
            sign = 1.0 if field.table == "sgen" else -1.0
            buses = self.net[field.table].bus.loc[list(field.elements)]
            np.add.at(
                energy.values,
                self.net.bus.index.get_indexer(buses),
                sign * 1e3 * self.hours * values.sum(axis=0),
            )
        return energy


def _tables(
    net: pandapowerNet, case: Case | None, given: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """The checked profiles by kind; those of the case where none are given."""
    packaged = case.profiles if case else {}
    tables = {}
    for kind, source in given.items():
        if source is None:
            source = packaged.get(kind)
        if source is not None:
            tables[kind] = profile_table(source, kind, len(_field(net, kind).elements))
    if not tables:
        raise ValueError(
            "generation, load: expected profiles for at least one of them, as DataFrame, array or "
            "path of a CSV file; only the case 'lv18' has its own"
        )
    lengths = {kind: len(table) for kind, table in tables.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"generation has {lengths['generation']} rows and load {lengths['load']}; "
            "expected one row per snapshot in both"
        )
    return tables


def _field(net: pandapowerNet, kind: str) -> Field:
    """Active powers of the elements in service that profiles of a kind go to."""
    table = TABLES[kind]
    in_service = net[table].in_service.astype(bool)
    return Field(table, "p_mw", tuple(net[table].index[in_service]))


class Block:
    """Profiles and the elements that they are given to.

    Args:
        name: Kind of the profiles.
        field: The elements, as many as profiles.
        profiles: One row per snapshot, one column per profile. [MW]
    """

    def __init__(self, name: str, field: Field, profiles: pd.DataFrame) -> None:
        self.name, self.field, self.profiles = name, field, profiles
        self.by_profile = np.ascontiguousarray(profiles.to_numpy(dtype=float).T)


class PermutationCodec:
    """Vectors as permutations, one after the other: profile ``k`` goes to element ``order[k]``.

    Real numbers stand for the permutation of their ranks (random keys), so that any vector is
    allowed, and a permutation stands for itself.

    Args:
        blocks: One per permutation.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self.fields = tuple(block.field for block in blocks)
        self.n_snapshots = len(blocks[0].profiles)
        lengths = [len(block.profiles.columns) for block in blocks]
        self._slices = [
            slice(stop - n, stop) for n, stop in zip(lengths, np.cumsum(lengths), strict=True)
        ]
        self.variables = tuple(
            Variable(f"{block.name}[{k}]", "real", 0.0, n - 1.0)
            for block, n in zip(blocks, lengths, strict=True)
            for k in range(n)
        )

    def parts(self, x: FloatArray) -> list[NDArray[np.int64]]:
        """The permutations of snapped vectors, each of shape (..., n_elements)."""
        return [x[..., part].astype(np.int64) for part in self._slices]

    def element_places(self, x: FloatArray) -> NDArray[np.int64]:
        """Which value of the settings the profile of each variable becomes, shape (n_var,)."""
        return np.concatenate(
            [part.start + order for part, order in zip(self._slices, self.parts(x), strict=True)]
        )

    def swaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs of variables of the same permutation, as two arrays (n_pairs,)."""
        pairs = [
            part.start + np.array(np.triu_indices(part.stop - part.start, 1))
            for part in self._slices
        ]
        first, second = np.concatenate(pairs, axis=1)
        return first, second

    def snap(self, x: ArrayLike) -> FloatArray:
        """Ranks within each permutation, equal numbers in their order, shape (..., n_var)."""
        keys = np.asarray(x, dtype=float)
        ranks = np.empty_like(keys)
        for part in self._slices:
            order = keys[..., part].argsort(axis=-1, kind="stable")
            ranks[..., part] = order.argsort(axis=-1)
        return ranks

    def decode(self, x: FloatArray) -> Settings:
        """Powers of permutations, (n_snapshots, n_values), of a batch with (n,) before."""
        values = [
            block.by_profile[order.argsort(axis=-1)]
            for block, order in zip(self.blocks, self.parts(x), strict=True)
        ]
        return Settings(self.fields, np.concatenate(values, axis=-2).swapaxes(-1, -2))

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """A vector with these powers, for a series of one snapshot, or with these profiles.

        Args:
            settings: ``{("load", "p_mw"): {element: MW}}``, or the column of the profile of each
                element, counted from 0, ``{("load", "profile"): {element: column}}``.

        Returns:
            Shape (n_var,).

        Raises:
            ValueError: An element is missing, or its power is no profile's.
        """
        if all((block.field.table, PROFILE) in settings for block in self.blocks):
            columns = {
                block.name: [
                    block.profiles.columns[int(settings[block.field.table, PROFILE][e])]
                    for e in block.field.elements
                ]
                for block in self.blocks
            }
            return self.encode_labels(columns)
        values = []
        for block in self.blocks:
            column = settings.get((block.field.table, block.field.column), {})
            missing = [e for e in block.field.elements if e not in column]
            if missing:
                raise ValueError(f"{block.field}: no value given for element {missing[0]}")
            values += [column[e] for e in block.field.elements]
        return self.encode_series(Settings(self.fields, np.array([values], dtype=float)))

    def encode_series(self, settings: Settings) -> FloatArray:
        """A vector with the powers of one candidate, shape (n_var,).

        Raises:
            ValueError: Other fields or snapshots, or the powers of an element are no profile.
        """
        expected = (self.n_snapshots, len(self.variables))
        if settings.fields != self.fields or settings.values.shape != expected:
            raise ValueError(
                f"settings: expected the powers of {', '.join(map(str, self.fields))} in an array "
                f"of {expected}, got {settings.values.shape}"
            )
        x = np.empty(len(self.variables))
        for block, part in zip(self.blocks, self._slices, strict=True):
            left = list(range(len(block.by_profile)))
            for place, powers in enumerate(settings.values[:, part].T):
                same = [k for k in left if np.allclose(block.by_profile[k], powers, 1e-12, 1e-15)]
                if not same:
                    element = block.field.elements[place]
                    raise ValueError(
                        f"{block.field}: not a permutation of the profiles: the powers of "
                        f"{block.field.table} {element} are none that is left"
                    )
                x[part.start + same[0]] = place
                left.remove(same[0])
        return x

    def encode_labels(self, labels: Mapping[str, Sequence[Any]]) -> FloatArray:
        """A vector of the profile names of each block's elements, shape (n_var,).

        Raises:
            ValueError: The names are not those of the profiles, each once.
        """
        x = np.empty(len(self.variables))
        for block, part in zip(self.blocks, self._slices, strict=True):
            names = list(labels[block.name])
            columns = list(block.profiles.columns)
            if sorted(map(str, names)) != sorted(map(str, columns)):
                raise ValueError(
                    f"{block.name}: not a permutation of the profiles {columns}: {names}"
                )
            place = {str(name): i for i, name in enumerate(names)}
            x[part] = [place[str(name)] for name in columns]
        return x
