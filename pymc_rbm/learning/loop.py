"""The loop of learning: epochs and iterations, callbacks, checkpoints, interrupts, and what stays when it fails.

Many iterations go into one call of the compiled update, as many as a tenth of a second has; a callback for iterations
makes it one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pymc as pm
import xarray as xr

from pymc_rbm.distributions.lookup import labels_in
from pymc_rbm.learning.averaging import POWER, weight
from pymc_rbm.learning.batches import Batches
from pymc_rbm.learning.budget import Budget
from pymc_rbm.learning.callbacks import LearningStatus
from pymc_rbm.learning.checkpoints import Checkpoint
from pymc_rbm.learning.growing import ENDS, Growing
from pymc_rbm.learning.history import History
from pymc_rbm.learning.keeping import Bounds, LastGood
from pymc_rbm.learning.lbfgs import NOWHERE, Ascent
from pymc_rbm.learning.polish import Polish
from pymc_rbm.learning.progress import LearningProgressBar
from pymc_rbm.learning.result import Within, learned_tree
from pymc_rbm.learning.settling import Settling, quarters
from pymc_rbm.learning.sweeps import INTERVAL, paced
from pymc_rbm.learning.trajectory import EVERY
from pymc_rbm.learning.update import Learner
from pymc_rbm.support.blas import OneBlasThread
from pymc_rbm.support.interrupts import DeferredInterrupt

__all__ = ["Run"]

LEAST_UPDATES = 400
"""Nobody looks whether fewer updates than that rise, unless they make four epochs."""
MANY_ENTRIES = 2**16
SECONDS = 0.1
"""How long a call with many iterations may take: Ctrl-C waits for its end. Results do not depend on their number."""
Callback = Callable[[LearningStatus], Any]


@dataclass
class Run:
    """Learning from epoch ``before`` on, for ``epochs`` epochs of a schedule that has ``horizon``.

    ``within`` is where in its first epoch it begins, if that was left half done. ``marks`` are what `fingerprint` tells
    runs apart by. With an ``ascent`` each of its iterations is an epoch, of which the learner keeps record and moves
    nothing.
    """

    model: pm.Model
    learner: Learner
    history: History
    rate: Callable[[float], float]
    before: int
    epochs: int
    horizon: int
    batch_size: int | None
    sweeps: int | None
    on_iteration: Callback | None
    on_epoch: Callback | None
    checkpoint: Checkpoint | None
    checkpoint_every: int
    attrs: dict[str, Any]
    within: Within | None = None
    marks: dict[str, str] = field(default_factory=dict)
    ascent: Ascent | None = None
    settling: Settling | None = None
    """Where given, the horizon is the first one only."""
    polish: Polish | None = None
    growing: Growing | None = None
    """Where the ascent starts instead, if that is higher."""
    ends: bool = True
    """Whether the schedule ends where this run does."""
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self):
        self.counts = [len(x.rows) for x in self.learner.observed]
        self.batches = 1 if self.batch_size is None else -(-max(self.counts) // self.batch_size)
        self.stopped, self.began, self.most = False, time.perf_counter(), 1
        self.spent: str | None = None
        """What of the budget ended learning."""
        self._already = len(self.history)
        self._start = self.before * self.batches + (0 if self.within is None else self.within.iterations)
        self._second_half: int | None = None  # where the rate began to fall with time
        self.now = self._first_sweeps()
        self.here: Within | None = None  # where in an epoch it is
        self.last_good, self.bounds = LastGood(self.learner, self.history, self.before), Bounds(self.learner)

    def learn(self, progressbar: bool) -> tuple[int, bool]:
        """Run; return the number of whole epochs done in all, and whether Ctrl-C came.

        Whatever ends it instead carries what was good last, in its attribute ``learned``; None if nothing was.
        """
        try:
            done, interrupted = self._learn(progressbar)
            self._check(done, at_the_end=True)
        except BaseException as error:
            if not hasattr(error, "learned"):
                error.learned = None  # type: ignore[attr-defined]  # given here to whatever ended it
                with suppress(Exception):  # the first error is the one to be seen
                    error.learned = self._salvaged()  # type: ignore[attr-defined]  # as above
            raise
        return done, interrupted

    def _learn(self, progressbar: bool) -> tuple[int, bool]:
        extra = ["sweeps"] * (self.sweeps is None) + ["swap_rate"] * self.learner.tempered
        # BLAS threads wait for each other longer than small products take, where others use the cores.
        small = all(x.rows.shape[1] * self.attrs["batch_size"] < MANY_ENTRIES for x in self.learner.observed)
        with (
            OneBlasThread() if small else nullcontext(),
            LearningProgressBar(self.epochs, progressbar, *extra) as bar,
            DeferredInterrupt() as interrupt,
        ):
            if self.ascent is not None:
                return self._climb(self.ascent, bar, interrupt), interrupt.pending
            done = self.before
            while done < self.before + self.epochs and not self.spent:
                if self._epoch(done, interrupt):
                    done += 1
                    self._after_epoch(done, bar, interrupt)
                if self.stopped or interrupt.pending:
                    return done, interrupt.pending
            self._finish(interrupt)
        return done, False

    def _finish(self, interrupt: DeferredInterrupt) -> None:
        """Take the average of the iterates, or the last one, climb on from there, and say which it was."""
        if self.settling is not None:
            which = "average" if self.settling.take_the_better(len(self.history), self.now) else "last"
            gain, error = map(float, self.settling.gain_of_average)
            self.attrs |= {"iterate": which, "average_gain": gain, "average_gain_error": error}

        def stopped() -> bool:
            return interrupt.pending or self.budget.time_gone() == 1

        if self.polish is not None and not stopped():
            record = self.polish(self.now, stopped, self.bounds)
            self.attrs |= {"iterate": "climbed"} | record if record else {}
        self.learner.measure_ladders(len(self.history), lambda: interrupt.pending)

    def _climb(self, ascent: Ascent, bar: LearningProgressBar, interrupt: DeferredInterrupt) -> int:
        """Follow the ascent to the maximum; return the number of its iterations."""
        done = self.before

        def note() -> bool:
            nonlocal done
            self._record_ends()
            self._epoch(done, interrupt)
            done += 1
            self._after_epoch(done, bar, interrupt)
            self.spent = self.budget.spent(len(self.history) - self._already)
            return self.stopped or interrupt.pending or bool(self.spent)

        ascent.interrupted = lambda: interrupt.pending or self.budget.time_gone() == 1
        self.budget.spent(0)  # the clock runs
        if self.growing is not None:
            stopped = self.growing(note)
            if done > self.before:
                self.attrs["growing_iterations"] = done
            self._record_ends()
            if stopped:
                self.spent = self.spent or self.budget.spent(len(self.history) - self._already)
                self.attrs |= NOWHERE.record(self.learner.statistical_error)
                return done
        end = ascent.climb(max(1, self.before + self.epochs - done), note)
        if (end.polished or done == self.before) and not (self.stopped or interrupt.pending or self.spent):
            note()
        self.attrs |= end.record(self.learner.statistical_error)
        return done

    def _record_ends(self) -> None:
        if self.growing is not None and self.growing.ends:
            self.attrs[ENDS] = list(self.growing.ends)

    def gathered(self, epochs_done: int, interrupted: bool = False, *, gradient: bool = True) -> xr.DataTree:
        """What `fit` returns."""
        now = {
            "epochs": self.before + self.epochs,
            "epochs_done": epochs_done,
            "interrupted": int(interrupted),
            "stopped": int(self.stopped),
            "spent": self.spent or "",
            "seconds": time.perf_counter() - self.began,
            "averaging_power": POWER,
        }
        attrs = self.attrs | now
        return learned_tree(self.model, self.learner, self.history, attrs, self.here, self.marks, gradient=gradient)

    # -------------------------------------------------------------------------------------------- an epoch

    def _epoch(self, epoch: int, interrupt: DeferredInterrupt | None) -> bool:
        """Run an epoch's iterations; return whether all of them were done. Without ``interrupt`` nobody is told."""
        known = self.within if epoch == self.before else None  # the order of rows of one that was left
        batches = Batches(self.counts, self.batches, self.learner.rng if known is None else known.generator())
        done = 0 if known is None else known.iterations
        while done < self.batches:
            n = min(batches.together(done), self._allowed())
            began = time.perf_counter()
            self._iterate(epoch * self.batches + done, batches.rows(done, n))
            self.most = max(1, min(2 * n, int(n * SECONDS / (time.perf_counter() - began))))
            done += n
            self.here = Within(batches.began, done)
            if interrupt is None:
                continue
            interrupt.prompt = False  # now there is something to lose
            if done < self.batches:
                self._look(epoch * self.batches + done)
            self.spent = None if self.ascent is not None else self.budget.spent(len(self.history) - self._already)
            self._call(self.on_iteration, epoch, interrupt)
            if interrupt.pending or self.stopped or self.spent:
                break
        if done == self.batches:
            self.here = None
        return done == self.batches

    def _allowed(self) -> int:
        """How many iterations a call may have: with one number of sweeps, not for long."""
        if self.on_iteration is not None:
            return 1
        intervals = [INTERVAL] * (self.sweeps is None) + [EVERY] * bool(self.learner.trajectories)
        updates = self.budget.updates
        left = self.most if updates is None else max(1, updates - len(self.history) + self._already)
        return min([self.most, left, *(n - len(self.history) % n for n in intervals)])

    @property
    def _total(self) -> int:
        """How many iterations the schedule has."""
        total = self.horizon * self.batches
        return min(total, self._start + self.budget.updates) if self.budget.updates and self.ends else total

    def _look(self, iteration: int) -> None:
        """Look whether the objective still rises, at the first and second quarter of the horizon or of the time."""
        if self.settling is None:
            return
        by_epoch = self.horizon >= 4 and self.budget.updates is None
        if not by_epoch and self._total < LEAST_UPDATES:
            return
        scale, length = (self.batches, self.horizon) if by_epoch else (1, self._total)
        quarter, half = (n * scale for n in quarters(length))
        gone = self.budget.time_gone()
        done = max((iteration >= quarter) + (iteration >= half), (gone >= 0.25) + (gone >= 0.5))
        found = self.settling.horizon(done, self.horizon, len(self.history), self.now, last=gone >= 0.5)
        self.epochs, self.horizon = found - self.before, found

    def _iterate(self, first: int, rows: list[np.ndarray]) -> None:
        """Run an iteration for each of some batches, in one call; ``first`` is the number of the first."""
        total, gone, iterations = self._total, self.budget.time_gone(), range(first, first + len(rows[0]))
        if gone >= 0.5 and self._second_half is None:
            self._second_half = first
        half = min(total // 2, total if self._second_half is None else self._second_half)
        rates = [self.rate(min(1.0, max(i / total, gone))) for i in iterations]
        weights = [weight(i - half) if self.ascent is None else 1.0 for i in iterations]
        self.history.add(self.learner.update(rows, rates, self.now, weights))
        if self.learner.trajectories and len(self.history) % EVERY == 0:
            shares, in_batches = self.history.series("step_share", EVERY), sum(x.shape[1] for x in rows)
            self.learner.tend_ladders(self.now, shares, rates[-1], in_batches)
        if self.sweeps is None:
            self.now = self._next_sweeps(self.now)

    def _first_sweeps(self) -> int:
        """As many as the history says."""
        if self.sweeps is not None or not len(self.history):
            return self.sweeps or 1
        return self._next_sweeps(int(self.history.last["sweeps"]))

    def _next_sweeps(self, now: int) -> int:
        return paced(self.history, now) if len(self.history) % INTERVAL == 0 else now

    def _record(self, done: int) -> None:
        exact = None if self.ascent is None else self.ascent.here()
        self.history.add_epoch(self.learner.pseudo_log_likelihood(done), exact)
        if self.learner.persistent:
            self.history.add_snapshot(done, self.horizon, self.learner.particle_states())

    def _after_epoch(self, done: int, bar: LearningProgressBar, interrupt: DeferredInterrupt) -> None:
        self._check(done)
        self._record(done)
        self.last_good.keep(done)
        self._look(done * self.batches)
        bar.total = self.epochs
        bar.update(done - self.before, **self.history.monitors(bar.visible))
        if self.checkpoint is not None and done % self.checkpoint_every == 0:
            self._check(done, at_the_end=True)
            self.checkpoint.write(self.gathered(done, gradient=self.learner.small))
        self._call(self.on_epoch, done, interrupt)

    def _call(self, callback: Callback | None, epochs_done: int, interrupt: DeferredInterrupt) -> None:
        if callback is None:
            return
        with interrupt.lifted():
            stop = callback(self._status(epochs_done))
        self.stopped = self.stopped or bool(stop)

    def _status(self, epochs_done: int) -> LearningStatus:
        return LearningStatus(
            epochs_done,
            len(self.history),
            self.history.last,
            _learned=lambda: self.gathered(epochs_done),
            _machines=lambda averaged: self.learner.parameters(averaged)[1],
            _rows=self.learner.some_rows,
            _labels=lambda name: labels_in(self.model, name),
        )

    # ------------------------------------------------------------------------------------------ where it fails

    def _check(self, done: int, at_the_end: bool = False) -> None:
        """Refuse parameters that are not finite; at the end, and before what is written, absurd ones, too."""
        if not self.bounds.hold(self.history):
            self._refuse(done, f"are not finite, or absurdly large, in epoch {max(done, 1)}")
        elif at_the_end and self.ascent is None and not self.bounds.hold_strictly():
            self._refuse(done, f"have grown to {self.bounds.largest():.3g} in {done} epochs, which no data ask for")

    def _refuse(self, done: int, what: str) -> NoReturn:
        learned = self._salvaged(done - 1)
        error = FloatingPointError(
            f"The parameters {what}: learning has diverged. Lower learning_rate, or give the weights a prior (a "
            "narrower one, if they have one). What was good last is the attribute `learned` of this error"
            + (f": {learned.attrs['epochs_done']} epochs." if learned is not None else ": nothing, here.")
        )
        error.learned = learned  # type: ignore[attr-defined]  # an attribute of this package
        raise error

    def _salvaged(self, epochs: int | None = None) -> xr.DataTree | None:
        """What was good last; after ``epochs`` whole epochs, if that is known to be good.

        Copies are made now and then. What was done between the last one and that epoch is done again, bit for bit.
        """
        done, self.here = self.last_good.go_back(), self.within
        self.now = self._first_sweeps()
        if epochs is not None and self.ascent is None and self.budget.seconds is None:  # rates of then are not known
            for epoch in range(done, epochs):
                self._epoch(epoch, None)
                self._record(epoch + 1)
                done = epoch + 1
        if done > self.before:
            self.here = None
        return self.gathered(done) if len(self.history) else None
