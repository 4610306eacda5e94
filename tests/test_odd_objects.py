"""Odd objects for every argument of every public function: what is raised is raised by the package, in its words."""

import inspect
import re
import traceback
import types
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

pytestmark = [pytest.mark.interpreted, pytest.mark.filterwarnings("ignore")]
HOUSE = Path(pmr.__file__).parent
W, B, C = ref.machine(4, 3, seed=4)
U = np.array([[0, 1, 0, 0.5], [1, 0, 2, 0], [0, 2, 0, 0], [0.5, 0, 0, 0]])
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]])
H = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 1, 0]])
MASKED = np.ma.MaskedArray(V, np.eye(5, 4) == 1)
MACHINE = pmr.restricted(W, B, C)
LABELLED = pmr.restricted(W, B, C, pmr.Beside(pixel=(pmr.Bernoulli(), 2), label=(pmr.Categorical(2), 2)))
SMALL = {"draws": 2, "tune": 0, "chains": 2}
POSTERIOR = xr.DataTree.from_dict(
    {"posterior": xr.Dataset({"W": (("chain", "draw", "i", "j"), np.tile(W, (2, 3, 1, 1)))})}
)


class Odd:
    """An object that is nothing that the package knows."""

    def __repr__(self):
        return "<odd>"


ODD = {
    "object": Odd(),
    "text": "a",
    "no text": "",
    "bytes": b"a",
    "number": 3,
    "float": 1.5,
    "minus one": -1,
    "nan": np.nan,
    "inf": np.inf,
    "complex": 1j,
    "True": True,
    "None": None,
    "empty list": [],
    "list": [3],
    "list of texts": ["a", "b"],
    "list of odd": [Odd()],
    "ragged": [[1], [1, 2]],
    "tuple": (1, 2),
    "dict": {},
    "dict of odd": {"W": Odd()},
    "set": {1},
    "function": lambda *x: x[0],
    "class": Odd,
    "array": np.zeros((2, 3, 4)),
    "no array": np.zeros(0),
    "number array": np.array(1.0),
    "objects": np.array([Odd(), None], dtype=object),
    "texts": np.array([["a"] * 4] * 5),
    "NaN array": np.full((5, 4), np.nan),
    "times": np.array(["2020-01-01"] * 4, "M8[D]"),
    "frame": pd.DataFrame({"x": ["a", "b"]}),
    "series": pd.Series(["a"]),
    "Dataset": xr.Dataset(),
    "DataTree": xr.DataTree(),
    "posterior": POSTERIOR,
    "DataArray": xr.DataArray(np.zeros((2, 2)), dims=("a", "b")),
    "Model": pm.Model(),
    "Machine": MACHINE,
    "variable": pt.dmatrix("x"),
    "unit": pmr.Spin(),
    "unit class": pmr.Spin,
    "module": types,
    "generator": (x for x in ()),
    "path": Path("/no/file"),
    "slice": slice(None),
    "range": range(3),
    "estimate": pmr.log_partition(MACHINE),
}


def of_draws():
    v = np.tile(V, (2, 20, 1)).astype("int8")
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {
                    "v": (("chain", "draw", "unit"), v),
                    "v_free_energy": (("chain", "draw"), np.random.default_rng(1).normal(size=(2, 100))),
                },
                coords={"chain": range(2), "draw": range(100)},
            )
        }
    )


def a_model(observed=V):
    with pm.Model() as model:
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=observed)
    return model


def of_constants():
    with pm.Model() as model:
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=V)
    return model


def in_model(function):
    def called(*args, **kwargs):
        with pm.Model():
            return function(*args, **kwargs)

    called.__signature__ = inspect.signature(function)
    return called


def of_hidden(v=None, **kwargs):
    with pm.Model():
        return pmr.Hidden("h", pmr.RBM("v", W, B, C, observed=V) if isinstance(v, str) and v == "its" else v, **kwargs)


def block_gibbs(vars=None, **kwargs):
    with pm.Model():
        pmr.RBM("v", W, B, C, shape=(5, 4))
        return pmr.BlockGibbs(**({"vars": vars} | kwargs))


def block_gibbs_of_observed(vars=None, **kwargs):
    with a_model():
        return pmr.BlockGibbs(**({"vars": vars} | kwargs))


@pytest.fixture(scope="module")
def learned():
    return pmr.fit(1, model=a_model(), method="pcd", chains=4, **QUIET)


def network():
    return pmr.DeepBeliefNetwork.of(MACHINE, pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))


