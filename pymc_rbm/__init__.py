"""Restricted Boltzmann machines as PyMC distributions: block Gibbs sampling, stochastic maximum likelihood."""

from importlib.metadata import version

from pymc_rbm import coupling, datasets, estimators, schedules, tempering
from pymc_rbm.composite import Beside
from pymc_rbm.conditional import machine_of_row
from pymc_rbm.deep import DeepBeliefNetwork
from pymc_rbm.deep_boltzmann import DeepBoltzmannMachine
from pymc_rbm.diagnostics import diagnose
from pymc_rbm.distributions import RBM, Hidden
from pymc_rbm.enumeration import IntractableError
from pymc_rbm.estimates import LogPartitionEstimate
from pymc_rbm.finite_units import Binomial, Categorical, Spin
from pymc_rbm.functions import conditional_hidden, conditional_visible, energy, free_energy, hidden_mean
from pymc_rbm.general import BoltzmannMachine
from pymc_rbm.generative import generative
from pymc_rbm.greedy import fit_deep
from pymc_rbm.inpaint import inpaint
from pymc_rbm.learned import averaged
from pymc_rbm.learning import fit
from pymc_rbm.likelihood import log_conditional, log_likelihood
from pymc_rbm.log_partition import log_partition
from pymc_rbm.machine import Machine, boltzmann, restricted
from pymc_rbm.mixture import mixture_machine, mixture_parameters
from pymc_rbm.parts import classify, marginal_free_energy
from pymc_rbm.plots import plot_fantasies, plot_filters, plot_learning, plot_mixing, plot_projections
from pymc_rbm.pseudo import pseudo_log_likelihood
from pymc_rbm.real_units import Gaussian, Rectified
from pymc_rbm.relabelling import relabel
from pymc_rbm.sampling import sample_gibbs
from pymc_rbm.step_methods import BlockGibbs, register
from pymc_rbm.stopping import LearningStatus, StopOnGap, StopOnLikelihood
from pymc_rbm.targets import machine_of
from pymc_rbm.two_sided import DReLU
from pymc_rbm.units import Bernoulli
from pymc_rbm.verdict import Diagnosis

__version__ = version("pymc-rbm")

__all__ = [
    "RBM",
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
    "averaged",
    "boltzmann",
    "classify",
    "conditional_hidden",
    "conditional_visible",
    "coupling",
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
    "log_conditional",
    "log_likelihood",
    "log_partition",
    "machine_of",
    "machine_of_row",
    "marginal_free_energy",
    "mixture_machine",
    "mixture_parameters",
    "plot_fantasies",
    "plot_filters",
    "plot_learning",
    "plot_mixing",
    "plot_projections",
    "pseudo_log_likelihood",
    "relabel",
    "restricted",
    "sample_gibbs",
    "schedules",
    "tempering",
]

register()
