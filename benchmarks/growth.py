"""How cost grows: seconds of a sweep against visible units, hidden units and chains; memory over 10,000 updates.

Run with ``python -m benchmarks.growth [smoke]``. Each slope is that of a straight line through the logarithms; at most
1.05 is wanted in each. The sizes begin where a sweep is no longer mostly overhead. Memory is the process's largest so
far (``ru_maxrss``, MB), read every tenth of the way of ``fit``.

``python -m benchmarks.growth rows``: seconds that a model of so many rows of 64 units takes to build, and 200 updates
to learn with all that `fit` does before and after; and the largest memory beyond the data (int8) and beyond what 1,000
rows take, each in a process of its own.
"""

import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import pymc as pm

import pymc_rbm as pmr
from benchmarks.jobs import Job, data_rows
from benchmarks.peers.ours_rbm import start, sweep
from benchmarks.timing import calibrated, per_unit

BASE = {"visible": 512, "hidden": 512, "rows": 512}
FACTORS = 1, 2, 4, 8
REPEATS = 5
LARGEST_SLOPE = 1.05


def slope(name, base, seconds):
    """Slope of log CPU seconds of a sweep against log size, and the microseconds; sizes by turns."""
    jobs = [Job("sweep", **base | {name: base[name] * factor}) for factor in FACTORS]
    runs = [sweep(job)[0] for job in jobs]
    units = [calibrated(run, seconds) for run in runs]
    times = [[per_unit(run, *n)[0] for run, n in zip(runs, units, strict=True)] for _ in range(REPEATS)]
    middle = [statistics.median(x) for x in zip(*times, strict=True)]
    return np.polyfit(np.log(FACTORS), np.log(middle), 1)[0], [x * 1e6 for x in middle]


def memory(updates):
    """Megabytes at ten moments of learning 64x64."""
    found = []

    def note(status):
        if status.iteration % (updates // 10) == 0:
            found.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    rows = data_rows(Job("update", 64, 64, 1000))
    with pm.Model():
        W, b, c = pm.Flat("W", shape=(64, 64)), pm.Flat("b", shape=64), pm.Flat("c", shape=64)
        pmr.RBM("v", W, b, c, observed=rows)
        pmr.fit(-(-updates // 10), sweeps=1, on_iteration=note, random_seed=1, progressbar=False)
    return found


def of_rows(n):
    """Print the seconds of model and fit, and the process's largest memory (MB), for n rows."""
    data = np.random.default_rng(0).integers(0, 2, (n, 64), dtype="int8")
    began = time.perf_counter()
    with pm.Model():
        W, b, c = pm.Normal("W", shape=(64, 32)), pm.Flat("b", shape=64), pm.Flat("c", shape=32)
        pmr.RBM("v", W, b, c, observed=data)
        built = time.perf_counter()
        pmr.fit(updates=200, method="pcd", random_seed=1, progressbar=False)
    print(built - began, time.perf_counter() - built, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def rows(*sizes):
    """Print a row a size."""
    print(f"{'rows':>10}{'data (MB)':>11}{'model (s)':>11}{'fit (s)':>9}{'beyond (MB)':>13}")
    few = None
    for n in (1000, *sizes):
        made = [sys.executable, "-W", "ignore", "-m", "benchmarks.growth", "of_rows", str(n)]
        model, fit, peak = map(float, subprocess.run(made, capture_output=True, text=True, check=True).stdout.split())
        few = peak if few is None else few
        print(f"{n:10,}{n * 64 / 1e6:11.0f}{model:11.2f}{fit:9.1f}{peak - few - n * 64 / 2**20:13.0f}", flush=True)


def main(smoke=False):
    """Print three slopes and ten readings."""
    base, seconds = (dict.fromkeys(BASE, 8), 0.01) if smoke else (BASE, 0.5)
    for name in base:
        found, times = slope(name, base, seconds)
        sizes = ", ".join(f"{base[name] * k}: {t:.0f}" for k, t in zip(FACTORS, times, strict=True))
        print(f"{name:8} slope {found:5.2f} (at most {LARGEST_SLOPE})   µs of a sweep at {sizes}", flush=True)
    readings = memory(100 if smoke else 10_000)
    print("memory (MB) over the updates: " + " ".join(f"{x:.0f}" for x in readings))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rows", *sizes]:
            rows(*(map(int, sizes) if sizes else (100_000, 1_000_000, 4_000_000)))
        case ["of_rows", n]:
            of_rows(int(n))
        case given:
            start()
            main(smoke="smoke" in given)
