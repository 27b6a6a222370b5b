"""
Two algorithms compared
=======================

Two algorithms run on two problems with the same seeds, and every run is kept in a file.
A table, a test for each pair and a report to open say what the difference is worth.
"""
# sphinx_gallery_thumbnail_path = "images/algorithms-ranks-grid.png"

from gridproblems.study import Study
from gridproblems.study.analyse import pairs

study = Study(
    "study.db",
    problems={"14 buses": "orpd:ieee14", "33 buses": "reconfiguration:case33bw"},
    algorithms={"mvmo": "mvmo", "small hs": "hs?pop_size=5"},
    seeds=5,
    n_evals=500,
)
study.run(n_jobs=1)  # stop it any time; the next call does what is missing

table = study.table()
print(table[["problem", "algorithm", "median", "gap_percent", "ert_1%"]].to_string(index=False))
for pair in pairs(study.results(), "14 buses"):
    print(f"{pair.first} beats {pair.second} with probability {pair.effect:.2f}, p = {pair.p:.3f}")
print(study.report("report.html"))
