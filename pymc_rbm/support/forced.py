"""Give the random numbers of a graph instead of drawing them.

Whatever is random in a graph of this package is drawn by a node of ``pt.random`` that takes its generator from the node
before it. So a graph is the one place where all of its random numbers can be forced: they are cut off and become
inputs. Graphs that are not forced know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import toposort
from pytensor.scan.op import Scan
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.support.reentrant import one_compiles

__all__ = ["forced"]


def forced(outputs: Sequence[TensorVariable]) -> tuple[list[TensorVariable], list[TensorVariable]]:
    """Replace the random numbers of a graph by inputs.

    Returns
    -------
    outputs : list of tensor
        The same graph as a function of its numbers.
    numbers : list of tensor
        One input for each draw, in the order of drawing: uniform numbers (`Unit.sample` of binary units, acceptance),
        normal ones or whatever else the graph would draw, with the shapes that it would draw.

    Raises
    ------
    ValueError
        If a loop draws: it has other numbers each time round.
    """
    with one_compiles():
        outputs = rewrite_graph(clone_replace(outputs), include=("inline_ofg_expansion",))
    nodes = list(toposort(outputs))
    if any(isinstance(node.op, Scan) and any(isinstance(x.type, RandomType) for x in node.inputs) for node in nodes):
        raise ValueError(
            "A loop of this graph draws random numbers, which cannot be given: force those of one turn of the loop."
        )
    draws = [node.out for node in nodes if isinstance(node.op, RandomVariable)]
    numbers = {x: x.type() for x in draws}
    return graph_replace(outputs, numbers, strict=False), list(numbers.values())
