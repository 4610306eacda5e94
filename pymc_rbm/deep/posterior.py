r"""Missing units and hidden layers of a deep belief network are drawn given the known units.

The up-pass q(h¹, …, h^{L-1} | v) of `bound` proposes, and a Metropolis-Hastings test corrects it. One sweep:

1. hidden layers h' ~ q(h' | v), accepted with probability min(1, w(v, h') / w(v, h)): the proposal does not depend on
   h, so this leaves p(h | v) invariant (an independence sampler; Tierney 1994, Annals of Statistics 22);
2. the missing units of v from p(v | h¹), exactly.

A row accepts as often as its bound is tight: always where the top machine is the one below it upside down, when a sweep
is one of block Gibbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.io import In, Out

from pymc_rbm.deep.bound import log_ratio
from pymc_rbm.deep.passes import draw_up, symbolic_stack
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.work import Work

__all__ = ["posterior_states", "posterior_tree"]


def posterior_states(
    machines: Sequence[Machine],
    v: np.ndarray,
    known: np.ndarray,
    draws: int,
    tune: int,
    rng: np.random.Generator,
    progressbar: bool = False,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Run a chain from each row of ``v``; return states of layers 0 to L - 1 and acceptances, (draw, rows, …).

    In the first half of ``tune`` sweeps all proposals are accepted, because chains then leave a bad start sooner.
    Ctrl-C returns the draws so far, or raises KeyboardInterrupt if there are none.
    """
    templates = tuple(machine.template for machine in machines)
    start, advance = _start_function(templates), _advance_function(templates)
    parameters = [p for machine in machines for p in machine.parameters]
    own = np.random.Generator(np.random.PCG64(rng.integers(2**63)))
    own, *states = start(own, v, *parameters)
    kept = []
    check_memory(
        2 * draws * sum(x.nbytes for x in states),
        f"Keeping {draws:,} draws of {len(v):,} rows and their hidden layers",
        "Take fewer draws or rows.",
    )
    with Work(progressbar) as work:
        work.begin("inpainting", tune + draws)
        for i in range(tune + draws):
            own, accepted, *states = advance(own, i >= tune // 2, known, *states, *parameters)
            if i >= tune:
                kept.append((accepted, *states))
            work.advance(1)
            if work.interrupted:
                break
    if not kept:
        raise KeyboardInterrupt
    accepted, *layers = (np.stack(x) for x in zip(*kept, strict=True))
    return layers, accepted


@remembered(64)
def _start_function(templates: tuple[Machine, ...]):
    """Compile (rng, v, parameters…) -> rng, states of an up-pass."""
    machines, inputs = symbolic_stack(templates)
    rng, v = pt.random.rng("rng"), _state(templates[0])
    states, next_rng = draw_up(machines[:-1], v, rng)
    arguments, outputs = [In(rng, mutable=True), v, *inputs], [Out(next_rng, borrow=True), *states]
    return pytensor.function(arguments, outputs, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _advance_function(templates: tuple[Machine, ...]):
    """Compile one sweep of every row: (rng, corrected, known, states…, parameters…) -> rng, accepted, states…."""
    machines, inputs = symbolic_stack(templates)
    rng, corrected, known = pt.random.rng("rng"), pt.bscalar("corrected"), pt.bmatrix("known")
    states = [_state(template) for template in templates]
    v = states[0]
    proposed, next_rng = draw_up(machines[:-1], v, rng)
    log_accept = log_ratio(machines, proposed) - log_ratio(machines, states)
    next_rng, u = pt.random.uniform(size=log_accept.shape, rng=next_rng, return_next_rng=True)
    accepted = pt.le(pt.log(u), log_accept) | pt.eq(corrected, 0)
    hidden = [pt.where(accepted[:, None], new, old) for new, old in zip(proposed[1:], states[1:], strict=True)]
    next_rng, drawn = machines[0].layers[VISIBLE].unit.sample(machines[0].field(VISIBLE, [None, hidden[0]]), next_rng)
    new = [pt.where(known, v, drawn), *hidden]
    outputs = [Out(next_rng, borrow=True), accepted, *(x.astype(s.dtype) for x, s in zip(new, states, strict=True))]
    arguments = [In(rng, mutable=True), corrected, known, *states, *inputs]
    return pytensor.function(arguments, outputs, on_unused_input="ignore")


def _state(template: Machine):
    return pt.tensor(dtype=template.layers[VISIBLE].unit.dtype, shape=(None, None))


def posterior_tree(
    layers: dict[str, np.ndarray], accepted: np.ndarray, chains: int, rows: xr.DataArray, units: dict[str, Any]
) -> xr.DataTree:
    """Return draws as `DeepBeliefNetwork.inpaint` does.

    Parameters
    ----------
    layers : dict of array, shape (draws, chains · rows, units)
        States of the layers by name, from the visible one up.
    accepted : array, shape (draws, chains · rows)
    chains : int
    rows : DataArray
        An array with the dims and coords of the data's rows.
    units : dict
        Labels of the units by dim, one dim for each layer.
    """
    n = len(accepted)

    def variable(x, *dims):
        x = np.moveaxis(x.reshape(n, chains, *rows.shape, *x.shape[2:]), 0, 1)
        return (("chain", "draw", *rows.dims, *dims), x)

    coords = {"chain": np.arange(chains), "draw": np.arange(n), **rows.coords}
    named = {name: variable(x, dim) for (name, x), dim in zip(layers.items(), units, strict=True)}
    stats = xr.Dataset({"accepted": variable(accepted.astype("int8"))}, coords=coords)
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(named, coords=coords | units), "sample_stats": stats})
    tree.attrs = {"created_by": "pymc_rbm.DeepBeliefNetwork.inpaint"}
    return tree
