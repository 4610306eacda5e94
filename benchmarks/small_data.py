"""Exact test log-likelihood of small binary data sets, one recipe for all: 23 hidden units, PCD-10, averaged iterates.

Run with ``python benchmarks/small_data.py FILE.npz [FILE.npz …]``, where each file holds ``train_bits``,
``test_bits`` (packed rows) and ``d``. The recipe, fixed in advance: a Normal(0, 1) prior on W, batches and chains of
100, rate .1, 40,000 updates.
"""

import sys
from pathlib import Path

import numpy as np
import pymc as pm

import pymc_rbm as pmr

HIDDEN, UPDATES = 23, 40_000


def main(paths):
    """Print one row a file."""
    print(f"{'data':20} {'independent':>12} {'last iterate':>13} {'average':>9} {'seconds':>8}")
    for path in paths:
        with np.load(path) as file:
            train, test = (np.unpackbits(file[f"{x}_bits"], axis=1)[:, : int(file["d"])] for x in ("train", "test"))
        with pm.Model() as model:
            W = pm.Normal("W", 0, 1, shape=(train.shape[1], HIDDEN))
            b, c = pm.Flat("b", shape=train.shape[1]), pm.Flat("c", shape=HIDDEN)
            pmr.RBM("v", W, b, c, observed=train)
            epochs = round(UPDATES / np.ceil(len(train) / 100))
            learned = pmr.fit(epochs, sweeps=10, learning_rate=0.1, random_seed=1, progressbar=False)
        mean = learned["data"]["v_mean"].values
        scores = [np.where(test, np.log(mean), np.log1p(-mean)).sum(1).mean()]
        for tree in (learned, pmr.averaged(learned)):
            b, c, W = pmr.machine_of(model, tree).parameters
            log_z = pmr.log_partition(pmr.restricted(W, b, c), method="exact").estimate
            scores.append(-pmr.free_energy(test, W, b, c).mean() - log_z)
        name = Path(path).stem
        print(
            f"{name:20} {scores[0]:12.2f} {scores[1]:13.2f} {scores[2]:9.2f} {learned.attrs['seconds']:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
