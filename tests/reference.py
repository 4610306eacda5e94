"""Exact answers by plain Python loops over states: no arithmetic is shared with the package."""

from __future__ import annotations

import math
from itertools import product

import numpy as np


def states(n):
    """All joint states of n binary units, as tuples."""
    return list(product((0, 1), repeat=n))


def energy(v, h, W, b, c):
    total = 0.0
    for i, vi in enumerate(v):
        total -= b[i] * vi
        for j, hj in enumerate(h):
            total -= vi * W[i][j] * hj
    for j, hj in enumerate(h):
        total -= c[j] * hj
    return total


def log_sum(terms):
    top = max(terms)
    return top + math.log(math.fsum(math.exp(t - top) for t in terms))


def log_z(W, b, c):
    return log_sum([-energy(v, h, W, b, c) for v in states(len(b)) for h in states(len(c))])


def log_p(W, b, c):
    """log p(v) for all visible states, in the order of `states`."""
    z = log_z(W, b, c)
    return [log_sum([-energy(v, h, W, b, c) for h in states(len(c))]) - z for v in states(len(b))]


def joint(W, b, c):
    """p(v, h) as an array, visible states by hidden states."""
    z = log_z(W, b, c)
    return np.array([[math.exp(-energy(v, h, W, b, c) - z) for h in states(len(c))] for v in states(len(b))])


def moments(W, b, c):
    """E[v hᵀ], E[v], E[h]: the gradient of log Z."""
    vh, v_mean, h_mean = np.zeros(np.shape(W)), np.zeros(len(b)), np.zeros(len(c))
    p = joint(W, b, c)
    for k, v in enumerate(states(len(b))):
        for m, h in enumerate(states(len(c))):
            for i, vi in enumerate(v):
                v_mean[i] += p[k, m] * vi
                for j, hj in enumerate(h):
                    vh[i, j] += p[k, m] * vi * hj
            for j, hj in enumerate(h):
                h_mean[j] += p[k, m] * hj
    return vh, v_mean, h_mean


def machine(n_visible, n_hidden, scale=1.0, seed=0):
    """Parameters of a random machine."""
    rng = np.random.default_rng(seed)
    return (
        scale * rng.standard_normal((n_visible, n_hidden)),
        scale * rng.standard_normal(n_visible),
        scale * rng.standard_normal(n_hidden),
    )


def index(rows):
    """Index of each row of binary states in the order of `states`."""
    rows = np.asarray(rows).astype(np.int64)
    return rows @ (1 << np.arange(rows.shape[-1])[::-1])


def total_variation(counts, p):
    counts = np.asarray(counts, dtype=float)
    return 0.5 * np.abs(counts / counts.sum() - p).sum()


def total_variation_floor(p, n):
    """Expected total variation between p and n independent draws of it (normal approximation)."""
    p = np.asarray(p)
    return 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n).sum()
