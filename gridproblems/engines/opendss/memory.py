"""What OpenDSS remembers from one solution to the next, and how it is made to forget.

Tap positions, voltages and inverter states of one solution are where the next one starts, and with
a dead band the same settings then end elsewhere. So before every candidate each tap goes to its
position in the feeder file, inverter controls start anew, ``SolveDirect`` puts the voltages where
they are without load, and only then the power flow is solved. That is bitwise what a freshly built
circuit gives. A feeder with controls of other kinds is built anew instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gridproblems.engines.opendss.circuit import Circuit
from gridproblems.engines.opendss.commands import edit
from gridproblems.engines.opendss.elements import is_on, listed_of, names_of, property_of
from gridproblems.feeders import Feeder
from gridproblems.state import Field

# Classes of elements that act on their own or remember; those reset without building anew.
MEMORY = frozenset(
    {
        "CapControl",
        "ESPVLControl",
        "ExpControl",
        "Fuse",
        "GenDispatcher",
        "Generator",
        "IndMach012",
        "InvControl",
        "Recloser",
        "RegControl",
        "Relay",
        "Storage",
        "StorageController",
        "SwtControl",
        "UPFCControl",
        "VSConverter",
    }
)
RESET_EXACTLY = frozenset({"CapControl", "RegControl", "InvControl"})
#: Types of capacitor controls that their reset brings back exactly, each on a capacitor of its own
#: and never yet solved; the others are built anew.
RESET_TYPES = frozenset({"current", "kvar", "voltage"})


def remembering(dss: Any, feeder: Feeder, capacitor_controls: Mapping[str, str]) -> list[str]:
    """Classes with elements that cannot be reset exactly.

    Args:
        dss: A context with the feeder in it.
        feeder: The feeder.
        capacitor_controls: Capacitor that each capacitor control switches.
    """
    remembers = [c for c in MEMORY - RESET_EXACTLY if names_of(dss, c)]
    types = {property_of(dss, "CapControl", name, "type").lower() for name in capacitor_controls}
    is_shared = len(set(capacitor_controls.values())) < len(capacitor_controls)
    if not types <= RESET_TYPES or is_shared or (types and solves(feeder)):
        remembers.append("CapControl")
    for name in names_of(dss, "InvControl"):
        systems = listed_of(dss, "InvControl", name, "DERList")
        if any(not is_on(dss, s) or not s.lower().startswith("pvsystem") for s in systems):
            remembers.append("InvControl")
    return remembers


def solves(feeder: Feeder) -> bool:
    """Whether a feeder's own commands let its controls act."""
    verbs = {command.text.split(maxsplit=1)[0].lower() for command in feeder.commands}
    return any((len(verb) > 1 and "solve".startswith(verb)) or verb[0] == "_" for verb in verbs)


def is_built_anew(circuit: Circuit, fields: Sequence[Field]) -> bool:
    """Whether nothing less than a new circuit forgets the candidate before.

    Controls of capacitors whose steps are set are off. Resetting a control closes its capacitor,
    also one that a setting has opened.
    """
    controlled = set(circuit.capacitor_controls.values())
    of_capacitors = [field for field in fields if field.table == "capacitor"]
    held = {e for field in of_capacitors if field.column == "steps" for e in field.elements}
    opened = {e for field in of_capacitors if field.column == "closed" for e in field.elements}
    remembers = set(circuit.remembers)
    if controlled <= held:
        remembers -= {"CapControl"}
    return bool(remembers or controlled & opened)


def reset_commands(dss: Any, circuit: Circuit) -> list[tuple[str, str]]:
    """Per regulator the command that puts its tap back, and those that restart inverters."""
    commands = [
        (r.name, edit("RegControl", r.name, f"TapNum={r.tap}")) for r in circuit.regulators.values()
    ]
    if set(circuit.remembers) - {"CapControl"}:
        return commands
    inverters = names_of(dss, "InvControl")
    for name in inverters:
        systems = " ".join(
            f'"{system}"' for system in listed_of(dss, "InvControl", name, "DERList")
        )
        commands.append(("", edit("InvControl", name, f"DERList=[{systems}]")))
    for name in circuit.irradiance if inverters else ():
        commands.append(
            ("", edit("PVSystem", name, f"pf={property_of(dss, 'PVSystem', name, 'pf')}"))
        )
    return commands
