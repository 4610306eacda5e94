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
from models import model_of
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.sampling import chains as sampling
from pymc_rbm.support.work import Work

RNG = np.random.default_rng(5)
SMALL, LARGE = (pmr.restricted(*ref.machine(n, m, seed=n, scale=0.3)) for n, m in ((12, 8), (40, 30)))
REAL = pmr.restricted(*ref.machine(20, 12, seed=3, scale=0.2), pmr.Gaussian(1.0))
LISTED = pmr.restricted(*ref.machine(40, 24, seed=4, scale=0.3), pmr.Spin(), pmr.Spin())
ROWS = (RNG.random((60, 40)) < 0.5).astype("int8")
MASKED = np.ma.MaskedArray(ROWS, RNG.random(ROWS.shape) < 0.6)
LONG = 10**8
STUCK = 120
"""Seconds after which a call that nothing ends says where it is, and the process ends."""


def log_partition(method):
    return lambda: pmr.log_partition(LARGE, method=method, budget=LONG, target_error=1e-4, **QUIET)


def sample():
    options = {"quiet": True, "compute_convergence_checks": False, "callback": under_way, **QUIET}
    with free:
        try:
            return pm.sample(10**6, tune=0, chains=1, cores=1, **options)
        except ValueError as error:  # what PyMC makes of Ctrl-C before the first draw
            raise KeyboardInterrupt if "Not enough samples" in str(error) else error from error
        except SystemError as error:  # of the function that PyMC records draws by
            raise KeyboardInterrupt if isinstance(error.__cause__, KeyboardInterrupt) else error from error


def fit():
    return pmr.fit(LONG, model=few, method="pcd", learning_rate=0.01, on_epoch=under_way, **QUIET)


def climb():
    """Exactly, with one hidden unit after the other."""
    return pmr.fit(model=many, on_epoch=under_way, **QUIET)


def deep():
    options = {"batch_size": 10, "method": "pcd", "learning_rate": 0.01, "sweeps": 1, "on_epoch": under_way}
    return pmr.fit_deep(ROWS, [6, 5], epochs=[200, LONG], **options, **QUIET)


def prepare():
    global free, draws, few, many  # what PyMC does to make models is not the package's
    few, many = (model_of(ROWS, n, 1.0) for n in (6, 18))
    with pm.Model() as free:
        pmr.RBM("v", *[LARGE.parameters[i] for i in (2, 0, 1)])
    draws = pmr.sample_gibbs(LARGE, draws=300, tune=50, **QUIET)


FUNCTIONS = {
    "annealing": log_partition("ais"),
    "tempering": log_partition("tempering"),
    "compare": log_partition("compare"),
    "enumeration": lambda: pmr.log_partition(LISTED, method="exact", **QUIET),
    "log_likelihood": lambda: pmr.log_likelihood(MASKED, LARGE, log_z=1.0, budget=LONG, particles=1000, **QUIET),
    "inpaint": lambda: pmr.inpaint(MASKED[:20], LARGE, draws=10**5, tune=500, states=False, **QUIET),
    "sample_gibbs": lambda: pmr.sample_gibbs(LARGE, draws=10**6, tune=5000, states=False, **QUIET),
    "diagnose": lambda: [under_way() or pmr.diagnose(draws, LARGE, **QUIET) for _ in range(LONG)],
    "fit": fit,
    "climb": climb,
    "fit_deep": deep,
    "pm.sample": sample,
}
NOTHING = "enumeration", "log_likelihood", "diagnose"
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
        if self.done > 50_000:
            under_way()

    sampling.track = sys.modules["pymc_rbm.sampling.inpaint"].track = stored
    Work.advance = count


def pressed(function):
    """What comes of a call: what it returned, by its type, or KeyboardInterrupt."""
    global told
    told = False
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            print("begin", flush=True)
            return f"returned {type(function()).__name__}"
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
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
