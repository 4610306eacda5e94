"""What learning climbs: the model's log-density, with an estimator in the place of log Z.

The gradient of the mean log-likelihood of an energy-based model is the positive minus the negative phase (Ackley,
Hinton & Sejnowski 1985),

    ∂/∂θ mean log p(v)  =  - mean_data ∂F(v)/∂θ  +  E_model ∂F(v)/∂θ.

Only the second term is intractable. The hidden units are summed out in both phases, and everything else in the model
(priors, hierarchies, potentials) is differentiated as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.vartypes import discrete_types
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.lookup import dependants, machine_of_rv
from pymc_rbm.machine import VISIBLE, Machine
from pymc_rbm.random_variables import RBMRV, HiddenRV

__all__ = ["Observed", "direct_parameters", "objective", "observed_machines", "parameter_variables", "start_values"]


@dataclass(frozen=True)
class Observed:
    """An observed RBM of a model: its variable, its machine (symbolic) and its rows."""

    rv: TensorVariable
    machine: Machine
    rows: np.ndarray

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.rv.name

    @property
    def mean(self) -> np.ndarray:
        """Means of the data, shrunk towards one half by one pseudo-row so that no unit is certain."""
        return (self.rows.sum(0) + 0.5) / (len(self.rows) + 1)

    @property
    def log_odds(self) -> np.ndarray:
        """Fields of independent units with the data's means."""
        return self.machine.layers[VISIBLE].unit.field_of_mean(self.mean)


def objective(
    model: pm.Model, observed: list[Observed], machines: list[Machine], batches: list[Any], log_z: list[Any]
) -> TensorVariable:
    """Penalised log-likelihood per row, ``mean(-F) - log Z + log prior / N``, for gradients.

    ``machines`` and ``log_z`` say through which variables the likelihood is seen; the rest of the model is a function
    of its value variables. Each phase is divided by its own count; several RBMs weigh by their rows. Densities of
    transformed parameters are those of the constrained parameters: no Jacobian, as in ``pm.find_MAP``. The value is no
    likelihood where log Z is a surrogate.
    """
    total = sum(len(x.rows) for x in observed)
    terms = [
        len(x.rows) / total * (-machine.free_energy(batch).mean() - z)
        for x, machine, batch, z in zip(observed, machines, batches, log_z, strict=True)
    ]
    # Free hidden units integrate to one; observed RBMs are in the surrogate.
    others = [
        rv
        for rv in model.basic_RVs
        if not isinstance(rv.owner.op, RBMRV) and not (isinstance(rv.owner.op, HiddenRV) and rv in model.free_RVs)
    ]
    if others or model.potentials:
        terms.append(model.logp(vars=[*others, *model.potentials], jacobian=False) / total)
    return model.replace_rvs_by_values([sum(terms)])[0]


def observed_machines(model: pm.Model) -> list[Observed]:
    """The observed RBMs of ``model``, or ValueError with what stands in the way of learning them."""
    discrete = [
        rv.name for rv in model.free_RVs if rv.dtype in discrete_types and not isinstance(rv.owner.op, HiddenRV)
    ]
    if discrete:
        raise ValueError(
            f"fit needs continuous parameters and fully observed RBMs, but {discrete} are free and discrete (an RBM "
            "without `observed`, one with a mask, or another discrete variable). Observe them or leave them out."
        )
    for rv in model.free_RVs:
        ignored = [x.name for x in dependants(model, rv)] if isinstance(rv.owner.op, HiddenRV) else []
        if ignored:
            raise ValueError(f"fit sums the hidden units {rv.name} out, but {ignored} depend on them; leave these out.")
    found = [_observed(model, rv) for rv in model.observed_RVs if isinstance(rv.owner.op, RBMRV)]
    if not found:
        raise ValueError("fit found no observed RBM in the model: pass observed= to pymc_rbm.RBM.")
    if not model.continuous_value_vars:
        raise ValueError(
            "There is nothing to learn: the model has no free continuous variable. Give W, b and c priors; pm.Flat is "
            "plain maximum likelihood."
        )
    return found


