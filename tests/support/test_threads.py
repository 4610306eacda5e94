"""Any thread may call any public function at any time: what comes back is what comes back to one alone."""

import ast
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from options import QUIET
from pytensor.compile.maker import FunctionMaker
from threadpoolctl import threadpool_info, threadpool_limits

import pymc_rbm as pmr
from pymc_rbm.support.blas import OneBlasThread
from pymc_rbm.support.compiled import remembered
from pymc_rbm.support.interrupts import COMPILING
from pymc_rbm.support.modes import INTERPRETED
from pymc_rbm.support.reentrant import Reentrant, compiled, one_compiles, settings

THREADS = 8
HAMMERED = float(os.environ.get("PYMC_RBM_HAMMERED", "20"))
RNG = np.random.default_rng(5)
MACHINES = [pmr.restricted(*ref.machine(n, m, seed=n, scale=0.5)) for n, m in ((6, 4), (9, 5), (7, 3))]
ROWS = [(RNG.random((40, len(x.layers[0].bias))) < 0.5).astype("int8") for x in MACHINES]
MASKED = [np.ma.MaskedArray(v, RNG.random(v.shape) < 0.2) for v in ROWS]


def as_bytes(found):
    """What a function returned, as bytes."""
    if isinstance(found, xr.DataTree):
        return b"".join(as_bytes(node.dataset) for node in found.subtree)
    if isinstance(found, xr.Dataset):
        return b"".join(as_bytes(found[key].values) for key in sorted(found.data_vars))
    if isinstance(found, pmr.LogPartitionEstimate):
        weights = () if found.log_weights is None else found.log_weights
        return as_bytes([found.estimate, found.standard_error, weights])
    if isinstance(found, pmr.Machine):
        return as_bytes(list(found.numeric().parameters))
    if isinstance(found, pmr.DeepBeliefNetwork):
        return as_bytes(found.machines)
    if isinstance(found, az.PlotCollection):
        canvas = found.viz["figure"].item().canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba()).tobytes()
    if isinstance(found, list | tuple):
        return b"".join(map(as_bytes, found))
    if isinstance(found, str | pmr.Diagnosis):
        return str(found).encode()
    return np.asarray(found).tobytes()


def of_machine(i):
    """Functions of a machine, and what makes their arguments, by name."""
    machine, v, masked = MACHINES[i], ROWS[i], MASKED[i]
    h = (np.random.default_rng(i).random((len(v), len(machine.layers[1].bias))) < 0.5).astype("int8")
    units = np.arange(v.shape[1]) < 2
    return {
        "free_energy": lambda: pmr.free_energy(v, machine),
        "energy": lambda: pmr.energy(v, h, machine),
        "hidden_mean": lambda: pmr.hidden_mean(v, machine),
        "conditional_hidden": lambda: pmr.conditional_hidden(v, machine),
        "conditional_visible": lambda: pmr.conditional_visible(h, machine),
        "pseudo_log_likelihood": lambda: pmr.pseudo_log_likelihood(v, machine),
        "log_likelihood": lambda: pmr.log_likelihood(masked, machine, **QUIET),
        "log_conditional": lambda: pmr.log_conditional(v, machine, units=units, **QUIET),
        "log_partition": lambda: [
            pmr.log_partition(machine, method=method, particles=20, temperatures=20, **QUIET)
            for method in ("exact", "ais", "reverse_ais")
        ],
        "sample_gibbs": lambda: pmr.sample_gibbs(machine, draws=20, tune=20, **QUIET),
        "inpaint": lambda: pmr.inpaint(masked[:3], machine, draws=500, tune=10, **QUIET)["posterior"],
    }


