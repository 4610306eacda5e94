"""A model with the states of small machines summed out."""

from __future__ import annotations

from typing import Any

import pymc as pm
from pytensor.graph.basic import Constant
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs, io_toposort
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.generative import without_initial_values
from pymc_rbm.distributions.lookup import dependants, named_machines
from pymc_rbm.distributions.operations import HiddenRV
from pymc_rbm.distributions.pymc_internals import (
    Chain,
    IntervalTransform,
    MinibatchRandomVariable,
    PartialObservedRV,
    collect_default_updates,
    fgraph_from_model,
    model_from_fgraph,
)
from pymc_rbm.distributions.summed_out import SummedOut, log_mean, number_of_states
from pymc_rbm.machine.enumeration import in_powers
from pymc_rbm.support.arguments import listed, shown

__all__ = ["marginalize"]

STATES = 2**12
"""The most states that are summed over: so often is the log-density of what depends on them computed, at once."""


def marginalize(model: pm.Model, names: str | list[str]) -> pm.Model:
    r"""Return the model with the states of machines summed out, so that what is left can be sampled by NUTS.

    What depends on v, variables y and Potentials, gets the joint density

    .. math::

        p(y \mid \theta) = \sum_v p(v \mid \theta) \, p(y \mid v, \theta),
        \qquad p(v \mid \theta) = \frac{e^{-F(v)}}{\sum_{v'} e^{-F(v')}},

    over all states v, up to 4096 (12 binary units), exactly, as a logsumexp that has derivatives by all parameters. v
    may enter in any way: by sums, products, indices, in scales as in means. Any number of hidden units is summed
    out by the free energy F, as always.

    Parameters
    ----------
    model : Model
    names : str or list of str
        Free `RBM` or `BoltzmannMachine` variables of a single row, with finitely many states.

    Returns
    -------
    Model
        The same model without these variables. Draws of y, prior and posterior predictive ones, come from draws of v.
        Each y has its density given those before it, the observed ones given all that do not depend on them: one number
        for all its entries, in ``pm.compute_log_likelihood``, too. Potentials of v are in that of the last y; without a
        y the first of them stands for all. Deterministics that depend on v are left out.

    Raises
    ------
    ValueError
        If a name is no machine of the model, or its variable is observed, masked, a batch of rows, or has more than
        4096 states; if hidden units, masked variables, minibatches, free variables with bounds or variables with other
        states summed out depend on it.
    TypeError
        If ``model`` is not a PyMC model, or names are not texts.

    See Also
    --------
    BlockGibbs : It samples v in place of a sum, at any size.

    References
    ----------
    .. [1] Robert, C. P., Casella, G. (2004). Monte Carlo Statistical Methods, 2nd edition, section 4.2
       (Rao-Blackwellisation). Springer.

    Examples
    --------
    >>> import numpy as np, pymc as pm, pymc_rbm as pmr
    >>> with pm.Model() as model:
    ...     v = pmr.RBM("v", np.full((3, 2), 0.5), np.zeros(3), np.zeros(2))
    ...     scale = pm.HalfNormal("scale")
    ...     y = pm.Normal("y", v @ np.array([1.0, 2, 3]), scale, observed=2.0)
    >>> pmr.marginalize(model, ["v"]).free_RVs
    [scale]
    """
    if not isinstance(model, pm.Model):
        raise TypeError(f"marginalize takes a PyMC model first, got {shown(model)}: marginalize(model, ['v']).")
    wanted = [names] if isinstance(names, str) else listed("names", names, "names of machines, as in ['v']")
    for name in wanted:
        model = _without(model, name)
    return model


def _without(model: pm.Model, name: Any) -> pm.Model:
    """Return the model with one machine summed out."""
    rv = _summable(model, name)
    below = _together(model, _checked(model, name, dependants(model, rv)))
    graph, copies = fgraph_from_model(without_initial_values(model))
    v, variables = copies[rv], [copies[x] for x in below if x not in model.potentials]
    potentials = [copies[x] for x in below if x in model.potentials]
    gone = [v, *(copies[x] for x in model.deterministics if rv in ancestors([x], set(model.basic_RVs) - {rv}))]

    # The variables as graphs of one another, none of which is a model's variable any more.
    inside = {v: v.owner.inputs[0]}
    for x in (*variables, *potentials):
        inside[x] = graph_replace([x.owner.inputs[0]], inside, strict=False)[0]
    drawn, *others = inside.values()
    if variables:
        outside = [copies[x] for x in model.basic_RVs if copies[x] not in inside]
        node = _summed_out([drawn, *others], outside, len(variables)).owner
        for x, out in zip(variables, node.outputs[1:], strict=False):
            graph.change_node_input(x.owner, 0, out, import_missing=True)
    elif potentials:
        state, first = drawn.type(), potentials[0].owner.op
        terms = sum(x.sum() for x in graph_replace(others, {drawn: state}, strict=False))
        graph.add_output(type(first)(first.name)(log_mean(drawn, state, terms)), import_missing=True)
    for x in (*gone, *potentials):
        graph.remove_output(graph.outputs.index(x))
    return model_from_fgraph(graph, mutate_fgraph=True)


