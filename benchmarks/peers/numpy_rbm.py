"""numpy, float32, as one writes it by hand."""

from itertools import pairwise

import numpy as np

from benchmarks.jobs import RATE, data_rows, machine, visible_states

rng = np.random.default_rng(1)


def _mean(field):
    np.negative(field, out=field)
    np.exp(field, out=field)
    field += 1
    return np.reciprocal(field, out=field)


def _draw(field):
    return (rng.random(field.shape, dtype="float32") < _mean(field)).astype("float32")


def _hidden_then_visible(v, W, b, c):
    return _draw(_draw(v @ W + c) @ W.T + b)


def _free_energy(v, W, b, c):
    return -(v @ b) - np.logaddexp(0, v @ W + c, dtype="float32").sum(1)


def sweep(job):
    """Chains side by side."""
    (W, b, c), v = machine(job), [visible_states(job).astype("float32")]

    def advance(n):
        for _ in range(n):
            v[0] = _hidden_then_visible(v[0], W, b, c)

    return advance, lambda: v[0]


def update(job):
    """Persistent contrastive divergence, plain gradients."""
    (W, b, c), data, v = machine(job), data_rows(job).astype("float32"), [visible_states(job).astype("float32")]

    def advance(n):
        nonlocal W, b, c
        for _ in range(n):
            v[0] = _hidden_then_visible(v[0], W, b, c)
            h_data, h = _mean(data @ W + c), _mean(v[0] @ W + c)
            W += np.float32(RATE / len(data)) * (data.T @ h_data - v[0].T @ h)
            b += RATE * (data.mean(0) - v[0].mean(0))
            c += RATE * (h_data.mean(0) - h.mean(0))

    return advance, lambda: (W, b, c)


def free_energy(job):
    """Of all rows at once."""
    (W, b, c), rows = machine(job), data_rows(job).astype("float32")

    def advance(n):
        for _ in range(n):
            _free_energy(rows, W, b, c)

    return advance, lambda: _free_energy(rows, W, b, c)


def ais(job):
    """From independent visible units, linear temperatures."""
    (W, b, c), log_z = machine(job), [0.0]

    def advance(n):
        betas = np.linspace(0, 1, 1000 * n, dtype="float32")
        v = _draw(np.broadcast_to(b, (job.rows, len(b))).copy())
        log_w = np.full(job.rows, np.logaddexp(0, b).sum() + len(c) * np.log(2))
        field = v @ W + c
        for previous, beta in pairwise(betas):
            log_w += (np.logaddexp(0, beta * field) - np.logaddexp(0, previous * field)).sum(1)
            v = _draw(beta * (_draw(beta * field) @ W.T) + b)
            field = v @ W + c
        log_z[0] = np.logaddexp.reduce(log_w) - np.log(len(log_w))

    return advance, lambda: log_z[0]
