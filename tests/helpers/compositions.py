"""Random models around one machine, and what one row of each is, by its definition: energies and densities in NumPy.

A model has many equal rows. Finite units are enumerated, real ones laid on a grid whose cells are a tenth of a standard
deviation wide. Nothing here comes from the package but the constructors that a user calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from scipy.special import gammaln, log_softmax

import pymc_rbm as pmr

POINTS = 61
"""Of the grid, for each real unit, over five and a half standard deviations on either side."""


# ------------------------------------------------------------------------------------------------------ units


@dataclass
class Side:
    """A layer: kind and parameter of its units, their number, its bias."""

    kind: str
    parameter: object
    units: int
    bias: np.ndarray

    def __str__(self):
        return f"{self.units} {self.kind}"

    @property
    def width(self):
        return self.parameter if self.kind == "categorical" else 1

    @property
    def widths(self):
        """The entries of each unit."""
        return np.full(self.units, self.width)

    @property
    def sides(self):
        """The side of each unit."""
        return [self] * self.units

    @property
    def real(self):
        return self.kind in ("gaussian", "rectified", "drelu")

    @property
    def scale(self):
        one = 1 / self.parameter**2 if self.kind in ("gaussian", "rectified") else 1.0
        return np.full(len(self.bias), one)

    @property
    def unit(self):
        kinds = {"bernoulli": pmr.Bernoulli, "spin": pmr.Spin, "categorical": pmr.Categorical, "binomial": pmr.Binomial}
        kinds |= {"gaussian": pmr.Gaussian, "rectified": pmr.Rectified, "drelu": pmr.DReLU}
        given = () if self.parameter is None else self.parameter if self.kind == "drelu" else (self.parameter,)
        return kinds[self.kind](*given)

    def values(self):
        """The values of one finite unit, one a row."""
        if self.kind == "categorical":
            return np.eye(self.width)
        low, high = {"bernoulli": (0, 1), "spin": (-1, 1), "binomial": (0, self.parameter)}[self.kind]
        return np.arange(low, high + 1, 2 if self.kind == "spin" else 1, dtype=float)[:, None]

    def own(self, x):
        """Minus the energy of the layer alone, by state."""
        if self.kind in ("gaussian", "rectified"):
            return -((x - self.bias) ** 2).sum(-1) / (2 * self.parameter**2)
        found = (self.bias * x).sum(-1)
        if self.kind == "binomial":
            comb = np.array([math.comb(self.parameter, k) for k in range(self.parameter + 1)])
            found = found + np.log(comb[x.astype(int)]).sum(-1)
        if self.kind == "drelu":
            up, down, theta = self.parameter
            found = found - (np.where(x > 0, up, down) * x**2 / 2 + theta * abs(x)).sum(-1)
        return found


class Mixed:
    """A layer of several sides, one after the other."""

    kind = "beside"

    def __init__(self, parts):
        self.parts, self.units = parts, sum(x.units for x in parts)
        self.bias, self.scale, self.widths = (
            np.concatenate([getattr(x, key) for x in parts]) for key in ("bias", "scale", "widths")
        )
        self.sides = [side for x in parts for side in x.sides]
        self.real = any(x.real for x in parts)
        self.unit = pmr.Beside(*((x.unit, len(x.bias)) for x in parts))

    def own(self, x):
        """Minus the energy of the layer alone, by state."""
        each = np.split(x, np.cumsum([len(part.bias) for part in self.parts])[:-1], axis=-1)
        return sum(part.own(own) for part, own in zip(self.parts, each, strict=True))

    def __str__(self):
        return " + ".join(f"{x.units} {x.kind}" for x in self.parts)


def nobody():
    """The hidden layer of a general machine."""
    return Side("bernoulli", None, 0, np.zeros(0))


def mixed_side(rng, most_real):
    """Two kinds of units side by side, at most one unit of them real."""
    kinds = list(rng.permutation(["bernoulli", "spin", "categorical", "binomial"]))
    if most_real and rng.random() < 0.4:
        kinds.insert(0, str(rng.choice(["gaussian", "rectified", "drelu"])))
    return Mixed([side_of(kind, 1 + (kind in ("bernoulli", "spin")), rng) for kind in kinds[:2]])


def random_side(rng, most_real):
    """Any kind of layer, of at most so many units that are real."""
    kinds = ["bernoulli", "spin", "categorical", "binomial"]
    kind = str(rng.choice(["gaussian", "rectified", "drelu"] if most_real and rng.random() < 0.3 else kinds))
    units = int(rng.integers(1, 3)) if kind == "categorical" else {"bernoulli": 3}.get(kind, 2)
    return side_of(kind, units if kind in kinds else int(rng.integers(1, 1 + most_real)), rng)


def side_of(kind, units, rng):
    """A layer of this kind with random parameters."""
    parameter = {
        "categorical": 3,
        "binomial": int(rng.integers(2, 4)),
        "gaussian": round(rng.uniform(0.6, 1.0), 2),
        "rectified": round(rng.uniform(0.6, 1.0), 2),
        "drelu": (1.5, 2.5, -0.3),
    }.get(kind)
    width = parameter if kind == "categorical" else 1
    return Side(kind, parameter, units, 0.5 * rng.normal(size=units * width))


# -------------------------------------------------------------------------------------------------- dependants
# Each is (what is added to the model, the log-density of one row's x), x being v, h, or both side by side.


def _normal(y, mean, sigma):
    return -((y - mean) ** 2) / (2 * sigma**2)


def regression(rng, n):
    a, y, sigma = 0.7 * rng.normal(size=n), rng.normal(), rng.uniform(0.4, 1.0)
    return (
        lambda name, x, rows: pm.Normal(name, x @ a, sigma, observed=np.full(rows, y)),
        lambda x: _normal(y, x @ a, sigma),
    )


def noisy_copy(rng, n):
    y, sigma = rng.normal(size=n), rng.uniform(0.5, 1.0)
    return (
        lambda name, x, rows: pm.Normal(name, x, sigma, observed=np.tile(y, (rows, 1))),
        lambda x: _normal(y, x, sigma).sum(-1),
    )


def pieces(rng, n):
    """Entries one by one, joined by hand."""
    a, y = 0.7 * rng.normal(size=n), rng.normal()
    return (
        lambda name, x, rows: pm.Normal(name, sum(a[i] * x[:, i] for i in range(n)), 0.6, observed=np.full(rows, y)),
        lambda x: _normal(y, sum(a[i] * x[:, i] for i in range(n)), 0.6),
    )


def interaction(rng, n):
    a, y = rng.normal(), rng.normal()
    return (
        lambda name, x, rows: pm.Normal(name, x[:, 0] + a * x[:, 0] * x[:, -1], 0.8, observed=np.full(rows, y)),
        lambda x: _normal(y, x[:, 0] + a * x[:, 0] * x[:, -1], 0.8),
    )


def counts(rng, n):
    a, y = 0.4 * rng.normal(size=n), int(rng.integers(0, 4))
    return (
        lambda name, x, rows: pm.Poisson(name, pt.exp(x @ a), observed=np.full(rows, y)),
        lambda x: y * (x @ a) - np.exp(x @ a),
    )


def forbidding(rng, n):
    """A rate that some states make negative; with a count, so that the density of real units has no step there."""
    a, y = rng.choice([-1.0, 0.5, 1.0], size=n), int(rng.integers(1, 4))

    def log_density(x):
        rate = x @ a + 0.7
        with np.errstate(all="ignore"):
            return np.where(rate > 0, y * np.log(rate) - rate, -np.inf)

    return lambda name, x, rows: pm.Poisson(name, x @ a + 0.7, observed=np.full(rows, y)), log_density


def label(rng, n):
    A, y = 0.7 * rng.normal(size=(n, 3)), int(rng.integers(3))
    return (
        lambda name, x, rows: pm.Categorical(name, pm.math.softmax(x @ A, axis=-1), observed=np.full(rows, y)),
        lambda x: log_softmax(x @ A, axis=-1)[:, y],
    )


def votes(rng, n):
    A, y = 0.7 * rng.normal(size=(n, 3)), rng.multinomial(4, [0.3, 0.3, 0.4])
    return (
        lambda name, x, rows: pm.Multinomial(name, 4, pm.math.softmax(x @ A, axis=-1), observed=np.tile(y, (rows, 1))),
        lambda x: (y * log_softmax(x @ A, axis=-1)).sum(-1),
    )


def joined_arrays(rng, n):
    a, y = 0.6 * rng.normal(size=n + 1), rng.normal()
    return (
        lambda name, x, rows: pm.Normal(
            name, pt.concatenate([x, pt.sin(x[:, :1])], axis=1) @ a, 0.7, observed=np.full(rows, y)
        ),
        lambda x: _normal(y, np.concatenate([x, np.sin(x[:, :1])], axis=1) @ a, 0.7),
    )


def stacked(rng, n):
    y = rng.normal(size=2)
    return (
        lambda name, x, rows: pm.Normal(
            name, pt.stack([x[:, 0], pt.sqr(x.sum(-1))], axis=1), 1.0, observed=np.tile(y, (rows, 1))
        ),
        lambda x: _normal(y, np.stack([x[:, 0], x.sum(-1) ** 2], axis=1), 1.0).sum(-1),
    )


def repeated(rng, n):
    """Two observations of each row, by an index, in another order."""
    a, y, order = 0.6 * rng.normal(size=n), rng.normal(), int(rng.integers(2**31))

    def build(name, x, rows):
        index = np.random.default_rng(order).permutation(np.repeat(np.arange(rows), 2))
        pm.Normal(name, (x @ a)[index], 0.9, observed=np.full(2 * rows, y))

    return build, lambda x: 2 * _normal(y, x @ a, 0.9)


def potential(rng, n):
    a = rng.normal(size=n)
    return lambda name, x, rows: pm.Potential(name, pt.cos(x @ a)), lambda x: np.cos(x @ a)


def mixture(rng, n):
    a, y = 0.8 * rng.normal(size=n), rng.normal()

    def build(name, x, rows):
        w = pt.stack([pm.math.sigmoid(x @ a), 1 - pm.math.sigmoid(x @ a)], axis=1)
        pm.NormalMixture(name, w, mu=np.array([-1.0, 1.0]), sigma=0.7, observed=np.full(rows, y))

    def log_density(x):
        p = 1 / (1 + np.exp(-x @ a))
        return np.log(p * np.exp(_normal(y, -1, 0.7)) + (1 - p) * np.exp(_normal(y, 1, 0.7)))

    return build, log_density


def second_machine(rng, n):
    """The units are biases of another machine, whose log Z they move."""
    W, A, c = 0.7 * rng.normal(size=(2, 2)), 0.5 * rng.normal(size=(n, 2)), rng.normal(size=2)
    y = rng.integers(0, 2, size=2)

    def log_density(x):
        def log_weight(u):
            return (x @ A) @ u + np.log1p(np.exp(u @ W + c)).sum()

        every = np.stack([log_weight(np.array(u)) for u in product((0, 1), repeat=2)])
        return log_weight(y) - np.logaddexp.reduce(every, axis=0)

    return lambda name, x, rows: pmr.RBM(name, W, x @ A, c, observed=np.tile(y, (rows, 1))), log_density


def gated(rng, n):
    """A free binary variable, which is 1 here, turns an interaction on."""
    y = rng.normal()

    def build(name, x, rows):
        z = pm.Bernoulli(f"{name}_gate", 0.2, initval=1)
        pm.Normal(name, x[:, 0] + z * x[:, 0] * x[:, -1], 0.8, observed=np.full(rows, y))

    return build, lambda x: _normal(y, x[:, 0] + x[:, 0] * x[:, -1], 0.8)


def overdispersed(rng, n):
    """Gamma-Poisson."""
    a, y, alpha = 0.4 * rng.normal(size=n), int(rng.integers(0, 4)), 2.0

    def log_density(x):
        mu = np.exp(x @ a)
        own = gammaln(y + alpha) - gammaln(alpha) - gammaln(y + 1)
        return own + y * np.log(mu / (mu + alpha)) + alpha * np.log(alpha / (mu + alpha))

    return (
        lambda name, x, rows: pm.NegativeBinomial(name, mu=pt.exp(x @ a), alpha=alpha, observed=np.full(rows, y)),
        log_density,
    )


def looked_up(rng, n):
    """Units as indices of a table; whole numbers only."""
    table, y = rng.normal(size=8), rng.normal()
    return (
        lambda name, x, rows: pm.Normal(name, pt.as_tensor(table)[x].sum(-1), 0.8, observed=np.full(rows, y)),
        lambda x: _normal(y, table[x.astype(int)].sum(-1), 0.8),
    )


DEPENDANTS = [regression, noisy_copy, pieces, interaction, counts, forbidding, label, votes, joined_arrays, stacked]
DEPENDANTS += [repeated, potential, mixture, second_machine, gated, overdispersed]


# ------------------------------------------------------------------------------------------------ compositions


@dataclass
class Composition:
    """A random model, and the exact distribution of what is sampled in one of its rows."""

    seed: int
    rows: int = 2000
    plain: bool = False
    """Whether to leave out general machines, layers of several kinds and masks that differ by row."""
    v: Side = field(init=False)
    h: Side = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        other = np.random.default_rng([1, self.seed])
        self.general, beside = (False, None) if self.plain else (other.random() < 0.2, other.random(2) < 0.25)
        self.v = random_side(rng, most_real=2)
        self.h = random_side(rng, most_real=1 if self.v.real else 2)
        if not self.plain:
            self.v = mixed_side(other, most_real=0) if beside[0] else self.v
            self.h = mixed_side(other, most_real=not self.v.real) if beside[1] else self.h
            self.h = nobody() if self.general else self.h
        n, m = len(self.v.bias), len(self.h.bias)
        both_real = self.v.real and self.h.real
        self.W = (0.3 if both_real else 0.7) * rng.normal(size=(n, m)) / np.sqrt(np.outer(self.v.scale, self.h.scale))
        self.U = self._couplings(other) if self.general else np.zeros((n, n))
        self.hidden = str(rng.choice(["summed out", "drawn", "dependant", "observed", "partly observed", "shared"]))
        if isinstance(self.h, Mixed) and self.h.real and self.hidden != "summed out":
            self.hidden = "drawn"  # what depends on real and on finite units of one layer is refused
        self.hidden = "summed out" if self.general else self.hidden
        self.data, everything = self._state(self.v, rng), np.ones(self.v.units, bool)
        self.masking, self.patterns = str(rng.choice(["free", "masked", "rows"])), [everything]
        if self.masking == "masked" and self.v.units > 1:
            self.patterns = [rng.permutation(np.arange(self.v.units) > 0)]
        else:
            self.masking = "free" if self.masking == "masked" or self.hidden != "summed out" else self.masking
        if self.masking == "rows":  # every other row is observed
            self.patterns = [everything, ~everything]
        if self.masking == "masked" and not self.plain and other.random() < 0.5:
            self.masking, first = "by row", self.patterns[0]
            self.patterns = [first, np.roll(first, 1), everything]
        self.given_h = self._state(self.h, rng)
        first = np.arange(self.h.units) == 0
        self.seen_h = first | (self.hidden == "observed") if "observed" in self.hidden else ~first & False
        self.effects = self._effects(rng)

    def _state(self, side, rng):
        if isinstance(side, Mixed):
            return np.concatenate([self._state(part, rng) for part in side.parts])
        if side.real:
            x = rng.normal(size=side.units)
            return abs(x) if side.kind == "rectified" else x
        return side.values()[rng.integers(len(side.values()), size=side.units)].ravel()

    def _couplings(self, rng):
        """Symmetric, and zero between the entries of one unit."""
        n, unit = len(self.v.bias), np.repeat(np.arange(self.v.units), self.v.widths)
        U = (0.3 if self.v.real else 0.7) * rng.normal(size=(n, n)) / np.sqrt(np.outer(self.v.scale, self.v.scale))
        return np.where(unit[:, None] == unit, 0.0, np.triu(U) + np.triu(U).T)

    def _effects(self, rng):
        """By what they read ("v", "h" or "both"), the dependants."""
        reads = ["v"] * int(rng.integers(0 if self.hidden in ("dependant", "shared") else 1, 3))
        reads += ["h"] * (self.hidden == "dependant") + ["both"] * (self.hidden == "shared")
        found, size = [], {"v": len(self.v.bias), "h": len(self.h.bias)}
        for what in reads:
            side = self.v if what == "v" else self.h
            choice = [*DEPENDANTS, *[looked_up] * (what != "both" and side.kind in ("bernoulli", "binomial"))]
            kind = choice[rng.integers(len(choice))]
            found.append((what, kind.__name__, *kind(rng, size.get(what, sum(size.values())))))
        return found

    def __str__(self):
        effects = ", ".join(f"{name}({what})" for what, name, *_ in self.effects)
        return (
            f"seed {self.seed}{', plain' * self.plain}: {self.v} ({self.masking}) "
            f"{'in general' if self.general else f'x {self.h} ({self.hidden})'}, {effects}"
        )

    def build(self):
        """The model; call it in a model's context."""
        n, options = len(self.v.bias), {"size": self.rows}
        if self.masking != "free":
            options = {"observed": np.ma.MaskedArray(np.tile(self.data, (self.rows, 1)), self.sampled[:, :n])}
        if self.general:
            v = pmr.BoltzmannMachine("v", self.U, self.v.bias, unit=self.v.unit, **options)
        else:
            units = {"visible": self.v.unit, "hidden": self.h.unit}
            v = pmr.RBM("v", self.W, self.v.bias, self.h.bias, **units, **options)
        h = None
        if self.hidden != "summed out":
            seen, observed = np.repeat(self.seen_h, self.h.widths), np.tile(self.given_h, (self.rows, 1))
            if not seen.all():
                observed = np.ma.MaskedArray(observed, np.tile(~seen, (self.rows, 1))) if seen.any() else None
            h = pmr.Hidden("h", v, observed=observed)
        for k, (what, _, add, _) in enumerate(self.effects):
            add(f"y{k}", v if what == "v" else h if what == "h" else pt.concatenate([v, h], axis=1), self.rows)

    def log_density(self, v, h):
        """Of rows of states, but for a constant."""
        total = self.v.own(v) + self.h.own(h)
        total = total + ((v * self.v.scale) @ self.W * h * self.h.scale).sum(-1)
        total = total + ((v * self.v.scale) @ self.U * v * self.v.scale).sum(-1) / 2
        for what, _, _, log_density in self.effects:
            total = total + log_density({"v": v, "h": h}.get(what, np.concatenate([v, h], axis=1)))
        return total

    def states(self, missing):
        """All states of a row of which these visible units are missing, v beside h, their probabilities, and the width
        of the cell of each entry.
        """
        ranges: list = [None] * (self.v.units + self.h.units)
        for points in (41, 61, POINTS):
            axes, widths = self._axes(missing, ranges, points)
            index = np.indices([len(a) for a in axes]).reshape(len(axes), -1)
            x = np.concatenate([a[i] for a, i in zip(axes, index, strict=True)], axis=1)
            n = len(self.v.bias)
            log_p = self.log_density(x[:, :n], x[:, n:])
            p = np.exp(log_p - log_p.max())
            p /= p.sum()
            ranges = [self._around(a[:, 0], i, p) for a, i in zip(axes, index, strict=True)]
        return x, p, np.concatenate(widths)

    def _axes(self, missing, ranges, points):
        axes, widths = [], []
        for layer, fixed, at in ((self.v, ~missing, self.data), (self.h, self.seen_h, self.given_h)):
            each = np.split(at, np.cumsum(layer.widths)[:-1])
            for side, is_fixed, own in zip(layer.sides, fixed, each, strict=False):
                if is_fixed:
                    axes.append(own[None])
                elif not side.real:
                    axes.append(side.values())
                else:
                    low, high = ranges[len(axes)] or (-9.0, 9.0)
                    low = max(low, 0.0) if side.kind == "rectified" else low
                    edges = np.linspace(low, high, points + 1)
                    axes.append((edges[1:] + edges[:-1])[:, None] / 2)
                wide = side.real and not is_fixed
                widths.append(np.full(side.width, edges[1] - edges[0] if wide else 0.0))
        return axes, widths

    @staticmethod
    def _around(values, index, p):
        mean = p @ values[index]
        sd = max(np.sqrt(p @ (values[index] - mean) ** 2), 1e-3)
        return mean - 5.5 * sd, mean + 5.5 * sd

    @property
    def sampled(self):
        """Which entries of v beside h are sampled, by row."""
        h = ~np.repeat(self.seen_h, self.h.widths) & (self.hidden != "summed out")
        each = [np.r_[np.repeat(missing, self.v.widths), h] for missing in self.patterns]
        return np.resize(each, (self.rows, len(each[0])))
