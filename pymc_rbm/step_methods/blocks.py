"""The blocks that BlockGibbs updates: an RBM's free units, with the effects of what depends on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.subtensor import AdvancedIncSubtensor
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.factors import without_log_z
from pymc_rbm.distributions.imputed import without_marks
from pymc_rbm.distributions.lookup import dependants, machine_of_rv, rbm_of
from pymc_rbm.distributions.operations import HiddenRV, MachineRV
from pymc_rbm.distributions.pymc_internals import PartialObservedRV
from pymc_rbm.machine.colouring import unit_numbers
from pymc_rbm.machine.machine import HIDDEN, VISIBLE, Machine
from pymc_rbm.step_methods.belonging import rows_of_entries
from pymc_rbm.step_methods.conditions import parted
from pymc_rbm.step_methods.effects import (
    MOST_ENTRIES,
    Effect,
    exact_offset,
    is_quadratic,
    log_density_by_entry,
    log_density_by_row,
    slope_and_curvature,
    slope_and_hessian,
    without_checks,
)
from pymc_rbm.step_methods.joint_moves import joint_update
from pymc_rbm.step_methods.proofs import affine_in
from pymc_rbm.step_methods.trials import is_constant, is_positive_definite, reproduces, values_at_start
from pymc_rbm.step_methods.wall_moves import reflected_update
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import compiled, one_compiles

__all__ = ["Block", "blocks_of", "hidden_children", "is_hidden", "visible_kind"]

MIXES_BADLY = (
    "Other variables depend on the real units of {0} jointly, as a regression on {0} does, with a Hessian that is "
    f"unknown or has more than {MOST_ENTRIES:,} entries. BlockGibbs is correct without it, but may mix badly: look at "
    "the ESS."
)

ONE_FOR_ALL = (
    "BlockGibbs accepts or refuses all {1} rows of {0} at once: what depends on {0} joins its rows, or is not proved "
    "to keep them apart. It is correct, but may mix badly: look at the ESS. Where rows are independent, write what "
    "depends on them by operations that keep rows apart (products, reductions over other axes, fixed indices)."
)
MANY_ROWS = 10
"""The number of rows from which one acceptance for all of them causes a warning."""


@dataclass
class Block:
    """Layers of one machine that are updated in turn, with all graphs in value variables."""

    machine: Machine
    rvs: dict[int, TensorVariable]
    """The variables that are sampled, by layer."""
    state: list[Any]
    """The states of the layers; None where no variable has the layer's state."""
    held: list[Any]
    """Which units are clamped, one entry a layer, as ``clamped`` in `sweep.sweep`."""
    offsets: dict[int, Effect] = field(default_factory=dict)
    """What dependants add to the field, for layers whose conditionals stay exact."""
    proposals: dict[int, Effect] = field(default_factory=dict)
    """Log-density, slope and curvature of dependants, for layers whose conditionals do not stay exact."""
    units: dict[int, int] = field(default_factory=dict)
    """The number of units in a row, for each layer in ``proposals``."""
    together: dict[int, int] = field(default_factory=dict)
    """The number of rows that are accepted or refused together, for each layer in ``proposals``."""
    joint: dict[int, Callable] = field(default_factory=dict)
    """The updates of layers whose units move together: one of `joint_moves` or of `wall_moves`."""
    turns: np.ndarray | None = None
    """Masks of the groups of entries that move one group after the other; None where units are not coupled."""


def visible_kind(rv: Variable) -> str | None:
    """Return "free" for a free RBM variable, "masked" for the unobserved part of a masked one, None for others."""
    node = rv.owner
    if node is None:
        return None
    if isinstance(node.op, MachineRV):
        return "free"
    if isinstance(node.op, PartialObservedRV) and isinstance(getattr(node.inputs[0].owner, "op", None), MachineRV):
        return "masked"
    return None


def is_hidden(rv: Variable) -> bool:
    """Whether ``rv`` is a `Hidden` variable."""
    return isinstance(getattr(rv.owner, "op", None), HiddenRV)


def hidden_children(model: pm.Model, rv: Variable) -> list[TensorVariable]:
    """Return the `Hidden` variables of ``rv``."""
    return [x for x in dependants(model, rv) if is_hidden(x)]


def blocks_of(model: pm.Model, rvs: list[TensorVariable]) -> list[Block]:
    """Return blocks in the order of updates, each followed by the hidden variables that only read it.

    A hidden variable that nothing else reads is summed out while its visible units are updated, and drawn right after
    them. One that is observed, or that has dependants, is the hidden layer of the update; if there are more of these,
    the others count as dependants of the visible units.
    """
    factors = _factors(model, rvs)
    blocks, placed = [], set()
    for rv in (rv for rv in rvs if not is_hidden(rv)):
        children = hidden_children(model, rv)
        summed_out = [h for h in children if h in model.free_RVs and not dependants(model, h)]
        kept = [h for h in children if h not in summed_out]
        layer = [h for h in kept if visible_kind(rv) == "masked" or h.owner.inputs[2] is rv]
        layer = sorted(layer, key=lambda h: h not in model.observed_RVs)[:1]
        blocks.append(_visible_block(model, rv, layer, summed_out, factors))
        placed.update(layer)
        after = [h for h in children if h in rvs and h not in placed]
        blocks += [_hidden_block(model, h, factors) for h in after]
        placed.update(after)
    return blocks + [_hidden_block(model, h, factors) for h in rvs if is_hidden(h) and h not in placed]


