r"""With centred gradients learning does not care whether a unit's states are called 0 and 1 or 1 and 0.

With offsets μ and λ write the energy in centred units, ``-(v - μ)ᵀW(h - λ) - b̃ᵀ(v - μ) - c̃ᵀ(h - λ)``. Up to a
constant that is the same machine with ``b = b̃ - Wλ`` and ``c = c̃ - Wᵀμ``. Ascent in ``(W, b̃, c̃)`` sees the
gradients

    gW' = gW - μ gcᵀ - gb λᵀ,   gb,   gc,

and moves the plain biases by ``gb' = gb - gW'λ`` and ``gc' = gc - gW'ᵀμ``. That is the plain gradient times a positive
definite matrix, so fixed points stay where they are, with priors and whatever else the objective contains (Melchior,
Fischer & Wiskott 2016, *How to center deep Boltzmann machines*, JMLR 17). Nothing is divided by a variance, so constant
columns are harmless.

A bias may be a sum, ``b = b₀ + XA`` with covariates X: then b₀ is what moves with W, for ``(W, b₀) -> (W, b₀ + Wλ)``
is a change of coordinates whatever else is added, and gb is the gradient by b₀.
"""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

__all__ = ["OFFSET_RATE", "centred"]

OFFSET_RATE = 0.01
"""Weight of a new iteration in the moving averages μ and λ of the units' means over data and particles."""


def centred(
    gW: TensorVariable, gb: TensorVariable, gc: TensorVariable, mu: Any, lam: Any
) -> tuple[TensorVariable, TensorVariable, TensorVariable]:
    """Return the centred gradients of W, b and c for offsets ``mu`` (visible) and ``lam`` (hidden).

    Where units have a scale of their own (`Unit.scaled`), all is in its units: v/σ, and W, b and c in those of σ.
    """
    mu, lam = pt.as_tensor(mu), pt.as_tensor(lam)
    gW = gW - mu[:, None] * gc[None, :] - gb[:, None] * lam[None, :]
    # Rows times gW, not its transpose times a column: numba compiles one product for both.
    return gW, gb - gW @ lam, gc - pt.dot(mu[None, :], gW)[0]
