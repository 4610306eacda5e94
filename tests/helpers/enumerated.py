"""Deep belief networks, summed by plain loops."""

import math
from itertools import pairwise, product

import numpy as np
import reference as ref


def log_bernoulli(x, field):
    return sum(-math.log1p(math.exp(-f if xi else f)) for xi, f in zip(x, field, strict=True))


def down(layer, h):
    W, b, _ = layer
    return [bi + sum(W[i][j] * hj for j, hj in enumerate(h)) for i, bi in enumerate(b)]


def up(layer, v):
    W, _, c = layer
    return [cj + sum(vi * W[i][j] for i, vi in enumerate(v)) for j, cj in enumerate(c)]


class Enumerated:
    """All that follows from summing over the states of layers 0 to L - 1."""

    def __init__(self, layers):
        top = layers[-1]
        log_top = dict(zip(ref.states(len(top[1])), ref.log_p(*top), strict=True))
        self.paths = list(product(*(ref.states(len(b)) for _, b, _ in layers)))
        self.log_p, self.log_q = np.array([
            (
                log_top[path[-1]] + sum(log_bernoulli(x, down(a, h)) for a, x, h in self.steps(layers, path)),
                sum(log_bernoulli(h, up(a, x)) for a, x, h in self.steps(layers, path)),
            )
            for path in self.paths
        ]).T  # fmt: skip
        self.visible = ref.states(len(layers[0][1]))
        self.by_v = np.array([self.visible.index(path[0]) for path in self.paths])

    @staticmethod
    def steps(layers, path):
        return [(layer, x, h) for layer, (x, h) in zip(layers, pairwise(path), strict=False)]

    def log_likelihood(self):
        return np.array([ref.log_sum(list(self.log_p[self.by_v == k])) for k in range(len(self.visible))])

    def bound(self):
        terms = np.exp(self.log_q) * (self.log_p - self.log_q)
        return np.array([math.fsum(terms[self.by_v == k]) for k in range(len(self.visible))])
