"""Exact answers by plain Python loops over states: no arithmetic is shared with the package."""

from __future__ import annotations

import math
from itertools import product

import numpy as np


def curie_weiss(n, w, tilt=0.0):
    """Parameters of n by n units that are all coupled alike: the energy depends on how many are on."""
    return np.full((n, n), w), np.full(n, tilt - n * w / 2), np.full(n, tilt - n * w / 2)


def curie_weiss_log_z(n, w):
    """Z = Σ_(k,m) C(n,k)·C(n,m)·exp(w·k·m - n·w·(k + m)/2)."""
    every = product(range(n + 1), repeat=2)
    return math.log(
        math.fsum(math.comb(n, k) * math.comb(n, m) * math.exp(w * k * m - n * w * (k + m) / 2) for k, m in every)
    )


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
    terms = np.ravel(terms).tolist()
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


# ------------------------------------------------------------------------------------- other units, any on either side
# A family is (kind, parameter): ("bernoulli", None), ("spin", None), ("categorical", q), ("binomial", n),
# ("gaussian", sigma), ("rectified", sigma). Real units are integrated by quadrature.


def values(family, nodes=200):
    """The values of one unit as tuples of its entries, with the log of the weight of each in sums."""
    kind, parameter = family
    if kind == "bernoulli":
        return [((x,), 0.0) for x in (0, 1)]
    if kind == "spin":
        return [((x,), 0.0) for x in (-1, 1)]
    if kind == "categorical":
        return [(tuple(int(k == x) for k in range(parameter)), 0.0) for x in range(parameter)]
    if kind == "binomial":
        return [((x,), math.log(math.comb(parameter, x))) for x in range(parameter + 1)]
    if kind == "drelu":  # two panels: there is a kink at zero
        points, weights = np.polynomial.legendre.leggauss(nodes // 2)
        panels = [
            (sign * 8 * (x + 1), math.log(8 * w)) for sign in (-1, 1) for x, w in zip(points, weights, strict=True)
        ]
        return [((x,), w) for x, w in sorted(panels)]
    low, high = (0.0, 20.0) if kind == "rectified" else (-16.0, 16.0)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    half = (high - low) / 2
    return [
        ((parameter * (low + half * (x + 1)),), math.log(parameter * half * w))
        for x, w in zip(points, weights, strict=True)
    ]


def layer_states(family, units):
    """Joint states of a layer, as tuples of entries, with the log of the weight of each."""
    return [
        (tuple(x for value, _ in chosen for x in value), sum(weight for _, weight in chosen))
        for chosen in product(values(family), repeat=units)
    ]


def sigma_of(family):
    return family[1] if family[0] in ("gaussian", "rectified") else None


def own_energy(family, x, bias):
    sigma = sigma_of(family)
    if family[0] == "drelu":
        up, down, theta = family[1]
        own = sum((up if xi > 0 else down) * xi**2 / 2 + theta * abs(xi) for xi in x)
        return own - sum(b * xi for b, xi in zip(bias, x, strict=True))
    if sigma is None:
        return -sum(b * xi for b, xi in zip(bias, x, strict=True))
    return sum((xi - b) ** 2 / (2 * sigma**2) for b, xi in zip(bias, x, strict=True))


def pair_energy(visible, hidden, v, h, W, b, c):
    """E(v, h); real units meet W as x/sigma²."""
    scale = 1.0
    for family in (visible, hidden):
        if sigma_of(family) is not None:
            scale /= sigma_of(family) ** 2
    total = own_energy(visible, v, b) + own_energy(hidden, h, c)
    for i, vi in enumerate(v):
        for j, hj in enumerate(h):
            total -= vi * W[i][j] * hj * scale
    return total


def pair_log_joint(visible, hidden, W, b, c, units):
    """States of both sides, and log(weights · exp(-E)) of all their pairs."""
    left, right = layer_states(visible, units[0]), layer_states(hidden, units[1])
    table = [[lv + lh - pair_energy(visible, hidden, v, h, W, b, c) for h, lh in right] for v, lv in left]
    return left, right, np.array(table)


# ------------------------------------------------------------------------------- any machine, entry by entry


def families(layer):
    """The family of each unit of a layer of a machine with numbers for parameters, and the entries that it takes."""
    found, start = [], 0
    for part, n in layer.unit.parts(len(layer.bias)):
        kind = type(part).__name__.lower()
        own = {x: np.broadcast_to(p, n) for x, p in zip(part.parameter_names, part.parameters, strict=True)}
        for i in range(n // part.width):
            entries = list(range(start + i * part.width, start + (i + 1) * part.width))
            whole = {"categorical": part.width, "binomial": getattr(part, "n", None)}.get(kind)
            numbers = tuple(x[i] for x in own.values())
            found.append(((kind, whole if not numbers else numbers if kind == "drelu" else numbers[0]), entries))
        start += n
    return found


def values_of(layer, entries=None):
    """All values of some entries (whole units) of a layer, with the log of the weight of each in sums."""
    units = [f for f, own in families(layer) if entries is None or set(own) <= set(entries)]
    chosen = list(product(*map(values, units)))
    states = np.array([[x for value, _ in each for x in value] for each in chosen], float)
    return states, np.array([sum(w for _, w in each) for each in chosen])


def scales(layer):
    """What stands before each entry where it meets weights."""
    found = np.ones(len(layer.bias))
    for family, entries in families(layer):
        if sigma_of(family) is not None:
            found[entries] = 1 / sigma_of(family) ** 2
    return found


def log_weight(machine, v):
    """log Σ_h exp(-E(v, h)) of one visible state, over all hidden ones; machines of one layer or of two."""
    visible, *others = machine.layers
    own = -sum(own_energy(f, v[entries], visible.bias[entries]) for f, entries in families(visible))
    [coupling], s = machine.couplings, scales(visible)
    if not others:
        return own + sum(v[i] * s[i] * coupling.weights[i, j] * s[j] * v[j] for i in range(len(v)) for j in range(i))
    [hidden] = others
    states, log_p = values_of(hidden)
    for f, entries in families(hidden):
        log_p = log_p - np.array([own_energy(f, h[entries], hidden.bias[entries]) for h in states])
    for j, scale in enumerate(scales(hidden)):
        log_p = log_p + sum(v[i] * s[i] * coupling.weights[i, j] for i in range(len(v))) * scale * states[:, j]
    return own + log_sum(list(log_p))
