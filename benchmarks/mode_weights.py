"""Whether plain `fit` gives modes the weights that they have in the data, and how likely held-out rows are then.

``python -m benchmarks.mode_weights ising FILE.npz [seeds] [method …]``: 7x7 periodic Ising spins (the file holds rows
as packed bits, one array an inverse temperature), two modes. `BoltzmannMachine` with a Laplace(0, 0.1) prior on all
pairs of 49 units, and `RBM` with 49 hidden units and Normal(0, 0.4) on W, each from 8,000 rows and the same for all
temperatures. Estimation loses about parameters / (2 · rows) nats a row without a prior, .08 and .15. ``below truth`` is
how far the other 2,000 rows' mean log-likelihood is below that of the model that made them (95 % interval, the error of
log Z in it); ``up`` is the share of rows whose spins have a positive sum, in all 10,000 rows and in draws of what was
learned, and z their difference in standard errors.

``python -m benchmarks.mode_weights clusters [seeds] [method …]``: mixtures of 2, 5 and 20 groups of unequal weight in
100 binary dimensions, 5 % (wide) or 1 % (narrow) of whose entries are flipped, 10,000 rows, 40 hidden units: nats a row
beside those of the mixture itself and their error, the largest difference of a group's weight between rows and draws
in standard errors, and the groups of which there are fewer than a tenth as many draws as rows.

Methods are those of `fit`, and ``auto``, which says nothing (the default).
"""

import sys
import time
import warnings
from itertools import product

import numpy as np
import pymc as pm
import pytensor.tensor as pt

import pymc_rbm as pmr
from benchmarks.ising import UNITS, kaufman, neighbours, restricted_model
from benchmarks.trajectory import QUIET, groups, model_of

HIDDEN_OF_CLUSTERS = 40


def learn(model, method, seed):
    """Return what plain `fit` learns, and its seconds."""
    began = time.perf_counter()
    with model:
        learned = pmr.fit(method=None if method == "auto" else method, random_seed=seed, progressbar=False)
    return learned, time.perf_counter() - began


def drawn_from(learned):
    """Return draws along the ladder of learning, or else one of temperatures, shape (400 chains, 50, units)."""
    method = "ptt" if "ladder" in learned else "pt"
    found = pmr.sample_gibbs(learned, method=method, draws=50, tune=500, sweeps=20, chains=400, **QUIET)
    return found["posterior"]["v"].values


def general(spins):
    """Any two spins may be coupled, most of them are not."""
    upper = np.triu_indices(UNITS, 1)
    with pm.Model() as model:
        couplings = pm.Laplace("couplings", 0, 0.1, shape=len(upper[0]))
        U = pt.zeros((UNITS, UNITS))[upper].set(couplings)
        pmr.BoltzmannMachine("v", U + U.T, pm.Normal("b", 0, 1, shape=UNITS), unit=pmr.Spin(), observed=spins)
    return model


FAMILIES = {"general": general, "restricted": restricted_model}


def ising(path, seeds, methods):
    """Print a row a machine, inverse temperature, method and seed."""
    print(
        f"{'machine':>10} {'beta':>4} {'method':>22} {'seed':>4} {'below truth':>15} {'up: data':>9} {'learned':>8} "
        f"{'z':>6} seconds"
    )
    for family, key, method in product(FAMILIES, ("b0.4", "b0.5", "b0.6"), methods):
        beta = float(key[1:])
        with np.load(path) as file:
            spins = 2 * np.unpackbits(file[key], axis=1)[:, :UNITS].astype("int8") - 1
        up, held_out = spins.sum(1) > 0, spins[8000:]
        for seed in range(1, seeds + 1):
            model = FAMILIES[family](spins[:8000])
            learned, seconds = learn(model, method, seed)
            log_z = pmr.log_partition(learned, target_error=0.02, budget=2_000_000, **QUIET)
            states = held_out if family == "general" else (held_out + 1) // 2
            found = pmr.log_likelihood(states, model, learned, log_z=log_z)["log_likelihood"]["v"]
            below = beta * neighbours(held_out) - kaufman(beta) - found.values.ravel()
            error = 1.96 * np.hypot(below.std(ddof=1) / np.sqrt(len(below)), log_z.standard_error)
            middle = 0 if family == "general" else UNITS / 2
            of_chains = (drawn_from(learned).sum(-1) > middle).mean(1)
            share, spread = of_chains.mean(), of_chains.std(ddof=1) / np.sqrt(len(of_chains))
            z = (share - up.mean()) / np.hypot(spread, np.sqrt(up.mean() * (1 - up.mean()) / len(up)))
            print(
                f"{family:>10} {beta:4.1f} {learned.attrs['method']:>22} {seed:4} {below.mean():7.3f} ± "
                f"{error:5.3f} {up.mean():9.3f} {share:8.3f} {z:6.1f} {seconds:7.0f}",
                flush=True,
            )


def clusters(seeds, methods):
    """Print a row a mixture, method and seed."""
    print(
        f"{'groups':>6} {'flipped':>7} {'method':>22} {'seed':>4} {'mixture':>8} {'learned':>16} {'largest z':>9} "
        f"{'missed':>6} seconds"
    )
    for k in (2, 5, 20):
        for flipped in (0.05, 0.01):
            rows, which, centres = groups(k, flipped=flipped)
            data = np.bincount(which, minlength=k) / len(rows)
            near = np.array([np.where(rows == x, 1 - flipped, flipped).prod(1) for x in centres])
            for method in methods:
                for seed in range(1, seeds + 1):
                    model = model_of(rows, HIDDEN_OF_CLUSTERS)
                    learned, seconds = learn(model, method, seed)
                    log_z = pmr.log_partition(learned, target_error=0.02, budget=2_000_000, **QUIET)
                    found = pmr.log_likelihood(rows, model, learned, log_z=log_z, progressbar=False)
                    found = found["log_likelihood"]["v"].values.mean()
                    drawn = drawn_from(learned)
                    nearest = np.argmin([(drawn != x).sum(-1) for x in centres], axis=0)
                    of_chains = (nearest[..., None] == np.arange(k)).mean(1)
                    shares, spread = of_chains.mean(0), of_chains.std(0, ddof=1) / np.sqrt(len(of_chains))
                    z = np.abs(shares - data) / np.hypot(spread, np.sqrt(data * (1 - data) / len(rows)))
                    print(
                        f"{k:6} {flipped:7} {learned.attrs['method']:>22} {seed:4} {np.log(data @ near).mean():8.3f} "
                        f"{found:8.3f} ± {log_z.standard_error:5.3f} {z.max():9.1f} {(shares < data / 10).sum():6} "
                        f"{seconds:7.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, *given = sys.argv[1:]
    path = [given.pop(0)] if what == "ising" else []
    count = int(given.pop(0)) if given else 5
    {"ising": ising, "clusters": clusters}[what](*path, count, given or ["auto"])
