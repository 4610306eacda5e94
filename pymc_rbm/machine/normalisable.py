"""The precision matrix of real units says whether a machine can be normalised, and gives log Z of Gaussian units.

Units with ``log base(x) = -x²/2σ²`` in coupled layers have the joint quadratic form ``-½ xᵀPx`` with ``1/σ²`` on
the diagonal of P and ``-W_ij/(σ_i² σ_j²)`` off it. Where P is positive definite, exp(-E) can be integrated whatever
finite units there are besides (the coupling U of a layer to itself enters as W does). Where all units are Gaussian the
integral is

    log Z = ½ fᵀP⁻¹f - ½ log det P + (n/2) log 2π - Σ b²/2σ²,        f = b/σ².
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.machine.machine import Machine
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.modes import INTERPRETED

__all__ = [
    "certain_precision",
    "check_normalisable",
    "gaussian_log_partition",
    "has_bounds",
    "is_gaussian",
    "smallest_eigenvalue",
]


def is_gaussian(machine: Machine) -> bool:
    """Whether all units are Gaussian and no parameter has batch axes, so that `gaussian_log_partition` holds."""
    given = machine.by_kind
    flat = given.map(lambda p, n: pt.as_tensor(p).ndim <= n, given.core_ndims).flat()
    return all(flat) and all(layer.unit.integrable for layer in machine.layers)


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
    """Refuse a machine with numbers for parameters whose real units are coupled too strongly to be normalised.

    Raises
    ------
    ValueError
        If P, scaled to a unit diagonal, has an eigenvalue that is not positive. For units that cannot be negative,
        inhibition is left out of P first, and of two curvatures the smaller one counts: what is then positive definite
        can certainly be normalised.
    """
    smallest = smallest_eigenvalue(machine)
    if smallest <= 0:
        certain = all(
            unit.integrable for i in _real(machine) for unit, _ in machine.layers[i].unit.parts(1) if unit.quadratic
        )
        what = "cannot be normalised" if certain else "cannot be shown to be normalisable"
        raise ValueError(
            f"The machine {what}: the weights between its real units are so large that the energy falls without bound. "
            f"The precision matrix of the units, scaled to 1 on the diagonal, has the eigenvalue {smallest:.3g}; all "
            "must be positive, which for two layers means that the largest singular value of W/(σ_visible σ_hidden) "
            "is below 1. Make W smaller, or one side binary. (Inside one layer: make U smaller.)"
        )


def smallest_eigenvalue(machine: Machine) -> float:
    """Return the smallest eigenvalue of P as `check_normalisable` scales it; 1 where all weights are allowed."""
    if not has_bounds(machine):
        return 1.0
    sizes = [np.shape(layer.bias)[-1] for layer in machine.layers]
    biases = tuple(np.reshape(layer.bias, (-1, size))[0] for layer, size in zip(machine.layers, sizes, strict=True))
    parameters = replace(machine.by_kind, biases=biases).flat()
    matrix = _precision_function(machine.template, _real(machine))(*parameters)
    return float(np.linalg.eigvalsh(_certain(np, matrix, *_of_real_units(machine, sizes)))[0])


def has_bounds(machine: Machine) -> bool:
    """Whether the machine has weights between real units, which can be too large to be normalised."""
    real = _real(machine)
    return any(c.first in real and c.second in real for c in machine.couplings)


def certain_precision(machine: Machine, sizes: list[int]) -> TensorVariable:
    """Return the matrix of `smallest_eigenvalue` as a graph, for layers of known sizes."""
    biases = tuple(bias if bias.ndim < 2 else bias[0] for bias in (pt.as_tensor(x.bias) for x in machine.layers))
    flat = machine.with_parameters(replace(machine.by_kind, biases=biases))
    matrix = _precision(flat, list(_real(machine))).astype("float64")
    return _certain(pt, matrix, *_of_real_units(machine, sizes))


def _real(machine: Machine) -> tuple[int, ...]:
    return tuple(i for i, layer in enumerate(machine.layers) if layer.unit.quadratic)


def _of_real_units(machine: Machine, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where the real units are in the layers that have some, and which pairs of them cannot be negative."""
    parts = [part for i in _real(machine) for part in machine.layers[i].unit.parts(sizes[i])]
    own = np.repeat([unit.quadratic for unit, _ in parts], [n for _, n in parts])
    one_sided = np.repeat([unit.one_sided for unit, _ in parts], [n for _, n in parts])[own]
    return np.flatnonzero(own), np.outer(one_sided, one_sided) & ~np.eye(len(one_sided), dtype=bool)


def _certain(of: Any, matrix: Any, own: np.ndarray, both: np.ndarray) -> Any:
    """Return P of units ``own`` scaled to a unit diagonal, without inhibition of pairs ``both``; ``of`` is np or pt."""
    matrix = matrix[own][:, own]
    scale = of.sqrt(of.diagonal(matrix))
    matrix = matrix / scale[:, None] / scale
    return of.where(both, of.minimum(matrix, 0), matrix)


def _precision(machine: Machine, layers: list[int]) -> TensorVariable:
    """Return P of the given layers; rows and columns of units that are not quadratic have no meaning."""
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


@remembered(64)
def _precision_function(template: Machine, layers: tuple[int, ...]):
    """Compile (parameters…) -> P of the given layers."""
    machine, inputs = template.symbolic()
    precision = _precision(machine, list(layers))
    return pytensor.function(inputs, precision, on_unused_input="ignore", mode=INTERPRETED)
