"""Exact transition matrices of graphs that draw: every outcome of their decisions, weighted by its probability."""

from itertools import product

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors

from pymc_rbm.support.forced import forced

BELOW, ABOVE = 1e-300, 1 - 2**-53
"""Uniform numbers that are below every probability, and below none but 1."""


def transition_matrix(build, sizes, values=(0, 1)):
    """The matrix of a transition of layers of so many units, and the states.

    ``build(n)`` returns the old and the new states of ``n`` independent rows. Whatever is random in it must be a
    decision ``u < p`` of a uniform number u: p is read from the graph, and u forced to either side. Each row is one
    start with one outcome.
    """
    states = list(product(*(product(values, repeat=n) for n in sizes)))
    decisions = int(sum(np.prod(u.type.shape[1:]) for u in forced(build(1)[1])[1]))
    outcomes = list(product([True, False], repeat=decisions))
    starts, taken = (np.array(x) for x in zip(*product(range(len(states)), outcomes), strict=True))

    inputs, ends = build(len(taken))
    ends, numbers = forced(ends)
    p = pt.prod([_probability(u, ends) for u in numbers], axis=0)
    function = pytensor.function([*inputs, *numbers], [*ends, p], mode="FAST_COMPILE", on_unused_input="ignore")
    given = [np.array([states[k][i] for k in starts], dtype=x.dtype) for i, x in enumerate(inputs)]
    for u in numbers:
        here, taken = np.split(taken, [int(np.prod(u.type.shape[1:]))], axis=1)
        given.append(np.where(here, BELOW, ABOVE).reshape(len(here), *u.type.shape[1:]))
    *found, p = function(*given)
    where = {state: k for k, state in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    for k, weight, *end in zip(starts, p, *(x.tolist() for x in found), strict=True):
        matrix[k, where[tuple(map(tuple, end))]] += weight
    return matrix, states


def decision_by(u, ends):
    """Whether the number ``u``, or its logarithm, is below a bound; that number, and the bound."""
    [decision] = [x for x in ancestors(ends) if x.owner and x.owner.op == pt.lt and u in ancestors(x.owner.inputs[:1])]
    return decision, *decision.owner.inputs


def _probability(u, ends):
    """Of the sides on which the numbers ``u`` are, by row."""
    _, number, bound = decision_by(u, ends)
    if number is not u:
        assert number.owner.op == pt.log and number.owner.inputs == [u]
        bound = pt.exp(pt.minimum(bound, 0.0))
    p = pt.where(pt.eq(u, BELOW), bound, 1 - bound)
    return p.prod(axis=tuple(range(1, p.ndim)))
