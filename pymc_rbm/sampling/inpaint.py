"""Missing units are drawn given the observed ones, by clamped Gibbs, for all rows and chains side by side."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.io import In, Out
from rich.progress import track

from pymc_rbm.machine.door import Data, data_of
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.spellings import data_first
from pymc_rbm.machine.targets import check_alone, labels_of, machine_of
from pymc_rbm.machine.validation import normalisable_rows
from pymc_rbm.sampling.by_steps import by_steps, sweeper
from pymc_rbm.sampling.clamped_ladder import check_sums_out, clamped_ladder, figures_of_rows, lifted, placing_chains
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.sampling.inpainted import figures_of, tree_of, warn_of_rows
from pymc_rbm.sampling.laddered import LADDERED, check_method
from pymc_rbm.sampling.sweep import sweeps as run_sweeps
from pymc_rbm.sampling.sweep import sweeps_of_a_piece
from pymc_rbm.support.arguments import check_back_end, generator, whole_number, whole_numbers
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.interrupts import DeferredInterrupt, arviz
from pymc_rbm.support.labels import Labels
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.received import marked, receive
from pymc_rbm.support.work import can_show, parts_of

__all__ = ["inpaint"]

DIRECTIONS = 2
COPIES = 2  # the list of draws, and one array of all of them
TUNING_CHUNK = 100  # sweeps between two checks for Ctrl-C


@data_first()
def inpaint(
    data: Any,
    target: Any = None,
    learned: Any = None,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    sweeps: int = 1,
    method: str = "gibbs",
    states: bool = True,
    name: str | None = None,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Draw the missing units of each row given its observed ones, ``p(v_missing | v_observed)``, by Markov chains.

    Draws are coherent: the missing units of a draw belong together, and to the observed ones beside them. (The
    posterior predictive of a masked variable joins the trace's missing units with *freshly drawn* observed ones.)
    Clamped generation is the same thing: give the units to be clamped, the labels beside an image, say, and mask the
    rest.

    Parameters
    ----------
    data : masked array, or array, DataArray or data frame with NaN, shape (rows, visible) or (visible,)
        Masked and NaN entries are missing. Where data and machine name their units, names rule.
    target : Machine, RBM variable, PyMC model with one machine, or what `fit` returned, optional
        Default: the model on the context stack. With any units, with or without hidden ones. Where biases differ by
        row, ``data`` must be those rows.
    learned : DataTree, optional
        What `fit` returned, if the parameters of ``target`` are random variables.
    draws, tune : int, default 1000
        Stored draws of each chain, and sweeps before the first, which are thrown away.
    chains : int, default 4
        Chains of each row. Missing units start dispersed, each chain at a level of its own, and every second opposite
        to the one before (real units where opposite hidden units put them), so that chains can disagree.
    sweeps : int, default 1
        Sweeps per stored draw; with a ladder, lifts.
    method : {"gibbs", "pt", "ptt"}, default "gibbs"
        "gibbs" runs clamped block Gibbs chains, which do not leave modes. With the others the chains of each row swap
        with those of other machines in which the same units are clamped (`clamped_ladder`), down to independent ones
        that are drawn exactly, so that every mode that appears on the way gets its weight: "pt" along the straight way
        to the machine, with as many rungs as the row that needs most; "ptt" along the machines that learning came
        through, which `fit` with ``method="ptt"`` has returned as ``learned``. A *lift* sweeps every rung and swaps
        every pair; it costs as many sweeps as there are rungs.
    states : bool, default True
        Whether to keep the completed rows. Their mean and the functionals are always kept.
    name : str, optional
        Name of the visible units in the result. Default: that of ``target`` if it has one, else "v".
    random_seed : int or Generator, optional
        The same seed gives the same draws.
    progressbar : bool, default True

    Returns
    -------
    DataTree
        ``posterior``, dims (chain, draw, row, …): the completed rows ``{name}``, ``{name}_free_energy`` (the energy of
        the joint state where hidden units do not sum out) and ``{name}_projection``, of the missing units' conditional
        means on two random directions. ``mean``: ``{name}``, the mean of the completed rows, by averaging
        the units' conditional means (less noise than averaging draws), and ``{name}_missing``. ``convergence``, by row:
        ``rhat`` and ``ess`` (bulk), the worst over the functionals, NaN where nothing is missing, and ``converged``:
        an R-hat up to 1.01, or what chance explains in one of that many rows, and an ESS of at least ``ess_asked``,
        which is 400 or, if that is less, a quarter of the draws of all chains (10 a chain at least). With a ladder it
        has ``round_trips`` of replicas between the bottom and the machine, ``renewals``, how often all chains of the
        row had become new ones from the bottom (fewer than two are not ``converged``), and ``acceptance``, that of the
        pair of rungs that swaps least. ``attrs`` have the least of rows, and ``rungs``.
        Dims and coords are those of ``data``, else of the machine, where they have any. Ctrl-C returns the draws so
        far, with a warning and ``attrs["interrupted"] = 1``.

    Raises
    ------
    ValueError
        Before any work, if nothing is missing, an observed entry is not a state of its unit, entries of one unit are
        missing in part, sizes do not fit, ``target`` is a model in which something else depends on its free units
        (then `pm.sample` of the masked variable is the right thing), or a ladder is asked for where hidden units are
        coupled to each other.
    MemoryError
        Before any work, if what is to be returned needs more memory than there is.
    KeyboardInterrupt
        Ctrl-C before the first draw.

    Warns
    -----
    UserWarning
        If rows have not converged; if there are fewer than 20 draws a chain, from which nothing can be said. Where
        plain chains disagree because they stay in modes, ``method="pt"`` is the remedy. Two modes that agree in both
        directions and the free energy have probability zero; a mode that no chain has met stays unseen.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> machine = pmr.restricted(np.array([[4.0], [4.0]]), np.array([-2.0, -2.0]), np.array([-4.0]))
    >>> found = pmr.inpaint([1, np.nan], machine, random_seed=1, progressbar=False)
    >>> found["posterior"]["v"].shape
    (4, 1000, 1, 2)
    """
    draws, chains, sweeps = whole_numbers(draws=draws, chains=chains, sweeps=sweeps)
    tune = whole_number("tune", tune, 0)
    check_method(method)
    check_back_end()
    check_alone(target, "inpaint")
    machine = normalisable_rows(machine_of(target, learned))
    if method in LADDERED:
        check_sums_out(machine)
    labels = labels_of(target, learned)
    name = name or labels.name
    given = _checked(machine, data, replace(labels, name=name), draws * chains, states)
    rows = given.values
    held = ~np.ma.getmaskarray(rows)
    lengths = draws, tune, sweeps
    rng = generator(random_seed)
    placing = placing_chains(rows, chains) if method in LADDERED else chains
    rng, directions, first = _begun(machine, rows, held, rng, placing)
    ladder = None
    if method in LADDERED:  # before Ctrl-C is deferred: there is nothing to lose yet
        of_learning = target if learned is None else learned
        ladder = clamped_ladder(machine.numeric(), of_learning, method, first[VISIBLE], held, chains, rng)
    begun = rng, directions, [x[:chains] for x in first]
    arviz()  # takes seconds the first time, which must not come after Ctrl-C
    with DeferredInterrupt() as interrupt:
        kept, means = _run(machine, held, begun, ladder, lengths, states, progressbar)
        with interrupt.lifted():
            tree = tree_of(name, kept, means, held, given, {} if ladder is None else figures_of_rows(ladder))
    done = kept["projection"].shape[1]
    if done < draws:
        warnings.warn(f"Interrupted after {done} of {draws} draws, which are returned.", stacklevel=3)
    attrs = {"created_by": "pymc_rbm.inpaint", "sweeps": sweeps, "tune": tune, "method": method}
    tree.attrs = attrs | {"interrupted": int(done < draws)} | figures_of(ladder, held)
    if done == draws:
        warn_of_rows(tree["convergence"].to_dataset(), chains, draws, method)
    return tree