def calls(learned):
    """Each public function with arguments that are right and quick."""
    draws, net = of_draws(), network()
    return {
        "RBM": (
            in_model(pmr.RBM),
            {
                "name": "v",
                "W": W,
                "b": B,
                "c": C,
                "visible": None,
                "hidden": None,
                "log_z": None,
                "sweeps": 5,
                "observed": V,
            },
        ),
        "RBM.dist": (
            pmr.RBM.dist,
            {"W": W, "b": B, "c": C, "visible": None, "hidden": None, "log_z": None, "sweeps": 5},
        ),
        "Hidden": (of_hidden, {"v": "its", "observed": H}),
        "BoltzmannMachine": (
            in_model(pmr.BoltzmannMachine),
            {"name": "v", "U": U, "b": B, "unit": None, "pattern": None, "log_z": None, "sweeps": 5, "observed": V},
        ),
        "DeepBoltzmannMachine": (
            in_model(pmr.DeepBoltzmannMachine),
            {"name": "x", "weights": [W, W.T], "biases": [B, C, B], "units": None, "observed": V},
        ),
        "Gaussian": (pmr.Gaussian, {"sigma": 1.0}),
        "Rectified": (pmr.Rectified, {"sigma": 1.0}),
        "DReLU": (pmr.DReLU, {"gamma_plus": 1.0, "gamma_minus": 1.0, "theta": 0.0}),
        "Categorical": (pmr.Categorical, {"q": 3}),
        "Binomial": (pmr.Binomial, {"n": 3}),
        "Beside": (lambda part: pmr.Beside(part), {"part": (pmr.Spin(), 3)}),
        "Machine": (pmr.Machine, {"layers": MACHINE.layers, "couplings": MACHINE.couplings}),
        "restricted": (pmr.restricted, {"W": W, "b": B, "c": C, "visible": None, "hidden": None}),
        "boltzmann": (pmr.boltzmann, {"U": U, "b": B, "unit": None, "classes": None}),
        "mixture_machine": (pmr.mixture_machine, {"weights": [0.5, 0.5], "means": np.eye(2), "sigma": 1.0}),
        "mixture_parameters": (
            pmr.mixture_parameters,
            {"target": pmr.mixture_machine([1, 1], np.eye(2), 1.0), "learned": None},
        ),
        "machine_of": (lambda target, learned: pmr.machine_of(target, learned), {"target": MACHINE, "learned": None}),
        "machine_of_row": (pmr.machine_of_row, {"target": pmr.restricted(W, B + V, C), "learned": None, "row": 1}),
        "energy": (
            pmr.energy,
            {"v": V, "h": H, "W": W, "b": B, "c": C, "learned": None, "visible": None, "hidden": None},
        ),
        "free_energy": (
            pmr.free_energy,
            {"v": V, "W": W, "b": B, "c": C, "learned": None, "visible": None, "hidden": None},
        ),
        "free_energy of a machine": (pmr.free_energy, {"v": V, "W": MACHINE, "learned": None}),
        "conditional_hidden": (
            pmr.conditional_hidden,
            {"v": V, "W": W, "c": C, "learned": None, "visible": None, "hidden": None},
        ),
        "conditional_visible": (
            pmr.conditional_visible,
            {"h": H, "W": W, "b": B, "learned": None, "visible": None, "hidden": None},
        ),
        "hidden_mean": (pmr.hidden_mean, {"v": V, "target": MACHINE, "learned": None, "dim": "hidden"}),
        "classify": (pmr.classify, {"v": V, "target": LABELLED, "learned": None, "part": "label"}),
        "marginal_free_energy": (
            pmr.marginal_free_energy,
            {"v": V[:, :2], "target": LABELLED, "learned": None, "parts": ["label"]},
        ),
        "log_likelihood": (
            pmr.log_likelihood,
            {
                "data": V,
                "target": MACHINE,
                "learned": None,
                "log_z": None,
                "name": None,
                "particles": 10,
                "budget": 1000,
            }
            | QUIET,
        ),
        "log_likelihood masked": (
            pmr.log_likelihood,
            {"data": MASKED, "target": MACHINE, "learned": None, "log_z": 1.0} | QUIET,
        ),
        "log_conditional": (
            pmr.log_conditional,
            {"data": V, "target": MACHINE, "learned": None, "units": np.arange(4) == 0, "particles": 10, "budget": 1000}
            | QUIET,
        ),
        "pseudo_log_likelihood": (
            pmr.pseudo_log_likelihood,
            {"data": V, "target": MACHINE, "learned": None, "method": "exact", "random_seed": 1},
        ),
        "log_partition": (
            pmr.log_partition,
            {
                "target": MACHINE,
                "learned": None,
                "method": "auto",
                "data": None,
                "base_mean": None,
                "particles": 10,
                "temperatures": None,
                "target_error": 0.1,
                "budget": 1000,
            }
            | QUIET,
        ),
        "sample_gibbs": (
            pmr.sample_gibbs,
            {
                "target": MACHINE,
                "learned": None,
                "sweeps": 1,
                "start": None,
                "name": None,
                "states": True,
                "method": "gibbs",
            }
            | SMALL
            | QUIET,
        ),
        "inpaint": (
            pmr.inpaint,
            {"data": MASKED, "target": MACHINE, "learned": None, "sweeps": 1, "states": True, "method": "gibbs"}
            | SMALL
            | QUIET,
        ),
        "diagnose": (
            pmr.diagnose,
            {"idata": draws, "target": None, "learned": None, "name": None, "probes": 2} | QUIET,
        ),
        "relabel": (pmr.relabel, {"idata": POSTERIOR, "target": of_constants(), "name": None}),
        "invariants": (pmr.invariants, {"idata": POSTERIOR, "target": of_constants(), "name": None}),
        "generative": (pmr.generative, {"model": a_model(), "learned": learned, "size": None}),
        "anchored": (
            pmr.anchored,
            {
                "model": a_model(),
                "learned": learned,
                "names": "v",
                "target_error": 5.0,
                "draws": 100,
                "states": 10,
                "log_z": None,
            }
            | QUIET,
        ),
        "check_anchors": (pmr.check_anchors, {"model": a_model(), "idata": POSTERIOR} | QUIET),
        "marginalize": (pmr.marginalize, {"model": a_model(None), "names": ["v"]}),
        "pseudo_likelihood": (pmr.pseudo_likelihood, {"model": a_model(), "names": None}),
        "averaged": (pmr.averaged, {"learned": learned}),
        "fit": (
            pmr.fit,
            {
                "epochs": 1,
                "updates": None,
                "seconds": None,
                "method": "cd",
                "batch_size": 5,
                "chains": 2,
                "sweeps": 1,
                "optimizer": None,
                "learning_rate": 0.1,
                "max_gradient_norm": None,
                "centred": True,
                "row_weights": None,
                "start": None,
                "resume": None,
                "horizon": None,
                "checkpoint": None,
                "checkpoint_every": 1,
                "on_iteration": None,
                "on_epoch": None,
                "compile_kwargs": None,
                "model": a_model(),
            }
            | QUIET,
        ),
        "fit_deep": (
            pmr.fit_deep,
            {
                "data": V,
                "hidden": [2],
                "visible": None,
                "name": None,
                "copies": 1,
                "below": None,
                "prior": pm.Flat,
                "tied": False,
                "epochs": 1,
                "method": "cd",
            }
            | QUIET,
        ),
        "StopOnLikelihood": (pmr.StopOnLikelihood, {"held_out": V, "patience": 1}),
        "StopOnGap": (pmr.StopOnGap, {"held_out": V}),
        "BlockGibbs": (
            block_gibbs,
            {"vars": None, "sweeps": 1, "method": "gibbs", "model": None, "rng": 1, "compile_kwargs": None},
        ),
        "BlockGibbs of observed": (block_gibbs_of_observed, {"vars": None}),
        "plot_filters": (
            pmr.plot_filters,
            {"learned": learned, "name": "W", "kind": "auto", "shape": None, "most": 2, "ax": None},
        ),
        "plot_fantasies": (
            pmr.plot_fantasies,
            {"fantasies": draws, "data": None, "name": "v", "kind": "pictures", "rows": 2, "columns": 2}
            | {"shape": None, "ax": None},
        ),
        "plot_mixing": (pmr.plot_mixing, {"idata": draws, "var_names": None, "group": "posterior", "ax": None}),
        "plot_learning": (pmr.plot_learning, {"learned": learned, "ax": None}),
        "predictive": (pmr.predictive, {"draws": draws, "data": V, "name": "v"}),
        "plot_ppc": (pmr.plot_ppc, {"draws": draws, "data": V, "name": "v", "statistic": "mean", "ax": None}),
        "plot_projections": (
            pmr.plot_projections,
            {"idata": draws, "target": MACHINE, "learned": None, "name": None, "data": None, "panels": 1, "points": 5}
            | {"ax": None},
        ),
        "DeepBeliefNetwork": (pmr.DeepBeliefNetwork, {"learned": net.learned}),
        "DeepBeliefNetwork.of": (
            lambda layer, names: pmr.DeepBeliefNetwork.of(layer, names=names),
            {"layer": MACHINE, "names": None},
        ),
        "network.first": (net.first, {"n": 1}),
        "network.features": (net.features, {"data": V, "layer": 1, "sampled": False, "random_seed": 1}),
        "network.bound": (net.bound, {"data": V, "log_z": 1.0, "draws": 2} | QUIET),
        "network.model": (net.model, {"observed": V, "size": None}),
        "network.inpaint": (net.inpaint, {"data": MASKED} | SMALL | QUIET),
        "bars_and_stripes": (pmr.datasets.bars_and_stripes, {"n": 2}),
        "from_npz": (pmr.datasets.from_npz, {"path": "/no/file.npz"}),
        "robbins_monro": (pmr.schedules.robbins_monro, {"rate": 0.1, "halved_at": 3}),
        "draws of RBM.dist": (lambda log_z: pm.logp(pmr.RBM.dist(W, B, C, log_z=log_z), V).eval(), {"log_z": 1.0}),
    }


