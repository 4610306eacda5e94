"""A process of its own that calls one long function again and again, for `test_interrupts` to press Ctrl-C.

It writes "begin" before each call, "under way" when there is something that Ctrl-C should return, and "end" with what
came of it.
"""

import faulthandler
import signal
import sys

import numpy as np
import pymc as pm
import reference as ref
import xarray as xr
from models import model_of
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.sampling import chains as sampling
from pymc_rbm.support.work import Work

RNG = np.random.default_rng(5)
SMALL, LARGE = (pmr.restricted(*ref.machine(n, m, seed=n, scale=0.3)) for n, m in ((12, 8), (40, 30)))
REAL = pmr.restricted(*ref.machine(20, 12, seed=3, scale=0.2), pmr.Gaussian(1.0))
ROWS = (RNG.random((60, 40)) < 0.5).astype("int8")
MASKED = np.ma.MaskedArray(ROWS, RNG.random(ROWS.shape) < 0.6)
LONG = 10**8
STUCK = 120
"""Seconds after which a call that nothing ends says where it is, and the process ends."""


def log_partition(method):
    return lambda: pmr.log_partition(LARGE, method=method, budget=LONG, target_error=1e-4, **QUIET)


def sample(**given):
    options = {"quiet": True, "compute_convergence_checks": False, "callback": under_way, **QUIET}
    with free:
        try:
            return pm.sample(10**6, tune=0, chains=1, cores=1, **given, **options)
        except ValueError as error:  # what PyMC makes of Ctrl-C before the first draw
            raise KeyboardInterrupt if "Not enough samples" in str(error) else error from error
        except SystemError as error:  # of the function that PyMC records draws by
            raise KeyboardInterrupt if isinstance(error.__cause__, KeyboardInterrupt) else error from error


def fit(hidden=6, scale=1.0, **options):
    options = {"epochs": LONG, "learning_rate": 0.01} | options
    return lambda: pmr.fit(model=model_of(ROWS, hidden, scale), on_epoch=under_way, **options, **QUIET)


def deep():
    options = {"batch_size": 10, "method": "pcd", "learning_rate": 0.01, "sweeps": 1, "on_epoch": under_way}
    return pmr.fit_deep(ROWS, [6, 5], epochs=[200, LONG], **options, **QUIET)


def prepare():
    global free, draws, network, posterior
    with pm.Model() as free:
        pmr.RBM("v", *[LARGE.parameters[i] for i in (2, 0, 1)])
    draws = pmr.sample_gibbs(LARGE, draws=300, tune=50, **QUIET)
    network = pmr.fit_deep(ROWS, [6, 5], epochs=2, method="pcd", learning_rate=0.1, **QUIET)
    W, c = RNG.normal(size=(2, 500, 40, 12)), RNG.normal(size=(2, 500, 12))
    named = {"W": (("chain", "draw", "pixel", "unit"), W), "c": (("chain", "draw", "unit"), c)}
    posterior = xr.DataTree.from_dict({"posterior": xr.Dataset(named)})


def again_and_again(function):
    """Work that returns whole or not at all, and that is done before Ctrl-C comes: many times over."""
    return lambda: [under_way() or function() for _ in range(LONG)]


FUNCTIONS = {
    "annealing": log_partition("ais"),
    "tempering": log_partition("tempering"),
    "compare": log_partition("compare"),
    "log_likelihood": lambda: pmr.log_likelihood(MASKED, LARGE, log_z=1.0, budget=LONG, particles=1000, **QUIET),
    "inpaint": lambda: pmr.inpaint(MASKED[:20], LARGE, draws=10**5, tune=500, states=False, **QUIET),
    "sample_gibbs": lambda: pmr.sample_gibbs(LARGE, draws=10**6, tune=5000, states=False, **QUIET),
    "sample_gibbs, pt": lambda: pmr.sample_gibbs(LARGE, method="pt", draws=10**5, tune=50, states=False, **QUIET),
    "inpaint, pt": lambda: pmr.inpaint(MASKED[:20], LARGE, method="pt", draws=10**4, tune=20, states=False, **QUIET),
    "diagnose": again_and_again(lambda: pmr.diagnose(draws, LARGE, **QUIET)),
    "relabel": again_and_again(lambda: pmr.relabel(posterior, model_of(ROWS, 12, 1.0, 1.0), flips=False)),
    "bound": again_and_again(lambda: network.bound(ROWS, draws=50, **QUIET)),
    "network, inpaint": lambda: network.inpaint(MASKED[:20], draws=10**5, tune=50, **QUIET),
    "fit": fit(method="pcd"),
    "fit, pt": fit(method="pt"),
    "fit, ptt": fit(method="ptt"),
    "fit, ucd": fit(method="ucd"),
    "fit, lbfgs": fit(10, None, method="exact", optimizer="lbfgs", learning_rate=None),
    "fit_deep": deep,
    "pm.sample": sample,
    "pm.sample, pt": lambda: sample(block_gibbs={"method": "pt"}),
}
NOTHING = "log_likelihood", "diagnose", "relabel", "bound"
"""Of half of their work there is nothing to return."""


def under_way(*_, **__):
    global told
    if not told:
        told = True
        print("under way", flush=True)


def announced():
    """Let the loops that have no callbacks say when they have something, or are in the midst."""
    track, advance = sampling.track, Work.advance

    def stored(steps, *arguments, **options):
        kept = 0
        for step in track(steps, *arguments, **options):
            yield step
            kept += bool(step[-1])
            if kept == 3:
                under_way()

    def count(self, amount):
        advance(self, amount)
        if self.done > (60 if amount == 1 else 50_000):  # draws one by one, or sweeps of chains
            under_way()

    for room in "chains", "inpaint", "laddered":
        sys.modules[f"pymc_rbm.sampling.{room}"].track = stored
    Work.advance = count


def done(found):
    """How much a result has: draws, epochs or iterations, chains of annealing; of a network the epochs of its top."""
    if isinstance(found, pmr.LogPartitionEstimate):
        return max(found.made.values()) if np.isfinite([found.estimate, found.standard_error]).all() else 0
    if isinstance(found, pmr.DeepBeliefNetwork):
        return sum(np.isfinite(x.parameters[0]).all() for x in found.machines)
    if "learning" in found:
        finite = all(np.isfinite(x).all() for x in found["parameters"].data_vars.values())
        return found["learning"].sizes["iteration"] if finite else 0
    return found["posterior"].sizes["draw"] * found["posterior"].sizes["chain"]


def pressed(function):
    """What comes of a call: what it returned, by its type and how much of it there is, or KeyboardInterrupt."""
    global told
    told = False
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            print("begin", flush=True)
            found = function()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return f"returned {type(found).__name__} {done(found)}"
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return "KeyboardInterrupt"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function, trials = FUNCTIONS[sys.argv[1]], int(sys.argv[2])
    prepare()
    announced()
    expected = pmr.free_energy(ROWS, LARGE)
    for _ in range(trials):
        sys.stdin.readline()  # whoever presses has done with the last one
        faulthandler.dump_traceback_later(STUCK, exit=True)
        print("end", pressed(function), flush=True)
        assert (pmr.free_energy(ROWS, LARGE) == expected).all()
    print("well", flush=True)
