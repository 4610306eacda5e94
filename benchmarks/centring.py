"""Centred against plain gradients on 28x28 digits: exact test log-likelihood, on the data and on the flipped data.

Run with ``python benchmarks/centring.py FILE.npz [epochs]``, where the file holds ``train_bits`` and ``test_bits``
(packed rows) and ``d``. The setting is that of Melchior, Fischer & Wiskott (2016): 16 hidden units, PCD-1, rate .01,
batches and chains of 100, 50 epochs. log Z is exact.
"""

import sys

import numpy as np
import pymc as pm

import pymc_rbm as pmr


def score(train, test, epochs, centred):
    """Return exact mean test log-likelihoods of the last iterate and of the average, and the seconds of learning."""
    with pm.Model() as model:
        W = pm.Flat("W", shape=(train.shape[1], 16))
        pmr.RBM("digit", W, pm.Flat("b", shape=train.shape[1]), pm.Flat("c", shape=16), observed=train)
        options = {"sweeps": 1, "learning_rate": lambda done: 0.01, "centred": centred}
        learned = pmr.fit(epochs, random_seed=1, progressbar=False, **options)
    out = []
    for tree in (learned, pmr.averaged(learned)):
        b, c, W = pmr.machine_of(model, tree).parameters
        log_z = pmr.log_partition(pmr.restricted(W, b, c), method="exact").estimate
        out.append(float(-pmr.free_energy(test, W, b, c).mean() - log_z))
    return *out, learned.attrs["seconds"]


def main(path, epochs=50):
    """Print one row a run."""
    with np.load(path) as file:
        train, test = (np.unpackbits(file[f"{x}_bits"], axis=1)[:, : int(file["d"])] for x in ("train", "test"))
    print(f"{'gradients':10} {'data':8} {'last iterate':>13} {'average':>9} {'seconds':>8}")
    for centred in (True, False):
        for name, flip in (("plain", 0), ("flipped", 1)):
            last, average, seconds = score(flip ^ train, flip ^ test, epochs, centred)
            label = "centred" if centred else "plain"
            print(f"{label:10} {name:8} {last:13.2f} {average:9.2f} {seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