NAMES = list(calls(None))
OF_OTHERS = {"name", "progressbar", "states", "centred", "sampled", "tied", "prior", "random_seed"}
"""Names, which PyMC refuses in words of its own; and what is asked for its truth, which frames and arrays refuse."""
UNTRIED = {
    ("fit", "epochs", "None"), ("fit_deep", "epochs", "None"),  # they are right, and learn for long
    ("diagnose", "target", "Machine"), ("draws of RBM.dist", "log_z", "variable"),  # right, too; PyTensor asks for x
    ("BlockGibbs", "vars", "empty list"), ("BlockGibbs of observed", "vars", "empty list"),  # PyMC refuses them
}  # fmt: skip
OTHERS = {"AnchorCheck", "Bernoulli", "Diagnosis", "IntractableError", "LearningStatus", "LogPartitionEstimate", "Spin"}
"""Public names that take no arguments, or none from users."""


def is_ours(error):
    """Whether the package itself raised the error, as one of those that it documents, in a sentence."""
    kinds = ValueError, TypeError, OSError, MemoryError, FloatingPointError, pmr.IntractableError
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, kinds) and HOUSE in Path(last.filename).parents and " " in str(error)


def raw_errors(name, function, right):
    """What odd objects raise that is not the package's own error, by argument."""
    for argument in right.keys() - OF_OTHERS:
        for kind, odd in ODD.items():
            is_estimator = argument == "method" and kind == "function"  # it may be one, and is called
            if is_estimator or (name, argument, kind) in UNTRIED:
                continue
            try:
                function(**(right | {argument: odd}))
            except Exception as error:
                if not is_ours(error):
                    yield f"{argument}={kind}: {type(error).__name__}: {str(error)[:100]}"
            finally:
                plt.close("all")