def _factors(model: pm.Model, rvs: list[TensorVariable]) -> dict[TensorVariable, TensorVariable]:
    """Return the log-density of each variable and Potential, in value variables; none if nothing depends on ``rvs``.

    Dependence is that of these graphs: a transform whose bounds depend on v makes whatever reads the transformed
    variable depend on v.
    """
    if all(_has_one_hidden_layer(model, rv) for rv in rvs):
        return {}
    terms = [*model.free_RVs, *model.observed_RVs, *model.potentials]
    return dict(zip(terms, map(without_log_z, map(without_marks, model.logp(terms, sum=False))), strict=True))


def _has_one_hidden_layer(model: pm.Model, rv: TensorVariable) -> bool:
    """Whether only hidden variables depend on ``rv``, of which at most one is observed."""
    children = dependants(model, rv)
    given = [x for x in children if x in model.observed_RVs]
    return len(given) < 2 and all(is_hidden(x) and not dependants(model, x) for x in children)


def _visible_block(model, rv, layer, summed_out, factors) -> Block:
    machine = _in_values(model, machine_of_rv(rbm_of(rv)))
    value, held, own = model.rvs_to_values[rv], None, {rv}
    v, known = value, {}
    x = value.type()
    if visible_kind(rv) == "masked":
        _, mask = rv.owner.inputs  # one entry a unit: PyMC splits masks over whole rows by itself
        own = set(rv.owner.outputs)
        v = pt.zeros(mask.shape, dtype=rv.dtype)
        v, held = v[mask].set(value)[~mask].set(model.rvs_to_values[rv.owner.outputs[0]]), ~mask
        x = v.type()
        known = dict.fromkeys(_joined(factors, value, mask), x) | {value: x[mask]}
    else:
        known = {value: x}
    block = Block(machine, {VISIBLE: rv}, machine.at(v), machine.at(held))
    layers = {VISIBLE: (x, known)}
    for h in layer:
        block.state[HIDDEN] = model.rvs_to_values[h]
        if h in model.observed_RVs:
            block.held[HIDDEN] = True
        else:
            block.rvs[HIDDEN] = h
            y = block.state[HIDDEN].type()
            layers[HIDDEN] = (y, {block.state[HIDDEN]: y})
    _add_effects(model, block, layers, {t: f for t, f in factors.items() if t not in {*own, *layer, *summed_out}})
    return block


def _hidden_block(model, rv, factors) -> Block:
    v = model.replace_rvs_by_values([rv.owner.inputs[2]])[0]
    value = model.rvs_to_values[rv]
    block = Block(_in_values(model, machine_of_hidden(rv)), {HIDDEN: rv}, [v, value], [True, None])
    y = value.type()
    _add_effects(model, block, {HIDDEN: (y, {value: y})}, {t: f for t, f in factors.items() if t is not rv})
    return block


def machine_of_hidden(rv: TensorVariable) -> Machine:
    """Return the machine of a Hidden variable, without visible biases where ``pm.do`` has replaced v by data."""
    _, _, v, *parameters = rv.owner.inputs
    try:
        return machine_of_rv(rbm_of(v))
    except ValueError:
        return rv.owner.op.machine(*parameters)


def _in_values(model: pm.Model, machine: Machine) -> Machine:
    known = [p for p in machine.parameters if p is not None]
    new = iter(model.replace_rvs_by_values([pt.as_tensor(p) for p in known]))
    return machine.with_parameters([None if p is None else next(new) for p in machine.parameters])


def _joined(factors, value, mask) -> list[Variable]:
    """Return the nodes in which PyMC puts the missing entries of a masked variable into the array of all entries."""
    return [
        v
        for v in ancestors(list(factors.values()))
        if v.owner is not None
        and isinstance(v.owner.op, AdvancedIncSubtensor)
        and v.owner.op.set_instead_of_inc
        and v.owner.inputs[1] is value
        and len(v.owner.inputs) == 3
        and isinstance(v.owner.inputs[2], Constant)
        and np.array_equal(v.owner.inputs[2].data, mask.data)
    ]


