"""The main job learns an RBM of handwritten digits, samples from it, and says whether to trust the result."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib
import numpy as np
import pymc as pm
import xarray as xr
from numba import config
from rich.console import Console
from rich.table import Table

import pymc_rbm as pmr
from pymc_rbm.learning.checkpoints import save
from pymc_rbm.support.files import writable
from pymc_rbm.support.leaving import INTERRUPTED, Leaving, leave_with

HELD_OUT = 0.2
RATE = 0.3
CHAINS, TUNE, DRAWS, SWEEPS = 4, 500, 1000, 50


def main(arguments: list[str] | None = None) -> None:
    """Run the job with command-line arguments; Ctrl-C ends it with exit code 130 and keeps what was learned."""
    with Leaving() as leaving:
        try:
            options = parse(arguments)
            if options.rehearse is not None:
                rehearse(options)
                return
            run(options, leaving)
            leaving.check()
        except (Exception, KeyboardInterrupt) as error:  # pm.sample raises other errors if Ctrl-C left it without draws
            if not (leaving.asked or isinstance(error, KeyboardInterrupt)):
                raise
            Console(stderr=True).print("Interrupted.")
            raise SystemExit(INTERRUPTED) from None


def run(options: argparse.Namespace, leaving: Leaving) -> None:
    """Learn, write the result, and only then sample and draw figures."""
    matplotlib.use("Agg")
    began = time.perf_counter()
    data, file = options.rows, options.out / "learned.nc"
    train, test = split(data, options.seed)
    console = Console()
    console.print(
        f"Learning from {len(train)} rows of {data.shape[1]} units, with {len(test)} rows held out, and "
        f"{options.hidden} hidden units.",
        soft_wrap=True,
    )
    with model_of(train, options.hidden) as model:
        leaving.helped_by(rehearsal(options))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            learned = pmr.fit(
                epochs=options.epochs,
                learning_rate=RATE,
                checkpoint=file,
                checkpoint_every=100,
                on_epoch=leaving.hold,
                random_seed=options.seed,
            )
    warned = [in_words_of_the_job(str(warning.message)) for warning in said]
    for line in warned:
        console.print(line, style="yellow", highlight=False)
    save(learned, file)
    leaving.saved()
    console.print(f"Wrote {file}", soft_wrap=True)
    leaving.check()
    fantasies = sampled(model, learned, DRAWS, tune=TUNE, cores=2, random_seed=options.seed)
    leaving.check()  # after Ctrl-C pm.sample returns the draws so far
    found = pmr.diagnose(fantasies, model, learned=learned, random_seed=options.seed)
    log_z = pmr.log_partition(model, learned, random_seed=options.seed)
    leaving.check()
    figures = {
        "filters": pmr.plot_filters(learned),
        "fantasies": pmr.plot_fantasies(fantasies, test, name="digit"),
        "free_energy": pmr.plot_mixing(fantasies),
        "learning": pmr.plot_learning(learned),
        "projections": pmr.plot_projections(fantasies, model, learned=learned, data=test),
    }
    for name, figure in figures.items():
        figure.savefig(options.out / f"{name}.png", dpi=150)
    seconds = time.perf_counter() - began
    console.print(report(model, learned, fantasies, found, log_z, train, test, seconds, warned))
    console.print(f"Wrote {', '.join(f'{name}.png' for name in figures)} to {options.out}", soft_wrap=True)


def model_of(rows: xr.DataArray, hidden: int) -> pm.Model:
    """Return the model of the job."""
    with pm.Model(coords={rows.dims[1]: rows[rows.dims[1]].values, "unit": np.arange(hidden)}) as model:
        W = pm.Normal("W", 0, 1, dims=(rows.dims[1], "unit"))
        b = pm.Flat("b", dims=rows.dims[1])
        c = pm.Flat("c", dims="unit")
        pmr.RBM("digit", W, b, c, observed=rows)
    return model


def sampled(model: pm.Model, learned: Any, draws: int, **options: Any) -> xr.DataTree:
    """Return draws from what was learned; the table says what PyMC's checks would."""
    with pmr.generative(model, learned):
        return pm.sample(
            draws, chains=CHAINS, block_gibbs={"sweeps": SWEEPS}, compute_convergence_checks=False, **options
        )


def rehearsal(options: argparse.Namespace) -> subprocess.Popen | None:
    """Go in another process through what follows learning, so that on a new computer it is compiled when it is needed.

    It hears no Ctrl-C and leaves nothing but PyTensor's files. With one thread it would take what learning needs.
    """
    if config.NUMBA_NUM_THREADS < 2:
        return None
    command = [sys.executable, "-m", "pymc_rbm", "--hidden", str(options.hidden), "--rehearse", str(os.getpid())]
    command += ["--data", str(options.data)] if options.data else []
    nowhere, group = subprocess.DEVNULL, 0 if os.name == "posix" else None
    return subprocess.Popen(command, process_group=group, stdin=nowhere, stdout=nowhere, stderr=nowhere)


