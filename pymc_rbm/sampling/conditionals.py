"""The probability of one visible unit given the others, hidden units summed out."""

from __future__ import annotations

from typing import Any

from pytensor.tensor.variable import TensorVariable

from pymc_rbm.kernels.door import conditional_node, is_binary_pair
from pymc_rbm.machine.machine import Machine

__all__ = ["log_conditional"]


def log_conditional(machine: Machine, v: Any, unit: Any) -> TensorVariable:
    """Return `Machine.log_conditional`, of two binary layers as one node of the graph, which may have a kernel."""
    if is_binary_pair(machine):
        return conditional_node(machine, v, unit)
    return machine.log_conditional(v, unit)
