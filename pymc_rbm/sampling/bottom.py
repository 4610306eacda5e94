"""The bottom of a ladder is drawn exactly: it has independent units, or few hidden units with weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pymc_rbm.machine.enumeration import independent_log_z, is_enumerable, symbolic_log_partition
from pymc_rbm.machine.machine import HIDDEN, Layer, Machine, restricted
from pymc_rbm.machine.validation import normalisable_machine
from pymc_rbm.sampling.forward import draw_visible, exact_source
from pymc_rbm.support.reentrant import value_of

__all__ = ["exact_draws", "exact_log_z_of", "source_of"]


def exact_draws(machine: Machine, chains: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return independent draws of the visible units, by enumeration; None for a machine without any weights.

    ValueError where too many hidden units have weights.
    """
    few = _enumerable(machine)
    return None if few is None else draw_visible(rng, chains, 0, few)


def source_of(machine: Machine) -> Callable[[np.random.Generator, int], np.ndarray] | None:
    """Return a function (rng, chains) -> `exact_draws`, prepared for many calls; None where there are none."""
    few = _enumerable(machine)
    return None if few is None else exact_source(normalisable_machine(few))


def exact_log_z_of(machine: Machine) -> float:
    """Return log Z of a bottom."""
    few = _with_weights(machine)
    if few is None:
        return independent_log_z(machine)
    idle = machine.layers[HIDDEN].bias[~_has_weights(machine)]
    alone = Layer(machine.layers[HIDDEN].unit, np.asarray(idle, "float64"))
    return float(value_of(symbolic_log_partition(few) + alone.log_z))


def _has_weights(machine: Machine) -> np.ndarray:
    """Whether each hidden unit has weights."""
    return machine.couplings[0].weights.any(0)


def _enumerable(machine: Machine) -> Machine | None:
    """Return the same as `_with_weights`; ValueError where too many hidden units have weights."""
    few = _with_weights(machine)
    if few is not None and not is_enumerable(few):
        raise ValueError(
            f"{len(few.layers[HIDDEN].bias)} hidden units have weights, but exact draws need a side of at most 16 "
            "binary units. Draw chains instead."
        )
    return few


def _with_weights(machine: Machine) -> Machine | None:
    """Return the machine with only those hidden units that have weights; None if no unit has."""
    if not any(c.weights.any() for c in machine.couplings):
        return None
    on = _has_weights(machine)
    visible, hidden = machine.layers
    W, b, c = (np.asarray(x, "float64") for x in (machine.couplings[0].weights[:, on], visible.bias, hidden.bias[on]))
    return restricted(W, b, c, visible.unit, hidden.unit)