def rehearse(options: argparse.Namespace) -> None:
    """Do what follows learning with a machine that was not learned, as long as the job for which it is done lives."""
    leave_with(options.rehearse)
    rows = options.rows
    model, random = model_of(rows, options.hidden), np.random.default_rng(options.seed)
    W = random.normal(0, 0.1, (rows.shape[1], options.hidden))
    machine: Any = {"W": W, "b": np.zeros(len(W)), "c": np.zeros(options.hidden)}
    draws = sampled(model, machine, 50, tune=10, cores=1, random_seed=1, progressbar=False, quiet=True)
    pmr.diagnose(draws, model, learned=machine, random_seed=1)
    pmr.log_partition(model, machine, random_seed=1, progressbar=False)
    pmr.plot_fantasies(draws, rows, name="digit").savefig(os.devnull, format="png")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line and the data; exit at once, with code 2, if something cannot be read or written."""
    parser = argparse.ArgumentParser(prog="python -m pymc_rbm", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("rbm_digits"), help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--hidden", type=_positive, default=64, help="number of hidden units (default: %(default)s)")
    parser.add_argument("--epochs", type=_positive, default=500, help="passes over the data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--data", type=_file, help="binary rows in an .npz file (default: scikit-learn's digits, 8x8, binarised)"
    )
    parser.add_argument("--rehearse", type=_positive, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        options.rows = pmr.datasets.digits() if options.data is None else pmr.datasets.from_npz(options.data)
        if options.rehearse is None:
            options.out.mkdir(parents=True, exist_ok=True)
            writable(options.out / "learned.nc", "the file to be written")
    except FileExistsError:
        parser.error(f"argument --out: {str(options.out)!r} is a file, but must be a folder or a new name")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}; give the path of an .npz file")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def split(data: xr.DataArray, seed: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Hold out a random fifth of the rows."""
    order = np.random.default_rng(seed).permutation(len(data))
    held_out = max(1, round(HELD_OUT * len(data)))
    return data[np.sort(order[held_out:])], data[np.sort(order[:held_out])]


def in_words_of_the_job(warning: str) -> str:
    """Return a warning of `fit` with the remedy that the command line has."""
    return re.sub(
        r", as asked for,|Go on with pymc_rbm\.fit.*", lambda x: "Raise --epochs." * (x[0][0] == "G"), warning
    )


def report(
    model: pm.Model,
    learned: xr.DataTree,
    fantasies: xr.DataTree,
    found: pmr.Diagnosis,
    log_z: pmr.LogPartitionEstimate,
    train: xr.DataArray,
    test: xr.DataArray,
    seconds: float,
    warned: list[str],
) -> Table:
    """Return the table that the main job prints."""
    machine = pmr.machine_of(model, learned)
    [weights], visible, hidden = machine.couplings, machine.layers[0].bias, machine.layers[1].bias
    free_energy = pmr.free_energy(test.values, weights.weights, visible, hidden)
    log_likelihood = -free_energy - log_z.estimate
    means = np.asarray(learned["data"]["digit_mean"])
    independent = np.where(test.values, np.log(means), np.log1p(-means)).sum(1)
    sampled = fantasies["posterior"]["digit_free_energy"]
    ess = float(az.ess(sampled))
    sweeps = CHAINS * (DRAWS + TUNE) * SWEEPS / fantasies["posterior"].attrs["sampling_time"]
    z = (
        "exact log Z"
        if log_z.method == "exact"
        else f"log Z = {log_z.estimate:.2f} ± {log_z.standard_error:.2f}{'' if log_z.reliable else ', not reliable'}"
    )

    table = Table(title="An RBM of handwritten digits" if test.shape[1] == 64 else "An RBM", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("what it means")
    spread = log_likelihood.std(ddof=1) / np.sqrt(len(test)) if len(test) > 1 else np.nan
    error = np.hypot(spread, log_z.standard_error)
    table.add_row("test log-likelihood per row", f"{log_likelihood.mean():.2f} ± {error:.2f}", f"nats; {z}")
    table.add_row("the same for independent units", f"{independent.mean():.2f}", "nats; a machine should be above it")
    worst = float(found.measures["rhat"].max())
    answer = (
        ("may not have", "see above") if warned else ("seems so", "the log-likelihood no longer rises beyond noise")
    )
    table.add_row("did learning finish?", *answer)
    table.add_row("did the chains mix?", found.verdict, found.reasons[0])
    table.add_row("largest R-hat", f"{worst:.3f}", f"{CHAINS} chains, {DRAWS} draws, {SWEEPS} sweeps a draw")
    table.add_row("ESS of the free energy", f"{ess:.0f}", f"of {CHAINS * DRAWS} draws")
    table.add_row("sweeps per second", f"{sweeps:,.0f}", "pm.sample, all chains together, compilation included")
    table.add_row("seconds", f"{seconds:.1f}", f"in all, {learned.attrs['seconds']:.1f} of them learning")
    return table


if __name__ == "__main__":
    main()
