"""log Z of binary units by the kernels, of numbers and inside graphs, where they take the place of sums over states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.operations import BinaryLogZ, GeneralLogZ
from pymc_rbm.kernels.shapes import of_shape
from pymc_rbm.kernels.sweep_rewrites import TAGS, have_kernel
from pymc_rbm.machine.enumeration import (
    ENUMERABLE,
    EnumeratedLogPartition,
    LogPartitionSlopes,
    cheapest_layer,
    is_binary,
    is_binary_pair,
    sizes_of,
    widest_layer,
)
from pymc_rbm.machine.machine import Machine

__all__ = ["factors_of", "log_partition_by_kernel", "log_z_by_kernel"]


def factors_of(machine: Machine) -> float:
    """Return how many factors the kernel's sum has, which take it about a nanosecond each."""
    _, states = cheapest_layer(machine)
    return states * (widest_layer(machine) if is_binary_pair(machine) else 1)


def log_partition_by_kernel(machine: Machine) -> TensorVariable:
    """Return log Z of a machine that `is_binary`: a sum over the smaller layer's states.

    It is differentiable once.
    """
    parameters = list(map(pt.as_tensor, machine.parameters))
    if len(machine.layers) == 1:
        bits, rest = _one_layer_in_bits(machine, *parameters)
        found = GeneralLogZ()(*(x.astype("float64") for x in bits))[0]
        return (rest + found).astype(parameters[0].dtype)
    bits, rest, _ = _in_bits(machine, *parameters)
    sizes = [np.inf if n is None else n for n in sizes_of(machine)]
    if sizes[0] < sizes[1]:
        bits = [bits[0].T, bits[2], bits[1]]
    return (rest + BinaryLogZ()(*(x.astype("float64") for x in bits))[0]).astype(parameters[2].dtype)


def log_z_by_kernel(machine: Machine) -> tuple[float, list[np.ndarray]]:
    """Return log Z of such a machine with numbers for parameters, and its gradient by these."""
    if len(machine.layers) == 1:
        return _log_z_of_one_layer(machine)
    from pymc_rbm.kernels.exact_sums import log_z_and_gradient  # loads numba

    b, c, W = machine.parameters
    bits, rest, ((low, d), (low_2, d_2)) = _in_bits(machine, b, c, W)
    if len(b) < len(c):
        value, by_W, by_c, by_b = log_z_and_gradient(bits[0].T, bits[2], bits[1])
        by_W = by_W.T
    else:
        value, by_W, by_b, by_c = log_z_and_gradient(*bits)
    by_W = low * low_2 + d * d_2 * by_W + d * low_2 * by_b[:, None] + low * d_2 * by_c
    return float(rest + value), [low + d * by_b, low_2 + d_2 * by_c, by_W]


def _log_z_of_one_layer(machine: Machine) -> tuple[float, list[np.ndarray]]:
    from pymc_rbm.kernels.general_sums import log_z_and_moments  # loads numba

    bits, rest = _one_layer_in_bits(machine, *machine.parameters)
    low, high = machine.layers[0].unit.ends
    value, moments = log_z_and_moments(*bits)
    means = np.diag(moments)
    both = low**2 + low * (high - low) * (means[:, None] + means) + (high - low) ** 2 * moments
    return float(rest + value), [low + (high - low) * means, both / 2]


def _one_layer_in_bits(machine: Machine, b: Any, U: Any) -> tuple[list[Any], Any]:
    """Return U and b of the equivalent machine of 0/1 units, and the difference of log Z, with x = low + d·bit."""
    low, high = machine.layers[0].unit.ends
    d = high - low
    rest = low * b.sum() + low**2 * U.sum() / 2
    return [U * d**2, d * (b + low * (U.sum(0) + U.sum(1)) / 2)], rest


def _in_bits(machine: Machine, b: Any, c: Any, W: Any) -> tuple[list[Any], Any, list[tuple[float, float]]]:
    """Return W, b and c of the equivalent machine of 0/1 units, the difference of log Z, and low and d of each layer.

    With x = low + d·bit for both layers: ``W d d'``, ``d (b + low' W 1)``, ``d' (c + low Wᵀ 1)``, and a number.
    """
    (low, d), (low_2, d_2) = scales = [(low, high - low) for low, high in (x.unit.ends for x in machine.layers)]
    rest = low * b.sum() + low_2 * c.sum() + low * low_2 * W.sum()
    return [W * (d * d_2), d * (b + low_2 * W.sum(1)), d_2 * (c + low * W.sum(0))], rest, scales


@node_rewriter([EnumeratedLogPartition, LogPartitionSlopes])
def use_log_z_kernel(fgraph, node):
    """Use `BinaryLogZ` or `GeneralLogZ` for log Z and for its gradient, where the parameters are of one type."""
    machine = node.op.template.with_parameters(node.inputs)
    if not is_binary(machine) or not have_kernel(*node.inputs):
        return None
    if isinstance(node.op, LogPartitionSlopes):
        found = machine.slopes(log_partition_by_kernel)
    else:
        found = [log_partition_by_kernel(machine)]
    shaped = [of_shape(x.astype(old.dtype), old.type.shape) for x, old in zip(found, node.outputs, strict=True)]
    copy_stack_trace(node.outputs, shaped)
    return shaped


@node_rewriter([EnumeratedLogPartition, LogPartitionSlopes])
def use_it_for_many_states(fgraph, node):
    """Do so where Python evaluates the graph, if the sum is so long that its graph would be a loop."""
    machine = node.op.template.with_parameters(node.inputs)
    return None if cheapest_layer(machine)[1] <= 2**ENUMERABLE else use_log_z_kernel.transform(fgraph, node)


optdb.register("rbm_log_z_kernel", dfs_rewriter(use_log_z_kernel), *TAGS, position=-0.02)
optdb.register("rbm_log_z_of_many", dfs_rewriter(use_it_for_many_states), "fast_compile", "rbm_kernels", position=-0.02)