@pytest.mark.slow
@pytest.mark.interpreted
@pytest.mark.parametrize("name", NAMES)
def test_odd_objects(name, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, right = calls(learned)[name]
    try:
        function(**right)
    except (OSError, ValueError) as error:  # no file, nothing that is free
        assert is_ours(error), error
    raw = list(raw_errors(name, function, right))
    assert not raw, "\n".join(raw)


def test_the_table_has_every_public_function():
    tried = {name.split(" ")[0].split(".")[0] for name in NAMES}
    modules = {"datasets", "estimators", "schedules"}
    assert not set(pmr.__all__) - tried - OTHERS - modules


CASES = {
    "network of an object": lambda: pmr.DeepBeliefNetwork(Odd()),
    "plot_mixing of an object": lambda: pmr.plot_mixing(Odd()),
    "plot_mixing of find_MAP": lambda: pmr.plot_mixing({"W": W}),
    "plot_projections of an object": lambda: pmr.plot_projections(Odd()),
    "log_z of RBM.dist": lambda: pmr.RBM.dist(W, B, C, log_z=Odd()),
    "log_z NaN": lambda: pmr.RBM.dist(W, B, C, log_z=np.nan),
    "fit_deep of a model": lambda: pmr.fit_deep(V, pm.Model()),
    "BlockGibbs of numbers": lambda: block_gibbs([3]),
    "BlockGibbs of an observed RBM": lambda: block_gibbs_of_observed(),
    "mixture_machine of a text": lambda: pmr.mixture_machine("a", np.eye(2), 1.0),
    "base_mean a text": lambda: pmr.log_partition(MACHINE, base_mean="a"),
    "a posterior for the machine": lambda: pmr.log_likelihood(V, POSTERIOR, **QUIET),
}


@pytest.mark.parametrize("case", CASES)
def test_raw_errors_that_were_found(case):
    """They ended in AttributeError, NotImplementedError, ZeroDivisionError or IndexError, or were taken."""
    with pytest.raises((TypeError, ValueError)) as caught:
        CASES[case]()
    assert is_ours(caught.value)
    assert len(re.findall(r"[.:]( |$)", str(caught.value))) >= 1
