"""Sweeps of two binary layers are one node of a graph, with their definition inside, which a kernel may replace.

Nodes are made for any back end and say nothing new: back ends without a kernel expand them to the symbolic loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytensor.compile.builders import OpFromGraph

from pymc_rbm.machine.machine import Machine

__all__ = ["BinaryConditional", "BinaryLevels", "BinarySweeps", "BinaryWalk", "Form"]

Flags = tuple[bool, ...]


@dataclass(frozen=True)
class Form:
    """Description of the inputs and outputs of a `BinarySweeps` node.

    Inputs are the generator, the number of sweeps, the number of draws, the states that are given, b, c, W and the
    masks that are given; ``given``, ``held`` and ``masked`` say, by layer, whether there is a state, whether all its
    units are held, and whether there is a mask of units that are. Without ``counted`` there is one sweep; without
    ``traced`` there is one draw, and the outputs are the states of the layers, else the visible states of all draws.
    With ``hidden_last`` a sweep ends with the hidden layer, else with the visible one.
    """

    template: Machine
    counted: bool
    traced: bool
    given: Flags
    held: Flags
    masked: Flags
    hidden_last: bool

    def by_name(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Return the inputs by name; states and masks have one entry a layer, None where it was not given."""
        rest = iter(inputs)
        found: dict[str, Any] = {"rng": next(rest)}
        found["n"] = next(rest) if self.counted else 1
        found["draws"] = next(rest) if self.traced else 1
        found["state"] = [next(rest) if there else None for there in self.given]
        found["parameters"] = [next(rest) for _ in self.template.parameters]
        found["masks"] = [next(rest) if there else None for there in self.masked]
        return found


class BinarySweeps(OpFromGraph):
    """Sweeps of a machine of two binary layers, with inputs and outputs as a `Form` describes them."""

    def __init__(self, *args, form: Form, **kwargs):
        self.form = form
        super().__init__(*args, inline=True, **kwargs)

    def connection_pattern(self, node):
        """Return a pattern without connections: no output is differentiable, because states are discrete."""
        return [[False] * len(node.outputs) for _ in node.inputs]


class BinaryWalk(OpFromGraph):
    """A walk of a machine of two binary layers from a base along temperatures, ``reverse`` or not.

    Inputs are the generator, the temperatures, the visible states, the base's b and c, and b, c, W. Outputs are the
    increments of the log-weights, the states and the generator.
    """

    def __init__(self, *args, template: Machine, reverse: bool, **kwargs):
        self.template, self.reverse = template, reverse
        super().__init__(*args, inline=True, **kwargs)


class BinaryConditional(OpFromGraph):
    """The log-probability of one visible unit of each row given the others, of a machine of two binary layers.

    Inputs are the visible states, the units' numbers, and b, c, W.
    """

    def __init__(self, *args, template: Machine, **kwargs):
        self.template = template
        super().__init__(*args, inline=True, **kwargs)


class BinaryLevels(OpFromGraph):
    """A sweep of a machine of two binary layers at each of several temperatures.

    Inputs are the generator, the temperatures below each, its own and above, the visible states (temperature, row,
    unit), the base's b and c, and b, c, W. Outputs are the free energy below and above less its own, states, generator.
    """

    def __init__(self, *args, template: Machine, **kwargs):
        self.template = template
        super().__init__(*args, inline=True, **kwargs)