def of_models():
    """Functions of models, what was learned, and networks, by name."""
    v, rows = ROWS[0], ROWS[0][:30]

    def model(**kwargs):
        with pm.Model() as made:
            W = pm.Normal("W", shape=(6, 3))
            pmr.RBM("v", W, pm.Flat("b", shape=6), pm.Flat("c", shape=3), **{"observed": rows, **kwargs})
        return made

    given, options = model(), {"epochs": 3, "method": "pcd", "learning_rate": 0.1, **QUIET}
    learned = pmr.fit(model=given, **options)
    mixture = pmr.mixture_machine([0.4, 0.6], RNG.uniform(0.2, 0.8, (2, 6)), 0.5)
    label = pmr.restricted(*ref.machine(5, 3, seed=1), pmr.Beside((pmr.Bernoulli(), 2), y=(pmr.Categorical(3), 3)))
    network = pmr.fit_deep(rows, [3, 2], **options)
    by_row = pmr.restricted(RNG.normal(size=(6, 3)), RNG.normal(size=(4, 6)), np.zeros(3))
    fantasies = pmr.sample_gibbs(MACHINES[0], draws=60, tune=20, **QUIET)
    stop = partial(pmr.StopOnLikelihood, v[30:], every=1)

    def step():
        with pm.Model():
            x = pmr.RBM("v", *[MACHINES[0].parameters[i] for i in (2, 0, 1)], shape=(3, 6))
            method, point = pmr.BlockGibbs([x], sweeps=3, rng=np.random.default_rng(1)), {"v": v[:3]}
            for _ in range(5):
                point, _ = method.step(point)
        return point["v"]

    return {
        "fit": lambda: pmr.fit(model=model(), on_epoch=stop(), **options)["parameters"],
        "fit, exact": lambda: pmr.fit(model=model(), **QUIET)["parameters"],
        "fit from a start": lambda: pmr.fit(model=model(), start={"W": np.eye(6, 3)}, **options)["parameters"],
        "fit, low rank": lambda: pmr.fit(model=model(), start="low rank", **options)["parameters"],
        "fit_deep": lambda: pmr.fit_deep(rows, [3, 2], **options),
        "averaged": lambda: pmr.averaged(learned)["parameters"],
        "machine_of": lambda: pmr.machine_of(given, learned),
        "generative": lambda: pmr.machine_of(pmr.generative(given, learned)),
        "diagnose": lambda: pmr.diagnose(fantasies, MACHINES[0], **QUIET),
        "machine_of_row": lambda: pmr.machine_of_row(by_row, row=2),
        "mixture_parameters": lambda: pmr.mixture_parameters(mixture),
        "classify": lambda: pmr.classify(np.ones((4, 2)), label, part="y"),
        "marginal_free_energy": lambda: pmr.marginal_free_energy(np.ones((4, 2)), label, parts=["y"]),
        "DeepBeliefNetwork": lambda: [
            network.bound(rows, draws=5, **QUIET),
            network.inpaint(MASKED[0], draws=50, tune=10, **QUIET),
        ],
        "BlockGibbs": step,
        "log_partition, tempering": lambda: pmr.log_partition(MACHINES[1], method="tempering", budget=5000, **QUIET),
        "plot_filters": lambda: pmr.plot_filters(learned),
        "plot_learning": lambda: pmr.plot_learning(learned),
    }


def hammered(jobs, seconds, least=1, threads=THREADS):
    """Run jobs in threads until the time is over and each has run; return the wrong ones and how many there were."""
    expected = {name: as_bytes(job()) for name, job in jobs.items()}
    names, wrong, count = list(jobs), [], [0] * threads
    end, interval = time.monotonic() + seconds, sys.getswitchinterval()

    def work(k):
        rng = np.random.default_rng(k)
        while time.monotonic() < end or count[k] < least:
            for name in rng.permutation(names):
                try:
                    found = as_bytes(jobs[name]())
                except BaseException as error:
                    wrong.append((name, repr(error)))
                else:
                    if found != expected[name]:
                        wrong.append((name, "other numbers"))
                count[k] += 1
                if time.monotonic() > end and count[k] >= least:
                    break

    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for x in workers:
            x.start()
        for x in workers:
            x.join()
    finally:
        sys.setswitchinterval(interval)
    return wrong, sum(count)


@pytest.mark.interpreted
def test_eight_threads_for_a_moment():
    names = "free_energy", "pseudo_log_likelihood", "hidden_mean", "log_likelihood", "inpaint"
    jobs = {f"{name} {i}": of_machine(i)[name] for i in range(2) for name in names}
    jobs["sample_gibbs"] = of_machine(0)["sample_gibbs"]
    before = settings()
    wrong, count = hammered(jobs, 3)
    assert not wrong, wrong[:5]
    assert count > len(jobs)
    assert settings() == before


@pytest.mark.interpreted
def test_the_hammer_finds_functions_that_are_not_reentrant(monkeypatch):
    """As PyTensor's own functions are."""
    monkeypatch.setattr(Reentrant, "__call__", lambda self, *arguments: self.function(*arguments))
    wrong, _ = hammered({name: of_machine(0)[name] for name in ("free_energy", "pseudo_log_likelihood")}, 2, least=20)
    assert wrong


