r"""Steps along stiff directions of a machine are shortened, so that steps along all others need not be.

With rate η and Fisher's information Λ in some directions, near the optimum the gradient g there falls by Λx on a way x.
A step ``ηg`` overshoots along eigenvectors of Λ with ``ηλ > 2``: the weights of modes of clustered data are such
directions. The implicit step, which takes the gradient where it ends, never does:

    x = η (g - Λx)   ⇒   x = ηg - D ηg   with   D = ηΛ (1 + ηΛ)⁻¹.

At the optimum the covariance of the gradient is ``Λ (1/rows + 1/particles)``, by the information equality. So the stiff
directions are those of most noise: `DIRECTIONS` of them are followed as the leading eigenvectors of the moving average
of ``w wᵀ``, with w the sums of several steps as plain ascent would make them, of which each changes the average by one
of rank one (Brand 2006, Linear Algebra Appl. 415). The steps have alternating signs: drift cancels, and along a stiff
direction, where each step takes much of the last one back, they add up. The covariance of the gradient is found from
differences of successive ones. The directions are kept in single precision: an update reads them twice, 12 MB for
784 x 500 units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

__all__ = ["StiffDirections"]

DIRECTIONS = 8
GAIN, MEMORY = 0.1, 0.1
"""The weights of a new sum in the average of ``w wᵀ``, and of its gradients in that of their covariance."""
LITTLE = 1e-6
"""The weight of the first directions, which are random, beside that of the first sum."""
TINY = 1e-12
"""The least eigenvalue beside the largest; one that is zero has no direction."""
RENEWED = 50
"""After so many sums the directions are made orthonormal again, which rounding errors have disturbed."""


class StiffDirections:
    """Orthonormal directions in the space of some shared ``parameters``, which `follow` turns to the stiffest ones.

    Parameters
    ----------
    parameters : sequence of shared variables
    every : int
        The number of steps between two calls of `follow`.

    Attributes
    ----------
    kept : list of shared variables
        All that `follow` changes.
    """

    def __init__(self, parameters: Sequence[Any], every: int):
        self._parameters = list(parameters)
        sizes = [int(p.get_value(borrow=True).size) for p in parameters]
        n = min(DIRECTIONS, sum(sizes))
        first = np.linalg.qr(np.random.default_rng(0).normal(size=(sum(sizes), n)))[0].T
        parts = np.split(first, np.cumsum(sizes)[:-1], axis=1)
        self._along = [
            pytensor.shared(np.ascontiguousarray(x, "float32"), name=f"{p.name}_stiff")
            for x, p in zip(parts, parameters, strict=True)
        ]
        self._steps = [
            pytensor.shared(np.zeros(x.shape[1], "float32"), name=f"{p.name}_steps", shape=(x.shape[1],))
            for x, p in zip(parts, parameters, strict=True)
        ]
        zeros = {"spread": np.zeros(n), "covariance": np.zeros((n, n)), "less": np.zeros((n, n)), "seen": np.zeros(())}
        self._spread, self._covariance, self._less, self._seen = (
            pytensor.shared(x, name=f"stiff_{name}") for name, x in zeros.items()
        )
        self._gradients = pytensor.shared(np.zeros((every, n)), name="stiff_gradients", shape=(every, n))
        self.kept = [*self._along, self._spread, self._covariance, self._less, self._seen]

    def damped(self, updates: dict[Any, Any], rate: Any) -> dict[Any, TensorVariable]:
        """Return new values of the parameters after damped steps, and of the records of steps and gradients.

        ``updates`` are those of plain gradient ascent with ``rate``.
        """
        steps = [(updates[p] - p).ravel().astype("float32") for p in self._parameters]
        moves = sum(u @ x for u, x in zip(self._along, steps, strict=True)).astype("float64")
        less, new = (self._less @ moves).astype("float32"), {}
        for p, u, x, total in zip(self._parameters, self._along, steps, self._steps, strict=True):
            new[p] = (updates[p] - (less @ u).reshape(p.shape)).astype(p.dtype)
            new[total] = x - total
        gradient = moves / pt.where(rate > 0, rate, 1.0)  # at rate zero, where nothing moves, the old ones stay
        after = pt.concatenate([self._gradients[1:], gradient[None]])
        return new | {self._gradients: pt.where(rate > 0, after, self._gradients)}

    def follow(self, rate: float, noise: float) -> None:
        """Turn the directions to where the last steps went, and find how stiff they are for steps of this rate.

        ``noise`` is ``1/rows + 1/particles``.
        """
        ways = [x.get_value() for x in self._steps]
        for x in self._steps:
            x.set_value(np.zeros_like(x.get_value(borrow=True)), borrow=True)
        length = sum(float(x @ x) for x in ways) ** 0.5
        if not (0 < length < np.inf and rate > 0):
            return
        along = [u.get_value(borrow=True) for u in self._along]
        moves = sum(u @ x for u, x in zip(along, ways, strict=True)).astype("float64")
        seen = self._seen.get_value() + 1
        self._seen.set_value(seen)

        # Rows of the root of the average: the directions, each with its spread, and the way.
        spread = self._spread.get_value() if seen > 1 else np.full(len(moves), LITTLE * length**2)
        roots = np.sqrt((1 - GAIN) * spread)
        gram = np.diag(np.append(roots**2, GAIN * length**2))
        gram[-1, :-1] = gram[:-1, -1] = np.sqrt(GAIN) * roots * moves
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values[:0:-1], TINY * values[-1])
        vectors = vectors[:, :0:-1].T / np.sqrt(values[:, None])
        turn, onto = vectors[:, :-1] * roots, vectors[:, -1] * np.sqrt(GAIN)
        along = [
            turn.astype("float32") @ u + np.outer(onto.astype("float32"), x) for u, x in zip(along, ways, strict=True)
        ]
        if seen % RENEWED == 0:
            triangle = np.linalg.inv(np.linalg.cholesky(sum((u @ u.T).astype("float64") for u in along)))
            along = [triangle.astype("float32") @ u for u in along]
        for shared, u in zip(self._along, along, strict=True):
            shared.set_value(u, borrow=True)
        self._spread.set_value(values)

        differences = np.diff(self._gradients.get_value(), axis=0)
        new, old = differences.T @ differences / (2 * len(differences)), self._covariance.get_value()
        turn = turn + np.outer(onto, moves)  # the new directions in terms of the old ones
        covariance = turn @ (old + max(MEMORY, 1 / seen) * (new - old)) @ turn.T
        self._covariance.set_value(covariance)
        eta = rate * covariance / noise
        self._less.set_value(np.linalg.solve(np.eye(len(eta)) + eta, eta))
