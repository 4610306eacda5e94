"""Restricted Boltzmann machines as PyMC distributions, with block Gibbs sampling and stochastic maximum likelihood."""

import warnings
from importlib.metadata import version
from typing import Any

from pymc_rbm import datasets
from pymc_rbm.deep.fit_deep import fit_deep
from pymc_rbm.deep.network import DeepBeliefNetwork
from pymc_rbm.diagnostics.diagnose import diagnose
from pymc_rbm.diagnostics.invariants import invariants
from pymc_rbm.diagnostics.relabelling import relabel
from pymc_rbm.diagnostics.verdict import Diagnosis
from pymc_rbm.distributions.boltzmann import BoltzmannMachine
from pymc_rbm.distributions.deep_boltzmann import DeepBoltzmannMachine
from pymc_rbm.distributions.generative import generative
from pymc_rbm.distributions.hidden import Hidden
from pymc_rbm.distributions.marginalize import marginalize
from pymc_rbm.distributions.rbm import RBM
from pymc_rbm.learning import estimators, schedules
from pymc_rbm.learning.callbacks import LearningStatus, StopOnGap, StopOnLikelihood
from pymc_rbm.learning.fit import fit
from pymc_rbm.learning.result import averaged
from pymc_rbm.likelihood.classify import classify, marginal_free_energy
from pymc_rbm.likelihood.likelihood import log_conditional, log_likelihood
from pymc_rbm.likelihood.pseudo import pseudo_log_likelihood
from pymc_rbm.machine.enumeration import IntractableError
from pymc_rbm.machine.formulas import conditional_hidden, conditional_visible, energy, free_energy, hidden_mean
from pymc_rbm.machine.machine import Machine, boltzmann, restricted
from pymc_rbm.machine.mixture import mixture_machine, mixture_parameters
from pymc_rbm.machine.rows import machine_of_row
from pymc_rbm.machine.targets import machine_of
from pymc_rbm.partition.estimate import LogPartitionEstimate
from pymc_rbm.partition.log_partition import log_partition
from pymc_rbm.plots.fantasies import plot_fantasies
from pymc_rbm.plots.filters import plot_filters
from pymc_rbm.plots.learning import plot_learning
from pymc_rbm.plots.mixing import plot_mixing
from pymc_rbm.plots.predictive import plot_ppc, predictive
from pymc_rbm.plots.projections import plot_projections
from pymc_rbm.posteriors.anchored import anchored
from pymc_rbm.posteriors.check import AnchorCheck, check_anchors
from pymc_rbm.posteriors.pseudo import pseudo_likelihood
from pymc_rbm.sampling.chains import sample_gibbs
from pymc_rbm.sampling.inpaint import inpaint
from pymc_rbm.step_methods.block_gibbs import BlockGibbs, register
from pymc_rbm.units.beside import Beside
from pymc_rbm.units.binary import Bernoulli, Spin
from pymc_rbm.units.discrete import Binomial, Categorical
from pymc_rbm.units.drelu import DReLU
from pymc_rbm.units.real import Gaussian, Rectified

__version__ = version("pymc-rbm")

__all__ = [
    "RBM",
    "AnchorCheck",
    "Bernoulli",
    "Beside",
    "Binomial",
    "BlockGibbs",
    "BoltzmannMachine",
    "Categorical",
    "DReLU",
    "DeepBeliefNetwork",
    "DeepBoltzmannMachine",
    "Diagnosis",
    "Gaussian",
    "Hidden",
    "IntractableError",
    "LearningStatus",
    "LogPartitionEstimate",
    "Machine",
    "Rectified",
    "Spin",
    "StopOnGap",
    "StopOnLikelihood",
    "anchored",
    "averaged",
    "boltzmann",
    "check_anchors",
    "classify",
    "conditional_hidden",
    "conditional_visible",
    "datasets",
    "diagnose",
    "energy",
    "estimators",
    "fit",
    "fit_deep",
    "free_energy",
    "generative",
    "hidden_mean",
    "inpaint",
    "invariants",
    "log_conditional",
    "log_likelihood",
    "log_partition",
    "machine_of",
    "machine_of_row",
    "marginal_free_energy",
    "marginalize",
    "mixture_machine",
    "mixture_parameters",
    "plot_fantasies",
    "plot_filters",
    "plot_learning",
    "plot_mixing",
    "plot_ppc",
    "plot_projections",
    "predictive",
    "pseudo_likelihood",
    "pseudo_log_likelihood",
    "relabel",
    "restricted",
    "sample_gibbs",
    "schedules",
]

_MOVED = {"coupling": "unbiased", "tempering": "tempered"}
"""Estimators that were modules of their own in version 0.1, with the module that now has them."""


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"pymc_rbm.{name}.{_MOVED[name]} is now pymc_rbm.estimators.{_MOVED[name]}; the old name works in this "
        "release and not in the next.",
        DeprecationWarning,
        stacklevel=2,
    )
    return estimators


def __dir__() -> list[str]:
    return __all__


register()
