"""Learning climbs the model's log-density, with an estimator in the place of log Z.

The gradient of the mean log-likelihood of an energy-based model is the positive minus the negative phase (Ackley,
Hinton & Sejnowski 1985),

    ∂/∂θ mean log p(v)  =  - mean_data ∂F(v)/∂θ  +  E_model ∂F(v)/∂θ.

Only the second term is intractable. The hidden units are summed out in both phases, and everything else in the model
(priors, hierarchies, potentials) is differentiated as it stands.
"""

from __future__ import annotations

from typing import Any

import pymc as pm
import pytensor
from pytensor.scalar.basic import Add
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import plain, rbm_behind
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.learning.data import Observed

__all__ = ["direct_names", "direct_parameters", "intercepts", "objective", "parameter_variables", "rest_of_model"]


def objective(
    model: pm.Model,
    observed: list[Observed],
    energies: list[tuple[Any, Any]],
    log_z: list[Any],
) -> TensorVariable:
    """Return the penalised log-likelihood per row, ``mean w (-F - log Z) + log prior / N``, for gradients.

    ``energies`` are pairs of free energies F and row weights w, of a batch; with ``log_z`` they say through which
    variables the likelihood is seen. The rest of the model is a function of its value variables. N is the sum of all
    weights. Each phase is divided by its own count. In a batch of weighted rows log Z gets the weight of the batch:
    without bias, as dividing by it would not be, and with less noise than a constant weight; where rows have a log Z
    each, z is a vector and each gets its own row's weight. Densities of transformed parameters are
    those of the constrained parameters: no Jacobian, as in ``pm.find_MAP``. The value is no likelihood where log Z is
    a surrogate.
    """
    total = sum(x.weights.sum() for x in observed)
    terms = [
        len(x.weights) / total * -(weights * (energy + z)).mean()
        for x, (energy, weights), z in zip(observed, energies, log_z, strict=True)
    ]
    rest = rest_of_model(model)
    if rest is not None:
        terms.append(rest / total)
    return model.replace_rvs_by_values([sum(terms)])[0]


def rest_of_model(model: pm.Model) -> TensorVariable | None:
    """Return the log-density of everything but machines, in constrained parameters; None if there is nothing else."""
    # Free units integrate to one; observed RBMs are in the surrogate.
    others = [
        rv
        for rv in model.basic_RVs
        if rbm_behind(rv) is None and not (isinstance(rv.owner.op, HiddenRV) and rv in model.free_RVs)
    ]
    if not others and not model.potentials:
        return None
    return model.logp(vars=[*others, *model.potentials], jacobian=False)


def parameter_variables(model: pm.Model) -> list[TensorVariable]:
    """Return free continuous variables, and the Deterministics that do not depend on units of a machine."""
    units = {rv for rv in model.basic_RVs if rbm_behind(rv) is not None or isinstance(rv.owner.op, HiddenRV)}
    free = [rv for rv in model.free_RVs if rv not in units]
    derived = [x for x in model.deterministics if not units & set(pytensor.graph.traversal.ancestors([x]))]
    return free + derived


def direct_parameters(model: pm.Model, x: Observed) -> tuple[TensorVariable | None, ...]:
    """Return the free variables that *are* W, b and c of an RBM, with None for expressions, data and transformed ones.

    Of a machine of one layer, its U and b.
    """
    given = x.rv.owner.op.given(x.rv)
    own = [plain(p) for p in (*given.weights, *given.biases)]
    return tuple(p if _is_free(model, p, ndim) else None for p, ndim in zip(own, (2, 1, 1), strict=False))


def direct_names(model: pm.Model, x: Observed) -> list[str]:
    """Return the names of these variables, weights first; an empty list where one of them is not there."""
    found = direct_parameters(model, x)
    return [] if None in found else [rv.name for rv in found if rv is not None]


def intercepts(model: pm.Model, x: Observed) -> tuple[TensorVariable | None, ...]:
    """Return `direct_parameters`; of a bias that is a sum, as ``b0 + X @ A``, take the term that is a free variable."""
    biases = x.rv.owner.op.given(x.rv).biases
    return direct_parameters(model, x)[0], *(_intercept(model, b) for b in biases)


def _intercept(model: pm.Model, p: Any) -> TensorVariable | None:
    """Return the first term of ``p`` that is a free vector with one entry for each unit."""
    terms, size = [plain(p)], p.type.shape[-1]
    for term in terms:  # grows
        op = term.owner and term.owner.op
        if isinstance(op, Elemwise) and isinstance(op.scalar_op, Add):
            terms += map(plain, term.owner.inputs)
    found = [x for x in terms if _is_free(model, x, 1) and (size is None or x.type.shape[-1] in (None, size))]
    return next(iter(found), None)


def _is_free(model: pm.Model, p: Any, ndim: int) -> bool:
    """Whether ``p`` is a free variable of ``ndim`` axes that is learned as it stands."""
    return p in model.free_RVs and p.ndim == ndim and model.rvs_to_transforms.get(p) is None
