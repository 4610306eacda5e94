"""Random variables that depend on a machine's states, with these summed out: one Op for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.distributions.lookup import machine_of_rv
from pymc_rbm.distributions.pymc_internals import (
    SymbolicRandomVariable,
    _logprob,
    _support_point,
    conditional_logp,
    support_point,
)
from pymc_rbm.machine.enumeration import joint_states, log_weights_of_states, state_count
from pymc_rbm.machine.machine import VISIBLE, logsumexp

__all__ = ["SummedOut", "log_mean", "number_of_states"]


class SummedOut(SymbolicRandomVariable):
    """Op of ``y ~ Σ_v p(v) p(y | v)``, for all variables y that depend on the states v of one machine.

    Its graph draws v, then each y. Its outputs are these, then the Potentials that depend on v, then generators.
    """

    _print_name = ("SummedOut", r"\operatorname{SummedOut}")
    _ndim_supp = 0

    def __init__(self, *args: Any, variables: int, potentials: int, **kwargs: Any) -> None:
        self.variables, self.potentials = variables, potentials
        super().__init__(*args, **kwargs)

    def parts(self, inputs: Sequence[Variable]) -> tuple[Any, list[Any], list[Any]]:
        """Return v, the variables and the Potentials as graphs of the inputs."""
        given = dict(zip(self.inner_inputs, inputs, strict=True))
        bind = getattr(self.fgraph, "bind", None)  # PyTensor's graphs inside of nodes are frozen since PyMC 6.4
        v, *outs = bind(given) if bind else graph_replace(self.inner_outputs, given, strict=False)
        return v, outs[: self.variables], outs[self.variables : self.variables + self.potentials]


def number_of_states(rv: TensorVariable) -> float:
    """Return how many states a row of a machine's variable has; infinite if they are not known to be finite."""
    return state_count(machine_of_rv(rv), VISIBLE)


def log_mean(rv: TensorVariable, v: TensorVariable, terms: TensorVariable) -> TensorVariable:
    r"""Return ``log Σ_v p(v) exp(terms(v))``, where ``terms``, a number, is a graph of ``v``, and p that of ``rv``."""
    machine, op = machine_of_rv(rv), rv.owner.op
    indices = np.arange(int(number_of_states(rv)))
    weights = log_weights_of_states(machine, VISIBLE, indices)
    log_z = op.log_z(*rv.owner.inputs[2:]) if op.knows_log_z else logsumexp(weights)
    states = joint_states(machine, VISIBLE, indices).astype(v.dtype)
    return pt.logsumexp(weights - log_z + vectorize_graph(terms, {v: states}))


@_logprob.register(SummedOut)
def _log_densities(op, values, *inputs, **kwargs):
    """Return the log-density of each variable given those before it, v summed out; Potentials count with the last."""
    if len(values) != op.variables:
        raise NotImplementedError(
            f"{op.variables} variables depend on the states that were summed out, and only have a density together; "
            f"{len(values)} of them have values. Give values to all, as the model's own logp does."
        )
    rv, variables, potentials = op.parts(inputs)
    v = rv.type()
    given_v = graph_replace([*variables, *potentials], {rv: v}, strict=False)
    known = dict(zip(given_v[: op.variables], values, strict=True))
    terms = [x.sum() for x in conditional_logp(known, **kwargs).values()]
    terms[-1] += sum(x.sum() for x in graph_replace(given_v[op.variables :], known, strict=False))
    together = [log_mean(rv, v, sum(terms[:k])) for k in range(1, len(terms) + 1)]
    # What is impossible without the last variable stays so: the difference of two infinities is no number.
    return together[0], *(pt.switch(pt.isinf(a), 0.0, b - a) for a, b in pairwise(together))


@_support_point.register(SummedOut)
def _start_in_the_first_state(op, rv, *inputs):
    """Return where the variable starts if v is its first state and the variables before it are as they are."""
    outputs = rv.owner.outputs[1:]
    v, variables, _ = op.parts(inputs)
    state = joint_states(machine_of_rv(v), VISIBLE, [0])[0].astype(v.dtype)
    own = outputs.index(rv)
    others = {x: out for i, (x, out) in enumerate(zip(variables, outputs, strict=False)) if i != own}
    return graph_replace([support_point(variables[own])], {v: state} | others, strict=False)[0]
