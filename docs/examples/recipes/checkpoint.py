"""
Go on after a kill
==================

A run keeps its evaluations in a file, so that the same lines go on where the process was killed.
Here a callback ends the first run; what comes after is, bit for bit, a run that was never stopped.
"""

from pathlib import Path

from pymoo.optimize import minimize

from algorithms import HarmonySearch
from gridproblems import ReactivePowerDispatch
from gridproblems.checkpoints import Checkpoint

problem = ReactivePowerDispatch("ieee30")


def run(path, **more):
    with Checkpoint(path, problem, every=100) as kept:
        options = {"seed": 1, "evaluator": kept.evaluator, **more}
        return minimize(problem, HarmonySearch(), ("n_eval", 1000), **options), kept.n_kept


def killed(algorithm):
    if algorithm.evaluator.n_eval > 600:
        raise KeyboardInterrupt


Path("run.bin").unlink(missing_ok=True)  # of an earlier call of this script
try:
    run("run.bin", callback=killed)
except KeyboardInterrupt:
    print("killed")
result, n_kept = run("run.bin")
whole, _ = run("whole.bin")
print(f"{n_kept} evaluations came from the file, losses {result.F[0]:.4f} MW")
print("as if never stopped:", (result.X == whole.X).all())
