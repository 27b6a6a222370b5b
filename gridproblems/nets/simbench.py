"""SimBench networks by their code, from the package ``simbench``."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems.cases import SIMBENCH_CODE

SIMBENCH_NOTES = (
    "tap_changer_type is empty in SimBench's nets: Ratio where the transformer has steps, so that "
    "its tap positions count",
)


def is_simbench_code(given: Any) -> bool:
    """Whether a text has the form of a SimBench code, ``"1-LV-rural1--0-sw"``."""
    return isinstance(given, str) and re.fullmatch(SIMBENCH_CODE, given) is not None


def simbench_grid(code: str) -> pandapowerNet:
    """A SimBench network, with its tap changers of type "Ratio" where they have steps.

    Raises:
        ValueError: The package is missing, or knows no such code.
    """
    try:
        import simbench
    except ImportError as error:
        raise ValueError("simbench: the package is missing: pip install simbench") from error
    known = simbench.collect_all_simbench_codes()
    if code not in known:
        raise ValueError(
            f"simbench: no network has the code {code!r}; see simbench.collect_all_simbench_codes()"
        )
    net = simbench.get_simbench_net(code)
    has_steps = net.trafo.tap_step_percent.fillna(0.0) != 0
    net.trafo["tap_changer_type"] = net.trafo.tap_changer_type.astype(object)
    net.trafo.loc[has_steps, "tap_changer_type"] = "Ratio"
    return net


def simbench_net(
    code: str, snapshots: slice | list[int] | None = None
) -> tuple[pandapowerNet, dict[tuple[str, str], pd.DataFrame]]:
    """A SimBench network and its profiles as series, from the package ``simbench``.

    SimBench leaves ``tap_changer_type`` empty, so pandapower would ignore the tap positions of its
    transformers; they become tap changers of type "Ratio" where they have steps.

    Args:
        code: SimBench code, for example ``"1-LV-rural1--0-sw"``.
        snapshots: Rows of the year of quarter hours, None for all 35,136.

    Returns:
        The net, and ``{("load", "p_mw"): table, ...}`` with one column per element: ``p_mw`` and
        ``q_mvar`` of loads, ``p_mw`` of static generators. [MW, Mvar]

    Raises:
        ValueError: The package is missing, or knows no such code.
    """
    net = simbench_grid(code)
    import simbench

    values = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    rows = slice(None) if snapshots is None else snapshots
    wanted = (("load", "p_mw"), ("load", "q_mvar"), ("sgen", "p_mw"))
    return net, {
        key: values[key].iloc[rows].reset_index(drop=True)
        for key in wanted
        if key in values and values[key].shape[1]
    }
