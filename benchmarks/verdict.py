"""How often the verdict on draws is right: Curie-Weiss machines, whose relaxation times are known exactly.

Twenty visible and twenty hidden units, all weights w, biases -10 w. Their slowest relaxation takes 1.5 sweeps at
w = .15, 4.5 at .2, 493 at .3 and more than any chain of ours at .4 and .6, where all four chains often sit in one of
two equal modes. Four chains of 1,000 draws after 1,000 sweeps, one sweep a draw, from dispersed starts. Of 100 seeds,
at most 5 may be "not mixed" at .15, and at most 5 "mixed" at .3, .4 and .6.

Run with ``python benchmarks/verdict.py [seeds] [gibbs or pymc]`` (default 100 gibbs): draws by ``pmr.sample_gibbs``, or
by ``pm.sample``, which takes longer.
"""

import sys
from collections import Counter

import numpy as np
import pymc as pm

import pymc_rbm as pmr

WEIGHTS = 0.15, 0.2, 0.3, 0.4, 0.6
VERDICTS = "mixed", "cannot tell", "not mixed"


def curie_weiss(w, n=20):
    """Return W, b and c."""
    return np.full((n, n), w), np.full(n, -w * n / 2), np.full(n, -w * n / 2)


def draws(w, seed, sampler):
    """Return four chains of 1,000 draws."""
    if sampler == "gibbs":
        return pmr.sample_gibbs(pmr.restricted(*curie_weiss(w)), random_seed=seed, progressbar=False)
    with pm.Model():
        pmr.RBM("v", *curie_weiss(w))
        return pm.sample(chains=4, cores=1, random_seed=seed, quiet=True, compute_convergence_checks=False)


def one_sided(idata):
    """Whether all chains spent all their time on one side."""
    sides = idata["posterior"]["v"].values.mean(-1) > 0.5
    return bool(sides.all() or not sides.any())


def main(seeds=100, sampler="gibbs"):
    """Print one row a machine."""
    print(f"{'w':>5} " + " ".join(f"{x:>12}" for x in VERDICTS) + "   of runs with all chains in one mode, mixed")
    for w in WEIGHTS:
        counts, hidden = Counter(), Counter()
        for seed in range(seeds):
            idata = draws(w, seed, sampler)
            found = pmr.diagnose(idata, pmr.restricted(*curie_weiss(w)), random_seed=seed, progressbar=False).verdict
            counts[found] += 1
            hidden[found] += one_sided(idata)
        row = " ".join(f"{counts[x]:12d}" for x in VERDICTS)
        print(f"{w:5} {row}   {hidden.total():d}, {hidden['mixed']:d}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
