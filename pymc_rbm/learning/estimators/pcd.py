"""Estimators of the negative phase, which stands in for the gradient of log Z.

Each is one function of

- ``machine``: the machine at the current parameters,
- ``base``: independent units with the data's means,
- ``batch``: rows of data, shape (rows, visible),
- ``states``: a shared variable, the visible states of the persistent chains, shape (chains, visible); where biases
  differ by row a graph, the states of the batch's own chains, one a row,
- ``rng``: a generator, and ``sweeps``: their number for each update, possibly symbolic,

and perhaps of options with defaults, by keyword (set them with ``functools.partial``). It returns a `NegativePhase`.
To add an estimator, write one more function; a row in `pymc_rbm.learning.estimators.names` gives it a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.exact_sums import log_partition
from pymc_rbm.machine.enumeration import is_tractable, sizes_of
from pymc_rbm.machine.machine import HIDDEN, Machine
from pymc_rbm.machine.rows import has_rows
from pymc_rbm.sampling.sweep import sweeps as run_sweeps
from pymc_rbm.support.arguments import shape_of

__all__ = [
    "NegativePhase",
    "contrastive",
    "exact",
    "fast_persistent",
    "persistent",
    "shared_rows",
    "surrogate_log_partition",
]


@dataclass(frozen=True)
class NegativePhase:
    """The result of an estimator.

    Attributes
    ----------
    log_z : scalar, or one a row where biases differ by row
        Its *derivative* estimates that of log Z.
    particles : shape (n, visible)
        The states that stand for the model in this update.
    states : shape (chains, visible) or None
        The next states of the persistent chains; None if there are none.
    rng : generator
    updates : dict
        New values of the shared variables that the estimator made for itself; each variable needs a name.
    report : dict
        Figures to be recorded at every iteration, of fixed shapes.
    starts : dict
        Where such shared variables start, if that is random: functions of a generator, evaluated once.
    ladder : bool
        Whether the chains swap with those of earlier machines between updates (`learning.trajectory`).
    births : Births, optional
        Where replicas that swap with the chains came from, for this ladder's renewals.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> def two_sweeps(machine, base, batch, states, rng, sweeps):
    ...     return pmr.estimators.persistent(machine, base, batch, states, rng, 2 * sweeps)
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method=two_sweeps, random_seed=1, progressbar=False)
    >>> learned["parameters"]["W"].shape
    (9, 4)
    """

    log_z: TensorVariable
    particles: TensorVariable
    states: TensorVariable | None
    rng: Any
    updates: dict[Any, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    starts: dict[Any, Callable[[Any], TensorVariable]] = field(default_factory=dict)
    ladder: bool = False
    births: Any = None


def shared_rows(rows: np.ndarray, name: str) -> Any:
    """Return a shared variable of rows, not copied, whose type knows the number of columns."""
    return pytensor.shared(rows, name=name, shape=(None, rows.shape[1]), borrow=True)


def surrogate_log_partition(machine: Machine, particles: Any) -> TensorVariable:
    """Return minus the mean free energy of constant particles, whose gradient estimates ``∂ log Z/∂θ = -E ∂F(v)/∂θ``.

    Where biases differ by row each row has a log Z and one particle of its own, and no mean is taken.
    """
    values = -machine.free_energy(disconnected_grad(pt.as_tensor(particles)))
    return values if has_rows(machine) else values.mean()


def persistent(machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: Any) -> NegativePhase:
    """Return the negative phase of persistent contrastive divergence, PCD-k: its chains are never restarted.

    It is biased only because the chains lag behind the moving parameters, and not at all in the limit of a falling
    learning rate and mixing chains (Younes 1999; Tieleman 2008).

    Where biases differ by row every row of the data has a chain of its own, under its own covariates,
    which advances when the row is in the batch; the chains take as much memory as the data. Both phases then see the
    same covariates, and the same limit is free of bias. Chains that were handed from row to row would have
    to forget the last row's covariates first, and a few chains that stay at some rows would stand for those only. But
    a row's chain advances once an epoch: it lags behind by more iterations than chains that all rows share.

    Chains of two binary layers go on from their hidden states, and a sweep ends with the hidden units: the fields that
    these are drawn from are also those of the gradient, which the weights have not yet moved. The hidden states are
    then one update older than the visible ones. Where fields are steep in what is learned that is too old (with the σ
    of Gaussian units, by which fields are divided twice, learning diverged): the chains of other machines go on from
    their visible states, and a sweep is under the parameters of one update.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="pcd", random_seed=1, progressbar=False)
    >>> dict(learned["particles"]["v_free_energy"].sizes)
    {'chain': 100, 'draw': 20}
    """
    v, rng, updates, starts = _advanced(machine, states, rng, sweeps)
    return NegativePhase(surrogate_log_partition(machine, v), v, v, rng, updates, starts=starts)


def _advanced(machine: Machine, states: Any, rng: Any, sweeps: Any) -> tuple[TensorVariable, Any, dict, dict]:
    """Sweep persistent chains; return their visible states, the generator, updates and starts of the hidden states."""
    binary = [len(layer.unit.states or ()) for layer in machine.layers] == [2, 2]
    if has_rows(machine) or not binary:
        (v, *_), rng = run_sweeps(machine, machine.at(states), rng, sweeps)
        return v, rng, {}, {}
    layer = machine.layers[HIDDEN]
    shape = states.get_value(borrow=True).shape[0], shape_of(layer.bias)[-1] or 0
    hidden = shared_rows(np.zeros(shape, layer.unit.dtype), f"{states.name}_hidden")
    (v, h), rng = run_sweeps(machine, [states, hidden], rng, sweeps, last=HIDDEN)
    given_v = machine.field(HIDDEN, machine.at(states))
    return v, rng, {hidden: h}, {hidden: lambda start_rng: layer.unit.sample(given_v, start_rng)[1]}


def contrastive(machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: Any) -> NegativePhase:
    """Return the negative phase of contrastive divergence, CD-k: ``sweeps`` sweeps from the batch itself.

    It is biased for any finite number of sweeps, towards machines that reproduce the data locally: modes far from all
    data are never seen, their mass can grow, and the likelihood can fall while learning goes on (Hinton 2002; Fischer &
    Igel 2010). The particles do not form chains, so nothing can be diagnosed.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="cd", random_seed=1, progressbar=False)
    >>> "particles" in learned.children
    False
    """
    (v, *_), rng = run_sweeps(machine, machine.at(batch), rng, sweeps)
    return NegativePhase(surrogate_log_partition(machine, v), v, None, rng)


def exact(machine: Machine, base: Machine, batch: Any, states: Any, rng: Any, sweeps: Any) -> NegativePhase:
    """Return the exact gradient of log Z, by enumeration of the smaller side, which has at most 16 units.

    `Bernoulli` and `Spin` units may be 20, in one layer or on the smaller side of two: 25 ms an iteration for 20x20.

    Where all units are Gaussian it is an integral. It has neither bias nor noise. The persistent chains run along, for
    diagnosis only.

    Raises
    ------
    ValueError
        If neither side has at most 16 binary units, or 20 where all units are.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="exact", random_seed=1, progressbar=False)
    >>> learned["parameters"]["W"].shape
    (9, 4)
    """
    if not is_tractable(machine):
        raise ValueError(
            "method='exact' enumerates the smaller side, which may have at most 16 units, or 20 where all are "
            f"binary: sizes {sizes_of(machine)} are too large. Use method='pcd'."
        )
    return replace(persistent(machine, base, batch, states, rng, sweeps), log_z=log_partition(machine))


def fast_persistent(
    machine: Machine,
    base: Machine,
    batch: Any,
    states: Any,
    rng: Any,
    sweeps: Any,
    *,
    rate: float = 0.05,
    decay: float = 0.95,
) -> NegativePhase:
    """Return the negative phase of fast PCD, FPCD: its chains are pushed away from where they are.

    The chains follow parameters θ + φ. The fast parameters φ climb the same gradient at their own, constant ``rate``
    and are multiplied by ``decay`` in each iteration, so that they raise the energy wherever the particles linger, and
    the chains leave modes that plain Gibbs would not (Tieleman & Hinton 2009).

    It is biased even in the limit: the particles are draws from the machine at θ + φ, and φ does not vanish with the
    learning rate. It is good for getting near the optimum; finish with ``method="pcd"`` or "pt". The particles'
    diagnostics show the mixing of the pushed chains, not that of the machine.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model():
    ...     W, b, c = pm.Normal("W", 0, 1, shape=(9, 4)), pm.Flat("b", shape=9), pm.Flat("c", shape=4)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(20, method="fpcd", random_seed=1, progressbar=False)
    >>> learned["parameters"]["W"].shape
    (9, 4)
    """
    if any(c.first == c.second for c in machine.couplings):
        raise ValueError(
            "method='fpcd' needs a machine without couplings inside a layer, but this one has some: "
            "use method='pcd' or 'pt'."
        )
    fast = [
        pytensor.shared(
            np.zeros(tuple(n or 0 for n in shape_of(p)), dtype=pt.as_tensor(p).dtype), name=f"{states.name}_fast_{i}"
        )
        for i, p in enumerate(machine.parameters)
    ]
    pushed = machine.with_parameters([p + f for p, f in zip(machine.parameters, fast, strict=True)])
    v, rng, updates, starts = _advanced(pushed, states, rng, sweeps)
    log_z = surrogate_log_partition(machine, v)
    # b may depend on W: its fast weights do not.
    slopes = machine.slopes(lambda m: surrogate_log_partition(m, batch) - surrogate_log_partition(m, v))
    updates |= {f: (decay * f + rate * slope).astype(f.dtype) for f, slope in zip(fast, slopes, strict=True)}
    return NegativePhase(log_z, v, v, rng, updates, starts=starts)
