"""What a user gets by asking plainly: nothing but the model and ``fit(random_seed=s)``, on data with exact likelihoods.

``python benchmarks/plain_fit.py [seeds] [numbers of problems]`` prints a row a problem and seed: the exact mean
log-likelihood a row (with the prior's share, where there is one) of independent units and of what was learned, the best
known (of all runs so far, `BEST`, and those of the table), what `diagnose` says of the learning, and the time. Where
more than .1 nats are left the verdict must not be that learning has finished.

``python benchmarks/plain_fit.py climb [seeds] [numbers of problems]`` climbs on from where each run ended by plain sums
and L-BFGS for 1,500 iterations, to see whether there is anything better. That takes hours.
"""

import sys
import time
import warnings
from collections import Counter

import numpy as np

import pymc_rbm as pmr

CLOSE = 0.1
"""Nats a row."""
BEST = {
    "digits 8x8, 16 hidden": -16.921,
    "mushrooms, 16 hidden": -10.891,
    "dna, 16 hidden": -93.844,
    "nltcs, 16 hidden": -5.970,
    "Ising torus 7x7, 14 hidden": -19.596,
}
"""The best that any run has found, where runs differ."""


def problems():
    """Twelve data sets; those of `../shared/data` are left out where it is not there."""
    from learning_runs import DATA, Problem, bits

    digits = pmr.datasets.digits().values.reshape(-1, 64)
    lines = {n: pmr.datasets.bars_and_stripes(n).values for n in (2, 3, 4)}
    found = [Problem(f"lines {n}x{n}, {m} hidden", lines[n], m, None, 0, {}) for n, m in ((2, 8), (3, 8), (4, 16))]
    found.append(Problem("digits 8x8, 16 hidden", digits, 16, None, 0, {}))
    if DATA.is_dir():
        jonas, adhd = (np.load(DATA / f"{x}.npz")["x"] for x in ("psych_jonas10", "psych_adhd18"))
        ground, spikes = bits("tfim1d_10.npz", "bits", 10), bits("spikes15.npz", "bits", 15)
        torus = bits("ising2d_L7.npz", "b0.4", 49)
        found += [
            Problem("mushrooms, 16 hidden", bits("debd_mushrooms.npz"), 16, None, 0, {}),
            Problem("dna, 16 hidden", bits("nade_dna.npz"), 16, None, 0, {}),
            Problem("nltcs, 16 hidden", bits("debd_nltcs.npz"), 16, None, 0, {}),
            Problem("ten items, 6 hidden, prior", jonas, 6, 1.0, 0, {}, spins=True),
            Problem("ADHD, 12 hidden, prior", adhd, 12, 1.0, 0, {}),
            Problem("ground state of ten spins, 12 hidden", ground, 12, None, 0, {}),
            Problem("spikes of 15 neurons, 12 hidden", spikes, 12, None, 0, {}),
            Problem("Ising torus 7x7, 14 hidden", torus, 14, None, 0, {}),
        ]
    return found


def main(seeds=5, chosen=(), iterations=0):
    """Print the table."""
    print(f"{'':40}{'alone':>9}{'learned':>9}{'best':>9}{'left':>7}  method, updates, seconds, verdict on learning")
    counts = Counter()
    for i, problem in enumerate(problems()):
        if chosen and i not in chosen:
            continue
        rows = [learned_plainly(problem, seed, iterations) for seed in range(1, seeds + 1)]
        best = max([BEST.get(problem.name, -np.inf), *(row[2] for row in rows)])
        for seed, (alone, here, _, method, updates, seconds, verdict) in enumerate(rows, 1):
            kind = "close" if best - here <= CLOSE else "WRONG" if verdict == "finished" else "said"
            counts[kind] += 1
            numbers = f"{alone:9.3f}{here:9.3f}{best:9.3f}{best - here:7.3f}"
            said = f"{method}, {updates}, {seconds:.0f}, {verdict}" + "  WRONG" * (kind == "WRONG")
            print(f"{problem.name + f', seed {seed}':40}{numbers}  {said}", flush=True)
    print("{close} within .1 nats, {said} said to be not finished, or unknown, {WRONG} wrong".format_map(counts))


def learned_plainly(problem, seed, iterations):
    """Learn, and return likelihoods, the method, updates, seconds and the verdict."""
    began = time.perf_counter()
    with problem.model(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learned = pmr.fit(random_seed=seed, progressbar=False)
    seconds = time.perf_counter() - began
    found = pmr.diagnose(learned, random_seed=1, progressbar=False)
    updates = learned["learning"].sizes["iteration"]
    return *problem.truth(learned, iterations), learned.attrs["method"], updates, seconds, found.learning


if __name__ == "__main__":
    from learning_runs import ITERATIONS

    climbs = sys.argv[1:2] == ["climb"]
    seeds, *chosen = [int(x) for x in sys.argv[1 + climbs :]] or [5]
    main(seeds, chosen, ITERATIONS if climbs else 0)
