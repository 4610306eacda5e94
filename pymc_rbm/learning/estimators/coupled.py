r"""Coupled chains make contrastive divergence unbiased.

After Qiu, Zhang & Wang (2020, *Unbiased contrastive divergence algorithm for training energy-based latent variable
models*, ICLR) and Jacob, O'Leary & Atchadé (2020, JRSS B 82). Two chains ξ and η start at the same distribution, and ξ
is one sweep ahead. They are coupled so that at some finite time τ, and ever after, ``ξ_t = η_(t-1)``. Then for any
function f and burn-in k

.. math::

    H_k = f(\xi_k) + \sum_{t=k+1}^{\tau-1} \left(f(\xi_t) - f(\eta_{t-1})\right)

has the expectation of f under the machine, exactly: the differences telescope to the limit that ξ never reached.

The coupling: both chains draw with the same random numbers. For binary units that is the maximal coupling of each
unit given the fields, and chains that have met stay together. (The paper couples whole layers maximally; unit by unit
the chains approach each other even where they cannot yet meet.)
"""

from __future__ import annotations

from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.scan.utils import until

from pymc_rbm.learning.estimators.pcd import NegativePhase, surrogate_log_partition
from pymc_rbm.machine.machine import Machine
from pymc_rbm.sampling.sweep import sweep

__all__ = ["unbiased"]


def unbiased(
    machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: int, *, most_sweeps: int = 1000
) -> NegativePhase:
    """Return the unbiased contrastive divergence: CD-k plus a correction by coupled chains, where k is ``sweeps``.

    There are as many pairs as ``chains``, started at rows of the batch. The estimate is unbiased if every pair meets
    within ``most_sweeps``; pairs that have not met by then are cut off, which is reported and biases the estimate. Its
    variance grows quickly with the meeting times: where they are long, so is the mixing time, and PCD is the better
    choice. A larger k costs k sweeps and lowers the variance.

    Reports, by iteration: ``meeting_time`` of each pair in sweeps, and ``unmet``, the share of pairs cut off. For units
    with finitely many states only: others never meet exactly.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="ucd", random_seed=1, progressbar=False)
    >>> float(learned["learning"]["v_unmet"].max())
    0.0
    """
    if not all(layer.unit.finite for layer in machine.layers):
        raise ValueError(
            "method='ucd' needs units with finitely many states, since chains of other units never "
            "meet. Use method='pcd'."
        )
    chains = states.get_value(borrow=True).shape[0]
    behind = batch[pt.arange(chains) % batch.shape[0]]
    (ahead, *_), rng = sweep(machine, machine.at(behind), rng)

    def both(t, ahead, behind, rng, *parameters):
        inner = machine.with_parameters(parameters)
        (new_behind, *_), _ = sweep(inner, inner.at(behind), rng)
        (new_ahead, *_), rng = sweep(inner, inner.at(ahead), rng)  # the same generator gives the same random numbers
        met = pt.eq(new_ahead, new_behind).all()
        return (new_ahead, new_behind, rng), until(met & (t >= sweeps))

    ahead, behind = ahead.astype(states.dtype), behind.astype(states.dtype)
    trace_ahead, trace_behind, rng = pytensor.scan(
        both,
        sequences=[pt.arange(2, max(most_sweeps, sweeps) + 2)],  # the time t of ξ
        outputs_info=[ahead, behind, rng],
        non_sequences=list(map(pt.as_tensor, machine.parameters)),
        return_updates=False,
    )
    trace_ahead = pt.concatenate([ahead[None], trace_ahead])  # ξ_1, ξ_2, …
    trace_behind = pt.concatenate([behind[None], trace_behind])  # η_0, η_1, …
    v = trace_ahead[sweeps - 1]
    # Pairs that have met contribute nothing, because their free energies cancel exactly.
    after = disconnected_grad(trace_ahead[sweeps:]), disconnected_grad(trace_behind[sweeps:])
    correction = (machine.free_energy(after[1]) - machine.free_energy(after[0])).sum() / chains
    apart = pt.neq(trace_ahead, trace_behind).any(-1)
    report = {"meeting_time": 1 + apart.sum(0), "unmet": apart[-1].mean()}
    return NegativePhase(surrogate_log_partition(machine, v) + correction, v, None, rng, report=report)
