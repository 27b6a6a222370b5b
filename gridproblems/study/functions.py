"""pymoo's test problems by name: ``zdt1``, ``rastrigin?n_var=10``."""

from __future__ import annotations

#: Names of those that need no arguments, by number of objectives.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "one objective": (
        "ackley", "cantilevered_beam", "griewank", "himmelblau", "pressure_vessel", "rastrigin",
        "rosenbrock", "schwefel", "sphere", "zakharov", "g1", "g2", "g3", "g4", "g5", "g6", "g7",
        "g8", "g9", "g10", "g11", "g12", "g13", "g14", "g15", "g16", "g17", "g18", "g19", "g20",
        "g21", "g22", "g23", "g24",
    ),
    "two objectives": (
        "bnh", "ctp1", "ctp2", "ctp3", "ctp4", "ctp5", "ctp6", "ctp7", "ctp8", "kursawe", "mw1",
        "mw2", "mw3", "mw5", "mw6", "mw7", "mw9", "mw10", "mw11", "mw12", "mw13", "osy", "srn",
        "tnk", "truss2d", "welded_beam", "zdt1", "zdt2", "zdt3", "zdt4", "zdt5", "zdt6", "zcat1",
        "zcat2", "zcat3", "zcat4", "zcat5", "zcat6", "zcat7", "zcat8", "zcat9", "zcat10", "zcat11",
        "zcat12", "zcat13", "zcat14", "zcat15", "zcat16", "zcat17", "zcat18", "zcat19", "zcat20",
    ),
    "three or more": (
        "carside", "mw4", "mw8", "mw14", "dtlz1", "dtlz2", "dtlz3", "dtlz4", "dtlz5", "dtlz6",
        "dtlz7", "convex_dtlz2", "convex_dtlz4", "sdtlz1", "c1dtlz1", "c1dtlz3", "c2dtlz2",
        "c3dtlz1", "c3dtlz4", "dc1dtlz1", "dc1dtlz3", "dc2dtlz1", "dc2dtlz3", "dc3dtlz1",
        "dc3dtlz3",
    ),
}  # fmt: skip


def is_function(name: str) -> bool:
    """Whether pymoo has a test problem of this name."""
    return any(name.lower() in names for names in FUNCTIONS.values())
