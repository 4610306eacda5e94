"""Many Gibbs chains of one machine run at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.io import In, Out
from rich.progress import track

from pymc_rbm.machine.door import data_of, whole
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.records import recorded
from pymc_rbm.machine.spellings import renamed
from pymc_rbm.machine.targets import check_alone, labels_of, machine_of
from pymc_rbm.machine.validation import check_pair, check_states, normalisable_machine
from pymc_rbm.sampling.by_steps import by_steps, sweeper
from pymc_rbm.sampling.dispersal import dispersed_states
from pymc_rbm.sampling.ladder import LEAST_RENEWALS
from pymc_rbm.sampling.laddered import LADDERED, check_method, first_ladder, run_ladder
from pymc_rbm.sampling.observables import leading_directions, names_of, symbolic_functionals
from pymc_rbm.sampling.sweep import sweeps_of_a_piece, visits
from pymc_rbm.support.arguments import check_back_end, generator, whole_number, whole_numbers
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.interrupts import DeferredInterrupt
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.modes import INTERPRETED, by_kernels
from pymc_rbm.support.work import can_show, parts_of

__all__ = ["run_chains", "sample_gibbs"]

TUNING_CHUNK = 100  # sweeps between two checks for Ctrl-C
CHUNK_ENTRIES = 2**22
"""How many numbers, over chains, draws and units of the larger layer, are computed between two checks for Ctrl-C."""
UNDER_WAY = 100 * 2**20
"""The approximate number of bytes that the work between two checks for Ctrl-C takes."""


@renamed(thin="sweeps")
def sample_gibbs(
    target: Any = None,
    learned: Any = None,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    sweeps: int = 1,
    method: str = "gibbs",
    start: Any = None,
    states: bool = True,
    name: str | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Run many block Gibbs chains of one machine side by side, as one vectorised loop.

    The same transition as ``pm.sample`` of a `generative` model, without its cost for each chain. Chains of binary
    units are shared by as many threads as there are processors (``NUMBA_NUM_THREADS`` limits them).

    A machine all of whose parameters are float32 is sampled in float32, about twice as fast; others in float64.
    (``pmr.restricted(*(p.astype("float32") for p in (W, b, c)))`` makes one.)

    It needs memory for what is returned (for each draw and chain, with ``states`` a byte a visible unit, four where
    they count, or eight where they are real; without about 50 bytes), and for the work less than 100 MB, or 10 bytes a
    chain and unit if that is more.

    Parameters
    ----------
    target : Machine, RBM variable, PyMC model with one RBM, or what `fit` returned, optional
        Default: the model on the context stack.
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.
    draws : int, default 1000
        Stored draws of each chain.
    tune : int, default 1000
        Sweeps before the first draw, which are thrown away. (There is nothing to tune.)
    chains : int, default 4
    sweeps : int, default 1
        Sweeps per stored draw; with a ladder, lifts.
    method : {"gibbs", "pt", "ptt"}, default "gibbs"
        "gibbs" runs plain block Gibbs chains, which do not leave modes. With the others chains swap with those of other
        machines, from rung to rung down to independent units that are drawn exactly (`ladder`), so that every mode that
        appears on the way gets its weight: "pt" along the straight way from these units to the machine, with as many
        rungs as swaps need; "ptt" along the machines that learning came through, which `fit` with ``method="ptt"`` has
        returned as ``learned``. A *lift* sweeps every rung and swaps every pair; it costs as many sweeps as there are
        rungs. The report is in ``attrs``: ``rungs``, ``least_acceptance`` of swaps, ``round_trips`` of replicas between
        the bottom and the machine, ``renewals``, how often all chains had become new ones from the bottom. A warning
        says where there were fewer than two renewals.
    start : array_like, shape (chains, visible) or (visible,), optional
        Visible states. Default: dispersed ones, each chain at a level of its own, so that chains can disagree. Real
        units start where dispersed hidden ones put them, those of every second chain opposite to the one before.
    states : bool, default True
        Whether to keep the visible states. Their functionals are always kept.
    name : str, optional
        Name of the visible units in the result. Default: that of the RBM, with its dims and coords; "v" for a Machine.
    random_seed : int or Generator, optional
        The same seed gives the same draws.
    progressbar : bool, default True

    Returns
    -------
    DataTree
        ``posterior``, dims (chain, draw, …): the states ``{name}`` and ``{name}_free_energy`` (nats),
        ``{name}_visible_mean``, ``{name}_hidden_mean`` (of the probabilities given v) and ``{name}_projection``, on the
        leading left singular vectors of W. ``machines``: the parameters. ``last_states``: where the chains are, a
        ``start`` to go on from. Ctrl-C returns the draws so far, with a warning and ``attrs["interrupted"] = 1``.

    Raises
    ------
    ValueError
        Before any work, if the machine has not one or two layers, an argument is out of range, ``start`` does not fit,
        or ``target`` is a model in which more depends on free units than hidden ones (use `pm.sample`).
    MemoryError
        Before any work, if what is to be returned needs more memory than there is.
    KeyboardInterrupt
        Ctrl-C before the first draw.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> two_modes = pmr.boltzmann(np.where(np.eye(8), 0.0, 1.0), np.zeros(8), pmr.Spin())
    >>> draws = pmr.sample_gibbs(two_modes, draws=500, method="pt", random_seed=1, progressbar=False)
    >>> draws["posterior"]["v"].shape, draws.attrs["renewals"] > 2
    ((4, 500, 8), True)
    """
    draws, chains, sweeps = whole_numbers(draws=draws, chains=chains, sweeps=sweeps)
    tune = whole_number("tune", tune, 0)
    check_method(method)
    check_back_end()
    check_alone(target, "sample_gibbs")
    machine = machine_of(target, learned)
    machine = normalisable_machine(check_pair(machine), machine.dtype)
    check_states(machine, chains, f"Moving {chains:,} chains", "Take fewer chains, and more draws of each.")
    rng = generator(random_seed)
    labels = labels_of(target, learned) if name is None else Labels(name)
    _check_name(labels)
    first = (
        dispersed_states(machine, chains, rng)
        if start is None
        else _checked_start(machine, start, chains, labels_of(target, learned))
    )
    more: dict[str, Any] = {}
    if method in LADDERED:  # before Ctrl-C is deferred: there is nothing to lose yet
        ladder = first_ladder(machine, target if learned is None else learned, method, first, rng)
    with DeferredInterrupt() as interrupt:
        if method == "gibbs":
            kept, last = run_chains(machine, first, rng, draws, tune, sweeps, states, progressbar, partial=True)
        else:
            kept, last, more = run_ladder(ladder, rng, draws, tune, sweeps, states, progressbar)
        done = len(kept["free_energy"][0])
        attrs = {"sweeps": sweeps, "tune": tune, "method": method, "interrupted": int(done < draws), **more}
        with interrupt.lifted():
            tree = _tree(labels, machine, kept, last, attrs)
    if done < draws:
        warnings.warn(
            f"Interrupted after {done} of {draws} draws, which are returned. Pass last_states as start= to go on.",
            stacklevel=3,
        )
    if attrs.get("renewals", LEAST_RENEWALS) < LEAST_RENEWALS:
        warnings.warn(
            f"All {chains} chains became new ones from the bottom of the ladder {attrs['renewals']} times in "
            f"{done:,} draws, fewer than {LEAST_RENEWALS}: weights of modes cannot be trusted. Take more draws, or "
            "more lifts up the ladder for each draw (sweeps=).",
            stacklevel=3,
        )
    return tree


