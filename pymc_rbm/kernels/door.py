"""Sweeps and paths call the kernels through the functions of this file only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.field_rewrites import use_means  # noqa: F401  # its rewrites, and those of sweeps, register on import
from pymc_rbm.kernels.nodes import BinaryConditional, BinaryLevels, BinarySweeps, BinaryWalk, Form
from pymc_rbm.kernels.operations import BinaryLogZ, GeneralLogZ
from pymc_rbm.machine.enumeration import cheapest_layer, sizes_of, widest_layer
from pymc_rbm.machine.machine import HIDDEN, Machine, State
from pymc_rbm.units.binary import Bernoulli, Spin

__all__ = [
    "BinaryLevels",
    "BinaryWalk",
    "along_path",
    "as_node",
    "conditional_node",
    "factors_of",
    "is_binary_pair",
    "is_summed_by_kernel",
    "log_partition_by_kernel",
    "log_z_by_kernel",
]


def is_binary_pair(machine: Machine) -> bool:
    """Whether the machine is two coupled layers of Bernoulli units or spins whose rows share their parameters."""
    return _is_binary(machine, [(0, 1)])


def is_summed_by_kernel(machine: Machine) -> bool:
    """Whether there is a kernel for log Z: `is_binary_pair`, or one layer of such units, coupled to each other."""
    return is_binary_pair(machine) or _is_binary(machine, [(0, 0)])


def _is_binary(machine: Machine, couplings: list[tuple[int, int]]) -> bool:
    return (
        len(machine.layers) == 1 + max(couplings[0])
        and [(c.first, c.second) for c in machine.couplings] == couplings
        and all(type(layer.unit) in (Bernoulli, Spin) for layer in machine.layers)
        and all(p is not None for p in machine.parameters)
        and machine.by_kind.map(lambda p: pt.as_tensor(p).ndim) == machine.by_kind.core_ndims
    )


def factors_of(machine: Machine) -> float:
    """Return how many factors the kernel's sum has, which take it about a nanosecond each."""
    _, states = cheapest_layer(machine)
    return states * (widest_layer(machine) if is_binary_pair(machine) else 1)


def log_partition_by_kernel(machine: Machine) -> TensorVariable:
    """Return log Z of a machine that `is_summed_by_kernel`: a sum over the smaller layer's states.

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


def as_node(
    definition: Callable,
    machine: Machine,
    state: State,
    rng: TensorVariable,
    n: int | TensorVariable,
    clamped: Sequence[Any] | None = None,
    last: int | None = None,
    draws: int | TensorVariable | None = None,
) -> tuple[list[TensorVariable], TensorVariable]:
    """Return what ``definition(machine, state, rng, n, clamped, last)`` returns, as outputs of one `BinarySweeps` node.

    With ``draws``, which is then the last argument, the definition returns the visible states of all draws.
    """
    clamped = list(clamped or (None, None))
    masks = [None if x is None or x is True else pt.as_tensor(x) for x in clamped]
    states = [None if x is None else pt.as_tensor(x) for x in state]
    counts = [None if isinstance(n, int | np.integer) and n == 1 else pt.as_tensor(n)]
    counts.append(None if draws is None else pt.as_tensor(draws))
    parameters = [pt.as_tensor(p) for p in machine.parameters]
    arguments = [rng, *_present(counts), *_present(states), *parameters, *_present(masks)]
    dummies = [x.type() for x in arguments]
    form = Form(
        machine.template,
        counted=counts[0] is not None,
        traced=draws is not None,
        given=tuple(x is not None for x in states),
        held=tuple(x is True for x in clamped),
        masked=tuple(x is not None for x in masks),
        hidden_last=last == HIDDEN,
    )
    inner = form.by_name(dummies)
    inner_clamped = [x if mask is None else mask for x, mask in zip(clamped, inner["masks"], strict=True)]
    inside = machine.with_parameters(inner["parameters"])
    inner_draws = [] if draws is None else [inner["draws"]]
    new, new_rng = definition(inside, inner["state"], inner["rng"], inner["n"], inner_clamped, last, *inner_draws)
    op = BinarySweeps(dummies, [*_present(new), new_rng], name="Sweeps", form=form)
    *outputs, next_rng = op(*arguments, return_list=True)
    found = iter(outputs)
    return [None if x is None else next(found) for x in new], next_rng


def along_path(
    kind: type[BinaryWalk] | type[BinaryLevels],
    definition: Callable,
    machine: Machine,
    base: Sequence[Any],
    states: Sequence[Any],
    rng: TensorVariable,
    betas: Sequence[TensorVariable],
    **options: Any,
) -> list[TensorVariable]:
    """Return what ``definition(machine, base, states, rng, *betas)`` returns; for two binary layers it is one node.

    ``kind`` says which; ``base`` are the biases of the base, ``states`` those of the layers that a sweep
    reads, ``options`` the node's.
    """
    if not is_binary_pair(machine):
        return definition(machine, base, states, rng, *betas)
    arguments = [rng, *betas, *states, *base, *map(pt.as_tensor, machine.parameters)]
    dummies = [x.type() for x in arguments]
    inner_rng, inner_betas = dummies[0], dummies[1 : 1 + len(betas)]
    v, base_b, base_c, *parameters = dummies[1 + len(betas) :]
    outputs = definition(machine.with_parameters(parameters), (base_b, base_c), [v], inner_rng, *inner_betas)
    return kind(dummies, outputs, template=machine.template, **options)(*arguments, return_list=True)


def conditional_node(machine: Machine, v: Any, unit: Any) -> TensorVariable:
    """Return what ``machine.log_conditional(v, unit)`` returns, as the output of one `BinaryConditional` node."""
    arguments = [pt.as_tensor(x) for x in (v, unit, *machine.parameters)]
    v, unit, *parameters = dummies = [x.type() for x in arguments]
    value = machine.with_parameters(parameters).log_conditional(v, unit)
    return BinaryConditional(dummies, [value], template=machine.template, name="Conditional")(*arguments)


def _present(entries: Sequence[Any]) -> list[Any]:
    return [x for x in entries if x is not None]
