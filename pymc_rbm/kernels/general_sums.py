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
from pymc_rbm.kernels.exact_sums import all_sums, fast

__all__ = ["general_log_z", "log_z_and_moments"]

LOW = 10
"""How many bits are low: their states stay in the first-level cache."""
LARGEST = 600.0
"""The largest range of exponents whose exponentials, and products with those of other states that matter, do not
underflow."""


@fast
def _energies(couplings, bias):
    """Return the exponents of all states, by doubling."""
    n = len(bias)
    out = np.zeros(1 << n)
    for j in range(n):
        size = 1 << j
        out[size : 2 * size] = out[:size] + all_sums(bias[j], couplings[j, :j])
    return out


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
    n, size, means = 0, len(p), np.empty(len(out))
    while size > 1:
        n, size = n + 1, size // 2
    for j in range(n - 1, -1, -1):
        size = 1 << j
        half = p[size : 2 * size].copy()
        _means(half, means[:j])
        out[first + j, first + j] = half[0]
        for i in range(j):
            out[first + i, first + j] = means[i]
        _fold(p, size)


@kernel
def general_log_z(couplings, bias, moments):
    """Return log Z, and write E x_i x_j to ``moments`` (units, units), E x_i in its diagonal.

    Of couplings (units, units) only the symmetric part counts. All are float64 and contiguous.
    """
    couplings = (couplings + couplings.T) / 2
    bias = bias + np.diag(couplings) / 2
    n = len(bias)
    few = min(n, LOW)
    low, high = _energies(couplings[:few, :few], bias[:few]), _energies(couplings[few:, few:], bias[few:])
    fields = np.empty((few, len(high)))
    for j in range(few):
        fields[j] = all_sums(0.0, couplings[j, few:])
    most = low.max()
    span = 0.0
    for k in range(len(high)):
        span = max(span, np.abs(fields[:, k]).sum())
    small = most - low.min() + span < LARGEST
    exponentials = np.exp(low - most)

    p, all_low, means = np.empty(len(low)), np.zeros(len(low)), np.empty((len(high), few))
    totals, scales, largest = np.empty(len(high)), np.empty(len(high)), -np.inf
    for k in range(len(high)):
        scale = high[k] + most
        if small:
            p[0] = 1.0
            for j in range(few):  # the larger of the two factors is 1
                x = fields[j, k]
                scale += max(x, 0.0)
                _double(p, 1 << j, np.exp(-max(x, 0.0)), np.exp(min(x, 0.0)))
            _times(p, exponentials)
        else:
            p[:] = low + all_sums(0.0, fields[:, k])
            own = p.max()
            scale = high[k] + own
            p[:] = np.exp(p - own)
        if scale > largest:
            all_low *= np.exp(largest - scale)
            largest = scale
        _add(all_low, p, np.exp(scale - largest))
        _means(p, means[k])
        totals[k], scales[k] = p[0], scale

    moments[:] = 0.0
    for k in range(len(high)):
        weight = np.exp(scales[k] - largest)
        totals[k] *= weight
        means[k] *= weight
    total = totals.sum()
    _pairs(all_low, moments, 0)
    column, found = np.empty(len(high)), np.empty(n - few)
    for j in range(few):
        column[:] = means[:, j]
        _means(column, found)
        moments[j, few:] = found
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
