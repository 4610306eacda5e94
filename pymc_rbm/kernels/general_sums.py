r"""log Z of 0/1 units that are all coupled to each other, and their moments: a sum over all states, a nanosecond each.

.. math::

    Z = \sum_x \exp\Bigl(b \cdot x + \tfrac12 x^T U x\Bigr).

Split the bits of x into high and low ones. For each state of the high ones the low ones meet a field more,
:math:`g_j = \sum_i U_{ij} x_i`, so that the weights of their states are those without high bits, times a product that
doubling makes without an exponential of a state. The moments :math:`E\, x_i x_j` are folded: the sum over states with
the highest bit, and the same of half the states with both halves added, and so on. Memory is that of some numbers a
state of either half.
"""

from __future__ import annotations

import numpy as np

from pymc_rbm.kernels.compiling import kernel
from pymc_rbm.kernels.exact_sums import all_sums, exponentials, fast, fill

__all__ = ["general_log_z", "log_z_and_moments"]

LOW = 10
"""How many bits are low: their states stay in the first-level cache."""
LARGEST = 600.0
"""The largest range of exponents whose exponentials, and products with those of other states that matter, do not
underflow."""


@fast
def _energies(couplings, bias, begin, end, out):
    """Write the exponents of all states of the units from ``begin`` to ``end`` to ``out``, and return the largest."""
    weights, most = np.empty(end - begin), 0.0
    out[0], size = 0.0, 1
    for j in range(begin, end):
        for i in range(begin, j):
            weights[i - begin] = _coupling(couplings, i, j)
        upper = out[size : 2 * size]
        all_sums(bias[j] + couplings[j, j] / 2, weights[: j - begin], upper)
        for s in range(size):
            upper[s] += out[s]
            most = max(most, upper[s])
        size *= 2
    return most


@fast
def _coupling(couplings, i, j):
    return (couplings[i, j] + couplings[j, i]) / 2


@fast
def _double(p, size, without, with_it):
    for s in range(size):
        p[size + s] = p[s] * with_it
        p[s] *= without


@fast
def _times(p, q):
    for s in range(len(p)):
        p[s] *= q[s]


@fast
def _scale(p, factor):
    for s in range(len(p)):
        p[s] *= factor


@fast
def _add(total, p, weight):
    for s in range(len(p)):
        total[s] += weight * p[s]


@fast
def _fold(p, size):
    """Add the states with the bit that ``size`` has to those without, and return their sum."""
    total = 0.0
    for s in range(size):
        total += p[size + s]
        p[s] += p[size + s]
    return total


@fast
def _means(p, out):
    """Write the sum over states with each bit to ``out``; what is left of ``p`` is its sum, in the first place."""
    for j in range(len(out) - 1, -1, -1):
        out[j] = _fold(p, 1 << j)


@fast
def _pairs(p, out, first):
    """Add the sums over states with two bits each to ``out``, from row and column ``first`` on."""
    n, size, means, half = 0, len(p), np.empty(len(out)), np.empty(len(p))
    while size > 1:
        n, size = n + 1, size // 2
    for j in range(n - 1, -1, -1):
        size = 1 << j
        for s in range(size):
            half[s] = p[size + s]
        _means(half[:size], means[:j])
        out[first + j, first + j] = half[0]
        for i in range(j):
            out[first + i, first + j] = means[i]
        _fold(p, size)


@kernel
def general_log_z(couplings, bias, moments):
    """Return log Z, and write E x_i x_j to ``moments`` (units, units), E x_i in its diagonal.

    Of couplings (units, units) only the symmetric part counts. All are float64 and contiguous.
    """
    n = len(bias)
    few = min(n, LOW)
    n_low, n_high = 1 << few, 1 << (n - few)
    low, high, fields = np.empty(n_low), np.empty(n_high), np.empty((few, n_high))
    most, weights = _energies(couplings, bias, 0, few, low), np.empty(n - few)
    _energies(couplings, bias, few, n, high)
    for j in range(few):
        for i in range(few, n):
            weights[i - few] = _coupling(couplings, i, j)
        all_sums(0.0, weights, fields[j])
    least, span = 0.0, 0.0
    for x in low:
        least = min(least, x)
    for k in range(n_high):
        size = 0.0
        for j in range(few):
            size += abs(fields[j, k])
        span = max(span, size)
    small = most - least + span < LARGEST
    of_low, p, all_low, own = np.empty(n_low), np.empty(n_low), np.empty(n_low), np.empty(few)
    exponentials(low, most, of_low)
    fill(all_low, 0.0)

    means, totals, scales, largest = np.empty((n_high, few)), np.empty(n_high), np.empty(n_high), -np.inf
    for k in range(n_high):
        scale = high[k] + most
        if small:
            p[0] = 1.0
            for j in range(few):  # the larger of the two factors is 1
                x = fields[j, k]
                scale += max(x, 0.0)
                _double(p, 1 << j, np.exp(-max(x, 0.0)), np.exp(min(x, 0.0)))
            _times(p, of_low)
        else:
            for j in range(few):
                own[j] = fields[j, k]
            all_sums(0.0, own, p)
            highest = -np.inf
            for s in range(n_low):
                p[s] += low[s]
                highest = max(highest, p[s])
            scale = high[k] + highest
            exponentials(p, highest, p)
        if scale > largest:
            _scale(all_low, np.exp(largest - scale))
            largest = scale
        _add(all_low, p, np.exp(scale - largest))
        _means(p, means[k])
        totals[k], scales[k] = p[0], scale

    total = 0.0
    for k in range(n_high):
        weight = np.exp(scales[k] - largest)
        totals[k] *= weight
        total += totals[k]
        _scale(means[k], weight)
    for i in range(n):
        fill(moments[i], 0.0)
    _pairs(all_low, moments, 0)
    column = np.empty(n_high)
    for j in range(few):
        for k in range(n_high):
            column[k] = means[k, j]
        _means(column, weights)
        for i in range(few, n):
            moments[j, i] = weights[i - few]
    _pairs(totals, moments, few)
    for i in range(n):
        for j in range(i, n):
            moments[i, j] /= total
            moments[j, i] = moments[i, j]
    return largest + np.log(total)


def log_z_and_moments(couplings: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray]:
    """Return log Z of 0/1 units, and E x_i x_j; E x_i in the diagonal."""
    moments = np.empty(np.shape(couplings))
    arrays = [np.ascontiguousarray(x, "float64") for x in (couplings, bias)]
    return float(general_log_z(*arrays, moments)), moments