def _check_name(labels: Labels) -> None:
    axes = {"chain", "draw", f"{labels.name}_direction", *labels.dims}
    if labels.name in axes:
        raise ValueError(
            f"The states cannot have the name {labels.name!r}, which is an axis of what sample_gibbs returns; its axes "
            f"are {sorted(axes - {''})}. Pass another name=."
        )


def run_chains(
    machine: Machine,
    v: np.ndarray,
    rng: np.random.Generator,
    draws: int,
    tune: int,
    sweeps: int,
    states: bool = True,
    progressbar: bool = False,
    partial: bool = False,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Run a chain from each row of ``v``; return functionals by name, shape (chain, draw, …), and the last states.

    The states, if wanted, have the key "states". Ctrl-C raises KeyboardInterrupt after the sweeps under way; with
    ``partial`` the draws so far are returned, if there is one. MemoryError is raised before any work.
    """
    U = leading_directions(machine)
    _check_memory(machine, len(v), draws, U.shape[1], states)
    advance, names = _advance_of(machine, tune + draws * sweeps), (*names_of(machine), "projection", "states")
    kept: dict[str, np.ndarray] = {}
    done = 0
    with DeferredInterrupt() as interrupt:
        steps = _steps(machine, len(v), draws, tune, sweeps)
        for k, n, stored in track(steps, "Sampling", disable=not can_show(progressbar), transient=True):
            rng, trace, *values = advance(rng, v, k, n, U, *machine.parameters)
            v = trace[-1]
            if stored:
                for name, x in zip(names, [*values, trace] if states else values, strict=False):
                    if name not in kept:
                        kept[name] = np.empty((len(v), draws, *x.shape[2:]), x.dtype)
                    kept[name][:, done : done + k] = np.moveaxis(x, 0, 1)
                done, interrupt.prompt = done + k, False
            if interrupt.pending:
                break
    if interrupt.pending and not (partial and kept):
        raise KeyboardInterrupt
    return {name: x[:, :done] for name, x in kept.items()}, v


def _steps(machine: Machine, chains: int, draws: int, tune: int, sweeps: int) -> list[tuple[int, int, bool]]:
    """Return the pieces of the work, each with draws, sweeps for each draw, and whether the draws are stored."""
    most = sweeps_of_a_piece(machine, chains)
    chunk = max(1, CHUNK_ENTRIES // (chains * max(np.shape(layer.bias)[0] for layer in machine.layers)))
    tuning = [(1, n, False) for n in parts_of(tune, min(TUNING_CHUNK, most))]
    if sweeps <= most:
        return tuning + [(k, sweeps, True) for k in parts_of(draws, min(chunk, most // sweeps))]
    *first, last = parts_of(sweeps, most)
    return tuning + draws * [*((1, n, False) for n in first), (1, last, True)]


def _check_memory(machine: Machine, chains: int, draws: int, directions: int, states: bool) -> None:
    visible = machine.layers[VISIBLE]
    state = states * len(visible.bias) * np.dtype(visible.unit.dtype).itemsize
    each = state + 8 * (len(names_of(machine)) + directions)
    check_memory(
        chains * draws * each + UNDER_WAY,
        f"Keeping {draws:,} draws of {chains:,} chains, at {each:,} bytes a draw,",
        "Keep fewer draws, each after more sweeps, or their functionals only (states=False), or take fewer chains.",
    )


def _advance_of(machine: Machine, total: int) -> Callable[..., Any]:
    """Return the function of `_advance_function`; it is a loop in Python where ``total`` sweeps are few."""
    if not by_steps(machine, total):
        return _advance_function(machine.template, machine.dtype)
    functionals, swept = _functionals_function(machine.template, machine.dtype), sweeper(machine, machine.parameters, 2)

    def advance(rng, v, draws, sweeps, directions, *parameters):
        trace = np.empty((draws, *v.shape), v.dtype)
        for k in range(draws):
            rng, [v, *_] = swept(rng, machine.at(v), sweeps)
            trace[k] = v
        values = functionals(trace.reshape(-1, trace.shape[2]), directions, *parameters)
        return rng, trace, *(x.reshape(*trace.shape[:2], *x.shape[1:]) for x in values)

    return advance


@remembered(64)
def _functionals_function(template: Machine, dtype: str):
    """Prepare (states, directions, parameters…) -> functionals."""
    machine, inputs = template.symbolic(dtype=dtype)
    states, directions = pt.matrix(dtype=template.layers[VISIBLE].unit.dtype), pt.dmatrix("directions")
    values = symbolic_functionals(machine, states, directions)
    return pytensor.function([states, directions, *inputs], values, on_unused_input="ignore", mode=INTERPRETED)


@remembered(64)
def _advance_function(template: Machine, dtype: str):
    """Compile (rng, v, draws, sweeps, directions, parameters…) -> rng, v, functionals…, with the draws first."""
    machine, inputs = template.symbolic(dtype=dtype)
    rng, v = pt.random.rng("rng"), pt.matrix(dtype=template.layers[VISIBLE].unit.dtype)
    draws, n, directions = pt.lscalar("draws"), pt.lscalar("sweeps"), pt.dmatrix("directions")
    trace, next_rng = visits(machine, v, rng, draws, n)
    values = symbolic_functionals(machine, trace.reshape((-1, trace.shape[2])), directions)
    values = [x.reshape((draws, v.shape[0], *x.shape[1:]), ndim=x.ndim + 1) for x in values]
    return by_kernels(
        [In(rng, mutable=True), v, draws, n, directions, *inputs], [Out(next_rng, borrow=True), trace, *values]
    )


def _checked_start(machine: Machine, start: Any, chains: int, labels: Labels) -> np.ndarray:
    layer = machine.layers[VISIBLE]
    size = len(layer.bias)
    states = whole(data_of(start, layer, labels, "start", ndim=None), "start")
    if states.shape not in ((chains, size), (size,)):
        raise ValueError(
            f"start has shape {states.shape}, but {chains} chains of {size} visible units need ({chains}, {size}), "
            f"or ({size},) to start all chains alike."
        )
    return np.broadcast_to(states, (chains, size))


def _tree(
    labels: Labels, machine: Machine, kept: dict[str, np.ndarray], last: np.ndarray, attrs: dict[str, Any]
) -> xr.DataTree:
    from arviz_base import dict_to_dataset

    name = labels.name
    posterior = {name if key == "states" else f"{name}_{key}": x for key, x in kept.items()}
    coords = dict(labels.coords)
    dims: dict[Any, Any] = {name: [labels.dims[0]], f"{name}_projection": [f"{name}_direction"]}

    def dataset(data, sample_dims):
        # ArviZ would warn of more chains than draws, which are normal here.
        return dict_to_dataset(data, coords=coords, dims=dims, sample_dims=sample_dims, check_conventions=False)

    groups = {
        "posterior": dataset(posterior, ["chain", "draw"]),
        "machines": recorded({name: machine}, {name: labels.dims}, coords),
        "last_states": dataset({name: last}, ["chain"]),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"created_by": "pymc_rbm.sample_gibbs", **attrs}
    return tree
