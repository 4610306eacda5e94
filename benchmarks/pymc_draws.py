"""Microseconds of a draw and chain by ``pm.sample`` with BlockGibbs, above what PyMC itself takes for a draw.

Run with ``python -m benchmarks.pymc_draws [draws]``. The floor is the same call with a step that returns the point it
got, and the same statistics. Both by turns, five times; CPU seconds; the difference of a long run and a short one, so
that compiling, and what is done once, do not count. At 64x64 ours may take 60 µs above the floor.
"""

import statistics
import sys

import numpy as np
import pymc as pm

import pymc_rbm as pmr
from benchmarks.timing import elapsed

CHAINS, REPEATS = 4, 5


class Nothing(pmr.BlockGibbs):
    """BlockGibbs without its transition."""

    name = "nothing"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stats = [dict.fromkeys(self.stats_dtypes_shapes, 0)]

    def step(self, point):
        """Return the point."""
        return dict(point), self._stats


def model(n):
    """A machine of n visible and n hidden units, its weights known."""
    rng = np.random.default_rng(1)
    with pm.Model() as machine:
        pmr.RBM("v", rng.normal(0, 1 / np.sqrt(n), (n, n)), rng.normal(-1, 1, n), rng.normal(0, 1, n))
    return machine


def seconds(step, draws):
    """CPU seconds of ``pm.sample``."""
    quiet = {"progressbar": False, "quiet": True, "compute_convergence_checks": False}
    return elapsed(lambda: pm.sample(draws, tune=0, chains=CHAINS, cores=1, step=step, random_seed=1, **quiet))[0]


def main(draws=4000):
    """Print one line a size."""
    print(f"{'machine':10} {'µs a draw':>10} {'floor':>8} {'above it':>9}")
    for n in (64, 128):
        with model(n):
            steps = pmr.BlockGibbs(), Nothing()
            for step in steps:
                seconds(step, 10)
            rows = []
            for _ in range(REPEATS):
                rows.append([seconds(step, draws) - seconds(step, draws // 10) for step in steps])
        own, floor = (statistics.median(x) / (0.9 * draws * CHAINS) * 1e6 for x in zip(*rows, strict=True))
        print(f"{f'{n}x{n}':10} {own:10.1f} {floor:8.1f} {own - floor:9.1f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
