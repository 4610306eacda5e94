"""Many iterations in one call of a compiled function: an update of shared variables, written once, in a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

__all__ = ["repeated"]


def repeated(
    updates: dict[Any, Any],
    outputs: Sequence[Any],
    rng: Any,
    next_rng: Any,
    sequences: dict[Any, Any],
) -> tuple[dict[Any, TensorVariable], list[TensorVariable], Any]:
    """Repeat ``updates``, one time for each entry of the ``sequences``, each from where the one before left off.

    Parameters
    ----------
    updates : dict
        New values by shared variable, as graphs of the shared variables, of ``rng`` and of the keys of ``sequences``.
    outputs : sequence of graphs
        What is recorded of each repetition.
    rng, next_rng : random generator variables
        Before and after one repetition.
    sequences : dict
        By variable that the graphs contain, what it is in each repetition: one axis more, which comes first.

    Returns
    -------
    updates : dict
        The shared variables after the last repetition.
    outputs : list
        As they were in each, with an axis of repetitions first.
    rng : random generator variable
    """
    state = [rng, *updates]
    graphs = [next_rng, *(x.type.filter_variable(new) for x, new in updates.items()), *outputs]

    def one(*arguments):
        inner = dict(zip([*sequences, *state], arguments, strict=False))
        return graph_replace(graphs, inner, strict=False)

    found = pytensor.scan(
        one,
        sequences=list(sequences.values()),
        outputs_info=[*state, *[None] * len(outputs)],
        return_updates=False,
    )
    last_rng, traces = found[0], found[1:]
    last = {x: trace[-1] for x, trace in zip(updates, traces, strict=False)}
    return last, traces[len(updates) :], last_rng
