"""Machines with one mode of 1 to 10 % of the probability, log Z known exactly; the calibration of log Z uses them.

The weight of the mode is set, not found: a bias (or the biases of the mode's own hidden units) is solved for it.
"""

import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

import pymc_rbm as pmr


def log_weights_of_counts(n, m, w, b, c):
    """Log-weight of k of n equal visible units on, k = 0 … n; m equal hidden units summed out."""
    k = np.arange(n + 1)
    states = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return states + b * k + m * np.logaddexp(0, c + w * k)


def log_odds_above(log_weights, cut):
    """Log-odds of counts above ``cut``."""
    return logsumexp(log_weights[cut + 1 :]) - logsumexp(log_weights[: cut + 1])


def solved(log_weights, cut, weight):
    """The bias at which counts above ``cut`` have ``weight``, and log Z there."""
    b = brentq(lambda b: log_odds_above(log_weights(b), cut) - np.log(weight / (1 - weight)), -20, 20)
    return b, logsumexp(log_weights(b))


def equal(n, m, w, c, cut, weight):
    """All weights w, hidden biases c: counts of visible units above ``cut`` have ``weight``."""
    b, log_z = solved(lambda b: log_weights_of_counts(n, m, w, b, c), cut, weight)
    return (np.full((n, m), w), np.full(n, b), np.full(m, c)), log_z


def lattice(n, u, weight):
    """A general machine, units on a torus of n x n coupled to their neighbours: counts above half have ``weight``."""
    site = np.arange(n * n).reshape(n, n)
    pairs = [(i, j) for axis in (0, 1) for i, j in zip(site.ravel(), np.roll(site, -1, axis).ravel(), strict=True)]
    couplings = np.zeros((n * n, n * n))
    for i, j in pairs:
        couplings[i, j] = couplings[j, i] = u
    x = (np.arange(2 ** (n * n))[:, None] >> np.arange(n * n)) & 1
    both, on = sum(x[:, i] * x[:, j] for i, j in pairs), x.sum(1)
    number = np.log(np.maximum(np.histogram2d(on, both, [np.arange(n * n + 2), np.arange(len(pairs) + 2)])[0], 1e-300))
    sums = logsumexp(number + u * np.arange(len(pairs) + 1), axis=1)
    b, log_z = solved(lambda b: sums + b * np.arange(n * n + 1), n * n // 2, weight)
    return pmr.boltzmann(couplings, np.full(n * n, b)), log_z


def planted(weights, n=24, copies=3, strength=1.5, noise=0.3, seed=3):
    """Patterns with noisy copies of a hidden unit each, as a trained machine has them: pattern k has ``weights[k]``.

    A state belongs to the pattern whose hidden units are on most, ties to the first.
    """
    rng = np.random.default_rng(seed)
    patterns = 2 * rng.integers(0, 2, (len(weights), n)) - 1
    W = np.repeat(strength * patterns, copies, axis=0).T + noise * rng.standard_normal((n, copies * len(weights)))
    b, m = noise * rng.standard_normal(n), copies * len(weights)
    h = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
    given_h = np.logaddexp(0, b + h @ W.T).sum(1)
    owner = h.reshape(len(h), len(weights), copies).sum(2).argmax(1)
    c = np.full(m, -strength * n / 4)
    for _ in range(200):
        log_weights = given_h + h @ c
        share = np.array([logsumexp(log_weights[owner == k]) for k in range(len(weights))]) - logsumexp(log_weights)
        c += np.repeat((np.log(weights) - share) / (2 * copies), copies)
    return (W, b, c), logsumexp(given_h + h @ c)


def side_by_side(parts):
    """Machines that are not coupled to each other, in one: its parameters and log Z."""
    parameters, log_z = zip(*parts, strict=True)
    weights, b, c = zip(*parameters, strict=True)
    return (block_diag(*weights), np.concatenate(b), np.concatenate(c)), sum(log_z)


def narrow(n, m, w, cut, weight):
    """Broad and narrow: without visible biases most states have half of the units on; the mode has nearly all.

    The narrow mode is as deep as the broad one is wide, so that it comes up at once as the temperature falls.
    """
    c, log_z = solved(lambda c: log_weights_of_counts(n, m, w, 0, c), cut, weight)
    return (np.full((n, m), w), np.zeros(n), np.full(m, c)), log_z


def rare_modes():
    """Name -> (parameters or machine, log Z)."""
    parts = [equal(12, 12, 0.5, -3, 6, weight) for weight in (0.02, 0.05, 0.1)]
    return {
        "Curie-Weiss 24x24, mode of 3 %": equal(24, 24, 0.25, -3, 12, 0.03),
        "lattice 4x4, mode of 1 %": lattice(4, 2.2, 0.01),
        "narrow mode of 5 %, 30x20": narrow(30, 20, 0.6, 25, 0.05),
        "planted patterns, one of 3 %": planted((0.5, 0.3, 0.17, 0.03)),
        "modules, modes of 2, 5 and 10 %": side_by_side(parts),
    }
