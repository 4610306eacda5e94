"""What a fresh process waits for: imports, and the first answer of each function, on caches that are empty or warm.

Run with ``python -m benchmarks.startup [repeats] [--main]``; numbers are medians. Importing: pairs, CPU seconds; 0.3 s
are wanted. The first ``pm.sample`` of a 64x64 machine, imports not counted: with empty caches (8 s are wanted), and in
the next process, with what the first left on disk (3 s). Then each function's first call, in CPU seconds, of three
models one after the other: a machine of digits, 64x64, with empty caches; the same in the next process; and there,
after it, another form of machine, 20x30, whose weights have a scale of their own. Beside them stands an ordinary model
of PyMC's of the same forms, a logistic regression. Little is learned and sampled, so that what is left is waiting.
With ``--main`` the main job follows, with empty caches and with those that it left.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

CLOCK = "import time; began = time.process_time(), time.perf_counter(); "
REPORT = "; print(time.process_time() - began[0], time.perf_counter() - began[1])"
IMPORTS = "import numpy as np, pymc as pm, pymc_rbm as pmr"
SAMPLE = (
    "pm.Model().__enter__(); W = np.random.default_rng(1).normal(0, .1, (64, 64)); "
    "pmr.RBM('v', W, np.zeros(64), np.zeros(64)); "
    "pm.sample(1000, chains=4, cores=1, progressbar=False, quiet=True, compute_convergence_checks=False)"
)
QUIET = {"progressbar": False, "random_seed": 1}
WANTED = {"fit": 5, "pm.sample": 2}
"""CPU seconds wanted of a second model on warm caches; 1 s of each other function."""


def run(*command, **environment):
    """Return what a fresh process prints, and the CPU and wall seconds that it took with its children."""
    cpu, wall = os.times(), time.perf_counter()
    found = subprocess.run(
        [sys.executable, *command], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    after = os.times()
    spent = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    return found.stdout, spent, time.perf_counter() - wall


def seconds(code, **environment):
    """CPU and wall seconds that a fresh process prints."""
    return tuple(map(float, run("-c", code, **environment)[0].split()[-2:]))


def caches(folder):
    """Return the environment of a machine on which nothing has been compiled but what lies in ``folder``."""
    flags = {"PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor", "NUMBA_CACHE_DIR": f"{folder}/numba"}
    return flags | {"HOME": folder, "MPLCONFIGDIR": f"{folder}/matplotlib"}


# ------------------------------------------------------------------------------------------------- in the process


class Clock:
    """CPU seconds of each piece of work, by name."""

    def __init__(self):
        self.found = {}

    def __call__(self, name, work):
        """Do the work and return what it returns."""
        began = time.process_time()
        result = work()
        self.found[name] = time.process_time() - began
        return result


def digits():
    """Return a machine of binary digits, 64x64, and its name."""
    import pymc as pm

    import pymc_rbm as pmr

    data = pmr.datasets.digits()
    with pm.Model() as model:
        W, b = pm.Normal("W", 0, 1, shape=(64, 64)), pm.Flat("b", shape=64)
        pmr.RBM("digit", W, b, pm.Flat("c", shape=64), observed=data.values)
    return model, "digit"


def hierarchical():
    """Return a machine, 20x30, whose weights have an unknown scale, and its name."""
    import numpy as np
    import pymc as pm

    import pymc_rbm as pmr

    rows = (np.random.default_rng(1).random((500, 20)) < 0.4).astype("int8")
    with pm.Model() as model:
        W, b = pm.Normal("W", 0, pm.HalfNormal("scale"), shape=(20, 30)), pm.Flat("b", shape=20)
        pmr.RBM("v", W, b, pm.Normal("c", 0, 2, shape=30), observed=rows)
    return model, "v"


def answers(model, name):
    """Return the CPU seconds of the first call of each function."""
    import numpy as np
    import pymc as pm

    import pymc_rbm as pmr

    clock, few = Clock(), {"tune": 50, "chains": 4, "cores": 1, "compute_convergence_checks": False}
    learned = clock("fit", lambda: pmr.fit(3, model=model, **QUIET))
    with pmr.generative(model, learned):
        drawn = clock("pm.sample", lambda: pm.sample(100, quiet=True, **few, **QUIET))
    rows = np.asarray(learned["data"][f"{name}_rows"].values[:20])
    W, b, c = (learned["parameters"][x].values for x in "Wbc")
    known = np.arange(len(b)) < len(b) // 2
    clock("diagnose", lambda: pmr.diagnose(drawn, model, learned=learned, random_seed=1))
    clock("diagnose learned", lambda: pmr.diagnose(learned))
    clock("log_partition", lambda: pmr.log_partition(model, learned, random_seed=1))
    holes = np.ma.masked_array(rows, [~known] * len(rows))
    clock("inpaint", lambda: pmr.inpaint(holes, model, learned, draws=10, tune=10, **QUIET))
    clock("sample_gibbs", lambda: pmr.sample_gibbs(model, learned, draws=10, tune=10, chains=20, **QUIET))
    clock("free_energy", lambda: pmr.free_energy(rows, W, b, c))
    clock("conditional_hidden", lambda: pmr.conditional_hidden(rows, W, c))
    return clock.found


def regression(visible, hidden, scaled):
    """Return the CPU seconds of an ordinary model of PyMC's with as many weights: ``find_MAP``, and ``pm.sample``."""
    import numpy as np
    import pymc as pm

    rng, clock = np.random.default_rng(1), Clock()
    X, y = rng.normal(size=(100, visible)), rng.random((100, hidden)) < 0.4
    with pm.Model():
        W = pm.Normal("W", 0, pm.HalfNormal("scale") if scaled else 1, shape=(visible, hidden))
        pm.Bernoulli("y", logit_p=X @ W + pm.Normal("b", 0, 1, shape=hidden), observed=y)
        clock("fit", lambda: pm.find_MAP(maxeval=3, progressbar=False))
        few = {"tune": 2, "chains": 1, "cores": 1, "compute_convergence_checks": False}
        clock("pm.sample", lambda: pm.sample(2, quiet=True, **few, **QUIET))
    return clock.found


