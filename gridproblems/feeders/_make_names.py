"""Writes ``data/opendss_names.json`` from the installed OpenDSS: ``python -m`` this module.

The file is the list of what a feeder from elsewhere may set, so that a new version of OpenDSS adds
nothing to it unseen. Read the difference before you commit it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES_FILE = Path(__file__).parent / "data" / "opendss_names.json"

#: Properties that load programs, or trace into files; their names in lower case.
NOT_ALLOWED = frozenset(
    {
        "debugtrace",
        "dynadata",
        "dynadll",
        "dynamiceq",
        "dynout",
        "shaftdata",
        "shaftmodel",
        "userdata",
        "usermodel",
    }
)
#: Properties that are names of files to read.
READ_FILES = frozenset({"csvfile", "dblfile", "pqcsvfile", "sngfile"})


def names_of_opendss() -> dict[str, Any]:
    """Commands, options, solution modes and properties of classes, in OpenDSS's order.

    Properties that are not allowed begin with ``!``.

    Raises:
        RuntimeError: A property names a file, and nobody has said whether to allow it.
    """
    from gridproblems.engines.opendss.load import opendssdirect

    dss = opendssdirect.dss.NewContext()
    api = dss._api_util
    schema = json.loads(api.ffi.string(api.lib_unpatched.DSS_ExtractSchema(api.ctx, 0)))
    executive = dss.Executive
    modes = next(e for e in schema["globalEnums"] if e["name"] == "Solution Mode")
    classes = {}
    for entry in schema["classes"]:
        names = []
        for known in entry["properties"]:
            name = known["name"].lower()
            if "IsFilename" in known["flags"] and name not in NOT_ALLOWED | READ_FILES:
                raise RuntimeError(f"{entry['name']}.{known['name']} names a file: allow it or not")
            names.append(f"!{known['name']}" if name in NOT_ALLOWED else known["name"])
        classes[entry["name"]] = names
    return {
        "opendss": schema["version"],
        "commands": [executive.Command(i + 1) for i in range(executive.NumCommands())],
        "options": [executive.Option(i + 1) for i in range(executive.NumOptions())],
        "modes": modes["names"],
        "classes": classes,
    }


def main() -> None:
    """Writes the file, one line per list."""
    names = names_of_opendss()
    classes = names.pop("classes")
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in names.items()]
    lines += [
        ' "classes": {',
        ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in classes.items()),
        " }",
    ]
    NAMES_FILE.write_text("\n".join(["{", *lines, "}", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