def _checked(machine: Machine, data: Any, labels: Labels, draws: int, states: bool) -> Data:
    """Return the data as masked rows of states, or raise ValueError."""
    biases = [np.shape(layer.bias) for layer in machine.layers]
    got = receive(data)
    given = data_of(replace(got, values=marked(got.values)), machine.layers[VISIBLE], labels)
    given.keep_free("chain", "draw")
    values = given.values
    if not given.mask.any():
        raise ValueError(
            f"data must be rows of which some entries are missing (masked, or NaN); got shape {values.shape} with "
            "0 missing entries. Mask what is to be drawn, as in numpy.ma.masked_array(data, mask)."
        )
    wanted = {shape[0] for shape in biases if len(shape) > 1} - {1}
    if wanted - {len(values)}:
        raise ValueError(
            f"The biases of this machine differ by row, for {wanted.pop()} rows, but data have {len(values)} rows. "
            "Give one row of data for each row of biases."
        )
    check_memory(
        COPIES * draws * (states * values.data.nbytes + 8 * (1 + DIRECTIONS) * len(values)),
        f"Keeping {draws:,} draws of {values.shape} states",
        "Keep the mean only (states=False), or take fewer rows or draws, with more sweeps each.",
    )
    return given


def _begun(
    machine: Machine, rows: Any, held: np.ndarray, rng: np.random.Generator, chains: int
) -> tuple[np.random.Generator, np.ndarray, list[np.ndarray]]:
    """Return the advanced generator, the directions of projections, and dispersed start states with known values."""
    parameters = _numbers(machine)
    start = _start_function(machine.template, tuple(p.ndim for p in parameters))
    directions = rng.standard_normal((rows.shape[1], DIRECTIONS)) / np.sqrt(rows.shape[1])
    rng, *state = start(rng, chains, rows.filled(0), held, *parameters)
    return rng, directions, state


def _numbers(machine: Machine) -> list[np.ndarray]:
    return [np.asarray(p, dtype="float64") for p in machine.parameters]


