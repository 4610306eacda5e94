"""What a fresh process waits for: ``import pymc_rbm`` beyond ``import pymc``, and the first ``pm.sample``.

Run with ``python -m benchmarks.startup [repeats]``. Importing: the median of pairs, CPU seconds; 0.3 s are wanted. The
first ``pm.sample`` of a 64x64 machine, imports not counted: with empty caches (8 s are wanted), and in the next
process, with what the first left on disk (3 s).
"""

import os
import statistics
import subprocess
import sys
import tempfile

CLOCK = "import time; began = time.process_time(), time.perf_counter(); "
REPORT = "; print(time.process_time() - began[0], time.perf_counter() - began[1])"
IMPORTS = "import numpy as np, pymc as pm, pymc_rbm as pmr"
SAMPLE = (
    "pm.Model().__enter__(); W = np.random.default_rng(1).normal(0, .1, (64, 64)); "
    "pmr.RBM('v', W, np.zeros(64), np.zeros(64)); "
    "pm.sample(1000, chains=4, cores=1, progressbar=False, quiet=True, compute_convergence_checks=False)"
)


def run(code, **environment):
    """CPU and wall seconds that a fresh process prints."""
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return tuple(map(float, found.stdout.split()[-2:]))


def first_samples():
    """CPU and wall seconds of the first ``pm.sample`` with empty caches, and in the process after it."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        return [run(f"{IMPORTS}; {CLOCK}{SAMPLE}{REPORT}", **caches) for _ in range(2)]


def main(repeats=5):
    """Print what each takes."""
    pairs = [[run(f"{CLOCK}import {x}{REPORT}")[0] for x in ("pymc", "pymc, pymc_rbm")] for _ in range(repeats)]
    added = statistics.median(b - a for a, b in pairs)
    pymc = statistics.median(a for a, _ in pairs)
    print(f"import pymc {pymc:.2f} s, pymc_rbm adds {added:.2f} s (at most 0.3)")
    for name, most, (cpu, wall) in zip(("empty", "warm"), (8, 3), first_samples(), strict=True):
        print(f"first pm.sample, 64x64, caches {name}: {cpu:.1f} s of CPU, {wall:.1f} s (at most {most})", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
