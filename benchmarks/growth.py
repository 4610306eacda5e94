"""How cost grows: seconds of a sweep against visible units, hidden units and chains; memory over 10,000 updates.

Run with ``python -m benchmarks.growth [smoke]``. Each slope is that of a straight line through the logarithms; at most
1.05 is wanted in each. The sizes begin where a sweep is no longer mostly overhead. Memory is the process's largest so
far (``ru_maxrss``, MB), read every tenth of the way of ``fit``.
"""

import resource
import statistics
import sys

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
    start()
    main(smoke="smoke" in sys.argv[1:])