@pytest.mark.slow
def test_eight_threads_hammer_every_public_function():
    """Bit for bit. Constructors of models and units are PyMC's, and figures of draws Matplotlib's.

    ``PYMC_RBM_HAMMERED`` says for how many seconds; in a night, 60.
    """
    jobs = of_models() | {f"{name} {i}": job for i in range(3) for name, job in of_machine(i).items()}
    before = settings()
    wrong, count = hammered(jobs, HAMMERED)
    assert not wrong, wrong[:5]
    assert count > len(jobs)
    assert settings() == before


@pytest.mark.slow
def test_no_function_compiles_outside_of_the_lock(monkeypatch):
    """Else two threads that compile leave PyTensor's settings changed, now and then: see `settings`."""
    outside, prepare, now = [], FunctionMaker.prepare_fgraph, "making the jobs"

    def watched(*arguments, **named):
        if not COMPILING._is_owned():
            outside.append(now)
        return prepare(*arguments, **named)

    monkeypatch.setattr(FunctionMaker, "prepare_fgraph", staticmethod(watched))
    monkeypatch.setattr("pymc_rbm.support.compiled.settings", lambda: "other ones")  # so that nothing is remembered
    jobs = of_models() | of_machine(0) | {"one of PyTensor's own": lambda: pytensor.function([], pt.zeros(()))}
    for name, job in jobs.items():
        now = name
        job()
    assert outside == ["one of PyTensor's own"]


# ------------------------------------------------------------------------------------------------- what it rests on


@pytest.mark.interpreted
def test_compiling_in_threads_leaves_the_settings():
    """PyTensor sets ``config.mode`` while it compiles; threads that overlap would put back each other's."""
    modes, seen = [INTERPRETED, "FAST_COMPILE"], []
    before = pytensor.config.mode
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            seen.append(settings())

    def work(k):
        for _ in range(10):
            x = pt.dmatrix()
            f = compiled([x], pt.special.softmax(x @ x.T, axis=-1).sum(0), mode=modes[k % 2])
            assert f(np.eye(3)).sum() == pytest.approx(3)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    watcher = threading.Thread(target=watch)
    for x in (watcher, *threads):
        x.start()
    for x in threads:
        x.join()
    stop.set()
    watcher.join()
    assert pytensor.config.mode is before
    assert set(seen) == {settings()}


