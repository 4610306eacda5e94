"""Test log-likelihood and seconds on the digits: pmr.fit beside scikit-learn's BernoulliRBM, in one process, by turns.

Run with ``python benchmarks/digits_likelihood.py``; about two minutes. Both learn 64 hidden units from the same rows;
log Z is estimated for both by annealed importance sampling from the same base. Compilation counts for neither: a
first, short fit of ours is not timed.
"""

import statistics
import time

import numpy as np
import pymc as pm
from sklearn.neural_network import BernoulliRBM

import pymc_rbm as pmr
from pymc_rbm.__main__ import RATE, split

EPOCHS, HIDDEN, BATCH, SEEDS = 500, 64, 100, range(3)


def ours(train, seed, epochs=EPOCHS):
    """Learn with pmr.fit; return W, b, c."""
    with pm.Model() as model:
        W = pm.Normal("W", 0, 1, shape=(train.shape[1], HIDDEN))
        b = pm.Flat("b", shape=train.shape[1])
        c = pm.Flat("c", shape=HIDDEN)
        pmr.RBM("digit", W, b, c, observed=train.values)
        learned = pmr.fit(epochs, batch_size=BATCH, sweeps=1, learning_rate=RATE, random_seed=seed, progressbar=False)
    b, c, W = pmr.machine_of(model, learned).parameters
    return W, b, c


def sklearn(rate):
    """Return a function that learns with BernoulliRBM at this rate."""

    def learn(train, seed):
        rbm = BernoulliRBM(HIDDEN, learning_rate=rate, batch_size=BATCH, n_iter=EPOCHS, random_state=seed)
        rbm.fit(train.values.astype(float))
        return rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_

    return learn


def main():
    """Print one row a learner: median and range over seeds."""
    train, test = split(pmr.datasets.digits(), 1)
    mean = (train.values.sum(0) + 0.5) / (len(train) + 1)
    learners = {f"pmr.fit, rate {RATE}": ours} | {f"BernoulliRBM, rate {r}": sklearn(r) for r in (0.05, 0.1, 0.2)}
    ours(train, 0, epochs=2)
    results = {name: [] for name in learners}
    for seed in SEEDS:
        for name, learn in learners.items():
            began = time.perf_counter()
            W, b, c = learn(train, seed)
            seconds = time.perf_counter() - began
            log_z = pmr.log_partition(pmr.restricted(W, b, c), method="ais", base_mean=mean, random_seed=seed)
            score = float(-pmr.free_energy(test.values, W, b, c).mean() - log_z.estimate)
            results[name].append((score, seconds, log_z.standard_error))
    independent = np.where(test.values, np.log(mean), np.log1p(-mean)).sum(1).mean()
    print(f"{'learner':24} {'test log-likelihood (nats)':28} {'largest AIS error':18} seconds")
    print(f"{'independent pixels':24} {independent:.2f}")
    for name, rows in results.items():
        scores, seconds, errors = zip(*rows, strict=True)
        spread = f"{statistics.median(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})"
        print(f"{name:24} {spread:28} {max(errors):<18.2f} {statistics.median(seconds):.1f}")


if __name__ == "__main__":
    main()
