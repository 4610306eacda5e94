"""Real units together: the precision matrix of their joint distribution, whether it can be normalised, and log Z.

Units with ``log base(x) = -x²/2σ²`` in coupled layers have the joint quadratic form ``-½ xᵀPx`` with ``1/σ²`` on
the diagonal of P and ``-W_ij/(σ_i² σ_j²)`` off it. Where P is positive definite, exp(-E) can be integrated whatever
finite units there are besides (the coupling U of a layer to itself enters as W does). Where all units are Gaussian the
integral is

    log Z = ½ fᵀP⁻¹f - ½ log det P + (n/2) log 2π - Σ b²/2σ²,        f = b/σ².
"""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine import Machine
from pymc_rbm.modes import INTERPRETED
from pymc_rbm.remembered import remembered

__all__ = ["check_normalisable", "gaussian_log_partition", "is_gaussian"]


def is_gaussian(machine: Machine) -> bool:
    """Whether all units are Gaussian and no parameter has batch axes, so that `gaussian_log_partition` holds."""
    n = len(machine.layers)
    flat = all(pt.as_tensor(layer.bias).ndim == 1 for layer in machine.layers) and all(
        pt.as_tensor(p).ndim <= (2 if i < len(machine.couplings) else 1) for i, p in enumerate(machine.parameters[n:])
    )
    return flat and all(layer.unit.integrable for layer in machine.layers)


def gaussian_log_partition(machine: Machine) -> TensorVariable:
    """Return log Z of Gaussian units only, differentiable; infinite where it is not defined."""
    layers = list(range(len(machine.layers)))
    root = pt.linalg.cholesky(_precision(machine, layers), on_error="nan")
    field = pt.concatenate([layer.unit.scaled(pt.as_tensor(layer.bias)) for layer in machine.layers])
    offset = sum(layer.unit.offset(layer.bias).sum() for layer in machine.layers)
    white = pt.linalg.solve_triangular(root, field, lower=True)
    log_z = (white**2).sum() / 2 - pt.log(pt.diagonal(root)).sum() + field.size * np.log(2 * np.pi) / 2 - offset
    return pt.switch(pt.isnan(log_z), np.inf, log_z).astype(field.dtype)


def check_normalisable(machine: Machine) -> None:
    """Refuse a machine, with numbers for parameters, whose real units are coupled too strongly to be normalised.

    Raises
    ------
    ValueError
        If P, scaled to a unit diagonal, has an eigenvalue that is not positive. For units that cannot be negative,
        inhibition is left out of P first, and of two curvatures the smaller one counts: what is then positive definite
        can certainly be normalised.
    """
    real = tuple(i for i, layer in enumerate(machine.layers) if layer.unit.quadratic)
    if not any(c.first in real and c.second in real for c in machine.couplings):
        return
    matrix = _precision_function(machine.template, real)(*machine.parameters)
    parts = [part for i in real for part in machine.layers[i].unit.parts(np.size(machine.layers[i].bias))]
    own = np.repeat([unit.quadratic for unit, _ in parts], [n for _, n in parts])
    one_sided = np.repeat([unit.one_sided for unit, _ in parts], [n for _, n in parts])[own]
    matrix = matrix[np.ix_(own, own)]  # of the real units in layers that have others beside them
    scale = np.sqrt(np.diagonal(matrix))
    matrix = matrix / scale[:, None] / scale
    both = np.outer(one_sided, one_sided) & ~np.eye(len(matrix), dtype=bool)
    smallest = np.linalg.eigvalsh(np.where(both, np.minimum(matrix, 0), matrix))[0]
    if smallest <= 0:
        certain = all(unit.integrable for unit, _ in parts if unit.quadratic)
        what = "cannot be normalised" if certain else "cannot be shown to be normalisable"
        raise ValueError(
            f"The machine {what}: the weights between its real units are so large that the energy falls without bound. "
            f"The precision matrix of the units, scaled to 1 on the diagonal, has the eigenvalue {smallest:.3g}; all "
            "must be positive, which for two layers means that the largest singular value of W/(σ_visible σ_hidden) "
            "is below 1. Make W smaller, or one side binary. (Inside one layer: make U smaller.)"
        )


def _precision(machine: Machine, layers: list[int]) -> TensorVariable:
    """P of the given layers; that of entries whose units are not quadratic means nothing."""
    scales = {i: machine.layers[i].unit.scaled(pt.ones_like(machine.layers[i].bias)) for i in layers}
    blocks = {(i, i): pt.diag(machine.layers[i].unit.curvature(machine.layers[i].bias)) for i in layers}
    for c in machine.couplings:
        if c.first in layers and c.second in layers:
            block = -scales[c.first][:, None] * c.weights * scales[c.second]
            if c.first == c.second:
                blocks[c.first, c.first] = blocks[c.first, c.first] + block
            else:
                blocks[c.first, c.second], blocks[c.second, c.first] = block, block.T
    empty = {(i, j): pt.zeros((scales[i].shape[0], scales[j].shape[0])) for i in layers for j in layers}
    rows = [pt.concatenate([blocks.get((i, j), empty[i, j]) for j in layers], axis=1) for i in layers]
    return pt.concatenate(rows, axis=0)


@remembered(16)
def _precision_function(template: Machine, layers: tuple[int, ...]):
    """(parameters…) -> P of the given layers."""
    machine, inputs = template.symbolic()
    precision = _precision(machine, list(layers))
    return pytensor.function(inputs, precision, on_unused_input="ignore", mode=INTERPRETED)
