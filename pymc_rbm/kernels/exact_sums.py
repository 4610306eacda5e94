r"""log Z of two binary layers and its gradient: a sum over all states of one, about a nanosecond a factor.

With 0/1 units, the visible ones summed out,

.. math::

    Z = \sum_h e^{c \cdot h} \prod_i \bigl(1 + e^{b_i + W_i \cdot h}\bigr).

Split the bits of h into high and low ones. Then :math:`e^{b_i + W_i \cdot h} = A_i(\text{high})\, B_i(\text{low})`, so
that no exponential is taken of a state: its factor is a product, one plus it a factor of the product over i, whose
logarithm is taken once in as many factors as cannot overflow. The gradient, :math:`\sum_h p(h) \sigma_i(h) h_j`, is
folded: over the low bits for each high state, and the other way round. Memory is that of one number a state.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pymc_rbm.kernels.compiling import kernel

__all__ = ["all_sums", "binary_log_z", "fast", "log_z_and_gradient"]

LARGEST = 700.0
"""The largest exponent that does not overflow."""
fast = njit(
    error_model="numpy", fastmath={"reassoc", "contract", "nsz"}, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
"""Compile a piece whose sums may be taken in another order, so that they are vectorised."""


@fast
def all_sums(first, weights):
    """Return ``first + Σ_j bit_j(s) weights_j`` for all states s, by doubling."""
    out = np.empty(1 << len(weights))
    out[0], size = first, 1
    for w in weights:
        for s in range(size):
            out[size + s] = out[s] + w
        size *= 2
    return out


@fast
def _multiply(product, a, low):
    for s in range(len(product)):
        product[s] *= 1 + a * low[s]


@fast
def _take_logs(logs, product):
    for s in range(len(product)):
        logs[s] += np.log(product[s])
        product[s] = 1


@fast
def _add_softplus(logs, a, low):
    for s in range(len(logs)):
        x = a + low[s]
        logs[s] += max(x, 0.0) + np.log1p(np.exp(-abs(x)))


@fast
def _fold(p, a, low, folded):
    """Add ``p σ`` to ``folded``, and return its sum; ``a * low`` are exponentials of fields."""
    total = 0.0
    for s in range(len(p)):
        x = a * low[s]
        x = p[s] * x / (1 + x)
        folded[s] += x
        total += x
    return total


@fast
def _fold_large(p, a, low, folded):
    """The same where fields are too large for exponentials: ``a + low`` are fields."""
    total = 0.0
    for s in range(len(p)):
        x = p[s] / (1 + np.exp(-(a + low[s])))
        folded[s] += x
        total += x
    return total


@fast
def _exponentials(logs, most, p):
    total = 0.0
    for s in range(len(logs)):
        p[s] = np.exp(logs[s] - most)
        total += p[s]
    return total


@fast
def _with_bit(x, j):
    """Return the sum over states whose bit j is 1."""
    total = 0.0
    for s in range(len(x)):
        if (s >> j) & 1:
            total += x[s]
    return total


@fast
def _sums(weights, bias, summed_bias, out):
    """Do what `binary_log_z` does, by the states of all units of the second layer."""
    n, m = weights.shape
    few = m // 2
    high, low = np.empty((n, 1 << (m - few))), np.empty((n, 1 << few))
    large, most_field = False, 0.0
    for i in range(n):
        low[i], high[i] = all_sums(0.0, weights[i, :few]), all_sums(bias[i], weights[i, few:])
        sizes = max(abs(low[i].min()), abs(low[i].max())), max(abs(high[i].min()), abs(high[i].max()))
        large = large or not sizes[0] + sizes[1] < LARGEST
        most_field = max(most_field, low[i].max() + high[i].max())
    if not large:
        low, high = np.exp(low), np.exp(high)
    steps = max(1, int(LARGEST / (most_field + 1)))  # so many factors 1 + exp(field) do not overflow
    low_c, high_c = all_sums(0.0, summed_bias[:few]), all_sums(0.0, summed_bias[few:])

    logs, product = np.empty((len(high_c), len(low_c))), np.ones(len(low_c))
    for k in range(len(high_c)):
        logs[k] = low_c + high_c[k]
        for i in range(n):
            if large:
                _add_softplus(logs[k], high[i, k], low[i])
                continue
            _multiply(product, high[i, k], low[i])
            if (i + 1) % steps == 0 or i == n - 1:
                _take_logs(logs[k], product)
    most = logs.max()

    p, total = np.empty(len(low_c)), 0.0
    by_low, by_high = np.zeros((n, len(low_c))), np.empty((n, len(high_c)))
    c_low, c_high = np.zeros(len(low_c)), np.empty(len(high_c))
    for k in range(len(high_c)):
        c_high[k] = _exponentials(logs[k], most, p)
        c_low += p
        for i in range(n):
            if large:
                by_high[i, k] = _fold_large(p, high[i, k], low[i], by_low[i])
            else:
                by_high[i, k] = _fold(p, high[i, k], low[i], by_low[i])
        total += c_high[k]

    out[0] = most + np.log(total)
    d_weights, d_bias, d_summed = out[1 : n * m + 1].reshape(n, m), out[n * m + 1 : n * m + n + 1], out[n * m + n + 1 :]
    for i in range(n):
        d_bias[i] = by_high[i].sum() / total
        for j in range(m):
            d_weights[i, j] = (_with_bit(by_low[i], j) if j < few else _with_bit(by_high[i], j - few)) / total
    for j in range(m):
        d_summed[j] = (_with_bit(c_low, j) if j < few else _with_bit(c_high, j - few)) / total


@kernel
def binary_log_z(weights, bias, summed_bias, out):
    """Write log Z and its gradient by weights (units, summed), bias (units,) and summed_bias (summed,) to ``out``.

    All are float64, the arrays contiguous; ``out`` is flat, with one number and as many as there are parameters.
    Units of the second layer without weights are independent of all others, and double no number of states.
    """
    n, m = weights.shape
    used = np.empty(m, np.bool_)
    for j in range(m):
        used[j] = np.any(weights[:, j] != 0)
    k = used.sum()
    if k == m:
        _sums(weights, bias, summed_bias, out)
        return
    w, c, found = np.empty((n, k)), np.empty(k), np.empty(1 + n * k + n + k)
    at = 0
    for j in range(m):
        if used[j]:
            w[:, at], c[at] = weights[:, j], summed_bias[j]
            at += 1
    _sums(w, bias, c, found)
    d_bias = out[n * m + 1 : n * m + n + 1]
    d_bias[:] = found[n * k + 1 : n * k + n + 1]
    total, at = found[0], 0
    for j in range(m):
        by_weights = out[1 + j : n * m + 1 : m]
        if used[j]:
            by_weights[:], out[n * m + n + 1 + j] = found[1 + at : n * k + 1 : k], found[n * k + n + 1 + at]
            at += 1
        else:
            x = summed_bias[j]
            total += max(x, 0.0) + np.log1p(np.exp(-abs(x)))
            on = 1 / (1 + np.exp(-x))
            by_weights[:], out[n * m + n + 1 + j] = d_bias * on, on
    out[0] = total


def log_z_and_gradient(weights: np.ndarray, *biases: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return log Z and its gradient by the weights and both biases, the states of the second layer summed over."""
    arrays = [np.ascontiguousarray(x, "float64") for x in (weights, *biases)]
    out, (n, m) = np.empty(1 + sum(x.size for x in arrays)), weights.shape
    binary_log_z(*arrays, out)
    return float(out[0]), out[1 : n * m + 1].reshape(n, m), out[n * m + 1 : n * m + n + 1], out[n * m + n + 1 :]