@pytest.mark.interpreted
def test_a_function_is_built_once_for_all_threads_that_ask():
    built = []

    @remembered(4)
    def function(name):
        built.append(name)
        time.sleep(0.1)
        x = pt.dscalar()
        return pytensor.function([x], x + 1, mode=INTERPRETED), name

    found = []
    threads = [threading.Thread(target=lambda: found.append(function("a"))) for _ in range(5)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    assert built == ["a"]
    assert len({id(f) for f, _ in found}) == 1
    assert found[0][1] == "a"


@pytest.mark.parametrize("mode", [INTERPRETED, "NUMBA"])
def test_a_function_may_be_called_while_it_runs(mode):
    """As a signal handler does that calls the package."""
    x = pt.dvector()

    @remembered(4)
    def function():
        y = pytensor.map(lambda t: pt.exp(t) * 2, [x], return_updates=False)
        return pytensor.function([x], [y, x.sum()], mode=mode)

    f, inner = function(), []
    whole = f._function

    def interrupted(*arguments):
        if not inner:
            inner.append(f(np.ones(2)))
        return whole(*arguments)

    f._function = interrupted
    outer = f(np.arange(3.0))
    np.testing.assert_allclose(inner[0][0], 2 * np.e * np.ones(2))
    np.testing.assert_allclose(outer[0], 2 * np.exp(np.arange(3.0)))
    assert [inner[0][1], outer[1]] == [2, 3]
    assert not f._busy


@pytest.mark.interpreted
def test_a_signal_handler_may_call_the_package():
    machine, v = MACHINES[0], ROWS[0]
    expected, found = pmr.free_energy(v, machine), []

    def handler(*_):
        found.append(pmr.free_energy(v[:7], machine))
        signal.setitimer(signal.ITIMER_REAL, 0.002)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            np.testing.assert_array_equal(pmr.free_energy(v, machine), expected)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(found) > 10
    for x in found:
        np.testing.assert_array_equal(x, expected[:7])


@pytest.mark.interpreted
def test_callbacks_may_call_the_package_in_threads():
    """A callback that waits for a thread: nothing that the thread needs is held meanwhile."""
    machine, v, found = MACHINES[0], ROWS[0], []

    def callback(status):
        [own] = status.machines().values()
        jobs = [lambda: found.append(pmr.free_energy(v, own)), lambda: pmr.sample_gibbs(machine, draws=2, **QUIET)]
        threads = [threading.Thread(target=job) for job in jobs]
        for x in threads:
            x.start()
        for x in threads:
            x.join(120)
            assert not x.is_alive()

    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(6, 3)), np.zeros(6), np.zeros(3), observed=v)
        pmr.fit(2, method="pcd", learning_rate=0.1, on_epoch=callback, **QUIET)
    assert len(found) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_does_not_wait_for_threads_that_it_does_not_have():
    f = compiled([], pt.as_tensor(np.arange(3)).sum(), mode=INTERPRETED)
    holds, free = threading.Event(), threading.Event()

    def hold():
        with f._lock, one_compiles():
            holds.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        good = f() == 3 and compiled([], pt.as_tensor(1.0) + 1, mode=INTERPRETED)() == 2
        os._exit(0 if good else 1)
    free.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def threads_of_blas():
    return {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"}


def test_blas_gets_its_threads_back():
    """Whatever the order in which those that limit it end."""
    with threadpool_limits(2, user_api="blas"):
        several = threads_of_blas()
        first, second = OneBlasThread(), OneBlasThread()
        first.__enter__()
        second.__enter__()
        first.__exit__()
        assert threads_of_blas() == {1}
        second.__exit__()
        assert threads_of_blas() == several


@pytest.mark.interpreted
def test_progress_bars_side_by_side(capfd):
    """Of threads, and of a callback inside of a bar: rich shows several, one of them at a time."""
    options = {"method": "ais", "particles": 20, "temperatures": 20, "random_seed": 1}
    expected = pmr.log_partition(MACHINES[0], progressbar=False, **options).estimate
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pymc_rbm.support.work.SECONDS_WITHOUT_BAR", 0.0)
        patch.setattr("pymc_rbm.support.work.can_show", bool)  # as in a terminal
        job = lambda: found.append(pmr.log_partition(MACHINES[0], **options).estimate)  # noqa: E731
        threads = [threading.Thread(target=job) for _ in range(4)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
    assert found == [expected] * 4


COMPILERS = {
    "pytensor.function",
    "pm.compile",
    "by_kernels",
    "by_python",
    "eval",
    "initial_point",
    "rewrite_graph",
    "pm.draw",
}
OF_BUILDERS = {("path_graphs", "_compile"), ("modes", "by_kernels"), ("modes", "by_python")}
"""What only builders that are remembered call."""


def compiles(node):
    """Whether a node of the syntax compiles a graph, or makes PyTensor or PyMC do it."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    return name in COMPILERS or name.split(".")[-1] in COMPILERS


def locked(node):
    """Whether what is inside has the lock: a builder that is remembered, or a block that takes it."""
    if isinstance(node, ast.FunctionDef):
        return any(ast.unparse(x).startswith("remembered(") for x in node.decorator_list)
    return isinstance(node, ast.With) and any("one_compiles()" in ast.unparse(x) for x in node.items)


def compiling(node, file, function=""):
    """Places outside of the lock where something is compiled."""
    if locked(node):
        return
    function = node.name if isinstance(node, ast.FunctionDef) else function
    if compiles(node) and (file, function) not in OF_BUILDERS:
        yield f"{file}.py, line {node.lineno}: {ast.unparse(node)[:60]}"
    for child in ast.iter_child_nodes(node):
        yield from compiling(child, file, function)


def test_nothing_is_compiled_without_the_lock():
    """But by `reentrant.compiled` and `value_of`, and by builders that are remembered."""
    found = []
    for path in Path(pmr.__file__).parent.rglob("*.py"):
        if path.stem not in ("reentrant", "__main__"):
            found += compiling(ast.parse(path.read_text(encoding="utf-8")), path.stem)
    assert not found, "\n".join(found)
    assert list(compiling(ast.parse("def f(x):\n    return pytensor.function([], x).eval()"), "f"))
