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

__all__ = ["all_sums", "binary_log_z", "exponentials", "fast", "fill", "log_z_and_gradient"]

LARGEST = 700.0
"""The largest exponent that does not overflow."""
fast = njit(
    error_model="numpy", fastmath={"reassoc", "contract", "nsz"}, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
"""Compile a piece whose sums may be taken in another order, so that they are vectorised."""


@fast
def all_sums(first, weights, out):
    """Write ``first + Σ_j bit_j(s) weights_j`` for all states s to ``out``, by doubling, and return the extremes."""
    out[0], size = first, 1
    least = most = first
    for w in weights:
        for s in range(size):
            out[size + s] = out[s] + w
        least, most, size = least + min(w, 0.0), most + max(w, 0.0), 2 * size
    return least, most


@fast
def fill(x, value):
    """Make all numbers of ``x`` the same."""
    for s in range(len(x)):
        x[s] = value


@fast
def _add(x, first, out):
    for s in range(len(x)):
        out[s] = x[s] + first


@fast
def _divide(x, total):
    for s in range(len(x)):
        x[s] /= total


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
def exponentials(logs, most, p):
    """Write ``exp(logs - most)`` to ``p``, and return its sum."""
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
    n_low, n_high = 1 << few, 1 << (m - few)
    low, high, low_c, high_c = np.empty((n, n_low)), np.empty((n, n_high)), np.empty(n_low), np.empty(n_high)
    large, most_field = False, 0.0
    for i in range(n):
        least_low, most_low = all_sums(0.0, weights[i, :few], low[i])
        least_high, most_high = all_sums(bias[i], weights[i, few:], high[i])
        size = max(abs(least_low), abs(most_low)) + max(abs(least_high), abs(most_high))
        large = large or not size < LARGEST
        most_field = max(most_field, most_low + most_high)
    if not large:
        for i in range(n):
            exponentials(low[i], 0.0, low[i])
            exponentials(high[i], 0.0, high[i])
    steps = max(1, int(LARGEST / (most_field + 1)))  # so many factors 1 + exp(field) do not overflow
    all_sums(0.0, summed_bias[:few], low_c)
    all_sums(0.0, summed_bias[few:], high_c)

    logs, product, most = np.empty((n_high, n_low)), np.empty(n_low), -np.inf
    fill(product, 1.0)
    for k in range(n_high):
        _add(low_c, high_c[k], logs[k])
        for i in range(n):
            if large:
                _add_softplus(logs[k], high[i, k], low[i])
                continue
            _multiply(product, high[i, k], low[i])
            if (i + 1) % steps == 0 or i == n - 1:
                _take_logs(logs[k], product)
        for x in logs[k]:
            most = max(most, x)

    p, by_low, total = np.empty(n_low), np.empty((n, n_low)), 0.0
    for i in range(n):
        fill(by_low[i], 0.0)
    fill(low_c, 0.0)
    d_weights, d_bias, d_summed = out[1 : n * m + 1].reshape(n, m), out[n * m + 1 : n * m + n + 1], out[n * m + n + 1 :]
    fill(d_bias, 0.0)
    for k in range(n_high):  # what was read of a high state makes room for its sums
        high_c[k] = exponentials(logs[k], most, p)
        for s in range(n_low):
            low_c[s] += p[s]
        for i in range(n):
            if large:
                high[i, k] = _fold_large(p, high[i, k], low[i], by_low[i])
            else:
                high[i, k] = _fold(p, high[i, k], low[i], by_low[i])
            d_bias[i] += high[i, k]
        total += high_c[k]

    out[0] = most + np.log(total)
    for i in range(n):
        for j in range(m):
            d_weights[i, j] = _with_bit(by_low[i], j) if j < few else _with_bit(high[i], j - few)
    for j in range(m):
        d_summed[j] = _with_bit(low_c, j) if j < few else _with_bit(high_c, j - few)
    _divide(out[1:], total)


@kernel
def binary_log_z(weights, bias, summed_bias, out):
    """Write log Z and its gradient by weights (units, summed), bias (units,) and summed_bias (summed,) to ``out``.

    All are float64, the arrays contiguous; ``out`` is flat, with one number and as many as there are parameters.
    Units of the second layer without weights are independent of all others, and double no number of states.
    """
    n, m = weights.shape
    used, k = np.empty(m, np.int64), 0
    for j in range(m):
        for i in range(n):
            if weights[i, j] != 0:
                used[k] = j
                k += 1
                break
    if k == m:
        _sums(weights, bias, summed_bias, out)
        return
    w, c, found = np.empty((n, k)), np.empty(k), np.empty(1 + n * k + n + k)
    for at in range(k):
        c[at] = summed_bias[used[at]]
        for i in range(n):
            w[i, at] = weights[i, used[at]]
    _sums(w, bias, c, found)
    total, at = found[0], 0
    for i in range(n):
        out[n * m + 1 + i] = found[n * k + 1 + i]
    for j in range(m):
        if at < k and used[at] == j:
            for i in range(n):
                out[1 + i * m + j] = found[1 + i * k + at]
            out[n * m + n + 1 + j] = found[n * k + n + 1 + at]
            at += 1
        else:
            x = summed_bias[j]
            on = 1 / (1 + np.exp(-x))
            total += max(x, 0.0) + np.log1p(np.exp(-abs(x)))
            for i in range(n):
                out[1 + i * m + j] = on * out[n * m + 1 + i]
            out[n * m + n + 1 + j] = on
    out[0] = total


def log_z_and_gradient(weights: np.ndarray, *biases: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return log Z and its gradient by the weights and both biases, the states of the second layer summed over."""
    arrays = [np.ascontiguousarray(x, "float64") for x in (weights, *biases)]
    out, (n, m) = np.empty(1 + sum(x.size for x in arrays)), weights.shape
    binary_log_z(*arrays, out)
    return float(out[0]), out[1 : n * m + 1].reshape(n, m), out[n * m + 1 : n * m + n + 1], out[n * m + n + 1 :]
