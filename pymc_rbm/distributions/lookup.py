"""Find the RBM that a variable or a model contains, and the variables that depend on its units."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Variable, equal_computations
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.scalar.basic import Cast
from pytensor.tensor.basic import AllocEmpty
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.shape import SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, IncSubtensor
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.operations import HiddenRV, MachineRV
from pymc_rbm.distributions.pymc_internals import PartialObservedRV
from pymc_rbm.machine.machine import Machine
from pymc_rbm.machine.targets import check_alone
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.reentrant import value_of

__all__ = [
    "dependants",
    "dependants_of_units",
    "held_entries",
    "is_joined",
    "labels_in",
    "machine_of_rv",
    "model_of",
    "named_machines",
    "plain",
    "rbm_behind",
    "rbm_of",
    "same_machine",
]


_known_models: weakref.WeakKeyDictionary[Variable, weakref.ref[pm.Model]] = weakref.WeakKeyDictionary()
"""For each variable, the model in which it was found."""


def rbm_of(v: Variable) -> TensorVariable:
    """Return the RBM random variable that ``v`` is, or that a masked ``v`` is made of.

    Raises
    ------
    ValueError
        If ``v`` is anything else, a function of an RBM's units included.
    """
    var = _unviewed(v)
    parts = [var, *_masked_parts(var)]
    found = [rv for rv in map(rbm_behind, parts) if rv is not None]
    if not found or len(found) < len(parts) - 1:
        raise ValueError(
            f"Expected an RBM variable of the model (or RBM.dist(...)), got {v!r}. Pass the variable itself, not a "
            "function of it."
        )
    first, *others = found
    if not all(same_machine(first, rv) for rv in others):
        raise ValueError(
            f"{v!r} joins RBM variables with different parameters: it is a function of two machines, or whole rows "
            "are masked while parameters differ by row. Pass one RBM variable, or mask entries of rows only."
        )
    return first


def same_machine(a: TensorVariable, b: TensorVariable) -> bool:
    """Whether two RBM variables have the same parameters: PyMC splits a mask of whole rows into two such variables."""
    parameters = ([plain(p) for p in rv.owner.inputs[2:]] for rv in (a, b))
    return a is b or equal_computations(*parameters)


def _unviewed(v: Any) -> Any:
    """Return ``v`` without views and the shape that PyMC specifies for a masked part of a single entry."""
    while isinstance(v, Variable) and v.owner is not None and isinstance(v.owner.op, ViewOp | SpecifyShape):
        v = v.owner.inputs[0]
    return v


def rbm_behind(v: Any) -> TensorVariable | None:
    """Return the RBM variable that ``v`` is, or that ``v`` is a masked or observed part of; otherwise None."""
    node = v.owner if isinstance(v, Variable) else None
    if node is not None and isinstance(node.op, PartialObservedRV):
        return rbm_behind(node.inputs[0])
    return v if node is not None and isinstance(node.op, MachineRV) else None


def _masked_parts(v: Any) -> list[Any]:
    """Return the two variables that PyMC joins into a masked one, by setting both into an empty array; else none."""
    parts = []
    while (
        isinstance(v, Variable) and v.owner is not None and isinstance(v.owner.op, IncSubtensor | AdvancedIncSubtensor)
    ):
        if not v.owner.op.set_instead_of_inc:
            return []
        parts.append(_unviewed(v.owner.inputs[1]))
        v = v.owner.inputs[0]
    is_join = len(parts) == 2 and v.owner is not None and isinstance(v.owner.op, AllocEmpty)
    return parts if is_join else []


def is_joined(value: Any) -> bool:
    """Whether ``value`` belongs to a masked variable, which PyMC joined from observed and imputed entries."""
    return len(_masked_parts(_unviewed(value))) == 2


def plain(p: Any) -> Any:
    """Return a parameter without casts and without axes that PyTensor prepended; its own batch axes stay."""
    while p.owner is not None:
        op = p.owner.op
        is_cast = isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast)
        if not (is_cast or (isinstance(op, DimShuffle) and op.new_order[:1] == ("x",))):
            break
        p = p.owner.inputs[0]
    return p


def machine_of_rv(rv: TensorVariable) -> Machine:
    """Return the machine of an RBM random variable, with the graphs of its parameters."""
    return rv.owner.op.machine(*rv.owner.inputs[2:])


def dependants(model: pm.Model, rv: Variable) -> list[TensorVariable]:
    """Return random variables and Potentials of ``model`` that depend on ``rv`` directly, not through others."""
    terms = [term for term in (*model.basic_RVs, *model.potentials) if term is not rv]
    return [term for term in terms if rv in ancestors([term], blockers=set(model.basic_RVs) - {term, rv})]


def dependants_of_units(model: pm.Model, machine: TensorVariable | None = None) -> dict[str, str]:
    """Return, by name, what depends on free units except hidden units, with the name of these units.

    The units are those of ``machine``, an RBM variable as `rbm_behind` returns it, or of all machines.
    """
    visible = [rv for rv in model.basic_RVs if (behind := rbm_behind(rv)) is not None and machine in (None, behind)]
    hidden = [rv for rv in model.free_RVs if rv.owner and isinstance(rv.owner.op, HiddenRV)]
    units = [rv for rv in visible if rv in model.free_RVs]
    units += hidden if machine is None else [x for x in hidden if any(x in dependants(model, rv) for rv in visible)]
    return {x.name: rv.name for rv in units for x in dependants(model, rv) if x not in hidden}


@check_alone.register
def _(target: pm.Model, what: str) -> None:
    _refuse(dependants_of_units(target), what)


@check_alone.register
def _(target: TensorVariable, what: str) -> None:
    model = model_of(target)
    if model is not None:
        _refuse(dependants_of_units(model, rbm_of(target)), what)


def _refuse(found: dict[str, str], what: str) -> None:
    if found:
        raise ValueError(
            f"{what} takes only the machine into account, but in this model {list(found)} depend on "
            f"{sorted(set(found.values()))}. Draw from the posterior by pm.sample, which accounts for them (mask what "
            "is missing in `observed`), or pass the machine itself, pmr.machine_of(model[...]), to leave them out."
        )


def model_of(target: Any) -> pm.Model | None:
    """Return the model that ``target`` is, or that has it as a variable, or the one on the context stack.

    A variable does not know its model. If it is not in that on the context stack, it is sought in all models in memory.
    """
    if isinstance(target, pm.Model):
        return target
    context = pm.Model.get_context(error_if_none=False)
    if not isinstance(target, Variable):
        return context
    known = _known_models.get(target)
    models = [x for x in (context, known and known()) if x is not None]
    if target.name is not None and not _has(models, target):  # which takes up to a second
        models = [x for x in gc.get_objects() if issubclass(type(x), pm.Model)]
    found = next((x for x in models if _has([x], target)), None)
    if found is not None:
        _known_models[target] = weakref.ref(found)
    return found


def _has(models: list[pm.Model], variable: Variable) -> bool:
    return any(model.named_vars.get(variable.name) is variable for model in models)


def held_entries(target: Any, name: str, free: int) -> np.ndarray | None:
    """Return which entries of a masked variable are observed, all but ``free`` of them; None if no model is known."""
    model = model_of(target)
    parts = [f"{name}_observed", f"{name}_unobserved"]
    if model is None or not {name, *parts} <= set(model.named_vars):
        return None
    known, unknown = (model[x] for x in parts)
    shape = value_of(model.rvs_to_values[known].shape)
    values = {known: pt.ones(shape, known.dtype), unknown: pt.zeros(free, unknown.dtype)}
    return value_of(graph_replace([model[name]], values, strict=False)[0]) == 1


def named_machines(model: pm.Model) -> dict[str, TensorVariable]:
    """Return the RBM variables of ``model`` by the user's names; the two parts of a masked one count once."""
    found: dict[str, TensorVariable] = {}
    for rv in model.basic_RVs:
        behind = rbm_behind(rv)
        if behind is not None:
            stem = rv.name.removesuffix("_observed").removesuffix("_unobserved")
            is_part = stem != rv.name and {f"{stem}_observed", f"{stem}_unobserved", stem} <= set(model.named_vars)
            if is_part:
                found.setdefault(stem, rbm_of(model[stem]))
            else:
                found[rv.name] = behind
    return found


def labels_in(model: pm.Model, name: str) -> Labels:
    """Return the names of the units of an RBM variable, from its dims, or else from those of weights and biases.

    Names of hidden units come from weights and biases only.
    """
    rv = named_machines(model)[name]
    dims_of = model.named_vars_to_dims
    dims = rv.owner.op.given(rv).map(lambda p: dims_of.get(getattr(plain(p), "name", None)) or ())
    [weights], biases, of_v = dims.weights, dims.biases, dims_of.get(name) or ()
    sides = [[of_v[-1:], weights[-2:-1], biases[0][-1:]], [weights[-1:], *(b[-1:] for b in biases[1:])]]
    visible, hidden = (next((d[0] for d in found if d and d[0]), "") for found in sides)
    hidden = hidden if len(biases) > 1 else ""
    has_rows = any(plain(b).ndim > 1 for b in rv.owner.op.given(rv).biases)
    rows = next(iter(of_v[:-1][-1:]), None) or "" if has_rows else ""
    known = {dim for dim in (visible, hidden, rows) if model.coords.get(dim) is not None}
    return Labels(name, visible, hidden, {dim: np.asarray(model.coords[dim]) for dim in known}, rows)
