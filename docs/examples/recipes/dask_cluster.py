"""
A study on several machines
===========================

The runs of a study go to the workers of a Dask cluster, and this process alone writes the file.
Here the cluster is two processes of this machine; on several, start ``dask scheduler`` on one,
``dask worker tcp://its-name:8786 --nthreads 1 --nworkers auto`` on each, and give its address to
``Client``.
"""
# sphinx_gallery_thumbnail_path = "images/algorithms-ranks-grid.png"

import joblib
from distributed import Client, LocalCluster

from gridproblems.study import Study

if __name__ == "__main__":  # workers that are processes import this file
    study = Study("study.db", ["orpd:ieee14"], ["hs", "ga"], seeds=3, n_evals=200)
    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,  # Client("tcp://its-name:8786")
    ):
        print(len(client.scheduler_info()["workers"]), "workers")
        with joblib.parallel_config(backend="dask"):
            study.run(n_jobs=-1, progress=False)
    print(study.table()[["algorithm", "runs", "median", "gap_percent"]].to_string(index=False))