def _summed_out(outputs: list[TensorVariable], outside: list[TensorVariable], variables: int) -> TensorVariable:
    """Return the first output of a node that stands for the graph of all, from the model's other variables."""
    needed = [x for x in outside if x in set(ancestors(outputs, blockers=outside))]
    needed += [x for x in graph_inputs(outputs, blockers=needed) if not isinstance(x, Constant) and x not in needed]
    updates = collect_default_updates(outputs[: 1 + variables], inputs=needed, must_be_shared=False)
    op = SummedOut(needed, [*outputs, *updates.values()], variables=variables, potentials=len(outputs) - 1 - variables)
    return op(*needed, return_list=True)[0]


def _together(model: pm.Model, direct: list[TensorVariable]) -> list[TensorVariable]:
    """Return the variables that depend on v, and those between them, each after what it depends on; then Potentials.

    Observed ones come after all that do not depend on them, so that their density is given these.
    """
    variables = set(direct) - set(model.potentials)
    above = set(ancestors(direct))
    between = [x for x in model.basic_RVs if x in above and variables & set(ancestors([x]))]
    order = {node: i for i, node in enumerate(io_toposort([], model.basic_RVs))}
    observed = set(model.observed_RVs)
    ordered = sorted(variables | set(between), key=lambda x: (bool(observed & set(ancestors([x]))), order[x.owner]))
    return [*ordered, *(x for x in model.potentials if x in direct)]


def _summable(model: pm.Model, name: Any) -> TensorVariable:
    """Return the machine's variable of this name, or refuse it."""
    if not isinstance(name, str):
        raise TypeError(f"names must be names of machines, as in ['v'], got {shown(name)}.")
    machines = named_machines(model)
    if name not in machines:
        raise ValueError(f"The model has no machine with the name {name!r}; its machines are {sorted(machines)}.")
    rv = model[name]
    if rv not in model.free_RVs:
        how = "observed" if rv in model.observed_RVs else "observed in part (masked)"
        raise ValueError(
            f"{name} is {how}, but only free variables can be summed out. Leave it as it is: pm.sample takes the model."
        )
    if rv.ndim > 1:
        raise ValueError(
            f"{name} has {rv.ndim} axes: rows of states. A single row is needed, of shape (units,): make it a variable "
            "a row, or let pm.sample draw all rows by BlockGibbs."
        )
    count = number_of_states(rv)
    if count > STATES:
        raise ValueError(
            f"{name} has {in_powers(count)} states, and at most {STATES} can be summed over (12 binary units). Let "
            "pm.sample draw them by BlockGibbs."
        )
    return rv


def _checked(model: pm.Model, name: str, found: list[TensorVariable]) -> list[TensorVariable]:
    """Return what depends on a machine, unless its density with the states summed out would be wrong."""
    reasons = {
        "hidden units": lambda op: isinstance(op, HiddenRV),
        "variables with missing entries": lambda op: isinstance(op, PartialObservedRV),
        "minibatches": lambda op: isinstance(op, MinibatchRandomVariable),
        "variables that depend on a machine which was summed out before": lambda op: isinstance(op, SummedOut),
    }
    remedy = "Leave these out of the model, or let pm.sample draw the states by BlockGibbs."
    for x in _together(model, found):
        op = x.owner.op if x.owner is not None else None
        for reason, holds in reasons.items():
            if x not in model.potentials and holds(op):
                raise ValueError(f"{x.name} depends on {name}, and {reason} cannot be kept in the sum. {remedy}")
        if _has_bounds(model.rvs_to_transforms.get(x)):
            raise ValueError(
                f"{x.name} depends on {name} and is sampled between bounds, which would have to be the same for all "
                f"states of {name}. Give it default_transform=None, or let pm.sample draw the states by BlockGibbs."
            )
    return found


def _has_bounds(transform: Any) -> bool:
    """Whether a transform of PyMC takes its bounds from the parameters of the variable."""
    parts = transform.transform_list if isinstance(transform, Chain) else [transform]
    return any(isinstance(part, IntervalTransform) for part in parts)
