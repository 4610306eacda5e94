"""PGM (Tubiana), the folder ``source`` of a clone on the path: numpy and numba, float32.

An update is ``minibatch_fit``, which its ``fit`` runs for every batch. Its AIS averages log-weights, not weights.
"""

import warnings

import numpy as np
import rbm as pgm

from benchmarks.jobs import RATE, data_rows, machine, visible_states

warnings.simplefilter("ignore")


def _set(model, job):
    W, b, c = machine(job)
    model.weights, model.vlayer.fields, model.hlayer.fields = np.ascontiguousarray(W.T), b, c


def _rbm(job):
    model = pgm.RBM(n_v=job.visible, n_h=job.hidden, visible="Bernoulli", hidden="Bernoulli", random_state=1)
    _set(model, job)
    return model


def sweep(job):
    """Chains side by side."""
    model = _rbm(job)
    state = [(visible_states(job).astype("float32"), np.zeros((job.rows, job.hidden), "float32"))]

    def advance(n):
        for _ in range(n):
            state[0] = model.markov_step(state[0])

    return advance, lambda: state[0][0]


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    model, data = _rbm(job), data_rows(job).astype("float32")
    settings = {"optimizer": "SGD", "batch_norm": False, "learning_rate": RATE, "lr_decay": False, "verbose": 0}
    model.fit(data.copy(), batch_size=job.rows, nchains=job.rows, n_iter=1, N_MC=1, **settings)
    _set(model, job)

    def advance(n):
        for _ in range(n):
            model.minibatch_fit(data, verbose=False)

    return advance, lambda: (model.weights.T, model.vlayer.fields, model.hlayer.fields)


def free_energy(job):
    """Of all rows at once."""
    model, rows = _rbm(job), data_rows(job).astype("float32")

    def advance(n):
        for _ in range(n):
            model.free_energy(rows)

    return advance, lambda: model.free_energy(rows)


def ais(job):
    """From uniform units, linear temperatures."""
    model, log_z = _rbm(job), [0.0]

    def advance(n):
        log_z[0] = model.AIS(M=job.rows, n_betas=1000 * n)[0]

    return advance, lambda: log_z[0]