def _observed(model: pm.Model, rv: TensorVariable) -> Observed:
    if len(rv.owner.inputs) > 5:
        raise ValueError(f"{rv.name} was given log_z, which learning would contradict; leave log_z out.")
    machine = machine_of_rv(rv)
    if [pt.as_tensor(p).ndim for p in machine.parameters] != [1, 1, 2]:
        raise ValueError(f"fit learns machines whose rows share their parameters; those of {rv.name} have batch axes.")
    value = model.rvs_to_values[rv]
    if not isinstance(value, Constant | SharedVariable):
        value = pytensor.shared(pytensor.function([], value, mode="FAST_COMPILE")())
    rows = np.asarray(value.data if isinstance(value, Constant) else value.get_value())
    if rows.ndim > 2 or not rows.size:
        raise ValueError(f"fit needs the data of {rv.name} as (rows, visible) with at least one row, got {rows.shape}.")
    return Observed(rv, machine, np.atleast_2d(rows).astype(rv.dtype))


def parameter_variables(model: pm.Model) -> list[TensorVariable]:
    """Free continuous variables, and the Deterministics that depend on no machine's units."""
    units = {rv for rv in model.basic_RVs if isinstance(rv.owner.op, RBMRV | HiddenRV)}
    free = [rv for rv in model.free_RVs if rv not in units]
    derived = [x for x in model.deterministics if not units & set(pytensor.graph.traversal.ancestors([x]))]
    return free + derived


def direct_parameters(model: pm.Model, x: Observed) -> tuple[TensorVariable | None, ...]:
    """The free variables that *are* the W, b and c of an RBM; None for what is an expression, data or transformed."""
    plain = [_plain(p) for p in x.rv.owner.inputs[2:5]]
    return tuple(
        p if p in model.free_RVs and p.ndim == ndim and model.rvs_to_transforms.get(p) is None else None
        for p, ndim in zip(plain, (2, 1, 1), strict=True)
    )


def start_values(
    model: pm.Model, observed: list[Observed], start: dict[str, Any] | None, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Where learning starts, by name of value variable.

    A variable that *is* an RBM's b starts at the data's log-odds, one that is its W at Normal(0, 0.01) (Hinton 2012),
    one that is its c at zero. Others start where ``pm.sample`` would, and ``start`` overrides all of it. Where W is
    an expression, its ingredients get Normal(0, 0.01) added: at W = 0 exactly all hidden units would stay alike.
    """
    seed = int(rng.integers(2**31))
    point = dict(model.initial_point(random_seed=seed))
    direct: set[str] = set()
    for x in observed:
        for rv, value in zip(direct_parameters(model, x), (None, x.log_odds, 0.0), strict=True):
            if rv is not None:
                old = point[rv.name]
                new = rng.normal(0, 0.01, old.shape) if value is None else value
                point[rv.name] = np.broadcast_to(np.asarray(new, old.dtype), old.shape).copy()
                direct.add(rv.name)
    for value_var in model.continuous_value_vars:
        if value_var.name not in direct:
            old = point[value_var.name]
            point[value_var.name] = (old + rng.normal(0, 0.01, np.shape(old))).astype(old.dtype)
    if start:
        point.update(_as_value_point(model, start))
    return {v.name: np.asarray(point[v.name]) for v in model.continuous_value_vars}


def _as_value_point(model: pm.Model, start: dict[str, Any]) -> dict[str, np.ndarray]:
    names = {rv.name for rv in model.free_RVs}
    unknown = set(start) - names
    if unknown:
        raise ValueError(
            f"start names {sorted(unknown)}, which are no free variables of the model; those are {sorted(names)}."
        )
    shapes = model.eval_rv_shapes()
    for name, value in start.items():
        shape = tuple(int(n) for n in shapes[name])
        if np.shape(value) != shape:
            raise ValueError(f"start[{name!r}] has shape {np.shape(value)}, the variable has shape {shape}.")
    point = pm.model.core.make_initial_point_fn(model=model, overrides=dict(start))(0)
    changed = {model.rvs_to_values[model[name]].name for name in start}
    return {name: value for name, value in point.items() if name in changed}


def _plain(x: Variable) -> Variable:
    """The variable behind casts and added axes."""
    while x.owner is not None and isinstance(x.owner.op, DimShuffle | Elemwise) and len(x.owner.inputs) == 1:
        is_cast = isinstance(x.owner.op, Elemwise) and x.owner.op.scalar_op.__class__.__name__ == "Cast"
        if not (is_cast or (isinstance(x.owner.op, DimShuffle) and not x.owner.op.is_transpose)):
            break
        x = x.owner.inputs[0]
    return x
