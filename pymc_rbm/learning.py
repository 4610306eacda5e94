"""Learning: stochastic approximation of the maximum likelihood, driven by persistent Markov chains."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.model import modelcontext

from pymc_rbm.checks import whole_number
from pymc_rbm.estimators import find_method
from pymc_rbm.history import History
from pymc_rbm.interrupts import DeferredInterrupt
from pymc_rbm.learned import learned_tree, restore, save
from pymc_rbm.learner import Learner
from pymc_rbm.objective import observed_machines
from pymc_rbm.progress import LearningProgressBar
from pymc_rbm.schedules import hold_then_fall

__all__ = ["fit"]


def fit(
    epochs: int = 50,
    *,
    method: str | Callable = "pcd",
    batch_size: int | None = 100,
    chains: int = 100,
    sweeps: int = 1,
    optimizer: Callable | None = None,
    learning_rate: float | Callable[[float], float] = 0.1,
    max_gradient_norm: float | None = None,
    centred: bool = True,
    start: dict[str, Any] | None = None,
    resume: xr.DataTree | None = None,
    horizon: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    compile_kwargs: dict | None = None,
    model: pm.Model | None = None,
) -> xr.DataTree:
    r"""Learn the parameters of a model's observed RBMs by stochastic approximation of the maximum likelihood.

    Climbs the penalised log-likelihood per row, ``mean log p(v) + log prior / N``, in the unconstrained space of the
    model's continuous free variables (``pm.Flat`` priors: plain maximum likelihood). Each iteration advances the
    particles by ``sweeps`` sweeps, estimates (here for the default method, persistent contrastive divergence)

    .. math::

        \nabla_\theta = -\operatorname{mean}_\text{batch} \nabla F(v) + \operatorname{mean}_\text{particles} \nabla F(v)

    plus the gradient of the rest of the model's log-density, and hands it to the optimiser.

    Parameters
    ----------
    epochs : int, default 50
        Passes over the data, each in a fresh random order without replacement.
    method : {"pcd", "cd", "exact"} or estimator, default "pcd"
        Persistent contrastive divergence; contrastive divergence, restarted at the data in each iteration (biased, no
        chains to diagnose); or the exact gradient by enumeration of a side of at most 16 units. See
        `pymc_rbm.estimators`.
    batch_size : int or None, default 100
        Rows per iteration; None takes all rows. An epoch's rows are split evenly, so batches may be a little smaller.
    chains : int, default 100
        Number of persistent chains, whose current states are the particles. Their number need not match the batch.
    sweeps : int, default 1
        Sweeps of every chain per iteration.
    optimizer : callable, default ``pm.sgd``
        One of PyMC's. Given without arguments (``pm.adam``) it gets ``learning_rate``; given with its own
        (``pm.adam(learning_rate=0.003)``), ``learning_rate`` is not used. Adaptive optimisers start faster, but near
        the optimum they blow the noise of the estimate up to full-size updates and can drive the particles apart.
    learning_rate : float or callable, default 0.1
        A number is held for the first half of learning and then falls linearly to zero: with a rate that does not
        fall, the parameters keep wandering around the optimum. A callable maps the share of learning done, from 0 to
        1, to the rate; `pymc_rbm.schedules` has some.
    max_gradient_norm : float, optional
        Scale the gradient (of all parameters together, after centring) down to this Euclidean norm where it is larger.
    centred : bool, default True
        Whether to centre the gradients (see `pymc_rbm.centring`), for RBMs whose W, b and c are free variables
        themselves. It makes learning invariant to flipping the data, and usually faster and steadier.
    start : dict, optional
        Start values by name of free variable. By default a variable used as b starts at the data's log-odds, W near
        zero, c at zero, others at PyMC's initial point.
    resume : DataTree, optional
        What an earlier `fit` of the same model with the same arguments returned, or its checkpoint: goes on exactly
        (parameters, particles, optimiser's memory, generator) for ``epochs`` more. ``start`` and ``random_seed`` do not
        matter then.
    horizon : int, optional
        Number of epochs, those of ``resume`` included, over which the learning rate's schedule runs. Default: until the
        end of this call. 50 epochs and 50 resumed ones, both with ``horizon=100``, are bit for bit 100 epochs.
    checkpoint : path, optional
        Write what would be returned to this netCDF file every ``checkpoint_every`` epochs. The file is replaced at
        once, so that a crash at any moment loses at most one period. ``xarray.open_datatree`` reads it.
    checkpoint_every : int, default 10
    random_seed : int or Generator, optional
        The same seed gives the same result.
    progressbar : bool, default True
        The bar shows, once an epoch, the stochastic pseudo log-likelihood per row (of a fifth of the rows, at most
        1,000), the free-energy gap (particles minus data; far from zero means that the particles are not where the
        data are) and, from time to time, R-hat of the particles' free energy over the last 500 iterations.
    compile_kwargs : dict, optional
        Passed to ``pm.compile``.
    model : Model, optional
        Default: the model on the context stack.

    Returns
    -------
    DataTree
        ``parameters``: free variables and Deterministics of the model at the last iterate, with its dims and coords.
        ``averaged_parameters``: the average of the iterates over the second half of the horizon, see `averaged`.
        ``learning``: monitors by ``iteration`` and ``epoch``.
        ``particles``: free energy and mean activations of the persistent chains as (chain, draw), one draw an
        iteration; ``az.rhat(learned, group="particles")`` and the like work.
        ``particle_states``: the last visible states. ``data``: the means of the data. ``state``: what ``resume`` needs.
        Interrupting (Ctrl-C) finishes the iteration and returns what was learned so far, with
        ``attrs["interrupted"] = 1`` and a warning; a second Ctrl-C stops at once.

    Raises
    ------
    ValueError
        Before any work, if the model has no observed RBM, nothing to learn, free discrete variables (masked RBMs
        included), or if an argument is out of range.
    FloatingPointError
        If the parameters stop being finite.

    Notes
    -----
    Bias: if the particles were exact draws from the current model the gradient would be unbiased. They lag behind,
    the more so the larger the learning rate and the slower the machine mixes; with a falling rate and mixing chains
    the iterates converge to a stationary point of the objective [1]_, [2]_. Whether the chains mixed is for
    ``particles`` to show.

    Where the rate is high for the data, single iterates are noisy and their average is not: on bars and stripes with 16
    hidden units and a constant rate the last iterate ends 1 nat below the bound, the average 0.02 (`averaged`).

    References
    ----------
    .. [1] Younes, L. (1999). On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity
       rates. Stochastics 65, 177-228.
    .. [2] Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the likelihood
       gradient. ICML.
    """
    model = modelcontext(model)
    epochs, chains, sweeps = (
        whole_number(name, value) for name, value in (("epochs", epochs), ("chains", chains), ("sweeps", sweeps))
    )
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
    checkpoint_every = whole_number("checkpoint_every", checkpoint_every)
    horizon = None if horizon is None else whole_number("horizon", horizon)
    rate = learning_rate if callable(learning_rate) else hold_then_fall(learning_rate)
    estimator = find_method(method)
    optimizer = optimizer or pm.sgd
    if max_gradient_norm is not None and not (np.isscalar(max_gradient_norm) and max_gradient_norm > 0):
        raise ValueError(f"max_gradient_norm must be a positive number, got {max_gradient_norm!r}.")
    observed = observed_machines(model)
    if resume is not None and resume.attrs.get("method") not in (None, estimator.__name__):
        raise ValueError(
            f"`resume` learned with {resume.attrs['method']!r}, this call asks for {estimator.__name__!r}."
        )
    rng = np.random.default_rng(random_seed)
    if not isinstance(rng.bit_generator, np.random.PCG64):  # its state goes into files as text, others' are arrays
        rng = np.random.Generator(np.random.PCG64(rng.integers(2**63)))
    learner = Learner(
        model,
        observed,
        chains,
        estimator,
        sweeps,
        optimizer,
        max_gradient_norm,
        centred,
        start,
        rng,
        compile_kwargs or {},
    )
    history = History([x.name for x in observed]) if resume is None else restore(learner, resume)
    history.persistent = learner.persistent
    before = 0 if resume is None else int(resume.attrs["epochs_done"])
    total = before + epochs if horizon is None else horizon
    counts = [len(x.rows) for x in observed]
    batches = 1 if batch_size is None else -(-max(counts) // batch_size)
    attrs: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": max(counts) if batch_size is None else batch_size,
        "chains": chains,
        "sweeps": sweeps,
        "method": estimator.__name__,
    }
    began = time.perf_counter()

    def gathered(epochs_done: int, interrupted: bool = False) -> xr.DataTree:
        now = {"epochs_done": epochs_done, "interrupted": int(interrupted), "seconds": time.perf_counter() - began}
        return learned_tree(model, learner, history, observed, attrs | now)

    with LearningProgressBar(epochs, progressbar) as bar, DeferredInterrupt() as interrupt:
        for epoch in range(before, before + epochs):
            for i, rows in enumerate(_shuffled(counts, batches, learner.rng)):
                iteration = epoch * batches + i
                weight = 1 / max(1, iteration - total * batches // 2)
                history.add(learner.update(rows, rate(min(1.0, iteration / (total * batches))), weight))
                if interrupt.pending:
                    break
            if not np.isfinite(history.last_gap):
                raise FloatingPointError(
                    f"The parameters are not finite in epoch {epoch + 1}. Lower learning_rate, or give W a prior."
                )
            if interrupt.pending:
                break
            history.add_epoch(learner.pseudo_log_likelihood())
            bar.update(epoch + 1 - before, **history.monitors(bar.visible))
            if checkpoint is not None and (epoch + 1) % checkpoint_every == 0:
                save(gathered(epoch + 1), checkpoint)
    if interrupt.pending:
        message = (
            f"Learning was interrupted in epoch {epoch + 1} of {before + epochs}; returning what was learned so far."
        )
        warnings.warn(message, stacklevel=2)
        return gathered(epoch, interrupted=True)
    return gathered(before + epochs)


def _shuffled(counts: list[int], batches: int, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Split the rows of each RBM into ``batches`` random parts; RBMs with equally many rows stay paired."""
    # Fewer rows than parts: go through them as often as it takes, so that no part is empty.
    orders = {
        n: np.array_split(np.concatenate([rng.permutation(n) for _ in range(-(-batches // n))]), batches)
        for n in sorted(set(counts))
    }
    for i in range(batches):
        yield [orders[n][i] for n in counts]
