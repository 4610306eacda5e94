"""scikit-learn's BernoulliRBM in float32: its ``gibbs``, and what is behind its ``fit`` and ``score_samples``.

``fit`` would begin with parameters of its own and ``partial_fit`` converts to float64, so an update is ``_fit``, which
both repeat; ``score_samples`` flips units, too, so the free energy is ``_free_energy``. It has no AIS.
"""

import numpy as np
from sklearn.neural_network import BernoulliRBM

from benchmarks.jobs import BATCH, RATE, data_rows, machine, visible_states


def _rbm(job):
    rbm = BernoulliRBM(job.hidden, learning_rate=RATE, batch_size=job.rows, random_state=1)
    W, b, c = machine(job)
    rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_ = np.asarray(W.T, order="F"), b, c
    rbm.random_state_ = np.random.RandomState(1)
    return rbm


def sweep(job):
    """Chains side by side."""
    rbm, v = _rbm(job), [visible_states(job).astype("float32")]

    def advance(n):
        for _ in range(n):
            v[0] = rbm.gibbs(v[0])

    return advance, lambda: v[0].astype(float)


def update(job):
    """Stochastic maximum likelihood, plain gradients."""
    rbm, data = _rbm(job), data_rows(job).astype("float32")
    rbm.h_samples_ = np.zeros((job.rows, job.hidden), "float32")

    def advance(n):
        for _ in range(n):
            rbm._fit(data, rbm.random_state_)

    return advance, lambda: (rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_)


def epoch(job):
    """``fit`` for some epochs; it begins anew each time."""
    data, rbm = data_rows(job).astype("float32"), []

    def advance(n):
        size = min(BATCH, job.rows)
        rbm[:] = [BernoulliRBM(job.hidden, learning_rate=RATE, batch_size=size, n_iter=n, random_state=1).fit(data)]

    return advance, lambda: (rbm[0].components_.T, rbm[0].intercept_visible_, rbm[0].intercept_hidden_)


def free_energy(job):
    """Of all rows at once."""
    rbm, rows = _rbm(job), data_rows(job).astype("float32")

    def advance(n):
        for _ in range(n):
            rbm._free_energy(rows)

    return advance, lambda: rbm._free_energy(rows)


def learn(rows, hidden, rate, snapshots):
    """Epoch by epoch what ``fit`` does with its batches, from its own start."""
    size = min(BATCH, len(rows))
    data = rows.astype("float32")
    rbm = BernoulliRBM(hidden, learning_rate=rate, batch_size=size, n_iter=1, random_state=1).fit(data[:size])
    rng = np.random.RandomState(1)
    while True:
        for first in range(0, len(data) - size + 1, size):
            rbm._fit(data[first : first + size], rng)
            if snapshots(lambda: (rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_)):
                return