def _run(machine, held, begun, ladder, lengths, states, progressbar):
    """Run the chains; return draws by name, shape (chain, draw, row, …), and the mean of the conditional means.

    With a ladder, lifts take the place of sweeps, and each draw is the top's after one more sweep.
    """
    (draws, tune, sweeps), (rng, directions, state), parameters = lengths, begun, _numbers(machine)
    advance = _advance_of(machine, parameters, tune + draws * sweeps)
    most = sweeps_of_a_piece(machine, state[VISIBLE].shape[0] * len(held))
    most_tuning = min(TUNING_CHUNK, most)
    if ladder is not None:
        most, most_tuning = max(1, most // len(ladder.rungs)), 1
    tuning, (*first, last) = parts_of(tune, most_tuning), parts_of(sweeps, most)
    kept: list[list[np.ndarray]] = []
    total = np.zeros(held.shape)
    with DeferredInterrupt() as interrupt:
        steps = [(n, False) for n in tuning] + draws * [*((n, False) for n in first), (last, True)]
        for number, (n, stored) in enumerate(
            track(steps, "Inpainting", disable=not can_show(progressbar), transient=True)
        ):
            if ladder is not None:
                state[VISIBLE], n = lifted(ladder, rng, n, mend=number < len(tuning)), 1
            rng, energy, projection, mean, *state = advance(rng, *state, n, held, directions, *parameters)
            if ladder is not None:
                ladder.top.states = state[VISIBLE]
            if stored:
                kept.append([energy, projection, *state[: int(states)]])
                total += mean
                interrupt.prompt = False
            if interrupt.pending:
                break
    if not kept:
        raise KeyboardInterrupt
    named = zip(("free_energy", "projection", "states"), zip(*kept, strict=True), strict=False)
    return {key: np.stack(x, axis=1) for key, x in named}, total / len(kept)


def _advance_of(machine: Machine, parameters: Any, total: int) -> Callable[..., Any]:
    """Return the function of `_advance_function`; its loop is one in Python where ``total`` sweeps are few."""
    key = machine.template, tuple(p.ndim for p in parameters)
    if not by_steps(machine, total):
        return _advance_function(*key, False)
    stored, swept = _advance_function(*key, True), sweeper(machine, parameters, 3, masked=True)

    def advance(rng, *arguments):
        state, (n, held, directions, *parameters) = arguments[: len(machine.layers)], arguments[len(machine.layers) :]
        rng, new = swept(rng, state, n, held)
        return stored(rng, *new, 0, held, directions, *parameters)

    return advance


def _symbols(template: Machine, ndims: tuple[int, ...]) -> tuple[Machine, list[Any], Any, Any]:
    parameters = [pt.tensor(dtype="float64", shape=(None,) * n) for n in ndims]
    return template.with_parameters(parameters), parameters, pt.random.rng("rng"), pt.matrix("held", dtype="bool")


@remembered(64)
def _start_function(template: Machine, ndims: tuple[int, ...]):
    """Prepare a function that makes the start states of all layers."""
    machine, parameters, rng, held = _symbols(template, ndims)
    chains, rows = pt.lscalar("chains"), pt.matrix("rows", dtype=template.layers[VISIBLE].unit.dtype)
    v, next_rng = spread(machine, (chains, rows.shape[0], rows.shape[1]), rng, pairs=True)
    first = [pt.where(held, rows, v).astype(rows.dtype)]
    for layer in machine.layers[VISIBLE + 1 :]:
        next_rng, x = layer.unit.dispersed((chains, rows.shape[0], layer.bias.shape[-1]), next_rng)
        first.append(x)
    inputs = [rng, chains, rows, held, *parameters]
    return pytensor.function(inputs, [next_rng, *first], mode=INTERPRETED, on_unused_input="ignore")


@remembered(64)
def _advance_function(template: Machine, ndims: tuple[int, ...], are_drawn: bool):
    """Prepare a function that makes a stored draw of all chains after n sweeps, or of states that ``are_drawn``."""
    machine, parameters, rng, held = _symbols(template, ndims)
    directions, n = pt.dmatrix("directions"), pt.lscalar("n")
    units = [layer.unit for layer in machine.layers]
    state = [pt.tensor(dtype=unit.dtype, shape=(None, None, None)) for unit in units]
    clamped = [held, *[None] * (len(units) - 1)]
    new, next_rng = (state, rng) if are_drawn else run_sweeps(machine, state, rng, n, clamped=clamped)
    mean = pt.where(held, new[VISIBLE], machine.mean(VISIBLE, new))
    try:
        energy = machine.free_energy(new[VISIBLE])
    except ValueError:  # hidden layers that are coupled to each other have no free energy
        energy = machine.energy(new)
    outputs = [Out(next_rng, borrow=True), energy, pt.dot(mean, directions), mean.mean(0), *new]
    inputs, mode = [In(rng, mutable=True), *state, n, held, directions, *parameters], INTERPRETED if are_drawn else None
    return pytensor.function(inputs, outputs, on_unused_input="ignore", mode=mode)
