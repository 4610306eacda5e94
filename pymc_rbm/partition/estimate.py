"""An estimate of log Z holds the number, its error, and whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import scipy
import xarray as xr

__all__ = ["FEW_EFFECTIVE", "LogPartitionEstimate", "log_mean_exp", "weight_diagnostics"]

FEW_EFFECTIVE = 30
HEAVY_TAIL = 0.7
LEAST_FOR_TAIL = 30
"""With fewer weights than this their tail is not fitted, since it is a fifth of them, and ArviZ needs at least six."""
NAMES = {
    "exact": "exact, by enumeration",
    "ais": "annealed importance sampling",
    "reverse_ais": "reverse annealed importance sampling",
    "tempering": "parallel tempering and bridge sampling",
    "compare": "annealing and tempering, compared",
    "ladder": "bridge sampling along the machines of learning",
}


@dataclass(frozen=True)
class LogPartitionEstimate:
    """An estimate of log Z with its uncertainty.

    Attributes
    ----------
    estimate : float
        log Z in nats.
    standard_error : float
        Standard error of ``estimate``, in nats; 0 if exact.
    method : str
        "exact", "ais", "reverse_ais", "tempering", "compare" or "ladder".
    log_weights : ndarray, shape (particles,)
        Log importance weights, if the method has any; for "ais" ``estimate`` is the log of their mean.
    betas : ndarray, shape (temperatures,)
        Inverse temperatures of the path, from 0 (the base) to 1 (the machine).
    diagnostics : mapping of str to number or ndarray
        What the method measured about itself; the report names the most important.
    reasons : tuple of str
        Why the estimate or its error should not be trusted; empty if nothing spoke against them.
    degrees_of_freedom : float
        Those of Student's t in ``interval``; infinite (a normal interval) unless the error comes from few replicates.
    made : mapping
        How it was made: particles, sweeps, target error, whether it was interrupted.
    parts : mapping of str to LogPartitionEstimate
        The estimates that this one was made from or compared with.

    Examples
    --------
    >>> import numpy as np, pymc_rbm as pmr
    >>> found = pmr.log_partition(pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))
    >>> round(found.estimate, 4), found.standard_error, found.method, found.reliable
    (3.4657, 0.0, 'exact', True)
    >>> bool(np.isclose(found.estimate, np.log(2**5)))
    True
    """

    estimate: float
    standard_error: float
    method: str
    log_weights: np.ndarray = field(repr=False, default_factory=lambda: np.empty(0))
    betas: np.ndarray = field(repr=False, default_factory=lambda: np.empty(0))
    diagnostics: Mapping[str, Any] = field(repr=False, default_factory=dict)
    reasons: tuple[str, ...] = ()
    degrees_of_freedom: float = np.inf
    made: Mapping[str, Any] = field(repr=False, default_factory=dict)
    parts: Mapping[str, LogPartitionEstimate] = field(repr=False, default_factory=dict)

    @property
    def reliable(self) -> bool:
        """Whether no diagnostic speaks against the estimate, which is not a proof: see the Notes of `log_partition`."""
        return not self.reasons

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval in nats, by Student's t with ``degrees_of_freedom``."""
        half = float(scipy.stats.t.ppf(0.975, self.degrees_of_freedom)) * self.standard_error
        return self.estimate - half, self.estimate + half

    @property
    def effective_sample_size(self) -> float:
        """``(Σw)²/Σw²`` of the importance weights; infinite if there are none."""
        return _effective(self.log_weights) if self.log_weights.size else np.inf

    def __str__(self) -> str:
        name = NAMES.get(self.method, self.method)
        if self.method == "exact":
            return f"log Z = {self.estimate:.6f} ({name})"
        details = [name]
        if self.log_weights.size:
            details.append(f"{self.log_weights.size} particles, {self.effective_sample_size:.0f} effective")
        if self.betas.size:
            details.append(f"{self.betas.size} temperatures")
        lines = [f"log Z = {self.estimate:.3f} ± {self.standard_error:.3f} ({', '.join(details)})"]
        lines += [
            f"  {part.estimate:.3f} ± {part.standard_error:.3f} by {NAMES.get(n, n)}" for n, part in self._shown()
        ]
        lines += self._replicas()
        lines += [f"  not reliable: {reason}" for reason in self.reasons]
        if self.made.get("target_met") is False:
            lines.append(
                f"  the target error of {self.made['target_error']:g} was not met by both methods within the budget"
            )
        return "\n".join(lines)

    def _replicas(self) -> list[str]:
        """Return a line about parallel tempering, if that made the estimate."""
        if "round_trips" not in self.diagnostics:
            return []
        found = self.diagnostics
        last = f"R-hat {found['rhat']:.2f}" if "rhat" in found else f"{found['renewals']:.0f} renewals"
        return [
            f"  {found['round_trips']:.0f} round trips, communication barrier {found['communication_barrier']:.1f}, "
            f"least overlap {found['least_overlap']:.2f}, {last}"
        ]

    def _shown(self) -> list[tuple[str, LogPartitionEstimate]]:
        return [(name, part) for name, part in self.parts.items() if part.method in NAMES]

    def _repr_html_(self) -> str:
        low, high = self.interval
        rows = [
            ("log Z", f"{self.estimate:.3f} ± {self.standard_error:.3f} nats"),
            ("95 % interval", f"{low:.3f} to {high:.3f}"),
            ("method", NAMES.get(self.method, self.method)),
            *((f"by {NAMES[n]}", f"{part.estimate:.3f} ± {part.standard_error:.3f}") for n, part in self._shown()),
            *((n.replace("_", " "), f"{x:.3g}") for n, x in self.diagnostics.items() if np.ndim(x) == 0),
            *(("not reliable", reason) for reason in self.reasons),
        ]
        body = "".join(f"<tr><th style='text-align:left'>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
        return f"<table>{body}</table>"

    def to_datatree(self) -> xr.DataTree:
        """Return everything as a DataTree for netCDF: the group "estimate", then one for each entry of ``parts``."""
        low, high = self.interval
        head = {"estimate": self.estimate, "standard_error": self.standard_error, "interval": ("end", [low, high])}
        arrays: dict[str, Any] = {"log_weights": ("particle", self.log_weights)} if self.log_weights.size else {}
        if self.betas.size:
            arrays["betas"] = ("temperature", self.betas)
        for name, x in self.diagnostics.items():
            x = np.asarray(x)
            arrays[f"diagnostic_{name}"] = ([f"{name}_dim_{i}" for i in range(x.ndim)], x)
        made = {k: int(v) if isinstance(v, bool | np.bool_) else v for k, v in self.made.items()}
        attrs = {"method": self.method, "reliable": int(self.reliable), "reasons": "; ".join(self.reasons), **made}
        coords = {"end": ["lower", "upper"]}
        tree = xr.DataTree.from_dict({"estimate": xr.Dataset({**head, **arrays}, coords=coords, attrs=attrs)})
        tree.attrs = {"created_by": "pymc_rbm.log_partition"}
        for name, part in self.parts.items():
            tree[name] = xr.DataTree(part.to_datatree()["estimate"].to_dataset())
        return tree

    def plot(self, ax: Any = None) -> Any:
        """Draw the estimates with their intervals and, where the method has them, the weights and the path.

        Returns ArviZ's PlotCollection. ``ax`` are Axes to draw into, one for each panel.
        """
        from pymc_rbm.partition.plots import plot_estimate

        return plot_estimate(self, ax)


def _effective(log_weights: np.ndarray) -> float:
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / (w**2).sum())


