"""When Ctrl-C is heard, moment by moment; `test_interrupts` presses it at random ones."""

import signal
import sys
import weakref

import numpy as np
import pymc as pm
import pytest
import reference as ref
from numba import njit, objmode, typeof, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.pythonapi import ObjModeUtils
from numba.core.registry import cpu_target
from numba.core.typing.templates import Registry as RegistryOfTypes
from options import QUIET

import pymc_rbm as pmr
from pymc_rbm.kernels.pointers import through_pointer
from pymc_rbm.learning import loop
from pymc_rbm.partition.path import Path
from pymc_rbm.support.interrupts import COMPILING, DeferredInterrupt, Prompt, Whole, late, whole
from pymc_rbm.support.reentrant import one_compiles
from pymc_rbm.support.work import Work

pytestmark = pytest.mark.interpreted
MACHINE = pmr.restricted(*ref.machine(8, 6, scale=0.3))
ROWS = (np.random.default_rng(1).random((20, 8)) < 0.5).astype("int8")


@pytest.fixture(autouse=True)
def heard():
    """As in an interactive session, also where pytest was started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


def test_the_second_one_is_raised_at_the_end_of_a_piece():
    with DeferredInterrupt() as interrupt:
        assert not interrupt.pending
        press()
        assert interrupt.pending
        press()
        with pytest.raises(KeyboardInterrupt):
            _ = interrupt.pending


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with DeferredInterrupt() as interrupt, interrupt.lifted(), Whole():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            press()
        assert not interrupt.pending
        assert whole(lambda: press() or 5) == 5
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_compiled_calls_end_before_anything_is_raised():
    done = []

    def call(times):
        for _ in range(times):
            press()
        done.append(times)

    with pytest.raises(KeyboardInterrupt):
        whole(call, 1)
    with pytest.raises(KeyboardInterrupt):
        whole(whole, call, 3)
    with DeferredInterrupt() as interrupt:
        whole(call, 1)
        assert interrupt.pending
    assert done == [1, 3, 1]

    def loop():
        with DeferredInterrupt():
            press()
        done.append(0)

    with pytest.raises(KeyboardInterrupt):  # of a function that has a loop of the package in it
        whole(loop)
    assert done[-1] == 0


def test_compiled_code_that_has_numba_compile_is_a_compiled_call():
    """Where it calls Python, that is compiled first: an exception out of there is printed, lost, and garbage used."""
    assert callable(ObjModeUtils._call_objmode_dispatcher)  # numba still has the name
    done = []

    def _call_objmode_dispatcher():
        with global_compiler_lock:
            press()
            done.append(True)

    with DeferredInterrupt() as interrupt:
        _call_objmode_dispatcher()
        assert interrupt.pending
        with pytest.raises(KeyboardInterrupt), one_compiles():  # there is nothing to lose yet
            done.append("went on")
        interrupt.prompt = False
        with one_compiles():
            pass
    with pytest.raises(KeyboardInterrupt):
        whole(_call_objmode_dispatcher)
    assert done == [True, True]


@pytest.mark.parametrize(("context", "dtype"), [(Whole, "int16"), (DeferredInterrupt, "int32")])
def test_compiled_code_does_not_compile_a_kernel_after_ctrl_c(context, dtype):
    """It came while compiled code ran. That then came to a kernel of 10 s, after which it was heard.

    Numba brings what is raised in Python to the caller, and the next call works.
    """
    pressed = []

    @njit
    def call(x):
        with objmode():
            if not pressed:
                pressed.append(press())
        kernel(x)
        return x

    x = np.zeros(2, dtype)
    kernel = through_pointer(add_one, types.void(typeof(x)))
    with pytest.raises(KeyboardInterrupt), context():
        whole(call, x)
    assert pressed
    assert (typeof(x),) not in add_one.signatures
    assert not x.any()
    with context():
        whole(call, x)
    assert (x == 1).all()


def test_a_loop_may_compile_what_it_returns_after_ctrl_c():
    """It came in the last piece: what the pieces made is not to be lost, though nothing is compiled for it yet."""
    with DeferredInterrupt() as interrupt:
        whole(press)
        with one_compiles():
            assert interrupt.pending


@njit
def add_one(x):
    x += 1


def test_ctrl_c_passes_through_contexts_in_each_other():
    """While something is compiled, in a compiled call inside of long work in Python: each calls the one outside it."""
    with pytest.raises(KeyboardInterrupt), Prompt(), Whole(), global_compiler_lock:
        press()
    with pytest.raises(KeyboardInterrupt), Prompt(), one_compiles(), Whole():
        late(in_call=True)
        press()


def test_what_numba_learns_once_in_a_process_is_learned_in_one_piece():
    """Half learned, it would refuse functions and attributes of arrays for ever."""
    learned, context = [], cpu_target.typing_context

    class Registry(RegistryOfTypes):
        @property
        def attributes(self):
            press()
            learned.append(True)
            return []

        @attributes.setter
        def attributes(self, value):
            pass

    with pytest.raises(KeyboardInterrupt), DeferredInterrupt(), global_compiler_lock:
        context.install_registry(Registry())
        learned.append(False)  # it is raised as soon as that is done
    assert learned == [True]


def test_handlers_of_others_hear_it_after_a_compiled_call():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(len(heard)))
    try:
        assert whole(lambda: press() or heard.copy()) == []
        assert heard == [0]
        with one_compiles():
            press()
            assert heard == [0, 1]
        assert heard == [0, 1]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_first_one_is_raised_while_something_is_compiled_unless_something_would_be_lost():
    with DeferredInterrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt), one_compiles():
            press()
        interrupt.prompt = False
    with DeferredInterrupt() as interrupt:
        interrupt.prompt = False
        with one_compiles():
            press()
        assert interrupt.pending
    with pytest.raises(KeyboardInterrupt):
        whole(lambda: COMPILING.__enter__() and press())
    COMPILING.release()
    assert not COMPILING._is_owned()


def test_what_a_finaliser_would_lose_comes_at_the_end(monkeypatch):
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    class Gone:
        def __del__(self):
            press()

    for context in (Whole, one_compiles):
        with pytest.raises(KeyboardInterrupt), context(), one_compiles():
            Gone()
    assert not lost


def test_what_a_weak_set_would_lose_comes_at_the_end(monkeypatch):
    """A Ctrl-C while numba compiled came there, as Python let an entry of a WeakSet go."""
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    class Pressing(set):
        def discard(self, entry):
            press()
            super().discard(entry)

    def go():
        entry = type("Entry", (), {})()
        kept = weakref.WeakSet()
        kept.data = Pressing([weakref.ref(entry, kept._remove)])
        del entry

    for context in (Whole, one_compiles):
        with pytest.raises(KeyboardInterrupt), context(), one_compiles():
            go()
    assert not lost


def test_an_inner_loop_tells_the_outer_one():
    with DeferredInterrupt() as outer:
        with DeferredInterrupt() as inner:
            press()
            assert inner.pending
            assert not outer.pending
        assert outer.pending


def test_callbacks_are_interrupted_by_the_second_one_at_once():
    reached = []
    with DeferredInterrupt() as interrupt:
        with interrupt.lifted():
            press()
            reached.append(1)
        assert interrupt.pending
        with pytest.raises(KeyboardInterrupt), interrupt.lifted():
            whole(lambda: press() or reached.append(2))
            reached.append(3)
    assert reached == [1, 2]


# --------------------------------------------------------------------------------------------------- where it is used


def pressing(function, at, times=1):
    """The function, which presses Ctrl-C in its call number ``at``."""
    calls = []

    def pressed(*arguments, **options):
        calls.append(1)
        if len(calls) == at:
            for _ in range(times):
                press()
        return function(*arguments, **options)

    return pressed, calls


@pytest.mark.parametrize("times", [1, 2])
def test_tempering_hears_it_in_its_burn_in(monkeypatch, times):
    sweep, calls = pressing(Path.sweep_levels, 3, times)
    monkeypatch.setattr(Path, "sweep_levels", sweep)
    monkeypatch.setattr("pymc_rbm.partition.tempering.HURRY", 600.0)  # others may use the processor
    options = {"method": "tempering", "budget": 10**7, "temperatures": 3, **QUIET}
    if times > 1:
        with pytest.raises(KeyboardInterrupt):
            pmr.log_partition(MACHINE, **options)
        assert len(calls) == 3
        return
    found = pmr.log_partition(MACHINE, **options)
    assert len(calls) < 30
    assert found.made["interrupted"]
    assert not found.reliable
    assert np.isfinite(found.estimate)


def test_tempering_does_not_take_long_for_the_rest(monkeypatch):
    sweep, calls = pressing(Path.sweep_levels, 3)
    monkeypatch.setattr(Path, "sweep_levels", sweep)
    monkeypatch.setattr("pymc_rbm.partition.tempering.HURRY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        pmr.log_partition(MACHINE, method="tempering", budget=10**7, temperatures=3, **QUIET)
    assert len(calls) < 6


def test_sums_over_missing_entries_hear_it(monkeypatch):
    module = sys.modules["pymc_rbm.likelihood.marginals"]
    clamped, calls = pressing(module.clamped, 2)
    monkeypatch.setattr(module, "clamped", clamped)
    masked = np.ma.MaskedArray(ROWS, np.random.default_rng(2).random(ROWS.shape) < 0.3)
    with pytest.raises(KeyboardInterrupt):
        pmr.log_likelihood(masked, MACHINE, log_z=1.0, **QUIET)
    assert len(calls) == 2


def test_a_log_likelihood_without_its_log_z_is_nothing(monkeypatch):
    module = sys.modules["pymc_rbm.partition.exact"]
    summed, _ = pressing(module.log_z_by_kernel, 1)
    monkeypatch.setattr(module, "log_z_by_kernel", summed)
    with pytest.raises(KeyboardInterrupt):
        pmr.log_likelihood(ROWS, MACHINE, **QUIET)


def learn_with(callback):
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(8, 3)), np.zeros(8), np.zeros(3), observed=ROWS)
        return pmr.fit(50, method="pcd", learning_rate=0.1, on_epoch=callback, **QUIET)


def test_learning_ends_after_an_interrupt_in_what_a_callback_calls():
    """The inner function returns what it has, and so does the outer one."""
    inner = []

    def callback(status):
        if status.epoch == 2:
            with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="Interrupted after"):
                module = sys.modules["pymc_rbm.sampling.chains"]
                patch.setattr(module, "CHUNK_ENTRIES", 1)
                patch.setattr(module.np, "moveaxis", pressing(np.moveaxis, 3)[0])
                inner.append(pmr.sample_gibbs(MACHINE, draws=30, tune=0, **QUIET))

    with pytest.warns(UserWarning, match="Learning was interrupted"):
        learned = learn_with(callback)
    assert learned.attrs["epochs_done"] == 2
    assert 0 < inner[0]["posterior"].sizes["draw"] < 30


def test_the_second_interrupt_ends_a_callback():
    def callback(status):
        press()
        press()
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        learn_with(callback)


def test_newtons_method_hears_it(monkeypatch):
    """It is the last part of an exact climb, in which no iteration ends."""
    module = sys.modules["pymc_rbm.learning.lbfgs"]
    slope, calls = pressing(module.Ascent._slope, 2)
    monkeypatch.setattr(module.Ascent, "_slope", slope)
    with pm.Model():
        W = pm.Normal("W", shape=(8, 2))
        pmr.RBM("v", W, pm.Normal("b", shape=8), pm.Normal("c", shape=2), observed=ROWS)
        with pytest.warns(UserWarning, match="interrupted"):
            learned = pmr.fit(500, method="exact", optimizer="lbfgs", **QUIET)
    assert learned.attrs["interrupted"] == 1
    assert len(calls) < 6


def test_long_draws_have_pieces(monkeypatch):
    """Whose draws are those of the machine, and between which Ctrl-C is heard."""
    module = sys.modules["pymc_rbm.sampling.forward"]
    monkeypatch.setattr(module, "is_enumerable", lambda machine: False)
    monkeypatch.setattr(module, "sweeps_of_a_piece", lambda machine, rows: 4)
    rows = 4000
    v = module.draw_visible(np.random.default_rng(1), rows, 30, MACHINE)
    exact = np.exp(ref.log_p(MACHINE.parameters[2], *MACHINE.parameters[:2])) @ np.array(ref.states(8))
    assert abs(v.mean(0) - exact).max() < 4.5 * 0.5 / np.sqrt(rows)
    further, calls = pressing(module._further_function, 2)
    monkeypatch.setattr(module, "_further_function", further)
    with pytest.raises(KeyboardInterrupt):
        module.draw_visible(np.random.default_rng(1), rows, 30, MACHINE)
    assert len(calls) == 2


def test_work_is_counted_as_before():
    with Work(False) as work:
        press()
        assert work.interrupted
        press()
        with pytest.raises(KeyboardInterrupt):
            _ = work.interrupted


def test_ctrl_c_between_two_contexts_is_pending_in_the_inner_one():
    """It was lost where it came after the outer context had begun and before the inner one had."""
    with DeferredInterrupt() as outer:
        press()
        with DeferredInterrupt() as inner:
            assert inner.pending
        assert outer.pending  # once: it would raise KeyboardInterrupt if it had been counted twice
        with DeferredInterrupt() as inner:
            press()
            with pytest.raises(KeyboardInterrupt):
                _ = inner.pending
        with pytest.raises(KeyboardInterrupt):
            _ = outer.pending


def test_callbacks_do_not_inherit_ctrl_c():
    with DeferredInterrupt() as outer:
        press()
        with outer.lifted(), DeferredInterrupt() as inner:
            assert not inner.pending
        assert outer.pending


def test_ctrl_c_while_the_progress_bar_of_learning_is_made(monkeypatch):
    """Between the two contexts of learning: it ends at once, with what there is."""
    monkeypatch.setattr(loop, "LearningProgressBar", pressing(loop.LearningProgressBar, 1)[0])
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), np.zeros(4), np.zeros(3), observed=np.eye(4))
        with pytest.warns(UserWarning, match="Learning was interrupted"):
            learned = pmr.fit(10**6, method="pcd", **QUIET)
    assert learned.attrs["epochs_done"] == 1


@pytest.mark.parametrize("deep", [False, True])
def test_ctrl_c_when_all_is_learned(deep, monkeypatch):
    """While the result is gathered: nothing is lost, and no further machine is learned."""
    monkeypatch.setattr(loop.Run, "gathered", pressing(loop.Run.gathered, 1)[0])
    options = {"method": "pcd", "learning_rate": 0.1, **QUIET}
    with pytest.warns(UserWarning, match="interrupted after its last epoch, 2"):
        if deep:
            network = pmr.fit_deep(np.eye(4), [3, 2], epochs=[2, 10**6], **options)
            assert len(network) == 1
        else:
            with pm.Model():
                pmr.RBM("v", pm.Normal("W", shape=(4, 3)), np.zeros(4), np.zeros(3), observed=np.eye(4))
                learned = pmr.fit(2, **options)
            assert (learned.attrs["epochs_done"], learned.attrs["interrupted"]) == (2, 1)
