"""Restricted Boltzmann machines as PyMC distributions: block Gibbs sampling, stochastic maximum likelihood."""

from importlib.metadata import version

from pymc_rbm import datasets, schedules
from pymc_rbm.distributions import RBM, Hidden
from pymc_rbm.enumeration import IntractableError
from pymc_rbm.estimates import LogPartitionEstimate
from pymc_rbm.functions import conditional_hidden, conditional_visible, energy, free_energy, hidden_mean
from pymc_rbm.generative import generative
from pymc_rbm.learned import averaged
from pymc_rbm.learning import fit
from pymc_rbm.likelihood import log_likelihood, pseudo_log_likelihood
from pymc_rbm.log_partition import log_partition
from pymc_rbm.machine import Machine, machine_of, restricted
from pymc_rbm.plots import plot_fantasies, plot_filters, plot_learning, plot_mixing
from pymc_rbm.step_methods import BlockGibbs, register
from pymc_rbm.units import Bernoulli

__version__ = version("pymc-rbm")

__all__ = [
    "RBM",
    "Bernoulli",
    "BlockGibbs",
    "Hidden",
    "IntractableError",
    "LogPartitionEstimate",
    "Machine",
    "averaged",
    "conditional_hidden",
    "conditional_visible",
    "datasets",
    "energy",
    "fit",
    "free_energy",
    "generative",
    "hidden_mean",
    "log_likelihood",
    "log_partition",
    "machine_of",
    "plot_fantasies",
    "plot_filters",
    "plot_learning",
    "plot_mixing",
    "pseudo_log_likelihood",
    "restricted",
    "schedules",
]

register()
