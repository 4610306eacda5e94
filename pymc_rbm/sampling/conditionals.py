"""Find the probability of one visible unit given the others, with hidden units summed out."""

from __future__ import annotations

from typing import Any

from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import conditional_node
from pymc_rbm.machine.enumeration import is_binary_pair
from pymc_rbm.machine.machine import Machine

__all__ = ["log_conditional"]


def log_conditional(machine: Machine, v: Any, unit: Any) -> TensorVariable:
    """Return `Machine.log_conditional`; for two binary layers it is one node of the graph, which may have a kernel."""
    if is_binary_pair(machine):
        return conditional_node(machine, v, unit)
    return machine.log_conditional(v, unit)
