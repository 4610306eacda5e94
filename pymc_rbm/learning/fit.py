"""Learning: stochastic approximation of the maximum likelihood, driven by persistent Markov chains."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.learning.budget import Budget
from pymc_rbm.learning.checkpoints import Checkpoint
from pymc_rbm.learning.choices import BATCH_SIZE, CHAINS, choose
from pymc_rbm.learning.data import observed_machines
from pymc_rbm.learning.endings import warn_of_the_end
from pymc_rbm.learning.estimators.names import find_method, name_of
from pymc_rbm.learning.fingerprint import compare, marks_of
from pymc_rbm.learning.growing import GROWN, can_grow, growing_of
from pymc_rbm.learning.history import AXES, History
from pymc_rbm.learning.iteration import Settings
from pymc_rbm.learning.loop import Callback, Run
from pymc_rbm.learning.low_rank import LOW_RANK, asked_for, low_rank_machines, obstacle
from pymc_rbm.learning.polish import Polish
from pymc_rbm.learning.restarts import climb_from_the_best
from pymc_rbm.learning.result import restore
from pymc_rbm.learning.scales import warn_of_large_scales
from pymc_rbm.learning.settling import Settling
from pymc_rbm.learning.start import as_value_point
from pymc_rbm.learning.update import Learner
from pymc_rbm.support.arguments import compile_arguments, finite_number, generator, whole_number
from pymc_rbm.support.generators import serialisable
from pymc_rbm.support.interrupts import DeferredInterrupt, Prompt

__all__ = ["fit"]


def fit(
    epochs: int | None = None,
    *,
    updates: int | None = None,
    seconds: float | None = None,
    method: str | Callable | None = None,
    batch_size: int | None = BATCH_SIZE,
    chains: int = CHAINS,
    sweeps: int | str | None = None,
    optimizer: Callable | str | None = None,
    learning_rate: float | Callable[[float], float] | None = None,
    max_gradient_norm: float | None = None,
    centred: bool = True,
    row_weights: Any = None,
    start: dict[str, Any] | str | None = None,
    resume: xr.DataTree | None = None,
    horizon: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    on_iteration: Callback | None = None,
    on_epoch: Callback | None = None,
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
    epochs : int, optional
        Passes over the data, each in a fresh random order without replacement; of "lbfgs", the most iterations.
        Default: learning ends by its own judgement. It keeps its full rate until a quarter of the horizon has raised
        the log-likelihood by no more than .03 nats a row (or a tenth of the statistical error, (parameters)/(2 rows)
        [4]_, if that is less), or the standard error of this, and then lets it fall as long again: at least 10,000
        updates and 50 epochs in all, no more epochs than make 40,000 updates. A warning says if it still rose then, or
        in the second quarter of the ``epochs`` that were asked for. (Where rows have machines of their own, with
        ``horizon`` or a callable as ``learning_rate``, and for methods without persistent chains nobody looks: 10,000
        updates, and at least 50 epochs.)
        Where ``method``, ``optimizer``, ``learning_rate``, ``sweeps``, ``horizon`` and ``resume`` are left out,
        ``batch_size`` and ``chains`` are the default ones, and log Z is a sum over at most 1,024
        states (mixtures, up to ten binary units on one side), or states and different rows are at most 6,000
        together (twelve units and 1,904 rows), or all units are Gaussian, the exact maximum is climbed to, by
        ``method="exact", optimizer="lbfgs"`` in at most ``epochs`` iterations, 1,000 by default. Where entries are
        missing, all that may stand there is summed over: rows then count with all their completions, at most 65,536 in
        all. So is that of up to 20 binary units that are all seen and coupled to each other (`BoltzmannMachine`), the
        only one unless the prior has several, and that of larger machines of two binary layers, up to 2²⁴ factors (64
        units by 18, 20 by 19), if their W, b and c are free variables themselves and ``start`` is left out; of others
        chains find a good region, from where the exact objective is climbed in as many iterations. Such machines are
        grown: hidden units, at most 64, come one after the other, an epoch each, at the best of four random weights,
        and all are climbed each time [6]_. Where a climb of all units at once ends as high, that is taken. Where it
        does not end within .05 nats a row, others are grown from other weights, an epoch each, until the two best are
        alike, at most four in all (two of the largest); ``attrs["growing_ends"]`` has what each reached, the climb at
        once first, and `diagnose` says if no two are alike. (Nothing is grown, and nothing climbed at the end of
        chains, where ``epochs`` or ``updates`` are below 50.)
    updates : int, optional
        The same bound in iterations; learning may end within an epoch, and goes on there with ``resume``. Where
        ``epochs`` are given, too, what ends first is the bound.
    seconds : float, optional
        The most seconds from the first update on; what is compiled before does not count. Learning still ends by its
        own judgement if that is sooner, and else goes on as long as the log-likelihood rises, beyond 40,000 updates,
        too. The rate falls in the second half of the time, and a warning says if learning had not settled. How many
        updates are made depends on the machine: such a run cannot be had again from its ``random_seed``.
    method : {"pcd", "cd", "fpcd", "pt", "ptt", "ucd", "exact"} or estimator, optional
        Persistent contrastive divergence (`estimators.persistent`), contrastive divergence (``contrastive``: restarted
        at the data in each iteration; biased, no chains to diagnose), fast PCD (``fast_persistent``), PCD with
        parallel tempering (`estimators.tempered`), PCD with parallel trajectory tempering
        (`estimators.trajectory_tempered`: particles swap with those of earlier machines, and log Z comes along),
        unbiased contrastive divergence by coupled chains (`estimators.unbiased`), or the exact gradient by enumeration
        of a side of at most 16 units, or 20 binary ones (``exact``). The docstring of each says what it is biased for.
        ``functools.partial(tempered, temperatures=20)`` sets options.
        Default: "pcd"; "pt" where the data are strongly correlated (the largest eigenvalue of the covariance between
        different visible units is above 1): plain chains would be slow there, or stay in a mode; "ptt" from a low-rank
        start where binary rows are such and form groups along more than one direction; "exact" for mixtures (one hidden
        unit), whose chains never mix. With ``resume`` the method that learning began with.
    batch_size : int or None, default 100
        Rows per iteration; None takes all rows. An epoch's rows are split evenly, so batches may be a little smaller.
    chains : int, default 100
        Persistent chains, whose current states are the particles. Their number need not match the batch.
    sweeps : int or "auto", optional
        Sweeps of every chain per iteration. "auto" starts with one and follows the measured autocorrelation of the
        particles' slowest functional, so that each iteration brings at least a fifth of ``chains`` in independent
        particles, with at most 50 sweeps; the numbers used are in ``learning``. Default: "auto" for
        the persistent methods with at least two chains, 1 for others and with tempering: there swaps, one an iteration,
        carry the chains, and more sweeps between two of them do not.
    optimizer : callable, default ``pm.sgd``
        One of PyMC's. Given without arguments (``pm.adam``) it gets ``learning_rate``; given with its own
        (``pm.adam(learning_rate=0.003)``), ``learning_rate`` is not used. Adaptive optimisers start faster, but near
        the optimum they blow the noise of the estimate up to full-size updates and can drive the particles apart.
        "lbfgs", with ``method="exact"`` only: the maximum of the exact objective of all rows by L-BFGS, its last digits
        by Newton's method, like ``pm.find_MAP`` with machines. An iteration of it is an epoch; it
        ends by itself when no entry of the gradient exceeds 1e-10 nats a row (2e-6 where parameters are float32). It
        has ``converged``, an attribute of the result, there or where less is left to gain (``left_to_gain``, nats a
        row: Newton's decrement) than a hundredth of the statistical error, (parameters)/(2 rows) [4]_. It warns where
        it has not: ``epochs`` were too few, or there is no maximum (without a prior there may be none). The
        objective may have several, and a saddle at W = 0: where a climb costs milliseconds up to eight starts of
        several scales are compared, and the best is climbed from (the attribute ``starts`` says how many). A warning
        says where the answer is no better than independent units.
    learning_rate : float or callable, optional
        Default: 0.3 with "pt" and 0.1 with "ptt". Without tempering 0.3 where learning ends by its own judgement or
        after ``epochs``, the model is nothing but machines of binary or other finite units whose W, b and c are free
        variables themselves, and rows are more than a quarter of the parameters; else 0.1. From a low-rank start at
        most 0.2, also with tempering. Without tempering, and from there, divided by the largest eigenvalue of the
        covariance between different visible units where that is above 1. Weights then grow from zero no faster than for
        weakly correlated data; a rate that is too high for strongly correlated ones drives all plain particles into one
        mode, and W to infinity. A number is held for the first half of learning and then falls linearly to zero: with a
        rate that does not fall, the parameters keep wandering around the optimum. A callable maps the share of learning
        done, from 0 to 1, to the rate; `pymc_rbm.schedules` has some.
    max_gradient_norm : float, optional
        Scale the gradient (of all parameters together, after centring) down to this Euclidean norm where it is larger.
    centred : bool, default True
        Whether to centre the gradients (subtract the units' means [3]_), for RBMs whose W is a free variable itself and
        whose b and c are, too, or are sums with one, as in ``b0 + X @ A``. It makes learning invariant to flipping the
        data, and usually faster and steadier.
    row_weights : array_like of shape (rows,), or dict of them by RBM variable, optional
        How often each row counts, at least 0; a weight of 2 is a row that stands there twice.
    start : dict or "low rank", optional
        Start values by name of free variable. By default a variable used as b, or as a term of it, starts at the data's
        log-odds, W at Normal(0, 0.1/√visible), c at zero, others at PyMC's initial point; mixtures (one hidden unit)
        start at the groups of k-means. Hidden units that are given equal weights and biases, as by ``pm.find_MAP``
        without ``jitter=True``, would stay alike for ever: all but the first get the noise of the default added, and a
        warning says so. Other starts that "lbfgs" compares differ only in what is not named here.
        "low rank", for clustered data and binary units (Bernoulli or Spin) whose W, b and c are free variables
        themselves: up to twelve hidden units start at weights in the span of as many leading directions of the data,
        where the exact likelihood (log Z is a sum over their states) is greatest, as far as 150 iterations of L-BFGS
        go [5]_; the others start as by default. Particles start as exact draws of that machine, so that all its modes
        have their weights, and with "ptt" it is the bottom of the ladder, which keeps them right. The search is not
        random, takes a few percent of the time of "ptt", counts missing entries at their means and knows of no priors.
        With plain chains ("pcd") the weights of modes drift, and can end worse than from the default start: hence it
        is the default for ``method="ptt"`` only, where the data are correlated strongly along more than one direction
        and the model allows it. Without it particles come too late to modes that appear (of five clusters 4 of 6 runs
        found all, and 6 of 6 with it). ``start={}`` is the start of all other methods, also where nothing is said.
    resume : DataTree, optional
        What an earlier `fit` of the same model with the same arguments returned, or its checkpoint: goes on exactly
        (parameters, particles, optimiser's memory, generator) for ``epochs`` more, of which the first one is the rest
        of an epoch that was left half done. (L-BFGS begins with an empty memory.) Without a number learning ends by its
        own judgement, as it would have. ``start`` and ``random_seed`` do not
        matter then. It warns, by name, if data, ``row_weights``, ``batch_size`` or the rest of the model differ
        from what is recorded, and of files of earlier versions, which recorded none of these.
    horizon : int, optional
        Number of epochs, those of ``resume`` included, over which the learning rate's schedule runs. Default: until the
        end of this call. 50 epochs and 50 resumed ones, both with ``horizon=100``, are bit for bit 100 epochs with it.
        With a horizon the last iterate is returned, so that learning can go on from it.
    checkpoint : path, optional
        Write what is returned to this netCDF file, and what would be every ``checkpoint_every`` epochs; ``gradient``
        and ``objective`` only where a pass over the data takes milliseconds. The file is replaced at once, so that a
        crash at any moment loses at most one period; of a link, the file that it leads to. ``xarray.open_datatree``
        reads it. A path that cannot be written to is refused before any work. Where a write fails later, because the
        disk is full, a warning says so, the old file stays, and learning goes on. An image of the file, as large as the
        result, is kept in memory.
    checkpoint_every : int, default 10
    on_iteration, on_epoch : callable, optional
        Called after every iteration or epoch with a `LearningStatus`; a true return value ends learning.
        `StopOnLikelihood` and `StopOnGap` stop it early.
    random_seed : int or Generator, optional
        The same seed gives the same result, to the bit, in the same versions of all libraries, with the same kind of
        processor and the same number of BLAS threads; whatever numba's caches hold, and whether callbacks are given.
    progressbar : bool, default True
        The bar shows, once an epoch, the stochastic pseudo log-likelihood per row (of a fifth of the rows, at most
        1,000), the free-energy gap (particles minus data; far from zero means that the particles are not where the
        data are) and, from time to time, R-hat and ESS of the particles' free energy over the last 500 iterations; the
        sweeps if they are "auto", and with tempering the rarest swaps.
    compile_kwargs : dict, optional
        Passed to ``pm.compile``.
    model : Model, optional
        Default: the model on the context stack.

    Returns
    -------
    DataTree
        ``parameters``: free variables and Deterministics of the model, with its dims and coords, at the last iterate;
        or, of 200 updates of `pm.sgd` or more whose end somebody looked at (see ``epochs``), at the average of the
        second half of them, in which later ones count more (see `averaged`), from where the particles then went on,
        unless the last one has a higher likelihood by two standard errors (particles that lag behind the last machine
        make it look better), or by the exact log Z where that is a sum over at most 2¹⁶ states; or where a climb from
        there ended (see ``epochs``). The attribute ``iterate`` says which: "average", "last" or "climbed";
        ``average_gain`` and ``average_gain_error``, by how much the average was better, and ``climb_gain``, what the
        climb gained, in nats a row.
        ``machines``: weights and biases of each RBM that these make. ``averaged_parameters``, ``averaged_machines``:
        the same at the average of the iterates over the second half of the horizon, see `averaged`.
        ``learning``: monitors by ``iteration`` and ``epoch``, and what the method reports. Where the exact objective is
        climbed, an epoch is an iteration of the climb, with the ``objective`` and the mean log-likelihood of each
        machine's rows, ``{name}_log_likelihood``, in nats a row.
        ``particles``: free energy and mean activations of the persistent chains as (chain, draw), one draw an
        iteration; ``az.rhat(learned, group="particles")`` and the like work.
        ``particle_states``: the last visible states; ``particle_history``: those of up to eight epochs.
        ``ladder``, of "ptt": the rungs, their chains, and log Z along them.
        ``gradient``: the likelihood's gradient at these parameters and its Monte Carlo error.
        ``data``: the means of the data, and the rows: all, up to 1,000 or 262,144 entries; of more that many, evenly
        spread.
        ``state``: what ``resume`` needs.

    Raises
    ------
    ValueError, TypeError, OSError
        Before any work, if the model has no observed RBM, nothing to learn, free discrete variables that do not simply
        sum out, if an argument is out of range, or if ``checkpoint`` cannot be written to.
    FloatingPointError
        If the parameters stop being finite, or grow beyond what any data could ask for (a million times the start
        values: nats, for binary units).

    Warns
    -----
    UserWarning
        If learning was interrupted, or ended by ``epochs`` (or the most updates) while the log-likelihood still rose;
        what was learned is hardly better than independent units; an item is missing in all rows; learning came to the
        edge of what can be normalised; a checkpoint could not be written; or ``resume`` comes from another run.

    Notes
    -----
    Early ends: Ctrl-C and callbacks end learning in order. What was learned so far is returned; after Ctrl-C, which
    finishes the iterations of a tenth of a second, with ``attrs["interrupted"] = 1`` and a warning. Every other end is
    an exception, and what was good last is its attribute ``learned`` (None before the first epoch was): parameters that
    are not finite (the epochs before that one), an error in a callback, a second Ctrl-C, which stops at once (the
    last copy: all but the last hundredth of the time, or epoch).

    Machines with real units on both sides exist only for weights that are small enough. Updates that would
    lead out of where they can be normalised, or use up more than half of the way there, are shortened.
    A run that ends at that boundary has learned no optimum, and a warning says so.

    Bias: if the particles were exact draws from the current model the gradient would be unbiased. They lag behind,
    the more so the larger the learning rate and the slower the machine mixes; with a falling rate and mixing chains
    the iterates converge to a stationary point of the objective [1]_, [2]_. Whether the chains mixed is for
    ``particles`` to show.

    Conditional machines: where the biases are expressions with an axis for rows, ``b = b0 + X @ A`` with covariates X
    of shape (rows, covariates), each row has a machine of its own, and minibatches take the covariates of their rows.
    "pcd" keeps one chain a row (see `estimators.persistent`; as much memory as the data, ``chains`` does not matter,
    and the chains, of machines that differ, cannot be compared: no ``particles`` are returned); "cd" needs no memory,
    and "exact" sums for each row. Give covariates mean zero and unit variance: the rate for A goes with their square.

    Missing entries (masked ``observed``) are summed over by exact climbs. Else they are drawn by clamped Gibbs in the
    positive phase: each row keeps a completed state, which ``sweeps`` sweeps with the known units held renew whenever
    the row comes up. The objective is the likelihood of what is known, and the completions lag as the particles do.

    Priors are the regularisers. ``pm.Normal`` on W is weight decay, ``pm.Laplace`` favours zeros, a group prior such as
    ``pm.Normal("W", 0, pm.HalfNormal("scale", dims="unit"))`` switches whole hidden units off, and a sparsity target
    is a Potential of ``pmr.conditional_hidden(data, W, c)``, in nats for all rows. A hierarchical scale is learned at
    the mode of the joint density, which exists only where the scale's prior keeps it away from zero.

    Where the rate is high for the data, single iterates are noisy and their average is not (`averaged`).

    References
    ----------
    .. [1] Younes, L. (1999). On the convergence of Markovian stochastic algorithms with rapidly decreasing ergodicity
       rates. Stochastics 65, 177-228.
    .. [2] Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the likelihood
       gradient. ICML.
    .. [3] Melchior, J., Fischer, A., Wiskott, L. (2016). How to center deep Boltzmann machines. JMLR 17.
    .. [4] Akaike, H. (1974). A new look at the statistical model identification. IEEE Trans. Automatic Control 19: what
       as many parameters gain by chance.
    .. [5] Béreux, N., Decelle, A., Furtlehner, C., Rosset, L., Seoane, B. (2025). Fast training and sampling of
       restricted Boltzmann machines. ICLR. Theirs tabulates the density over the directions; this one sums exactly.
    .. [6] Côté, M.-A., Larochelle, H. (2016). An infinite restricted Boltzmann machine. Neural Computation 28,
       1265-1288. There units are added while chains learn.

    Examples
    --------
    >>> import pymc as pm, pymc_rbm as pmr
    >>> with pm.Model() as model:
    ...     W, b, c = pm.Normal("W", 0, 3, shape=(9, 2)), pm.Flat("b", shape=9), pm.Flat("c", shape=2)
    ...     v = pmr.RBM("v", W, b, c, observed=pmr.datasets.bars_and_stripes(3))
    ...     learned = pmr.fit(random_seed=1, progressbar=False)  # so small a machine is climbed to its exact maximum
    >>> learned["parameters"]["W"].shape, bool(learned.attrs["converged"])
    ((9, 2), True)
    """
    model = _model(model, epochs)
    compile_kwargs = compile_arguments(compile_kwargs)
    epochs = None if epochs is None else whole_number("epochs", epochs)
    budget = Budget(
        None if updates is None else whole_number("updates", updates),
        None if seconds is None else finite_number("seconds", seconds, 0),
    )
    chains, checkpoint_every = whole_number("chains", chains), whole_number("checkpoint_every", checkpoint_every)
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size)
    horizon = None if horizon is None else whole_number("horizon", horizon)
    method = None if method is None else find_method(method)
    if max_gradient_norm is not None:
        finite_number("max_gradient_norm", max_gradient_norm, 0)
    for name, callback in (("on_iteration", on_iteration), ("on_epoch", on_epoch)):
        if callback is not None and not callable(callback):
            raise ValueError(f"{name} must be a callable that takes a LearningStatus, got {callback!r}.")
    file = None if checkpoint is None else Checkpoint(checkpoint)  # what is wrong with it is said before any work
    generator(random_seed)
    with Prompt():
        observed = observed_machines(model, row_weights)
        low_rank = asked_for(model, observed, start, method, resume)
        values: Any = None if isinstance(start, str) and start == LOW_RANK else start
        if values is not None:
            as_value_point(model, values)  # what is wrong with it is said before any work
        warn_of_large_scales(observed)
        for x in observed:
            if x.name in AXES:
                raise ValueError(
                    f"An RBM that is learned cannot be called {x.name!r}: that is an axis of what fit returns, as are "
                    f"{AXES}. Call the variable something else."
                )
        chosen = choose(
            model,
            observed,
            epochs=epochs,
            budget=budget,
            method=method,
            batch_size=batch_size,
            chains=chains,
            sweeps=sweeps,
            optimizer=optimizer,
            learning_rate=learning_rate,
            resume=resume,
            horizon=horizon,
            low_rank=low_rank,
            may_start_low=start is None and not obstacle(model, observed),
            grows=start is None and can_grow(model, observed),
        )
        settings = Settings(
            chosen.estimator,
            chains,
            chosen.sweeps,
            chosen.optimizer,
            max_gradient_norm,
            centred,
            compile_kwargs,
        )
        machines = low_rank_machines(model, observed) if chosen.low_rank and resume is None else {}
        learner = Learner(model, observed, settings, values, serialisable(random_seed), machines)
        if chosen.sweeps is None and (chains < 2 or not learner.persistent):
            raise ValueError(
                'sweeps="auto" measures persistent chains, at least two: not available here. Give a number.'
            )
        size = max(len(x.rows) for x in observed) if batch_size is None else batch_size
        history, within, marks = History([x.name for x in observed]), None, marks_of(model, observed, size)
        if resume is not None:
            history, within, theirs = restore(learner, resume)
            compare(theirs, marks)
        history.persistent = learner.persistent
        before = 0 if resume is None else int(resume.attrs["epochs_done"])
        ascent, starts = learner.ascent(model) if chosen.climbs else None, 1
        if ascent is not None and resume is None:
            starts = climb_from_the_best(ascent, model, observed, values, learner)
        growing = growing_of(model, learner, ascent, resume) if chosen.grows and ascent is not None else None
    run = Run(
        model=model,
        learner=learner,
        history=history,
        rate=chosen.rate,
        before=before,
        epochs=chosen.epochs,
        horizon=before + chosen.epochs if horizon is None else horizon,
        ends=horizon is None,
        batch_size=None if chosen.climbs else batch_size,
        sweeps=chosen.sweeps,
        on_iteration=on_iteration,
        on_epoch=on_epoch,
        checkpoint=file,
        checkpoint_every=checkpoint_every,
        attrs={
            "batch_size": size,
            "chains": chains,
            "sweeps": "auto" if chosen.sweeps is None else chosen.sweeps,
            "method": name_of(chosen.estimator),
        }
        | ({"starts": starts} if chosen.climbs else {})
        | ({GROWN: growing.seed} if growing is not None else {})
        | ({"start": LOW_RANK} if chosen.low_rank else {}),
        within=within,
        marks=marks,
        ascent=ascent,
        settling=Settling(
            learner,
            before + chosen.most_epochs,
            not (epochs is None and updates is None),
            chosen.optimizer is pm.sgd,
        )
        if chosen.most_epochs
        else None,
        budget=budget,
        polish=Polish(model, learner, chosen.last_iterations) if chosen.last_iterations else None,
        growing=growing,
    )
    with DeferredInterrupt() as interrupt:
        done, interrupted = run.learn(progressbar)
        with interrupt.lifted():
            learned = run.gathered(done, interrupted)
        if file is not None:  # it has what is returned, and nothing of an earlier run
            file.write(learned)
        warn_of_the_end(run, done, interrupted, starts)
        late = not interrupted and interrupt.pending
    if late:  # all is learned, but whoever pressed it wants no more
        learned.attrs["interrupted"] = 1
        warnings.warn(f"Learning was interrupted after its last epoch, {done}; all is returned.", stacklevel=2)
    return learned


def _model(model: Any, epochs: Any) -> pm.Model:
    """The model that was given, or the one on the context stack."""
    if isinstance(epochs, pm.Model):
        raise TypeError(
            "fit got a Model as epochs, its first argument: call it inside `with model:`, or pass it by name, "
            "pymc_rbm.fit(epochs, model=model)."
        )
    if model is None and pm.Model.get_context(error_if_none=False) is None:
        raise TypeError("No model: call fit inside `with model:`, or pass it by name, pymc_rbm.fit(model=model).")
    if model is not None and not isinstance(model, pm.Model):
        raise TypeError(f"model= must be a PyMC model, got a {type(model).__name__}.")
    return pm.modelcontext(model)
