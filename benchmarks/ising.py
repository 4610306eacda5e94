"""Machines learned from draws of the two-dimensional Ising model: likelihood and spin correlation.

Run with ``python benchmarks/ising.py FILE.npz [hidden] [epochs] [scale] [key …]`` (default 49 200 0.4, all), where the
file holds rows of 7x7 periodic spins, one array of packed bits an inverse temperature (``b0.4``). 8,000 rows are
learned from, with a Normal(0, scale) prior on W and fit's own method, rate and sweeps. The likelihood is that of the
other 2,000 rows. The bound is minus the entropy of the model that made the data: a likelihood above it beyond its error
would be wrong. Of what is missing to it, about parameters / (2 · rows) is the error of estimation: .16 nats with 49
hidden units and a flat prior, .31 with 100.
"""

import sys

import numpy as np
import pymc as pm

import pymc_rbm as pmr

SIDE = 7
BOUNDS = {"b0.2": -31.7909, "b0.4": -18.9905, "b0.5": -8.1762, "b0.6": -3.8641}


def correlation(rows):
    """Mean product of neighbouring spins on the torus, for each row."""
    spins = (2.0 * rows - 1).reshape(-1, SIDE, SIDE)
    return np.mean([(spins * np.roll(spins, 1, axis)).mean((1, 2)) for axis in (1, 2)], axis=0)


def main(path, hidden=49, epochs=200, scale=0.4, *keys):
    """Print one row an inverse temperature."""
    print(f"{'data':5} {'bound':>8} {'held-out log-likelihood':>24} {'correlation: data':>18} {'draws':>16} seconds")
    for key in keys or BOUNDS:
        bound = BOUNDS[key]
        with np.load(path) as file:
            rows = np.unpackbits(file[key], axis=1)[:, : SIDE**2]
        train, test = rows[:8000], rows[8000:]
        with pm.Model() as model:
            W = pm.Normal("W", 0, scale, shape=(SIDE**2, hidden))
            b, c = pm.Flat("b", shape=SIDE**2), pm.Flat("c", shape=hidden)
            pmr.RBM("v", W, b, c, observed=train, sweeps=2000)
            learned = pmr.fit(epochs, random_seed=1, progressbar=False)
        b, c, W = pmr.machine_of(learned).parameters
        log_z = pmr.log_partition(learned, target_error=0.03, budget=2_000_000, random_seed=1, progressbar=False)
        log_p = -pmr.free_energy(test, W, b, c) - log_z.estimate
        error = np.hypot(log_p.std(ddof=1) / np.sqrt(len(test)), log_z.standard_error)
        draws = pm.draw(pmr.generative(model, learned)["v"], 5000, random_seed=1)
        known, drawn = correlation(rows), correlation(draws)
        print(
            f"{key:5} {bound:8.3f} {f'{log_p.mean():.3f} ± {error:.3f}':>24} {known.mean():18.4f} "
            f"{drawn.mean():8.4f} ± {drawn.std() / np.sqrt(len(drawn)):.4f} {learned.attrs['seconds']:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:5]), *sys.argv[5:])