def _add_effects(model: pm.Model, block: Block, layers: dict, factors: dict) -> None:
    """Find the terms that depend on each layer, and their effect on its units."""
    values = [value for _, known in layers.values() for value in known]
    terms = [f for f in factors.values() if set(values) & set(ancestors([f]))]
    if not terms:
        return
    replacements = {old: new for _, known in layers.values() for old, new in known.items()}
    # A joined array is replaced first: its missing entries vanish with it.
    terms = graph_replace(terms, replacements, strict=False)
    own = tuple(layers[i][0] if i in layers else pt.scalar() for i in range(len(block.state)))
    shapes = _shapes(model, [block.state[i] for i in layers])
    checked = {
        x: (block.machine.layers[i].unit, shape) for (i, (x, _)), shape in zip(layers.items(), shapes, strict=True)
    }
    for i, (x, _) in layers.items():
        mine = [t for t in terms if x in set(ancestors([t]))]
        if not mine:
            continue
        unit = block.machine.layers[i].unit
        bare, limits = parted(mine)
        limits = [t for t in limits if x in set(ancestors([t]))]
        offset = exact_offset(x, [*bare, *limits], unit)
        if offset is not None:  # it does not depend on x
            offset = graph_replace(offset, {x: pt.zeros(checked[x][1], x.dtype)}, strict=False)
        if offset is not None and reproduces(model, x, checked, mine, offset):
            block.offsets[i] = Effect(own, (offset,))
        else:
            _propose(model, block, i, bare, limits, own, checked)


def _propose(model: pm.Model, block: Block, i: int, terms: list, limits: list, own: tuple, layers: dict) -> None:
    """Add what `joint_moves`, `wall_moves` or `metropolis` need for a layer whose conditional does not stay exact.

    The coupling of a layer of real units to itself counts as a dependant: they move together. Finite units that are
    coupled take turns, so that their fields do not change while they move.
    """
    x, coupling = own[i], block.machine.own_coupling(i)
    unit, shape = layers[x]
    if len(unit.parts(shape[-1])) > 1 and not unit.finite:
        names = [t.name for t in dependants(model, block.rvs[i])]
        raise ValueError(
            f"BlockGibbs cannot account for {names}, which depend on {block.rvs[i].name}, whose units are {unit!r}: "
            "units in one layer must be of one family, or all finite. Observe some of them, or use such units."
        )
    if unit.quadratic and coupling is not None:
        terms = [*terms, block.machine.product(coupling, own)]
    additive = affine_in(x, sum(term.sum() for term in without_checks(terms)))
    every = [*terms, *limits]
    density = log_density_by_row(
        x, every, lambda: rows_of_entries(x, every, shape, partial(values_at_start, model, layers))
    )
    apart = density.ndim == x.ndim - 1
    found = slope_and_hessian(x, terms, shape, apart) if unit.quadratic and not additive else None
    if unit.quadratic and not additive and found is None:
        warnings.warn(MIXES_BADLY.format(block.rvs[i].name), stacklevel=2)
    slope, curvature = found or slope_and_curvature(x, terms, unit)
    constant = unit.quadratic and is_constant(model, x, layers, curvature)
    if constant:
        curvature = graph_replace(curvature, {x: pt.zeros(shape, x.dtype)}, strict=False)
    if unit.quadratic and not (additive and constant and unit.absorbing):
        block.joint[i] = partial(joint_update, exact=constant and unit.integrable, diagonal=not found)
        if constant and found and not limits and _moves_between_walls(model, x, layers, terms, curvature):
            block.joint[i] = reflected_update
        by_entry = log_density_by_entry(x, every)
        density = density if by_entry is None else by_entry
    elif coupling is not None:
        number = unit_numbers(unit, shape[-1])
        classes = coupling.classes or [np.flatnonzero(number == k) for k in range(number[-1] + 1)]
        block.turns = np.array([np.isin(np.arange(shape[-1]), entries) for entries in classes])
    block.proposals[i] = Effect(own, (density, slope, curvature))
    block.together[i] = int(np.prod(shape[:-1])) if density.ndim < x.ndim - 1 else 1
    if block.together[i] >= MANY_ROWS and not (constant and i in block.joint):
        warnings.warn(ONE_FOR_ALL.format(block.rvs[i].name, block.together[i]), stacklevel=2)
    block.units[i] = unit.count(shape[-1]) if block.turns is None else block.turns.sum(1).max() // unit.width


def _moves_between_walls(
    model: pm.Model, x: TensorVariable, layers: dict, terms: list, hessian: TensorVariable
) -> bool:
    """Whether `wall_moves` apply: units are not negative, D is quadratic, P positive definite at random values."""
    unit, shape = layers[x]
    if not (unit.one_sided and is_quadratic(x, terms)):
        return False
    n = hessian.type.shape[-1] or shape[-1]
    own = unit.curvature(pt.ones(shape)).reshape((-1, 1, n))
    return is_positive_definite(model, x, layers, hessian + pt.eye(n) * own)


def _shapes(model: pm.Model, state: list[TensorVariable]) -> list[tuple[int, ...]]:
    """Return the shapes of states at the model's initial point."""
    with one_compiles():
        start = model.initial_point(random_seed=1)
    values = [x for x in explicit_graph_inputs(state) if x in model.value_vars]
    options = {"by": pm.compile, "mode": INTERPRETED, "on_unused_input": "ignore"}
    shapes = compiled(values, [x.shape for x in state], **options)
    return [tuple(map(int, shape)) for shape in shapes(*(start[x.name] for x in values))]
