"""Compile the update of learning, and hold all that it moves: parameters, particles and the optimiser's memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.io import In, Out
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from pymc_rbm.learning.data import Observed, learned_variables
from pymc_rbm.learning.estimators.parallel_tempering import Births
from pymc_rbm.learning.estimators.pcd import shared_rows
from pymc_rbm.learning.exact_sums import log_partition
from pymc_rbm.learning.iteration import LastSwap, Part, Settings, iteration
from pymc_rbm.learning.lbfgs import Ascent
from pymc_rbm.learning.objective import objective, parameter_variables
from pymc_rbm.learning.start import start_values
from pymc_rbm.learning.staying import shortened
from pymc_rbm.learning.trajectory import LEAST, Trajectory, torn
from pymc_rbm.machine.enumeration import is_summed_by_kernel
from pymc_rbm.machine.machine import VISIBLE, Machine
from pymc_rbm.machine.normalisable import has_bounds
from pymc_rbm.machine.rows import machine_of_rows
from pymc_rbm.sampling.bottom import exact_draws
from pymc_rbm.sampling.conditionals import log_conditional
from pymc_rbm.sampling.dispersal import spread
from pymc_rbm.sampling.ladder import Ladder, bottom, independent
from pymc_rbm.support.fast_calls import in_numba
from pymc_rbm.support.memory import check_memory
from pymc_rbm.support.modes import INTERPRETED, by_kernels
from pymc_rbm.support.reentrant import compiled, value_of
from pymc_rbm.support.repetition import Repeated

__all__ = ["Learner"]

LITTLE = 2**18
"""Entries of states and rows that NumPy sums in some 20 ms: numba takes half a minute to compile that sum."""
MANY_STATES = 2**15
"""From so many numbers in different rows on kernels go through them; for fewer it would not pay to load these."""
QUICK = 2**24
"""The most products of a row and a parameter that still take only milliseconds."""
OFTEN, MANY_NODES = 5000, 50
"""From this epoch on the monitor is compiled if its graph has more nodes than that. Numba takes as long as Python takes
for so many calls: machines of three layers have 175 nodes, 5 ms a call."""
LITTLE_LEFT, ALL_LEFT, SHORTER, LONGER = 0.7, 0.99, 0.8, 1.1
"""A step gets shorter if the trust region left less than the first share of it, and longer if it left more than
the second; the third and the fourth number are the factors."""
MONITORED_ROWS = 100, 1000  # at least and at most; a fifth of the data in between, to cost little beside an epoch


class Learner:
    """A learner: one iteration of learning as one compiled function, with all that it moves.

    Parameters live in shared variables in the model's unconstrained space, particles in shared variables of their own.
    An update first advances the particles under the current parameters, then moves the parameters. Where ``low_rank``
    has machines by name of RBM, learning starts at these, and with draws of them.
    """

    def __init__(
        self,
        model: pm.Model,
        observed: list[Observed],
        settings: Settings,
        start: dict[str, Any] | None,
        rng: np.random.Generator,
        low_rank: Mapping[str, Machine] | None = None,
    ):
        self.rng, self.observed, self._settings = rng, observed, settings
        self._low_rank = low_rank or {}
        values, points = learned_variables(model), start_values(model, observed, start, rng, low_rank=self._low_rank)
        self._parameters = [_shared(points[v.name].astype(v.dtype), v.name) for v in values]
        self._given = dict(zip(values, self._parameters, strict=True))
        self._averages = [_shared(p.get_value(), f"{p.name}_average") for p in self._parameters]
        self._rate, self._weight = pt.scalar("learning_rate"), pt.scalar("averaging_weight")
        self._sweeps = pt.lscalar("sweeps")
        self._machines = [x.machine.with_parameters(self._at_parameters(model, x.machine.parameters)) for x in observed]
        self._data = [self._completed(i) for i in range(len(observed))]
        self._rows = [pt.lvector(f"{x.name}_rows") for x in observed]
        self._batch_machines = [machine_of_rows(m, r) for m, r in zip(self._machines, self._rows, strict=True)]
        self._particles = [self._first_particles(i, settings.chains) for i in range(len(observed))]
        self._update = self._compile_update(model)
        self._pseudo, self._often = self._compile_pseudo_log_likelihood(by_kernels), False
        variables = parameter_variables(model)
        self._names = [x.name for x in variables]
        values = [
            *self._at_parameters(model, variables),
            *(pt.as_tensor(p) for machine in self._machines for p in machine.parameters),
        ]
        averages = graph_replace(values, dict(zip(self._parameters, self._averages, strict=True)), strict=False)
        self._values = compiled([], values, by=pm.compile, mode=INTERPRETED)
        self._averaged_values = compiled([], averages, by=pm.compile, mode=INTERPRETED)
        self.trajectories = self._first_trajectories() if self._ladder else []

    # ------------------------------------------------------------------------------------------- what it does

    def update(
        self, rows: list[np.ndarray], rates: Sequence[float], sweeps: int, weights: Sequence[float]
    ) -> dict[str, np.ndarray]:
        """Run some iterations, one for each entry of ``rates``.

        ``rows`` are the rows of each RBM's data by iteration, shape (iterations, batch). ``weights`` are those of the
        new iterates in the running average of the iterates (1 starts the average afresh). Returns, by iteration, the
        rate, the sweeps and, for each RBM, the mean free energy of the batch, the functionals of each particle
        (`observables.names_of`) and the estimator's report, all under the parameters before the iteration.
        """
        floats = [np.asarray(x, dtype=self._rate.dtype) for x in (rates, weights)]
        self.rng, *monitors = self._update(self.rng, sweeps, [*floats, *rows])
        named = dict(zip(self._monitor_names, monitors, strict=True))
        for trajectory in self.trajectories:
            named |= {key: np.full(len(rates), value) for key, value in trajectory.report().items()}
        return {"learning_rate": np.asarray(rates), "sweeps": np.full(len(rates), sweeps), **named}

    def tend_ladders(self, sweeps: int, shares: np.ndarray, rate: float, rows: int) -> None:
        """Let the particles swap with earlier machines; take the last updates back if they tore a machine off these.

        ``shares`` are how much of each of the last updates the trust region left: steps become shorter where that is
        little, so that all of them count, and longer again where it is all. ``rate`` and ``rows`` are those of an
        update.
        """
        overlaps = self._overlaps()
        if torn(overlaps):
            for shared, old in self._moved:
                shared.set_value(old.get_value())
            for shared, first in self._memory:
                shared.set_value(first)
            self._scale_steps(0.5)
            for trajectory, states in self._ladders:
                states.set_value(trajectory.go_back())
        else:
            for trajectory, overlap in zip(self.trajectories, overlaps, strict=True):
                if overlap < LEAST:
                    trajectory.add(overlap)
            if self._stiff is not None:
                noise = 1 / rows + 1 / sum(len(states.get_value(borrow=True)) for states in self._particles)
                self._stiff.follow(rate, noise)
            left = shares.mean() / float(self._last_swap.factor.get_value())
            self._scale_steps(SHORTER if left < LITTLE_LEFT else LONGER if left > ALL_LEFT else 1.0)
        self._swap(sweeps)
        for shared, old in self._moved:
            old.set_value(shared.get_value())

    @property
    def _moved(self) -> list[tuple[Any, Any]]:
        """Return the shared parameters, each with that of the last swap."""
        return list(zip(self._parameters, self._last_swap.parameters, strict=True))

    @cached_property
    def _last_swap(self) -> LastSwap:
        """Return shared copies of the parameters at the last swap, at first at the start; only ladders need them."""
        return LastSwap(
            [_shared(p.get_value(), f"{p.name}_at_last_swap") for p in self._parameters],
            pytensor.shared(np.asarray(1.0), name="step_factor"),
        )

    def _scale_steps(self, by: float) -> None:
        factor = self._last_swap.factor
        factor.set_value(np.minimum(1.0, by * factor.get_value()))

    def measure_ladders(self, updates: int, stop: Callable[[], bool]) -> None:
        """Find log Z of the present machines along the ladders, and leave everything as learning needs it to go on."""
        numbers, rng = self._numbers(), copy.deepcopy(self.rng)
        self._tell_ladders()
        for trajectory, states in self._ladders:
            trajectory.measure(numbers[trajectory.name], states.get_value(), rng, updates, stop)

    def _overlaps(self) -> list[float]:
        """Put machines and particles as they are now at the tops of the ladders; return how these swaps would go."""
        numbers = self._numbers()
        self._tell_ladders()
        return [t.overlap(numbers[t.name], states.get_value(), self.rng) for t, states in self._ladders]

    def _swap(self, sweeps: int) -> None:
        for trajectory, states in self._ladders:
            states.set_value(trajectory.swap(self.rng, sweeps))
        self._hear_of_ladders()

    def _tell_ladders(self) -> None:
        """Let the tops of the ladders know where the particles came from, which have swapped with other replicas."""
        for ladder, births in self._with_births:
            ladder.top.born = births.born.get_value()[-1]

    def _hear_of_ladders(self) -> None:
        """Keep what the ladders know of the particles for swaps with other replicas."""
        for ladder, births in self._with_births:
            births.generation.set_value(np.asarray(ladder.generation))
            born = births.born.get_value()
            born[-1] = ladder.top.born
            births.born.set_value(born)

    @property
    def _with_births(self) -> list[tuple[Ladder, Births]]:
        """Return the ladders whose particles swap with other replicas, too, with the births of these."""
        pairs = zip(self.trajectories, self._births, strict=False)
        return [(trajectory.ladder, births) for trajectory, births in pairs if births is not None]

    @property
    def _ladders(self) -> list[tuple[Trajectory, Any]]:
        """Return the ladders, if there are any, with the shared particles at the top of each."""
        return list(zip(self.trajectories, self._particles, strict=False))

    def _numbers(self) -> dict[str, Machine]:
        """Return the present machines, with numbers for parameters."""
        return {name: machine.numeric(machine.dtype) for name, machine in self.parameters()[1].items()}

    def _first_trajectories(self) -> list[Trajectory]:
        """Return ladders to the machines that learning starts from, and draw the particles anew."""
        numbers, found = self._numbers(), []
        rng = np.random.default_rng(self.rng.integers(2**31))
        for x, states in zip(self.observed, self._particles, strict=True):
            machine, chains = numbers[x.name], len(states.get_value(borrow=True))
            if x.name in self._low_rank:
                parameters = [np.asarray(p, machine.dtype) for p in self._low_rank[x.name].parameters]
                lowest = bottom(machine.with_parameters(parameters), chains, rng)
            else:
                lowest = independent(machine, x.bias, chains, rng)
            found.append(Trajectory(x.name, machine, lowest, rng))
            states.set_value(found[-1].ladder.top.states)
        return found

    def pseudo_log_likelihood(self, epoch: int) -> list[float]:
        """Return the pseudo log-likelihood per row, estimated from one random unit of each of some random rows.

        Python evaluates it node by node before epoch `OFTEN`: a number that a resumed run knows, too.
        """
        counts = [(len(x.rows), min(len(x.rows), np.clip(len(x.rows) // 5, *MONITORED_ROWS))) for x in self.observed]
        rows = [self.rng.choice(n, some, replace=False, shuffle=False) for n, some in counts]
        units = [self.rng.integers(x.units, size=len(r)) for x, r in zip(self.observed, rows, strict=True)]
        if epoch >= OFTEN and not self._often:
            self._often = True
            many = len(self._pseudo.maker.fgraph.apply_nodes) > MANY_NODES
            if many and not self._settings.compile_kwargs and not in_numba(self._pseudo):
                self._pseudo = self._compile_pseudo_log_likelihood(pm.compile)
        values = self._pseudo(*rows, *units)
        return [x.units * float(of_rows.mean()) for x, of_rows in zip(self.observed, values, strict=True)]

    def parameters(self, averaged: bool = False) -> tuple[dict[str, np.ndarray], dict[str, Machine]]:
        """Return free variables and Deterministics in the constrained space, and the machines that they make."""
        values = (self._averaged_values if averaged else self._values)()
        machines, used = {}, len(self._names)
        for x, machine in zip(self.observed, self._machines, strict=True):
            n = len(machine.parameters)
            machines[x.name] = machine.with_parameters(values[used : used + n])
            used += n
        return dict(zip(self._names, values, strict=False)), machines

    @property
    def persistent(self) -> bool:
        """Whether there are persistent chains of one machine, which can be followed, and not one machine a row."""
        by_row = any(x.by_row for x in self.observed)
        return not by_row and all(states in self._state for states in self._particles)

    def draws(self, n: int, sweeps: int, averaged: bool = False) -> dict[str, np.ndarray]:
        """The particles' states after each of ``n`` updates of rate zero, shape (n, chains, visible), by name of RBM.

        With ``averaged`` they are draws of the averaged machines, after as many updates that nobody sees. Nothing
        that learning goes on from changes. Of optimisers, plain gradient ascent alone stands still at rate zero.
        """
        state, rng = self.state(), copy.deepcopy(self.rng)
        try:
            if averaged:
                self.go_to_the_average(n, sweeps)
            found = []
            for _ in range(n):
                self._still(sweeps)
                found.append(self.particle_states())
        finally:
            self.restore(state, rng)
        return {x.name: np.array([states[x.name] for states in found]) for x in self.observed}

    def go_to_the_average(self, n: int, sweeps: int) -> None:
        """Set the parameters to the average of the iterates, and let the particles follow for ``n`` updates."""
        for p, average in zip(self._parameters, self._averages, strict=True):
            p.set_value(average.get_value())
        self._tell_ladders()
        for trajectory, states in self._ladders:
            states.set_value(trajectory.jump(self._numbers()[trajectory.name], self.rng))
        self._hear_of_ladders()
        self.follow(n, sweeps)

    def follow(self, n: int, sweeps: int) -> None:
        """Let the particles follow for ``n`` updates that move nothing else."""
        for _ in range(n):
            self._still(sweeps)

    def _still(self, sweeps: int) -> None:
        """Move the particles, and nothing else."""
        self.update([np.zeros((1, 1), "int64") for _ in self.observed], [0.0], sweeps, [0.0])
        if self.trajectories:
            self._overlaps()
            self._swap(sweeps)

    def learned_values(self) -> list[np.ndarray]:
        """Return the parameters in the model's unconstrained space, where they are moved, without a copy."""
        return [p.get_value(borrow=True) for p in self._parameters]

    @property
    def small(self) -> bool:
        """Whether a pass over all data takes milliseconds."""
        return sum(len(x.rows) for x in self.observed) * sum(x.size for x in self.learned_values()) < QUICK

    @property
    def tempered(self) -> bool:
        """Whether the estimator swaps replicas."""
        return self._ladder or any(name.endswith("_swap_rate") for name in self._monitor_names)

    def own_state(self) -> dict[str, np.ndarray]:
        """Return all that an update changes, except generator and ladders: parameters, averages, particles, memory."""
        return {x.name or f"memory {i}": np.asarray(x.get_value()) for i, x in enumerate(self._state)}

    def state(self) -> dict[str, np.ndarray]:
        """Return the `own_state` and the ladders."""
        return self.own_state() | {key: x for t in self.trajectories for key, x in t.state().items()}

    def restore(self, state: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        """Set the learner to a `state`, with its generator."""

        def shapes(of: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
            """Return the shapes by name, without the number of rungs, since a ladder may have any."""
            ladders = tuple(f"{t.name}_ladder_" for t in self.trajectories)
            return {name: x.shape[1:] if name.startswith(ladders) else x.shape for name, x in of.items()}

        theirs, ours = shapes(state), shapes(self.state())
        if list(theirs.items()) != list(ours.items()):  # memory has no names but its place
            wrong = [
                f"{name}: {theirs.get(name, 'missing')} in `resume`, {ours.get(name, 'missing')} here"
                for name in {**theirs, **ours}
                if theirs.get(name) != ours.get(name)
            ] or [f"the order is {list(theirs)} in `resume`, {list(ours)} here"]
            raise ValueError(
                f"`resume` is of another run: shapes of its state differ from what this model and these arguments need "
                f"({'; '.join(wrong)}). Particles have one row a chain, as many as chains=; memory belongs to the "
                "optimizer; offsets exist if centred=True; all others come from the model. Pass what the run in "
                "`resume` was given."
            )
        for shared, x in zip(self._state, state.values(), strict=False):
            shared.set_value(x.astype(shared.dtype))
        for trajectory in self.trajectories:
            trajectory.restore(state)
        self.rng = rng

    @property
    def learned(self) -> list[Any]:
        """The shared variables of the parameters, in the model's unconstrained space."""
        return self._parameters

    @property
    def statistical_error(self) -> float:
        """The nats a row that as many parameters gain by chance: half a nat for each in all rows (Akaike 1974)."""
        return float(sum(x.size for x in self.learned_values()) / 2 / sum(x.weights.sum() for x in self.observed))

    def particle_states(self) -> dict[str, np.ndarray]:
        """Return the visible states of the chains, by name of RBM."""
        return {x.name: states.get_value() for x, states in zip(self.observed, self._particles, strict=True)}

    def rows(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Return rows of an RBM's data, with missing entries as they are imputed now."""
        [data] = [d for x, d in zip(self.observed, self._data, strict=True) if x.name == name]
        return data.get_value(borrow=True)[indices]

    def some_rows(self) -> dict[str, np.ndarray]:
        """Return the rows of each RBM's data that the result keeps."""
        return {x.name: self.rows(x.name, x.kept) for x in self.observed}

    # ------------------------------------------------------------------------------------------ how it is made

    def _at_parameters(self, model: pm.Model, variables: list[Any]) -> list[TensorVariable]:
        """Express variables of the model through the shared parameters."""
        graphs = model.replace_rvs_by_values([pt.as_tensor(x) for x in variables])
        return graph_replace(graphs, self._given, strict=False)

    def function_of(self, inputs: list[Any], graphs: list[Any]) -> Callable:
        """Return a function of some of the model's value variables, with all others at their present values."""
        given = {value: p for value, p in self._given.items() if value not in inputs}
        graphs = graph_replace(graphs, given, strict=False)
        return compiled(inputs, graphs, by=pm.compile, on_unused_input="ignore", mode=INTERPRETED)

    def ascent(self, model: pm.Model) -> Ascent:
        """Return the `Ascent` that climbs the objective of all rows by its exact value, and tells the likelihoods."""
        energies = [_of_all_rows(x, machine) for x, machine in zip(self.observed, self._machines, strict=True)]
        log_z = [log_partition(machine) for machine in self._machines]
        goal = objective(model, self.observed, energies, log_z)
        likelihoods = [
            len(x.weights) / x.weights.sum() * -(weights * (energy + z)).mean()
            for x, (energy, weights), z in zip(self.observed, energies, log_z, strict=True)
        ]
        goal, *likelihoods = graph_replace([goal, *likelihoods], self._given, strict=False)
        quick = all(is_summed_by_kernel(x.machine) or _is_little(x) for x in self.observed)
        options = ({"mode": INTERPRETED} if quick else {}) | self._settings.compile_kwargs
        many = quick and any(x.patterns is not None and x.patterns.states.size >= MANY_STATES for x in self.observed)
        by = by_kernels if many and not self._settings.compile_kwargs else pm.compile
        return Ascent(goal, self._parameters, options, by, also=likelihoods)

    def _first_particles(self, i: int, chains: int):
        """Return shared start states of the chains: dispersed, draws of a low-rank start or, with one a row, the data.

        Real units also start at the data, every other chain: where these are far apart, chains would not find all.
        """
        x, rng = self.observed[i], np.random.default_rng(self.rng.integers(2**31))
        if x.by_row:
            return shared_rows(self._data[i].get_value(), f"{x.name}_particles")
        what = f"Moving {chains:,} chains of {x.rows.shape[1]:,} units"
        check_memory(16 * chains * x.rows.shape[1], what, "Take fewer: fit(chains=…).")
        size, machine = (chains, x.rows.shape[1]), self._machines[i]
        first = exact_draws(self._low_rank[x.name], chains, rng) if x.name in self._low_rank else None
        if first is None:
            first = _drawn(lambda r: spread(machine, size, r)[0], rng)
        if not machine.layers[VISIBLE].unit.finite:
            chosen = rng.choice(len(x.rows), size=len(first[1::2]), p=x.weights / x.weights.sum())
            first[1::2] = self._data[i].get_value(borrow=True)[chosen]
        return shared_rows(first, f"{x.name}_particles")

    def _completed(self, i: int):
        """Return the data as a shared variable, not copied; missing entries are drawn independently at their means."""
        x, unit = self.observed[i], self._machines[i].layers[VISIBLE].unit
        if x.missing is None:
            return shared_rows(x.rows, f"{x.name}_data")
        rng = np.random.default_rng(self.rng.integers(2**31))
        field = unit.scaled(pt.as_tensor(np.broadcast_to(x.bias, x.rows.shape)))
        drawn = _drawn(lambda r: unit.sample(field, r)[1], rng)
        return shared_rows(np.where(x.missing, drawn, x.rows), f"{x.name}_data")

    def _compile_update(self, model: pm.Model):
        rng = pt.random.rng("rng")
        parts = [
            Part(*x)
            for x in zip(self.observed, self._batch_machines, self._data, self._rows, self._particles, strict=True)
        ]
        sweeps = self._sweeps if self._settings.sweeps is None else self._settings.sweeps
        step = iteration(model, parts, self._given, self._settings, self._rate, sweeps, rng, lambda: self._last_swap)
        self._ladder, self._stiff, self._births = step.ladder, step.stiff, step.births
        self._memory = [(x, x.get_value()) for x in step.memory]
        for shared, start in step.starts.items():
            shared.set_value(_drawn(start, np.random.default_rng(self.rng.integers(2**31))))
        updates = step.updates
        for machine in filter(has_bounds, self._machines if self._settings.optimizer is not None else []):
            updates |= shortened(machine, updates, self._parameters)
        for p, average in zip(self._parameters, self._averages, strict=True):
            updates[average] = (average + self._weight * (updates[p] - average)).astype(p.dtype)
        self._state, self._monitor_names = [*updates, *step.kept], list(step.monitors)
        inputs = [In(rng, mutable=True), self._sweeps, self._rate, self._weight, *self._rows]
        outputs = [Out(step.rng, borrow=True), *(Out(x, borrow=True) for x in step.monitors.values())]
        options = {"updates": updates, "on_unused_input": "ignore", **self._settings.compile_kwargs}
        return Repeated(compiled(inputs, outputs, by=pm.compile, **options).function)

    def _compile_pseudo_log_likelihood(self, by: Callable):
        chosen = [pt.lvector() for _ in self.observed]
        per_row = [
            log_conditional(machine, data[rows], unit)
            if machine.layers[VISIBLE].unit.finite
            else pt.as_tensor(np.nan)  # real units have no conditional in closed form
            for machine, data, rows, unit in zip(self._batch_machines, self._data, self._rows, chosen, strict=True)
        ]
        inputs = [*self._rows, *chosen]
        asked = self._settings.compile_kwargs
        return compiled(inputs, per_row, by=pm.compile if asked else by, on_unused_input="ignore", **asked)


def _shared(value: np.ndarray, name: str) -> Any:
    """Return a shared variable of a known shape, which no graph has to check."""
    return pytensor.shared(value, name=name, shape=value.shape)


def _is_little(x: Observed) -> bool:
    """Whether the exact objective is summed so quickly that compiling the sum would not pay."""
    assert x.patterns is not None
    return x.entries_of_states + x.patterns.states.size <= LITTLE


def _of_all_rows(x: Observed, machine: Machine) -> tuple[TensorVariable, TensorVariable]:
    """Return free energies of patterns, and weights that make their mean one over rows, as `objective` needs."""
    assert x.patterns is not None
    states = pytensor.shared(x.patterns.states, name=f"{x.name}_patterns", borrow=True)
    weights = x.patterns.weights * (len(x.patterns.weights) / len(x.rows))
    return x.patterns.free_energies(machine, states), pt.as_tensor(weights.astype(pytensor.config.floatX))


def _drawn(draw: Callable[[Any], TensorVariable], rng: np.random.Generator) -> np.ndarray:
    """Return the value of a graph that draws from a generator, evaluated once."""
    return value_of(draw(pt.random.shared_rng(rng)))
