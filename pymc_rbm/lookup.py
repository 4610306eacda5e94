"""Which RBM stands behind a variable or a model, and what depends on a variable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.distributions.distribution import PartialObservedRV, SymbolicRandomVariable
from pytensor.compile.io import In
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Variable, equal_computations
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.scalar.basic import Cast
from pytensor.tensor.basic import AllocEmpty
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.shape import SpecifyShape
from pytensor.tensor.subtensor import AdvancedIncSubtensor, IncSubtensor
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.given import machines_of_draws, values_of
from pymc_rbm.machine import Machine
from pymc_rbm.modes import INTERPRETED
from pymc_rbm.random_variables import HiddenRV, MachineRV
from pymc_rbm.records import recorded_names
from pymc_rbm.targets import Labels, check_alone, labels_of, machine_of

__all__ = ["dependants", "machine_of_rv", "named_machines", "plain", "rbm_behind", "rbm_of"]


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
    if not all(_same_machine(first, rv) for rv in others):
        raise ValueError(
            f"{v!r} joins RBM variables with different parameters: it is a function of two machines, or whole rows "
            "are masked while parameters differ by row, which is not supported."
        )
    return first


def _same_machine(a: TensorVariable, b: TensorVariable) -> bool:
    """Whether two RBM variables have the same parameters: PyMC splits a mask of whole rows into two such variables."""
    parameters = ([plain(p) for p in rv.owner.inputs[2:]] for rv in (a, b))
    return a is b or equal_computations(*parameters)


def _unviewed(v: Any) -> Any:
    """``v`` without views; PyMC also states the shape of a masked part of a single entry."""
    while getattr(v, "owner", None) is not None and isinstance(v.owner.op, ViewOp | SpecifyShape):
        v = v.owner.inputs[0]
    return v


def rbm_behind(v: Any) -> TensorVariable | None:
    """The RBM variable that ``v`` is, or whose entries PyMC split by a mask."""
    node = getattr(v, "owner", None)
    if node is not None and isinstance(node.op, PartialObservedRV):
        return rbm_behind(node.inputs[0])
    return v if node is not None and isinstance(node.op, MachineRV) else None


def _masked_parts(v: Any) -> list[Any]:
    """The two variables that PyMC joins into a masked one: both set into an empty array. Otherwise an empty list."""
    parts = []
    while getattr(v, "owner", None) is not None and isinstance(v.owner.op, IncSubtensor | AdvancedIncSubtensor):
        if not v.owner.op.set_instead_of_inc:
            return []
        parts.append(_unviewed(v.owner.inputs[1]))
        v = v.owner.inputs[0]
    is_join = len(parts) == 2 and v.owner is not None and isinstance(v.owner.op, AllocEmpty)
    return parts if is_join else []


def plain(p: Any) -> Any:
    """A parameter without casts and the axes that PyTensor prepends; with its batch axes, if it has real ones."""
    while p.owner is not None:
        op = p.owner.op
        is_cast = isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast)
        if not (is_cast or (isinstance(op, DimShuffle) and op.new_order[:1] == ("x",))):
            break
        p = p.owner.inputs[0]
    return p


def machine_of_rv(rv: TensorVariable) -> Machine:
    """The machine of an RBM random variable, with the graphs of its parameters."""
    return rv.owner.op.machine(*rv.owner.inputs[2:])


def dependants(model: pm.Model, rv: Variable) -> list[TensorVariable]:
    """Random variables and Potentials of ``model`` that depend on ``rv`` directly, not through other variables."""
    terms = [term for term in (*model.basic_RVs, *model.potentials) if term is not rv]
    return [term for term in terms if rv in ancestors([term], blockers=set(model.basic_RVs) - {term, rv})]


@check_alone.register
def _(target: pm.Model, what: str) -> None:
    hidden = [rv for rv in target.free_RVs if rv.owner and isinstance(rv.owner.op, HiddenRV)]
    machines = [rv for rv in target.free_RVs if rbm_behind(rv) is not None]
    found = {x.name: rv.name for rv in [*machines, *hidden] for x in dependants(target, rv) if x not in hidden}
    if found:
        raise ValueError(
            f"{what} looks at the machine alone, but in this model {list(found)} depend on "
            f"{sorted(set(found.values()))}. Draw from the posterior by pm.sample, which accounts for them (mask what "
            "is missing in `observed`), or pass the machine itself, pmr.machine_of(model[...]), to leave them out."
        )


@machine_of.register
def _(target: TensorVariable, learned: Any = None) -> Machine:
    values = values_of(learned)
    machine, names, parameters = _parameters_function(target, values)
    return machine.with_parameters(parameters(*(np.asarray(values[x]) for x in names)))


@machines_of_draws.register
def _(target: TensorVariable, posterior: Any) -> Iterator[Machine]:
    machine, names, parameters = _parameters_function(target, posterior)
    arrays = [posterior[x].transpose("chain", "draw", ...).values for x in names]
    for chain in range(posterior.sizes["chain"]):
        for draw in range(posterior.sizes["draw"]):
            yield machine.with_parameters(parameters(*(x[chain, draw] for x in arrays)))


@machines_of_draws.register
def _(target: pm.Model, posterior: Any) -> Iterator[Machine]:
    return machines_of_draws(_only_machine(target), posterior)


def _parameters_function(target: TensorVariable, values: Any) -> tuple[Machine, list[str], Any]:
    """The machine of an RBM, and its parameters as a function of the random variables, of those in ``values``."""
    machine = machine_of_rv(rbm_of(target))
    graphs = [pt.as_tensor(p) for p in machine.parameters]
    random = [
        x for x in ancestors(graphs) if x.owner and isinstance(x.owner.op, RandomVariable | SymbolicRandomVariable)
    ]
    known = {x: x.type() for x in random if x.name in values}
    graphs = graph_replace(graphs, known, strict=False)
    missing = {x.name for x in random if x in set(ancestors(graphs))}
    if missing:
        raise ValueError(
            f"The parameters depend on random variables without a value: {sorted(map(str, missing))}. "
            "Pass `learned`, the result of pymc_rbm.fit or a dict of values by name (one draw of a posterior, what "
            "pm.find_MAP returns), or fix them with pm.do."
        )
    inputs = [In(x, allow_downcast=True) for x in known.values()]
    function = pytensor.function(inputs, graphs, mode=INTERPRETED, on_unused_input="ignore")
    return machine, [x.name for x in known], function


def named_machines(model: pm.Model) -> dict[str, TensorVariable]:
    """The RBM variables of ``model`` by the name that its user gave; the parts of a masked one count once."""
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


@labels_of.register
def _(target: TensorVariable, learned: Any = None) -> Labels:
    name = target.name or "v"
    return labels_of(learned) if learned is not None and recorded_names(learned) == [name] else Labels(name)


@labels_of.register
def _(target: pm.Model, learned: Any = None) -> Labels:
    name = next(iter(named_machines(target)))
    if learned is not None and recorded_names(learned) == [name]:
        return labels_of(learned)
    dims = target.named_vars_to_dims.get(name, (None,))[-1:]
    coords = {dim: np.asarray(target.coords[dim]) for dim in dims if target.coords.get(dim) is not None}
    return Labels(name, dims[0] or "", coords=coords)


@machine_of.register
def _(target: pm.Model, learned: Any = None) -> Machine:
    return machine_of(_only_machine(target), learned)


def _only_machine(target: pm.Model) -> TensorVariable:
    found: dict[str, TensorVariable] = {}
    for name, rv in named_machines(target).items():
        if not any(_same_machine(rv, known) for known in found.values()):
            found[name] = rv
    if len(found) != 1:
        raise ValueError(
            f"Expected a model with exactly one RBM, got {len(found)}: {list(found)}. Pass the variable, as in "
            f"model['{next(iter(found), 'v')}']."
        )
    return next(iter(found.values()))
