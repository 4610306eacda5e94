"""Sweeps and paths call the kernels through the functions of this file only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.field_rewrites import use_means  # noqa: F401  # its rewrites, and those of sweeps, register on import
from pymc_rbm.kernels.log_z import factors_of, log_partition_by_kernel, log_z_by_kernel
from pymc_rbm.kernels.nodes import BinaryConditional, BinaryLevels, BinarySweeps, BinaryWalk, Form
from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.machine.machine import HIDDEN, Machine, State

__all__ = [
    "BinaryLevels",
    "BinaryWalk",
    "along_path",
    "as_node",
    "conditional_node",
    "factors_of",
    "log_partition_by_kernel",
    "log_z_by_kernel",
]


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
