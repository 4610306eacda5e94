"""Align draws of W and c by transformations that leave p(v) as it is, since hidden units can change places.

With ``h' = T h + e``, T a permutation with signs, the machine with ``W' = W Tᵀ``, ``c' = T c`` has the same p(v):

- units of one family with the same parameters can change places, and so can the values of a one-hot unit;
- a unit whose family is symmetric about 0 can change its sign: ``W_j, c_j -> -W_j, -c_j``;
- a finite unit that is symmetric about another middle can be turned, ``h_j -> low + high - h_j`` (0 and 1 change
  places), but then the visible biases move, too: ``b -> b + (low + high) W_j``;
- Gaussian units that share their σ can be rotated: T is then any orthogonal matrix.

Draws are aligned as components of mixtures are (Stephens 2000): each is transformed to be nearest to a reference, and
the reference becomes the mean of what was transformed, in turn until nothing changes; the sum of squared distances
falls in each turn. A permutation is an assignment problem [1]_, a rotation an orthogonal Procrustes problem.

References
----------
.. [1] Stephens, M. (2000). Dealing with label switching in mixture models. Journal of the Royal Statistical Society B
   62, 795-809.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Exchangeable", "alignments"]

STARTS = 8
MOST_TURNS = 100


@dataclass(frozen=True)
class Exchangeable:
    """Neighbouring entries of a hidden layer that are units of one family.

    Attributes
    ----------
    entries : slice
    width : int
        The number of entries of a unit.
    signs : ndarray of bool, one an entry
        Which units may be turned.
    rotates : bool
        Whether they may be rotated.
    """

    entries: slice
    width: int
    signs: np.ndarray
    rotates: bool


def alignments(features: np.ndarray, same: np.ndarray, parts: list[Exchangeable]) -> np.ndarray:
    """Return T of each draw, shape (draws, hidden, hidden).

    Parameters
    ----------
    features : ndarray, shape (draws, hidden, features)
        What is aligned: the units' weights and bias, all of which change sign with the unit.
    same : ndarray of bool, shape (hidden, hidden)
        Which units have the same constant parameters.
    parts : list of Exchangeable
    """
    draws, hidden = features.shape[:2]
    found = np.zeros((draws, hidden, hidden))
    for part in parts:
        own = part.entries
        found[:, own, own] = _aligned(features[:, own], same[own, own], part)
    return found


def _aligned(x: np.ndarray, same: np.ndarray, part: Exchangeable) -> np.ndarray:
    """Return the best of several alignments, from different draws as the first reference, by the remaining spread."""
    scale = np.sqrt((x**2).mean((0, 1)))
    x = x / np.where(scale > 0, scale, 1)
    if part.width > 1:  # adding a number to all values of a one-hot unit changes nothing
        units = x.reshape(len(x), -1, part.width, x.shape[-1])
        x = (units - units.mean(2, keepdims=True)).reshape(x.shape)
    results = [_from(x, x[i], same, part) for i in np.linspace(len(x) - 1, 0, STARTS).astype(int)]
    transformed = min(results, key=lambda result: result[0])[1] @ x
    reference = transformed.mean(0)
    spread = np.sqrt(((transformed - reference) ** 2).mean((0, 1)))
    weights = 1 / np.where(spread > 0, spread, 1)  # entries count the more, the better they are known
    return _from(x * weights, reference * weights, same, part)[1]


def _from(x: np.ndarray, reference: np.ndarray, same: np.ndarray, part: Exchangeable) -> tuple[float, np.ndarray]:
    """Return the sum of squared distances from the mean, and T of each draw, starting at a reference."""
    loss, transformed = np.inf, x
    for _ in range(MOST_TURNS):
        T = _nearest(x, reference, same, part)
        transformed = T @ x
        reference = transformed.mean(0)
        before, loss = loss, float(((transformed - reference) ** 2).sum())
        if loss >= before * (1 - 1e-9):
            break
    return loss, T


def _nearest(x: np.ndarray, reference: np.ndarray, same: np.ndarray, part: Exchangeable) -> np.ndarray:
    """Return T of each draw for which ``T x`` is nearest to the reference."""
    products = reference @ x.mT
    if part.rotates:
        U, _, V = np.linalg.svd(products)
        return U @ V
    gains = np.where(part.signs, np.abs(products), products)
    never = -1 - 2 * np.abs(products).sum((1, 2), keepdims=True)  # less than any assignment gains
    gains = np.where(same, gains, never)
    T = np.zeros_like(products)
    for t, gain, product in zip(T, gains, products, strict=True):
        places = _assignment(gain) if part.width == 1 else _assignment_of_groups(gain, part.width)
        rows = np.arange(len(places))
        t[rows, places] = np.where(part.signs[places] & (product[rows, places] < 0), -1, 1)
    return T


def _assignment(gain: np.ndarray) -> np.ndarray:
    """Return which column each row takes, for the largest sum."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(gain, maximize=True)[1]


def _assignment_of_groups(gain: np.ndarray, width: int) -> np.ndarray:
    """Return the assignment where units are groups of entries: first values within pairs of units, then units."""
    n = len(gain) // width
    blocks = gain.reshape(n, width, n, width).transpose(0, 2, 1, 3)
    inner = np.array([[_assignment(blocks[i, j]) for j in range(n)] for i in range(n)])
    gains = np.take_along_axis(blocks, inner[..., None], axis=3).sum((2, 3))
    outer = _assignment(gains)
    return np.concatenate([outer[i] * width + inner[i, outer[i]] for i in range(n)])
