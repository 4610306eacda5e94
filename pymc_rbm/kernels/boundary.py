"""Where kernels may take over: sweeps of two binary layers as one node of a graph, with their definition inside.

Nodes are made for any back end and say nothing new: back ends without a kernel expand them to the symbolic loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.compile.builders import OpFromGraph

from pymc_rbm.machine import Machine

__all__ = ["BinarySweeps", "BinaryWalk", "by_name"]

Flags = tuple[bool, ...]


class BinarySweeps(OpFromGraph):
    """Sweeps of a machine of two binary layers.

    Inputs are the generator, the number of sweeps, the number of draws, the states that are given, b, c, W and the
    masks that are given; ``given``, ``held`` and ``masked`` say, by layer, whether there is a state, whether all its
    units are held, and whether there is a mask of units that are. Without ``counted`` there is one sweep; without
    ``traced`` there is one draw, and the outputs are the states of the layers, else the visible states of all draws.
    """

    def __init__(
        self,
        *args,
        template: Machine,
        counted: bool,
        traced: bool,
        given: Flags,
        held: Flags,
        masked: Flags,
        **kwargs,
    ):
        self.template, self.counted, self.traced = template, counted, traced
        self.given, self.held, self.masked = given, held, masked
        super().__init__(*args, inline=True, **kwargs)

    def by_name(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """The inputs of a node by what they are; states and masks have an entry a layer, None where there is none."""
        return by_name(inputs, self.template, self.counted, self.traced, self.given, self.held, self.masked)

    def connection_pattern(self, node):
        """States are discrete: nothing is differentiated through them."""
        return [[False] * len(node.outputs) for _ in node.inputs]


class BinaryWalk(OpFromGraph):
    """A walk of a machine of two binary layers from a base along temperatures, ``reverse`` or not.

    Inputs are the generator, the temperatures, the visible states, the base's b and c, and b, c, W. Outputs are the
    increments of the log-weights, the states and the generator.
    """

    def __init__(self, *args, template: Machine, reverse: bool, **kwargs):
        self.template, self.reverse = template, reverse
        super().__init__(*args, inline=True, **kwargs)


def by_name(
    inputs: Sequence[Any],
    template: Machine,
    counted: bool,
    traced: bool,
    given: Flags,
    held: Flags,
    masked: Flags,
) -> dict[str, Any]:
    """The inputs of a `BinarySweeps` of these options by what they are."""
    rest = iter(inputs)
    found: dict[str, Any] = {"rng": next(rest)}
    found["n"] = next(rest) if counted else 1
    found["draws"] = next(rest) if traced else 1
    found["state"] = [next(rest) if there else None for there in given]
    found["parameters"] = [next(rest) for _ in template.parameters]
    found["masks"] = [next(rest) if there else None for there in masked]
    return found
