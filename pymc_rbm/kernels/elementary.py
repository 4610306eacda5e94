"""Polynomials give elementary functions of sixteen numbers at once, since numba cannot vectorise others everywhere.

``exp(x) = 2^k · exp(r)`` with ``k = round(x / log 2)`` and ``|r| ≤ log(2)/2``; the factor 2^k is an addition to the
exponent's bits. The polynomial of float32 is that of Cephes (Moshier 1989), of relative error below 2⁻²³; that of
float64 is the Taylor polynomial of degree 13, whose remainder is below 2⁻⁵⁸.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numba import float32, float64, types, uint32, uint64
from numba.extending import overload

from pymc_rbm.kernels.compiling import inlined
from pymc_rbm.kernels.lanes import absolute, as_bits, as_number, muladd, number, select, splat
from pymc_rbm.kernels.uniforms import advanced

__all__ = ["bernoulli", "exponential", "filled", "logarithm", "sigmoid", "softplus_parts", "softplus_step"]

CEPHES = tuple(
    map(np.float32, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 0.16666665459, 0.5))
)
TAYLOR = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
"""The coefficients of the polynomials of the exponential, in float32 (Cephes) and in float64."""

MOST = {types.float32: np.float32(87), types.float64: np.float64(700)}
"""The largest argument of the exponential, above which twice its value would overflow."""
LOG_2 = math.log(2)
piecewise = partial(overload, jit_options={"forceinline": True, "error_model": "numpy"})
"""The decorator of implementations of a function on lanes, which are put into their callers."""


def exponential(x):
    """Return ``exp(x)`` in lanes for ``|x|`` up to `MOST`."""


@piecewise(exponential)
def _exponential(x):
    if x.dtype == types.float32:

        def exponential_32(x):
            # Adding 1.5·2²³ rounds to an integer, which then stands in the lowest bits.
            turn = muladd(x, splat(float32(1.4426950408889634)), splat(float32(12582912.0)))
            k = turn - splat(float32(12582912.0))
            r = muladd(k, splat(float32(-0.693359375)), x)
            r = muladd(k, splat(float32(2.12194440e-4)), r)
            p = splat(CEPHES[0])
            for i in range(1, 6):
                p = muladd(p, r, splat(CEPHES[i]))
            p = muladd(p, r * r, r + splat(float32(1)))
            return as_number(as_bits(p) + (as_bits(turn) << splat(uint32(23))))

        return exponential_32

    def exponential_64(x):
        turn = muladd(x, splat(1.4426950408889634), splat(6755399441055744.0))
        k = turn - splat(6755399441055744.0)
        r = muladd(k, splat(-0.6931471803691238), x)
        r = muladd(k, splat(-1.9082149292705877e-10), r)
        p = splat(TAYLOR[0])
        for i in range(1, 12):
            p = muladd(p, r, splat(TAYLOR[i]))
        p = muladd(p, r * r, r + splat(1.0))
        return as_number(as_bits(p) + (as_bits(turn) << splat(uint64(52))))

    return exponential_64


def uniform(s, like):
    """Return uniform numbers in (0, 1) of the type of ``like``, and the next state of the generators.

    Integers of 32 bits (float32) or 64 bits (float64), plus one half, over their number: fine near zero, where the
    rounding to the type of number costs relative, not absolute precision.
    """


@piecewise(uniform)
def _uniform(s, like):
    if like.dtype == types.float32:

        def uniform_32(s, like):
            x, s = advanced(s)
            return muladd(number(x, like), splat(float32(2.0**-32)), splat(float32(2.0**-33))), s

        return uniform_32

    def uniform_64(s, like):
        high, s = advanced(s)
        low, s = advanced(s)
        x = (number(high, uint64(0)) << splat(uint64(32))) | number(low, uint64(0))
        return muladd(number(x, like), splat(2.0**-64), splat(2.0**-65)), s

    return uniform_64


def _limited(x):
    """Return ``min(|x|, MOST)``."""


@piecewise(_limited)
def _limited_to_most(x):
    most = MOST[x.dtype]

    def limited(x):
        size = absolute(x)
        return select(size < splat(most), size, splat(most))

    return limited


@inlined
def bernoulli(z, s):
    """Draw which lanes are on, each with probability ``σ(z)``; return them and the next state of the generators.

    The less probable of the two values has probability ``1 / (1 + exp(|z|))``; it is drawn if
    ``u·(1 + exp(|z|)) < 1``, so that the tail of either value is compared with small u, which are fine. A probability
    is off by at most 2⁻³³ (float32; 2⁻⁶⁵ in float64) and by rounding, 10⁻⁷ (10⁻¹⁵) of the smaller one.
    """
    u, s = uniform(s, z)
    rare = muladd(u, exponential(_limited(z)), u) < filled(z, 1)
    return rare ^ (z >= filled(z, 0)), s


@inlined
def softplus_parts(z):
    """Return ``max(z, 0)`` and ``t = exp(-|z|)``, so that ``softplus(z) = max(z, 0) + log(1 + t)``.

    A sum over units needs one logarithm, of the product of their ``1 + t``, which is between 1 and 2 for each. The sum
    is off by as much as these are rounded, 10⁻⁷ (10⁻¹⁶) a unit.
    """
    zero = filled(z, 0)
    return select(z < zero, zero, z), exponential(zero - _limited(z))


@inlined
def softplus_step(z, y):
    """Return ``softplus(y) - softplus(z)``, by ``log((1 + u)/(1 + t)) = 2 artanh((u - t)/(2 + u + t))``."""
    zero, two = filled(z, 0), filled(z, 2)
    t, u = exponential(zero - _limited(z)), exponential(zero - _limited(y))
    s = (u - t) / (two + u + t)
    return select(y < zero, zero, y) - select(z < zero, zero, z) + (s + s) * _artanh_ratio(s * s)


@inlined
def sigmoid(z):
    """Return ``1 / (1 + exp(-z))``; below -`MOST` it is 0."""
    zero, one = filled(z, 0), filled(z, 1)
    t = exponential(zero - _limited(z))
    return select(z < zero, t, one) / (one + t)


def logarithm(x):
    """Return ``log(x)`` for finite ``x = 2ᵏm ≥ 1``, as ``k log 2 + 2 artanh((m - 1)/(m + 1))``."""


@piecewise(logarithm)
def _logarithm(x):
    if x.dtype == types.float32:
        integer, shift, mask, one, middle = uint32, 23, 0x7FFFFF, 0x3F800000, 127
    else:
        integer, shift, mask, one, middle = uint64, 52, 0xFFFFFFFFFFFFF, 0x3FF0000000000000, 1023

    def logarithm(x):
        raw = as_bits(x)
        power = number(raw >> splat(integer(shift)), x) - filled(x, middle)
        m = as_number((raw & splat(integer(mask))) | splat(integer(one)))
        s = (m - filled(x, 1)) / (m + filled(x, 1))
        return muladd(power, filled(x, LOG_2), (s + s) * _artanh_ratio(s * s))

    return logarithm


def filled(like, value):
    """Return a number in every lane, of the type of ``like``."""


@piecewise(filled)
def _filled_with(like, value):
    kind = float64 if like.dtype == types.float64 else float32
    return lambda like, value: splat(kind(value))


def _artanh_ratio(square):
    """Return ``artanh(s) / s`` as a series in s² ≤ 1/9."""


@piecewise(_artanh_ratio)
def _series(square):
    terms = 17 if square.dtype == types.float64 else 8
    kind = np.float64 if square.dtype == types.float64 else np.float32
    coefficients = tuple(kind(1 / (2 * k + 1)) for k in reversed(range(terms)))

    def series(square):
        total = splat(coefficients[0])
        for i in range(1, terms):
            total = muladd(total, square, splat(coefficients[i]))
        return total

    return series
