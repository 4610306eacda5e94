"""Find where each parameter of a machine stands in flat lists, as in files, and in the inputs of Ops.

Nothing outside of this file counts positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

__all__ = ["Parameters"]


@dataclass(frozen=True)
class Parameters:
    """Biases of the layers, weights of the couplings, and what the layers' units have of their own, layer by layer.

    Entries are numbers, variables or None; or whatever else each parameter has one of, such as a name or a shape.
    """

    biases: tuple[Any, ...]
    weights: tuple[Any, ...]
    own: tuple[Any, ...] = ()

    def flat(self) -> list[Any]:
        """The order of `Machine.parameters`: biases, weights, own."""
        return [*self.biases, *self.weights, *self.own]

    def weights_first(self) -> list[Any]:
        """The order of users, as in ``RBM(W, b, c)``, and of the inputs of Ops: weights, biases, own."""
        return [*self.weights, *self.biases, *self.own]

    def at(self, flat: Sequence[Any]) -> Parameters:
        """Return entries in the order of `flat` as parameters by kind; ValueError where their number is wrong."""
        return self._filled(flat, "biases", "weights", "own")

    def at_weights_first(self, given: Sequence[Any]) -> Parameters:
        """Return entries in the order of `weights_first` as parameters by kind."""
        return self._filled(given, "weights", "biases", "own")

    def _filled(self, given: Sequence[Any], *order: str) -> Parameters:
        if len(given) != len(self.flat()):
            raise ValueError(
                f"Expected {len(self.flat())} parameters, got {len(given)}. Give one for each bias, "
                "coupling and parameter of units."
            )
        rest = iter(given)
        return Parameters(**{key: tuple(islice(rest, len(getattr(self, key)))) for key in order})

    def map(self, function: Callable, *others: Parameters) -> Parameters:
        """Return ``function`` of each entry and of the entries at its place in ``others``."""
        return self.at([function(*x) for x in zip(self.flat(), *(other.flat() for other in others), strict=True)])

    @property
    def core_ndims(self) -> Parameters:
        """How many axes each parameter has without batch axes."""
        return Parameters((1,) * len(self.biases), (2,) * len(self.weights), (1,) * len(self.own))
