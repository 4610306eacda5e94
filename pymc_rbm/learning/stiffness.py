r"""Steps along stiff directions of a machine are shortened, so that steps along all others need not be.

With gradient g, rate η and Fisher's information Λ along a unit vector u, near the optimum the objective falls by Λ/2
times the square of the way along u. A step ``η u·g`` overshoots where ηΛ > 2: the weights of modes of clustered data
are such directions. The implicit step, which takes the gradient where it ends, never does:

    x = η (u·g - Λ x)   ⇒   x = η u·g / (1 + ηΛ).

At the optimum the variance of the gradient is ``Λ (1/rows + 1/particles)`` along u, by the information equality. So the
directions of most noise are the stiffest ones: `DIRECTIONS` of them are followed by Oja's rule (1982, J. Math. Biol.
15), and Λ is found from differences of successive gradients, in which their drift cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

__all__ = ["damped"]

DIRECTIONS = 8
GAIN, MEMORY = 0.2, 0.02
"""The weights of a new step in the directions, and in the moving averages of their noise."""
TINY = 1e-100


def damped(updates: dict[Any, Any], parameters: Sequence[Any], rate: Any, noise: Any) -> dict[Any, TensorVariable]:
    """Return new values of the shared ``parameters`` after damped steps, and of shared variables that follow these.

    ``updates`` are those of plain gradient ascent with ``rate``. ``noise`` is ``1/rows + 1/particles``.
    """
    sizes = [int(p.get_value(borrow=True).size) for p in parameters]
    count = min(DIRECTIONS, sum(sizes))
    first = np.linalg.qr(np.random.default_rng(0).normal(size=(sum(sizes), count)))[0].T
    parts = np.split(first, np.cumsum(sizes)[:-1], axis=1)
    along = [
        pytensor.shared(np.ascontiguousarray(x, p.dtype), name=f"{p.name}_stiff")
        for x, p in zip(parts, parameters, strict=True)
    ]
    square, before = (pytensor.shared(np.zeros(count), name=f"stiff_{name}") for name in ("square", "gradient"))
    seen = pytensor.shared(np.asarray(0.0), name="stiff_seen")

    steps = [updates[p] - p for p in parameters]
    flat = [s.ravel() for s in steps]
    moves = sum(u @ s for u, s in zip(along, flat, strict=True))
    gradient = pt.switch(rate > 0, moves / pt.maximum(rate, TINY), before)
    weight = pt.switch(seen > 0, pt.maximum(MEMORY, 1 / pt.maximum(seen, 1)), 0.0)
    new_square = square + weight * ((gradient - before) ** 2 / 2 - square)
    kept = 1 / (1 + rate * new_square / noise)

    norm = pt.sqrt(sum((s**2).sum() for s in flat)) + TINY
    turned = [u + GAIN * pt.outer(moves / norm, s / norm) for u, s in zip(along, flat, strict=True)]
    gram = sum(u @ u.T for u in turned)
    triangle = pt.linalg.inv(pt.linalg.cholesky(gram))
    new = {u: triangle @ x for u, x in zip(along, turned, strict=True)}
    new |= {square: new_square, before: gradient, seen: seen + pt.gt(rate, 0)}
    new |= {
        p: p + s - (((1 - kept) * moves) @ u).reshape(p.shape) for p, s, u in zip(parameters, steps, along, strict=True)
    }
    return {shared: value.astype(shared.dtype) for shared, value in new.items()}
