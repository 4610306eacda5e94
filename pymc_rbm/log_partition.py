"""log Z in numbers: exact by enumeration, or estimated by annealed importance sampling."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import xarray as xr

from pymc_rbm.checks import whole_number
from pymc_rbm.enumeration import IntractableError, cheapest_layer, log_weights_of_states, sizes_of
from pymc_rbm.gibbs import sweep
from pymc_rbm.machine import Layer, Machine, logsumexp, machine_of

__all__ = ["LogPartitionEstimate", "log_partition"]

MAX_ENUMERATED_STATES = 2**25
CHUNK_ENTRIES = 2**22
FEW_EFFECTIVE = 30


@dataclass(frozen=True)
class LogPartitionEstimate:
    """log Z with its uncertainty.

    Attributes
    ----------
    estimate : float
        log Z in nats.
    standard_error : float
        Of ``estimate``; 0 if exact. For annealed importance sampling it comes from the spread of the importance
        weights and runs small when they are skewed.
    method : str
        "exact" or "ais".
    log_weights : ndarray, shape (particles,)
        Log importance weights (empty if exact); ``estimate`` is the log of their mean.
    """

    estimate: float
    standard_error: float
    method: str
    log_weights: np.ndarray = field(repr=False, default_factory=lambda: np.empty(0))

    @property
    def interval(self) -> tuple[float, float]:
        """Normal 95 % interval."""
        half = 1.959963985 * self.standard_error
        return self.estimate - half, self.estimate + half

    @property
    def effective_sample_size(self) -> float:
        """``(Σw)²/Σw²`` of the importance weights; infinite if exact."""
        if not self.log_weights.size:
            return np.inf
        w = np.exp(self.log_weights - self.log_weights.max())
        return float(w.sum() ** 2 / (w**2).sum())

    def __str__(self) -> str:
        if self.method == "exact":
            return f"log Z = {self.estimate:.6f} (exact, by enumeration)"
        effective = self.effective_sample_size
        warning = "; too few to trust the error" if effective < FEW_EFFECTIVE else ""
        return (
            f"log Z = {self.estimate:.3f} ± {self.standard_error:.3f} (annealed importance sampling, "
            f"{self.log_weights.size} particles, {effective:.0f} effective{warning})"
        )


def log_partition(
    target: Any,
    learned: Any = None,
    method: str = "auto",
    *,
    particles: int = 100,
    temperatures: int = 5000,
    base_mean: Any = None,
    random_seed: int | np.random.Generator | None = None,
) -> LogPartitionEstimate:
    """Compute or estimate log Z.

    Parameters
    ----------
    target : Machine, RBM variable (``RBM.dist(...)`` or a model's), or PyMC model
        A model must contain exactly one machine.
    learned : DataTree, optional
        What `fit` returned; its ``parameters`` stand in for the model's random variables.
    method : {"auto", "exact", "ais"}
        "exact" enumerates the smaller layer, up to 2²⁵ states. "ais" is annealed importance sampling. "auto" is exact
        up to 2²⁰ states, else "ais".
    particles, temperatures : int
        Number of annealing runs and of inverse temperatures between 0 and 1, linearly spaced. "ais" only.
    base_mean : array_like, shape (visible,), optional
        Means, strictly between 0 and 1 for binary units, of the independent visible units that annealing starts from.
        The means of the data are best by far, and are taken from ``learned`` if it is given; otherwise the base has the
        machine's visible biases, and the estimate for a machine learned from data can be far too low. "ais" only.
    random_seed : int or Generator, optional
        "ais" only.

    Returns
    -------
    LogPartitionEstimate
        With ``.estimate`` in nats, ``.standard_error`` and ``.interval``.

    Raises
    ------
    IntractableError
        "exact" was asked for and no layer has at most 2²⁵ states.

    Notes
    -----
    Annealed importance sampling is unbiased for Z. By Jensen's inequality its log is too small on average, and so
    log-likelihoods computed from it are too high on average, by about half of the squared standard error when the
    weights behave, and by more when they do not.

    References
    ----------
    .. [1] Neal, R. M. (2001). Annealed importance sampling. Statistics and Computing 11, 125-139.
    .. [2] Salakhutdinov, R., Murray, I. (2008). On the quantitative analysis of deep belief networks. ICML.
    """
    if method not in ("auto", "exact", "ais"):
        raise ValueError(f"method must be 'auto', 'exact' or 'ais', got {method!r}.")
    particles = whole_number("particles", particles, 2)
    temperatures = whole_number("temperatures", temperatures, 2)
    machine = machine_of(target, learned)
    machine = machine.with_parameters([_finite(p) for p in machine.parameters])
    _, states = cheapest_layer(machine)
    if method == "exact" or (method == "auto" and states <= 2**20):
        return LogPartitionEstimate(_enumerate(machine), 0.0, "exact")
    if base_mean is None and "data" in (learned := target if isinstance(target, xr.DataTree) else learned or {}):
        means = [x for name, x in learned["data"].data_vars.items() if str(name).endswith("_mean")]
        base_mean = means[0] if len(means) == 1 else None
    if base_mean is not None:
        base_mean = np.asarray(base_mean, dtype="float64")
        if base_mean.shape != np.shape(machine.layers[0].bias):
            raise ValueError(
                f"base_mean has shape {base_mean.shape}, the visible layer {np.shape(machine.layers[0].bias)}."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            certain = ~np.isfinite(machine.layers[0].unit.field_of_mean(base_mean))
        if certain.any():
            raise ValueError(
                f"base_mean must lie strictly between the units' extremes, but {certain.sum()} entries do not. Shrink "
                "the means of n rows, for example to (n·mean + 0.5)/(n + 1)."
            )
    return _anneal(machine, base_mean, particles, temperatures, np.random.default_rng(random_seed))


def _finite(parameter: Any) -> np.ndarray:
    parameter = np.asarray(parameter, dtype="float64")
    if not np.isfinite(parameter).all():
        raise ValueError("The machine's parameters contain NaN or infinity; log Z is not defined.")
    return parameter


def _enumerate(machine: Machine) -> float:
    layer, count = cheapest_layer(machine)
    if count > MAX_ENUMERATED_STATES:
        raise IntractableError(
            f"Layers of sizes {sizes_of(machine)} have at least {count:.3g} joint states; enumeration stops at "
            f"{MAX_ENUMERATED_STATES:.3g}. Use method='ais'."
        )
    template = machine.with_parameters([None] * len(machine.parameters))
    log_sum = _enumeration_function(template, tuple(p.shape for p in machine.parameters), layer)
    chunk = max(1, CHUNK_ENTRIES // max(n or 1 for n in sizes_of(machine)))
    parts = [
        log_sum(np.arange(start, min(start + chunk, int(count))), *machine.parameters)
        for start in range(0, int(count), chunk)
    ]
    return float(np.logaddexp.reduce(parts))


@lru_cache(maxsize=16)
def _enumeration_function(template: Machine, shapes: tuple[tuple[int, ...], ...], layer: int):
    inputs = [pt.tensor(dtype="float64", shape=shape) for shape in shapes]
    machine = template.with_parameters(inputs)
    indices = pt.lvector("indices")
    return pytensor.function([indices, *inputs], logsumexp(log_weights_of_states(machine, layer, indices)))


def _anneal(
    machine: Machine, base_mean: np.ndarray | None, particles: int, temperatures: int, rng: np.random.Generator
) -> LogPartitionEstimate:
    """Annealed importance sampling from independent units: the data's, or the visible biases' alone."""
    visible, *hidden = machine.layers
    base = [
        np.asarray(visible.bias) if base_mean is None else visible.unit.field_of_mean(base_mean),
        *(np.zeros_like(layer.bias) for layer in hidden),
    ]
    anneal = _annealing_function(machine.with_parameters([None] * len(machine.parameters)))
    log_weights = anneal(rng, particles, np.linspace(0, 1, temperatures), *base, *machine.parameters)
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    standard_error = weights.std(ddof=1) / weights.mean() / np.sqrt(particles)
    return LogPartitionEstimate(float(top + np.log(weights.mean())), float(standard_error), "ais", log_weights)


@lru_cache(maxsize=16)
def _annealing_function(template: Machine):
    """Compile the annealing runs: (rng, particles, betas, base biases, parameters) -> log-weights."""
    n = len(template.layers)
    biases, base_biases = ([pt.dvector() for _ in range(n)] for _ in range(2))
    weights = [pt.dmatrix() for _ in template.couplings]
    machine = template.with_parameters([*biases, *weights])
    base = Machine(tuple(Layer(a.unit, bias) for a, bias in zip(template.layers, base_biases, strict=True)), ())
    rng, particles, betas = pt.random.rng("rng"), pt.lscalar("particles"), pt.dvector("betas")

    state: list[Any] = []
    next_rng = rng
    for layer in base.layers:
        field = pt.broadcast_to(layer.bias, (particles, layer.bias.shape[0]))
        next_rng, x = layer.unit.sample(field, next_rng)
        state.append(x)
    log_z_base = sum(layer.unit.log_normaliser(layer.bias).sum() for layer in base.layers)

    def step(beta, previous, log_weight, *args):
        rng, parameters = args[n], args[n + 1 :]
        inner_base = base.with_parameters(parameters[:n])
        inner = machine.with_parameters(parameters[n:])
        now, before = inner.interpolate(inner_base, beta), inner.interpolate(inner_base, previous)
        log_weight = log_weight + before.free_energy(args[0]) - now.free_energy(args[0])
        state, rng = sweep(now, args[:n], rng)
        return log_weight, *state, rng

    log_weights, *_ = pytensor.scan(
        step,
        sequences=[betas[1:], betas[:-1]],
        outputs_info=[pt.zeros(particles) + log_z_base, *state, next_rng],
        non_sequences=[*base_biases, *machine.parameters],
        return_updates=False,
    )
    return pytensor.function([rng, particles, betas, *base_biases, *machine.parameters], log_weights[-1])