def session(second):
    """Print, as JSON, the seconds of each model in this process."""
    warnings.simplefilter("ignore")
    found = [answers(*digits())]
    if second:
        found.append(answers(*hierarchical()))
    found.append(regression(64, 64, False))
    if second:
        found.append(regression(20, 30, True))
    print(json.dumps(found))


# ------------------------------------------------------------------------------------------------- around it


def first_samples():
    """CPU and wall seconds of the first ``pm.sample`` with empty caches, and in the process after it."""
    with tempfile.TemporaryDirectory() as folder:
        return [seconds(f"{IMPORTS}; {CLOCK}{SAMPLE}{REPORT}", **caches(folder)) for _ in range(2)]


def first_answers():
    """Return seconds by function and column: ours on empty caches, in the next process, another form; PyMC's same."""
    with tempfile.TemporaryDirectory() as folder:
        printed = [run("-m", "benchmarks.startup", "--session", x, **caches(folder))[0] for x in ("first", "second")]
    (empty, theirs), (same, other, theirs_again, theirs_other) = (json.loads(x.splitlines()[-1]) for x in printed)
    columns = empty, same, other, theirs, theirs_again, theirs_other
    return {name: [column.get(name) for column in columns] for name in empty}


def main_jobs():
    """CPU and wall seconds of the main job, twice on the same caches, and those of its own table."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            shown, *spent = run("-m", "pymc_rbm", "--out", f"{folder}/out", **caches(folder))
            [line] = [x for x in shown.splitlines() if "in all" in x]
            found.append([*spent, float(next(x for x in line.split() if x.replace(".", "").isdigit()))])
    return found


def _row(name, values, wanted):
    shown = [" " * 8 if x is None else f"{x:8.1f}" for x in values]
    print(f"{name:20}", *shown[:3], "  ", *shown[3:], f"   {wanted}", flush=True)


def main(repeats, main_job):
    """Print what each takes."""
    pairs = [[seconds(f"{CLOCK}import {x}{REPORT}")[0] for x in ("pymc", "pymc, pymc_rbm")] for _ in range(repeats)]
    added = statistics.median(b - a for a, b in pairs)
    pymc = statistics.median(a for a, _ in pairs)
    print(f"import pymc {pymc:.2f} s, pymc_rbm adds {added:.2f} s (at most 0.3)")
    samples = [first_samples() for _ in range(repeats)]
    for name, most, each in zip(("empty", "warm"), (8, 3), zip(*samples, strict=True), strict=True):
        cpu, wall = map(statistics.median, zip(*each, strict=True))
        print(f"first pm.sample, 64x64, caches {name}: {cpu:.1f} s of CPU, {wall:.1f} s (at most {most})", flush=True)
    print("\nCPU seconds         pymc_rbm:                     a regression, PyMC alone:    wanted of pymc_rbm")
    print("first call of          empty     same    other       empty     same    other")
    tables = [first_answers() for _ in range(repeats)]
    medians = {}
    for name in tables[0]:
        values = zip(*(x[name] for x in tables), strict=True)
        medians[name] = [None if x[0] is None else statistics.median(x) for x in values]
        _row(name, medians[name], f"{'15, ' if name == 'fit' else ''}{WANTED.get(name, 1)} of another form")
    _row("in all", [sum(x or 0 for x in each) for each in zip(*medians.values(), strict=True)], "2 of the same")
    if not main_job:
        return
    for name, each in zip(("empty", "warm"), zip(*[main_jobs() for _ in range(repeats)], strict=True), strict=True):
        cpu, wall, own = map(statistics.median, zip(*each, strict=True))
        print(f"main job, caches {name}: {cpu:.0f} s of CPU, {wall:.0f} s, {own:.0f} s by its own table (at most 45)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repeats", nargs="?", type=int, default=5)
    parser.add_argument("--main", action="store_true", help="run the main job, too")
    parser.add_argument("--session", choices=["first", "second"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session:
        session(options.session == "second")
    else:
        main(options.repeats, options.main)