def log_mean_exp(log_values: np.ndarray, log_weights: np.ndarray | None = None) -> tuple[float, float]:
    """Return ``log(Σ w x / Σ w)`` over independent particles and its standard error by the jackknife.

    Leaving particle i out gives ``θ_i = log((Σwx - w_i x_i)/(Σw - w_i))``; the variance is ``(P - 1)/P Σ(θ_i - mean
    θ)²`` (Efron & Stein 1981). With even weights it is the usual ``sd(x)/(mean(x)·√P)``; where one particle carries
    the sum it is large.
    """
    n = len(log_values)
    below = np.zeros(n) if log_weights is None else log_weights
    sums, left_out = [], []
    for terms in (log_values + below, below):
        shares = np.exp(terms - np.logaddexp.reduce(terms))
        sums.append(np.logaddexp.reduce(terms))
        left_out.append(np.log1p(-np.minimum(shares, 1 - 1e-12)))
    spread = (left_out[0] - left_out[1]).std(ddof=1)
    return float(sums[0] - sums[1]), float((n - 1) / np.sqrt(n) * spread)


def weight_diagnostics(log_weights: np.ndarray) -> tuple[dict[str, float], list[str]]:
    """Return measures of importance weights and what they say against an estimate from their mean."""
    n = len(log_weights)
    w = np.exp(log_weights - log_weights.max())
    even = np.ptp(log_weights) < 1e-9
    found = {
        "effective_sample_size": _effective(log_weights),
        "log_weight_deviation": float(log_weights.std(ddof=1)),
        "log_weight_skewness": 0.0 if even else float(scipy.stats.skew(log_weights)),
        "weight_skewness": 0.0 if even else float(scipy.stats.skew(w)),
        "tail_index": 0.0 if even else _tail_index(log_weights) if n >= LEAST_FOR_TAIL else np.nan,
    }
    reasons = []
    effective, tail = found["effective_sample_size"], found["tail_index"]
    if effective < min(FEW_EFFECTIVE, n / 2):
        reasons.append(f"{effective:.1f} effective particles of {n} are too few")
    if np.isnan(tail):
        reasons.append(
            f"{n} particles are too few to see a heavy tail of their weights (at least {LEAST_FOR_TAIL} are needed)"
        )
    if tail > HEAVY_TAIL:
        reasons.append(f"the weights have a heavy tail (index {tail:.2f}, above {HEAVY_TAIL})")
    return found, reasons


def _tail_index(log_weights: np.ndarray) -> float:
    """Return the shape of ArviZ's generalised Pareto fit to the largest weights (Vehtari et al. 2024)."""
    from arviz_stats.base import array_stats

    with np.errstate(all="ignore"):
        _, index = array_stats.psislw(-log_weights)  # it takes logs of the inverse weights, as log-likelihoods are
    return float(index)
