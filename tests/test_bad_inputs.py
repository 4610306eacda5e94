"""Bad inputs over the whole public surface: refused before anything is compiled, in words that say what to do.

Each row has a call, the kind of error, and fragments of its message: what was received, what is needed, the remedy.
"""

import sys

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import reference as ref
import scipy.sparse
import xarray as xr
from options import MUTED
from pytensor.link.numba.linker import NumbaLinker

import pymc_rbm as pmr
from pymc_rbm.__main__ import parse
from pymc_rbm.machine.records import recorded

W, B, C = ref.machine(4, 3, seed=4)
V = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]])
NAN = np.nan
U = np.array([[0, 1, 0.0], [1, 0, 2], [0, 2, 0]])
MASKED = np.ma.MaskedArray(V, V * 0 + np.eye(5, 4) == 1)
NAMED = xr.DataArray(V, dims=("row", "pixel"), coords={"pixel": list("abcd")})
W_NAMED = xr.DataArray(W, dims=("pixel", "unit"), coords={"pixel": list("abcd")})
ONE_HOT = pmr.Categorical(3)


def machine():
    return pmr.restricted(W, B, C)


def of_labels():
    """Two units of three values."""
    return pmr.restricted(np.zeros((6, 2)), np.zeros(6), np.zeros(2), ONE_HOT)


def with_labels():
    beside = pmr.Beside(pixel=(pmr.Bernoulli(), 4), label=(ONE_HOT, 3))
    return pmr.restricted(np.zeros((7, 2)), np.zeros(7), np.zeros(2), beside)


def model(observed=None, **kwargs):
    with pm.Model() as made:
        b, c = pm.Flat("b", shape=4), pm.Flat("c", shape=3)
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), b, c, observed=V if observed is None else observed, **kwargs)
    return made


def fit(*args, **kwargs):
    with model():
        return pmr.fit(*args, **({"progressbar": False} | kwargs))


def fit_scaled(**kwargs):
    """Weights with a scale of their own; what is wrong with ``start`` is said before anything is chosen."""
    with pm.Model(), pytest.MonkeyPatch.context() as patch:
        pmr.RBM("v", pm.Normal("W", 0, pm.HalfNormal("scale"), shape=(4, 3)), np.zeros(4), np.zeros(3), observed=V)
        patch.setattr(sys.modules["pymc_rbm.learning.fit"], "choose", None)
        pmr.fit(1, **MUTED, **kwargs)


def rbm(observed, **kwargs):
    with pm.Model():
        return pmr.RBM("v", W, B, C, observed=observed, **kwargs)


def learned(**attrs):
    """As `fit` returns it, as far as refusals look."""
    machines = recorded({"v": machine()}, {"v": ("v_unit", "v_hidden")})
    parameters = xr.Dataset({"W": (("i", "j"), W), "b": ("i", B), "c": ("j", C)})
    tree = xr.DataTree.from_dict({"machines": machines, "parameters": parameters})
    tree.attrs = attrs
    return tree


def record_of_run(**attrs):
    """A learning run, as far as `resume` looks at its attributes."""
    tree = xr.DataTree.from_dict({"state": xr.Dataset(), "learning": xr.Dataset()})
    tree.attrs = attrs
    return tree


def draws():
    v = np.tile(V, (2, 20, 1)).astype("int8")
    return xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "unit"), v)})})


def two_layers():
    return pmr.DeepBeliefNetwork.of(machine(), pmr.restricted(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))


def changed(values, what):
    """A model whose data change after it is built."""
    with pm.Model() as made:
        data = pm.Data("data", V.astype(float))
        v = pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C, observed=data)
        pmr.Hidden("h", v)
        pm.set_data({"data": values})
        return what(made)


def block_gibbs(made):
    return pmr.BlockGibbs([made["h"]], model=made)


def npz(tmp_path, name="x.npz", **arrays):
    np.savez(tmp_path / name, **arrays)
    return pmr.datasets.from_npz(tmp_path / name)


def command_line(*arguments):
    return parse([str(x) for x in arguments])


def frame(**columns):
    return pd.DataFrame(columns)


V_ERR, T_ERR = ValueError, TypeError
# fmt: off
ROWS = [
    # -------------------------------------------------------------------------------------------------- machines
    ("W transposed", lambda: pmr.restricted(W.T, B, C), V_ERR, "(3, 4)", "(visible, hidden)", "pass W.T"),
    ("components_ of scikit-learn", lambda: pmr.RBM.dist(W.T, B, C), V_ERR, "(4,)", "scikit-learn", "W.T"),
    ("b of length one", lambda: pmr.restricted(W, B[:1], C), V_ERR, "b (1,)", "b is (visible,)", "wrong size"),
    ("c of length one", lambda: pmr.restricted(W, B, C[:1]), V_ERR, "c (1,)", "c is (hidden,)", "wrong size"),
    ("b a number", lambda: pmr.restricted(W, 0.0, C),
     V_ERR, "b must have at least 1 axis", "got shape ()", "(visible,)"),
    ("W a vector", lambda: pmr.restricted(W[0], B, C),
     V_ERR, "W must have at least 2 axes", "(3,)", "(visible, hidden)"),
    ("NaN in W", lambda: pmr.restricted(W * NAN, B, C), V_ERR, "W contains NaN", "parameters", "must be finite"),
    ("infinity in b", lambda: pmr.restricted(W, B + np.inf, C), V_ERR, "b contains", "infinity", "must be finite"),
    ("NaN in c", lambda: pmr.restricted(W, B, C * NAN), V_ERR, "c contains NaN", "parameters", "must be finite"),
    ("W of texts", lambda: pmr.restricted([["a"]], [0.0], [0.0]), V_ERR, "W must be numbers", "'a'", "np.unique"),
    ("W masked", lambda: pmr.restricted(np.ma.masked_less(W, 0), B, C),
     V_ERR, "W contains", "missing", "finite numbers"),
    ("b in another order of other names",
     lambda: pmr.restricted(W_NAMED, xr.DataArray(B, dims="pixel", coords={"pixel": list("abcx")}), C),
     V_ERR, "without ['d']", "not those of the others", "rename"),
    ("visible a name", lambda: pmr.restricted(W, B, C, "Gaussian"),
     T_ERR, "'Gaussian'", "visible must be a unit", "pymc_rbm.Gaussian(sigma)"),
    ("hidden a class", lambda: pmr.restricted(W, B, C, hidden=pmr.Spin),
     T_ERR, "the class Spin", "hidden must be a unit", "pymc_rbm.Spin("),
    ("visible no whole units", lambda: pmr.restricted(W, B, C, ONE_HOT),
     V_ERR, "4 visible entries", "whole number of Categorical", "3 entries each"),
    ("sigma of another length", lambda: pmr.restricted(W, B, C, pmr.Gaussian([1.0, 2.0])),
     V_ERR, "(2,)", "4 units on the visible side", "one number for all"),
    ("U asymmetric", lambda: pmr.boltzmann(np.triu(U), B[:3]),
     V_ERR, "differ by up to 2", "must be symmetric", "U + U.T"),
    ("U with a diagonal", lambda: pmr.boltzmann(U + np.eye(3), B[:3]),
     V_ERR, "diagonal", "must be zero", "half of the diagonal"),
    ("U inside a unit", lambda: pmr.boltzmann(U, B[:3], ONE_HOT), V_ERR, "in blocks", "must be zero", "add half"),
    ("U not square", lambda: pmr.boltzmann(W, B), V_ERR, "U (4, 3)", "U is (units, units)", "pymc_rbm.restricted"),
    ("U and b", lambda: pmr.boltzmann(U, B), V_ERR, "b (4,)", "b is (units,)", "do not fit"),
    ("NaN in U", lambda: pmr.boltzmann(U * NAN, B[:3]), V_ERR, "U contains NaN", "parameters", "must be finite"),
    ("unit of boltzmann", lambda: pmr.boltzmann(U, B[:3], "Spin"),
     T_ERR, "'Spin'", "unit must be a unit", "pymc_rbm.Bernoulli()"),
    ("Machine of arrays that do not fit",
     lambda: pmr.Machine(machine().layers, pmr.restricted(W[:, :2], B, C[:2]).couplings),
     V_ERR, "W (4, 2)", "c (3,)", "c is (hidden,)"),
    ("machine_of a number", lambda: pmr.machine_of(3), T_ERR, "got int", "Machine", "PyMC model"),
    ("machine_of_row", lambda: pmr.machine_of_row(machine(), row=0),
     V_ERR, "All rows", "share their parameters", "use the machine itself"),
    ("mixture weights", lambda: pmr.mixture_machine([1, -1], np.zeros((2, 3)), 1.0),
     V_ERR, "(2,)", "must be positive", "(K,)"),
    ("mixture sigma", lambda: pmr.mixture_machine([1, 1], np.zeros((2, 3)), -1.0),
     V_ERR, "-1.", "sigma must be positive", "finite"),
    ("mixture_parameters", lambda: pmr.mixture_parameters(machine()),
     V_ERR, "3 units", "one one-hot hidden unit", "pymc_rbm.Categorical(3)"),
    # ----------------------------------------------------------------------------------------------------- units
    ("Binomial without end", lambda: pmr.Binomial(2**31), V_ERR, "2,147,483,648", "at most 65,535", "Gaussian"),
    ("Binomial of nothing", lambda: pmr.Binomial(0), V_ERR, "got 0", "n must be a whole number", "at least 1"),
    ("Binomial of half", lambda: pmr.Binomial(2.5), V_ERR, "got 2.5", "n must be a whole number", "at least 1"),
    ("Categorical of one", lambda: pmr.Categorical(1), V_ERR, "got 1", "q must be a whole number", "at least 2"),
    ("Categorical without end", lambda: pmr.Categorical(10**9), V_ERR, "1,000,000,000", "at most 4,096", "Merge"),
    ("Gaussian of zero", lambda: pmr.Gaussian(0.0), V_ERR, "got 0.0", "sigma must be positive", "finite"),
    ("Gaussian of NaN", lambda: pmr.Gaussian([1.0, NAN]), V_ERR, "nan", "sigma must be positive", "finite"),
    ("Gaussian of a text", lambda: pmr.Gaussian("a"), V_ERR, "'a'", "sigma must be", "finite"),
    ("Rectified of less than zero", lambda: pmr.Rectified(-1), V_ERR, "got -1", "sigma must be positive", "finite"),
    ("DReLU", lambda: pmr.DReLU(gamma_plus=0.0), V_ERR, "got 0.0", "gamma_plus must be positive", "finite"),
    ("Beside of a unit", lambda: pmr.Beside(pmr.Bernoulli()),
     V_ERR, "Bernoulli()", "pair of a unit", "number of entries"),
    ("Beside of nothing", lambda: pmr.Beside(), V_ERR, "at least one part", "Beside needs", "as in Beside("),
    ("Beside of half a unit", lambda: pmr.Beside((ONE_HOT, 4)),
     V_ERR, "4", "whole number of Categorical", "3 entries each"),
    ("Beside in itself", lambda: pmr.Beside((pmr.Beside((ONE_HOT, 3)), 3)),
     V_ERR, "Beside", "cannot be a Beside", "write its parts"),
    # ---------------------------------------------------------------------------------------------- distributions
    ("RBM transposed", lambda: pmr.RBM.dist(W.T, B, C), V_ERR, "(3, 4)", "(visible, hidden)", "pass W.T"),
    ("RBM of NaN", lambda: pmr.RBM.dist(W, B * NAN, C), V_ERR, "b contains NaN", "parameters", "must be finite"),
    ("RBM visible class", lambda: rbm(V, visible=pmr.Gaussian),
     T_ERR, "the class Gaussian", "visible must be a unit", "Call it"),
    ("RBM hidden name", lambda: rbm(V, hidden="Spin"),
     T_ERR, "'Spin'", "hidden must be a unit", "pymc_rbm.Bernoulli()"),
    ("RBM sweeps", lambda: pmr.RBM.dist(W, B, C, sweeps=0),
     V_ERR, "got 0", "sweeps must be a whole number", "at least 1"),
    ("RBM shape", lambda: pmr.RBM.dist(W, B, C, shape=(3, 5)), V_ERR, "[3, 5]", "visible axis", "length 4"),
    ("RBM transform", lambda: rbm(None, transform=pm.distributions.transforms.log),
     V_ERR, "transform", "got transform=", "states of its units"),
    ("RBM total_size", lambda: rbm(V, total_size=10), V_ERR, "total_size", "minibatches itself", "batch_size"),
    ("initval", lambda: rbm(None, initval=[2, 0, 1, 0]), V_ERR, "got 1 other", "only 0 and 1", "Binarise"),
    ("observed of other states", lambda: rbm(V * 2), V_ERR, "(such as 2)", "only 0 and 1", "Binarise first"),
    ("observed grey", lambda: rbm(V * 0.5), V_ERR, "such as 0.5", "only 0 and 1", "threshold"),
    ("observed NaN", lambda: rbm(np.where(V, NAN, 0)), V_ERR, "observed contains NaN", "missing", "masked_invalid"),
    ("observed infinity", lambda: rbm(np.where(V, np.inf, 0)), V_ERR, "such as inf", "only 0 and 1", "Binarise"),
    ("observed of texts", lambda: rbm(V.astype(str)), V_ERR, "dtype <U", "must be numbers", "np.unique"),
    ("observed transposed", lambda: rbm(V.T), V_ERR, "(4, 5)", "length 4", "transposed"),
    ("observed too short", lambda: rbm(V[:, :3]), V_ERR, "(5, 3)", "4 visible units", "must have length 4"),
    ("observed a number", lambda: rbm(1), V_ERR, "shape ()", "4 visible units", "length 4"),
    ("observed ragged", lambda: rbm([[1, 0, 1, 0], [1]]), V_ERR, "different lengths", "same length", "Pad and mask"),
    ("observed a Dataset", lambda: rbm(xr.Dataset({"x": NAMED})), V_ERR, "Dataset", "rows of numbers", "['variable']"),
    ("observed sparse", lambda: rbm(scipy.sparse.csr_matrix(V * 3)), V_ERR, "such as 3", "only 0 and 1", "Binarise"),
    ("observed of texts in a frame", lambda: rbm(frame(a=["x", "y"], b=[0, 1], c=[1, 1], d=[0, 0])),
     V_ERR, "'x'", "must be numbers", "astype('category')"),
    ("observed of one category", lambda: rbm(frame(a=pd.Categorical(["y", "y"]), b=[0, 1], c=[1, 1], d=[0, 0])),
     V_ERR, "only one category, ['y']", "takes numbers", "(column == 'y').astype(int)"),
    ("inpaint of a model", lambda: pmr.inpaint(pm.Model(), {}), T_ERR, "got a Model", "inpaint(data,", "first"),
    ("observed of categories", lambda: rbm(frame(a=pd.Categorical(["x", "y"]), b=[0, 1], c=[1, 1], d=[0, 0])),
     V_ERR, "['x', 'y']", "Bernoulli", "(column == 'y').astype(int)"),
    ("observed of other columns", lambda: _named_model(frame(a=[1], b=[1], c=[0], x=[0])),
     V_ERR, "without ['d']", "not those of the model", "rename"),
    ("observed of other pixels", lambda: _named_model(NAMED.assign_coords(pixel=list("abcx"))),
     V_ERR, "'x'", "not those of the model", "select or rename"),
    ("observed of hidden units", lambda: _named_model(NAMED.rename(pixel="unit")),
     V_ERR, "'unit' are the machine's hidden", "visible ones are 'pixel'", "Rename"),
    ("dims transposed", lambda: _named_model(V, dims=("pixel", "row")),
     V_ERR, "('pixel', 'row')", "come last", "Reorder dims"),
    ("dims that do not fit", lambda: rbm(NAMED, dims=("pixel", "case")),
     V_ERR, "('row', 'pixel')", "neither reorders", "renames as a whole"),
    ("pm.Data transposed", lambda: _named_data(), V_ERR, "('pixel', 'row')", "come last", "Transpose the data"),
    ("labels beyond", lambda: _observe_labels([[0, 3]]),
     V_ERR, "such as 3", "whole numbers from 0 to 2", "exactly one 1"),
    ("labels of another number", lambda: _observe_labels([[0, 1, 2]]), V_ERR, "(1, 3)", "length 6", "np.eye(3)"),
    ("one-hot of two", lambda: _observe_labels([[1, 1, 0, 0, 0, 1]]),
     V_ERR, "got 3 other", "exactly one 1", "np.eye(3)"),
    ("mask through a unit", lambda: _observe_labels(np.ma.MaskedArray([[1, 0, 0, 0, 0, 1]], [[1, 0, 0, 0, 0, 0]])),
     V_ERR, "some of the 3 entries", "not others", "all of them or none"),
    ("W with swapped dims", lambda: _swapped_weights(),
     V_ERR, "('unit', 'pixel')", "W is (visible, hidden)", "pass W.T"),
    ("general machine asymmetric", lambda: pmr.BoltzmannMachine.dist(np.triu(U), B[:3]),
     V_ERR, "differ by up to", "symmetric", "U + U.T"),
    ("general machine of W", lambda: pmr.BoltzmannMachine.dist(W, B),
     V_ERR, "(4, 3)", "(units, units)", "pymc_rbm.RBM"),
    ("general machine pattern", lambda: pmr.BoltzmannMachine.dist(U, B[:3], pattern=np.ones((2, 2))),
     V_ERR, "(2, 2)", "symmetric matrix", "(3, 3)"),
    ("general machine unit", lambda: pmr.BoltzmannMachine.dist(U, B[:3], unit=pmr.Spin),
     T_ERR, "class Spin", "must be a unit", "Call it"),
    ("Hidden of no RBM", lambda: _hidden(pm.Normal.dist()),
     V_ERR, "Expected an RBM", "variable of the model", "not a function of it"),
    ("Hidden of a number", lambda: _hidden(3), V_ERR, "3", "Expected an RBM variable", "Pass the variable"),
    ("Hidden observed", lambda: _hidden(pmr.RBM.dist(W, B, C), observed=[2, 0, 1]),
     V_ERR, "such as 2", "only 0 and 1", "Binarise"),
    ("Hidden observed length", lambda: _hidden(pmr.RBM.dist(W, B, C), observed=[0, 1]),
     V_ERR, "(2,)", "3 hidden units", "length 3"),
    ("deep weights", lambda: pmr.DeepBoltzmannMachine("x", [W], [B, C]),
     V_ERR, "got 1 weights", "at least two weights", "one more bias"),
    ("deep units", lambda: pmr.DeepBoltzmannMachine("x", [W, W.T], [B, C, B], units=[pmr.Spin()]),
     V_ERR, "got a list of 1", "one for each of the 3", "one unit for all"),
    ("deep unit a class", lambda: pmr.DeepBoltzmannMachine("x", [W, W.T], [B, C, B], units=pmr.Spin),
     T_ERR, "class Spin", "must be a unit", "Call it"),
    ("deep sizes", lambda: pmr.DeepBoltzmannMachine("x", [W, W], [B, C, B]),
     V_ERR, "weights[1]", "layers 1 and 2 have 3 and 4", "(4, 3)"),
    ("deep observed", lambda: _deep(V[:, :3]), V_ERR, "(5, 3)", "4 visible units", "length 4"),
    # ------------------------------------------------------------------------------------------------- mathematics
    ("free_energy of W alone", lambda: pmr.free_energy(V, W),
     T_ERR, "ndarray alone", "Give W and b and c", "PyMC model"),
    ("free_energy without c", lambda: pmr.free_energy(V, W, B), T_ERR, "c is missing", "Give W and b and c", "c"),
    ("free_energy masked", lambda: pmr.free_energy(MASKED, machine()),
     V_ERR, "4 of 20", "missing entries", "log_likelihood"),
    ("free_energy NaN", lambda: pmr.free_energy(np.where(V, NAN, 0), W, B, C),
     V_ERR, "v contains NaN", "masked_invalid(v)", "leave such rows out"),
    ("free_energy infinity", lambda: pmr.free_energy(V + np.inf, W, B, C),
     V_ERR, "such as inf", "v must contain only finite numbers", "clip"),
    ("free_energy NaN in W", lambda: pmr.free_energy(V, W * NAN, B, C),
     V_ERR, "W contains NaN", "parameters", "finite"),
    ("free_energy of a Machine of NaN", lambda: pmr.free_energy(V, machine().with_parameters([B, C, W * NAN])),
     V_ERR, "NaN", "parameters", "finite"),
    ("hidden_mean of a Machine of NaN", lambda: pmr.hidden_mean(V, machine().with_parameters([B, C * NAN, W])),
     V_ERR, "NaN", "parameters", "finite"),
    ("free_energy transposed", lambda: pmr.free_energy(V.T, W, B, C), V_ERR, "(4, 5)", "4 visible units", "transposed"),
    ("free_energy of a frame with NaN", lambda: pmr.free_energy(pd.DataFrame(V * 1.0).where(V > 0), W, B, C),
     V_ERR, "missing entries", "NaN", "inpaint"),
    ("free_energy of other names", lambda: pmr.free_energy(NAMED.assign_coords(pixel=list("abcx")), W_NAMED, B, C),
     V_ERR, "without ['d']", "not those of the machine", "rename"),
    ("free_energy of texts", lambda: pmr.free_energy(V.astype(str), W, B, C),
     V_ERR, "dtype <U", "v must be numbers", "np.unique"),
    ("free_energy of texts in a frame", lambda: pmr.free_energy(pd.DataFrame(V.astype(str)), W, B, C),
     V_ERR, "'1', '0'", "must be numbers", "astype('category')"),
    ("free_energy of pictures", lambda: pmr.free_energy(np.zeros((5, 2, 2)), W, B, C),
     V_ERR, "(5, 2, 2)", "4 visible units", "v.reshape(len(v), -1)"),
    ("free_energy of complex numbers", lambda: pmr.free_energy(V + 0j, W, B, C),
     V_ERR, "complex128", "v must be numbers", "np.unique"),
    ("free_energy of nothing", lambda: pmr.free_energy(None, W, B, C),
     V_ERR, "shape ()", "4 visible units", "length 4"),
    ("log_likelihood with an axis of the result", lambda: pmr.log_likelihood(NAMED.rename(row="draw"), machine()),
     V_ERR, "('draw', 'pixel')", "names of other axes", "data.rename(draw='row')"),
    ("hidden_mean with an axis of the result", lambda: pmr.hidden_mean(NAMED.rename(row="hidden"), machine()),
     V_ERR, "('hidden', 'pixel')", "names of other axes", "data.rename(hidden='row')"),
    ("free_energy units twice", lambda: pmr.free_energy(V, machine(), visible=pmr.Spin()),
     V_ERR, "beside it", "units of its own", "leave out b, c"),
    ("energy h", lambda: pmr.energy(V, V, W, B, C), V_ERR, "h has shape (5, 4)", "3 hidden units", "length 3"),
    ("energy of one layer", lambda: pmr.energy(V[:, :3], V, pmr.boltzmann(U, B[:3])),
     V_ERR, "one layer", "entries of v", "pass None for h"),
    ("conditional_hidden W", lambda: pmr.conditional_hidden(V, W.T, C), V_ERR, "(3, 4)", "(visible, hidden)", "W.T"),
    ("conditional_visible h", lambda: pmr.conditional_visible(V, W, B), V_ERR, "(5, 4)", "3 hidden units", "length 3"),
    ("conditional_hidden of one layer", lambda: pmr.conditional_hidden(V[:, :3], pmr.boltzmann(U, B[:3])),
     V_ERR, "no hidden layer", "hidden units", "masked entries"),
    ("hidden_mean masked", lambda: pmr.hidden_mean(MASKED, machine()), V_ERR, "4 of 20", "missing entries", "inpaint"),
    ("hidden_mean of a text", lambda: pmr.hidden_mean(V, "machine"),
     T_ERR, "got str", "Expected a Machine", "PyMC model"),
    ("hidden_mean labels", lambda: pmr.hidden_mean([[0, 5]], of_labels()),
     V_ERR, "such as 5", "from 0 to 2", "exactly one 1"),
    ("classify part", lambda: pmr.classify(V, machine()), V_ERR, "['label']", "no part", "with names are []"),
    ("classify v", lambda: pmr.classify(V[:, :2], with_labels()),
     V_ERR, "(5, 2)", "length 7", "Or give 4 entries, without the part"),
    ("classify masked", lambda: pmr.classify(MASKED, with_labels()),
     V_ERR, "4 of 20", "missing entries", "log_likelihood"),
    ("classify 3-D", lambda: pmr.classify(np.zeros((2, 2, 4)), with_labels()),
     V_ERR, "(2, 2, 4)", "(rows, 4)", "reshape(-1, 4)"),
    ("marginal_free_energy", lambda: pmr.marginal_free_energy(V, with_labels(), parts=[]),
     V_ERR, "[]", "At least one part", "['pixel', 'label']"),
    # ------------------------------------------------------------------------------------------------- likelihoods
    ("log_likelihood shape", lambda: pmr.log_likelihood(V[:, :3], machine(), **MUTED),
     V_ERR, "(5, 3)", "4 visible units", "length 4"),
    ("log_likelihood 3-D", lambda: pmr.log_likelihood(np.zeros((2, 3, 4)), machine(), **MUTED),
     V_ERR, "(2, 3, 4)", "(rows, 4)", "reshape(-1, 4)"),
    ("log_likelihood of pictures", lambda: pmr.log_likelihood(np.zeros((3, 2, 2)), machine(), **MUTED),
     V_ERR, "(3, 2, 2)", "length 4", "reshape(len(data), -1)"),
    ("log_likelihood of nothing", lambda: pmr.log_likelihood(np.zeros((0, 4)), machine(), **MUTED),
     V_ERR, "(0, 4)", "(rows, 4)", "at least one row"),
    ("log_likelihood NaN", lambda: pmr.log_likelihood(np.where(V, NAN, 0), machine(), **MUTED),
     V_ERR, "data contains NaN", "missing", "masked_invalid"),
    ("log_likelihood states", lambda: pmr.log_likelihood(V * 0.7, machine(), **MUTED),
     V_ERR, "such as 0.7", "only 0 and 1", "Binarise"),
    ("log_likelihood names",
     lambda: pmr.log_likelihood(frame(a=[1], b=[0], c=[1], e=[1]), pmr.restricted(W_NAMED, B, C), **MUTED),
     V_ERR, "['e'] that are not there", "not those of the machine", "rename"),
    ("log_likelihood log_z", lambda: pmr.log_likelihood(V, machine(), log_z="a", **MUTED),
     V_ERR, "got 'a'", "finite number", "pymc_rbm.log_partition"),
    ("log_likelihood particles", lambda: pmr.log_likelihood(V, machine(), particles=1, **MUTED),
     V_ERR, "got 1", "particles must be a whole number", "at least 2"),
    ("log_likelihood budget", lambda: pmr.log_likelihood(V, machine(), budget=1, **MUTED),
     V_ERR, "got 1", "budget must be a whole number", "at least 1000"),
    ("log_likelihood seed", lambda: pmr.log_likelihood(V, machine(), random_seed="a", **MUTED),
     V_ERR, "got 'a'", "random_seed must be", "Generator"),
    ("log_conditional units", lambda: pmr.log_conditional(V, machine(), units=[0, 1], **MUTED),
     V_ERR, "[0, 1]", "4 booleans", "one at least True"),
    ("log_conditional unknown names", lambda: pmr.log_conditional(V, machine(), units=["q"], **MUTED),
     V_ERR, "['q']", "no names", "4 booleans"),
    ("log_conditional data", lambda: pmr.log_conditional(V.T, machine(), units=np.arange(4) > 1, **MUTED),
     V_ERR, "(4, 5)", "length 4", "transposed"),
    ("pseudo method", lambda: pmr.pseudo_log_likelihood(V, machine(), method="guess"),
     V_ERR, "'guess'", "method must be", "'stochastic'"),
    ("pseudo masked", lambda: pmr.pseudo_log_likelihood(MASKED, machine()),
     V_ERR, "4 of 20", "missing entries", "log_likelihood"),
    ("pseudo of a frame with NaN",
     lambda: pmr.pseudo_log_likelihood(pd.DataFrame(V * 1.0).where(V > 0), machine()),
     V_ERR, "missing entries", "inpaint", "log_likelihood"),
    ("pseudo shape", lambda: pmr.pseudo_log_likelihood(V[:, :2], machine()),
     V_ERR, "(5, 2)", "4 visible units", "length 4"),
    ("pseudo real", lambda: pmr.pseudo_log_likelihood(V * 1.0, pmr.restricted(W, B, C, pmr.Gaussian())),
     V_ERR, "Gaussian", "finitely many states", "log_likelihood"),
    ("log_partition method", lambda: pmr.log_partition(machine(), method="guess"),
     V_ERR, "'guess'", "method must be", "'tempering'"),
    ("log_partition target", lambda: pmr.log_partition("v"), T_ERR, "got str", "Expected a Machine", "PyMC model"),
    ("log_partition error", lambda: pmr.log_partition(machine(), target_error=-1),
     V_ERR, "got -1", "target_error must be", "positive number of nats"),
    ("log_partition error text", lambda: pmr.log_partition(machine(), target_error="a"),
     V_ERR, "got 'a'", "target_error must be", "positive number"),
    ("log_partition particles", lambda: pmr.log_partition(machine(), particles=0),
     V_ERR, "got 0", "particles must be a whole number", "at least 2"),
    ("log_partition temperatures", lambda: pmr.log_partition(machine(), temperatures=1),
     V_ERR, "got 1", "temperatures must be", "at least 2"),
    ("log_partition data masked", lambda: pmr.log_partition(machine(), method="ais", data=MASKED),
     V_ERR, "4 of 20", "missing entries", "log_likelihood"),
    ("log_partition data when exact", lambda: pmr.log_partition(machine(), data=MASKED),
     V_ERR, "4 of 20", "missing entries", "inpaint"),
    ("log_partition data shape", lambda: pmr.log_partition(machine(), data=V[:, :3]),
     V_ERR, "(5, 3)", "4 visible units", "length 4"),
    ("log_partition intractable",
     lambda: pmr.log_partition(pmr.restricted(np.ones((40, 30)), np.zeros(40), np.zeros(30)), method="exact"),
     pmr.IntractableError, "[40, 30]", "enumeration stops", "method='compare'"),
    ("log_partition batch axes", lambda: pmr.log_partition(pmr.restricted(np.zeros((2, 4, 3)), B, C)),
     V_ERR, "(2, 4, 3)", "Expected one machine", "machine_of_row"),
    ("log_partition seed", lambda: pmr.log_partition(machine(), random_seed=-1),
     V_ERR, "got -1", "random_seed must be", "at least 0"),
    # ---------------------------------------------------------------------------------------------------- sampling
    ("sample_gibbs draws", lambda: pmr.sample_gibbs(machine(), draws=0, **MUTED),
     V_ERR, "got 0", "draws must be a whole number", "at least 1"),
    ("sample_gibbs chains", lambda: pmr.sample_gibbs(machine(), chains=1.5, **MUTED),
     V_ERR, "got 1.5", "chains must be a whole number", "at least 1"),
    ("sample_gibbs tune", lambda: pmr.sample_gibbs(machine(), tune=-1, **MUTED),
     V_ERR, "got -1", "tune must be a whole number", "at least 0"),
    ("sample_gibbs sweeps", lambda: pmr.sample_gibbs(machine(), sweeps=0, **MUTED),
     V_ERR, "got 0", "sweeps must be a whole number", "at least 1"),
    ("sample_gibbs start", lambda: pmr.sample_gibbs(machine(), start=V, **MUTED),
     V_ERR, "(5, 4)", "4 chains of 4 visible units", "(4,) to start all chains alike"),
    ("sample_gibbs start states", lambda: pmr.sample_gibbs(machine(), start=[2, 0, 0, 0], **MUTED),
     V_ERR, "such as 2", "only 0 and 1", "Binarise"),
    ("sample_gibbs start NaN", lambda: pmr.sample_gibbs(machine(), start=[NAN, 0, 0, 0], **MUTED),
     V_ERR, "start contains NaN", "missing", "mask"),
    ("sample_gibbs seed", lambda: pmr.sample_gibbs(machine(), random_seed=1.5, **MUTED),
     V_ERR, "got 1.5", "random_seed must be", "Generator"),
    ("sample_gibbs target", lambda: pmr.sample_gibbs(W, **MUTED),
     T_ERR, "got ndarray", "Expected a Machine", "PyMC model"),
    ("sample_gibbs of a posterior", lambda: pmr.sample_gibbs(model(), draws(), **MUTED),
     V_ERR, "a posterior over the", "one", "log_likelihood"),
    ("inpaint of whole rows", lambda: pmr.inpaint(V, machine(), **MUTED),
     V_ERR, "0 missing entries", "some entries are missing", "masked, or NaN"),
    ("inpaint infinity", lambda: pmr.inpaint(np.where(V, np.inf, NAN), machine(), **MUTED),
     V_ERR, "such as inf", "only 0 and 1", "Binarise"),
    ("inpaint shape", lambda: pmr.inpaint([NAN, 0, 1], machine(), **MUTED),
     V_ERR, "(3,)", "4 visible units", "length 4"),
    ("inpaint 3-D", lambda: pmr.inpaint(np.full((2, 2, 4), NAN), machine(), **MUTED),
     V_ERR, "(2, 2, 4)", "(rows, 4)", "reshape(-1, 4)"),
    ("inpaint names",
     lambda: pmr.inpaint(frame(a=[NAN], b=[0], c=[1], e=[1]), pmr.restricted(W_NAMED, B, C), **MUTED),
     V_ERR, "['e'] that are not there", "not those of the machine", "rename"),
    ("inpaint draws", lambda: pmr.inpaint(MASKED, machine(), draws=0, **MUTED),
     V_ERR, "got 0", "draws must be", "at least 1"),
    ("inpaint memory", lambda: pmr.inpaint(np.full((2000, 4), NAN), machine(), draws=10**6, **MUTED),
     MemoryError, "GiB", "(2000, 4)", "states=False"),
    ("generative, the other way round", lambda: pmr.generative({"W": 1}, machine()),
     TypeError, "got a dict", "takes the model first", "pymc_rbm.generative(model, learned)"),
    ("relabel of no posterior", lambda: pmr.relabel(xr.DataTree()),
     TypeError, "got DataTree", "posterior", "pm.sample"),
    ("inpaint seed", lambda: pmr.inpaint(MASKED, machine(), random_seed="a", **MUTED),
     V_ERR, "got 'a'", "random_seed must be", "Generator"),
    ("BlockGibbs of others", lambda: _block_gibbs_of_others(),
     V_ERR, "x is neither", "samples RBM and Hidden", "BlockGibbs"),
    ("BlockGibbs sweeps", lambda: _block_gibbs_of_others(sweeps=0),
     V_ERR, "got 0", "sweeps must be a whole number", "at least 1"),
    ("BlockGibbs and set_data", lambda: changed(V * 0.7, block_gibbs),
     V_ERR, "such as 0.7", "v must contain only 0 and 1", "Binarise"),
    ("BlockGibbs and set_data NaN", lambda: changed(np.where(V, NAN, 0), block_gibbs),
     V_ERR, "v contains NaN", "whole rows", "masked_invalid"),
    # ---------------------------------------------------------------------------------------------------- learning
    ("fit of a model by position", lambda: pmr.fit(model()), T_ERR, "Model as epochs", "model=", "with model:"),
    ("fit without a model", lambda: pmr.fit(1), T_ERR, "No model", "with model:", "model="),
    ("fit of a text", lambda: pmr.fit(1, model="m"), T_ERR, "a str", "must be a PyMC model", "model="),
    ("fit epochs", lambda: fit(0), V_ERR, "got 0", "epochs must be a whole number", "at least 1"),
    ("fit chains", lambda: fit(1, chains=True), V_ERR, "got True", "chains must be a whole number", "at least 1"),
    ("fit batch_size", lambda: fit(1, batch_size=0), V_ERR, "got 0", "batch_size must be", "at least 1"),
    ("fit method", lambda: fit(1, method="guess"), V_ERR, "'guess'", "method must be one of", "'pcd'"),
    ("fit learning_rate", lambda: fit(1, learning_rate="a"),
     V_ERR, "got 'a'", "learning_rate must be a positive number", "callable"),
    ("fit learning_rate zero", lambda: fit(1, learning_rate=0), V_ERR, "got 0", "learning_rate must be", "positive"),
    ("fit learning_rate NaN", lambda: fit(1, learning_rate=NAN), V_ERR, "got nan", "learning_rate must be", "positive"),
    ("fit sweeps", lambda: fit(1, sweeps="many"), V_ERR, "'many'", "sweeps must be a whole number", "at least 1"),
    ("fit optimizer", lambda: fit(1, optimizer="adam"), V_ERR, "'adam'", "optimizer must be", "pm.adam"),
    ("fit max_gradient_norm", lambda: fit(1, max_gradient_norm=-1),
     V_ERR, "got -1", "max_gradient_norm must be", "positive number"),
    ("fit max_gradient_norm text", lambda: fit(1, max_gradient_norm="a"),
     V_ERR, "got 'a'", "max_gradient_norm must be", "positive number"),
    ("fit callback", lambda: fit(1, on_epoch=3), V_ERR, "got 3", "on_epoch must be a callable", "LearningStatus"),
    ("fit checkpoint_every", lambda: fit(1, checkpoint_every=0),
     V_ERR, "got 0", "checkpoint_every must be", "at least 1"),
    ("fit row_weights", lambda: fit(1, row_weights=np.ones(3)), V_ERR, "(3,)", "5 finite numbers", "one a row"),
    ("fit row_weights names", lambda: fit(1, row_weights={"u": np.ones(5)}),
     V_ERR, "['u']", "observed RBMs are", "['v']"),
    ("fit row_weights text", lambda: fit(1, row_weights="abc"), V_ERR, "'abc'", "row_weights", "5 finite numbers"),
    ("fit start name", lambda: fit(1, start={"X": 1}), V_ERR, "['X']", "but the free variables", "['W', 'b', 'c']"),
    ("fit start shape", lambda: fit(1, start={"W": np.zeros(3)}), V_ERR, "(3,)", "start['W']", "(4, 3)"),
    ("fit start NaN", lambda: fit(1, start={"W": W * NAN}), V_ERR, "start['W']", "contains NaN", "finite numbers"),
    ("fit start outside", lambda: fit_scaled(start={"scale": -1.0}),
     V_ERR, "-1.0", "start['scale']", "inside of the range"),
    ("fit start text", lambda: fit(1, start="W"), V_ERR, "'W'", "start must be a dict", "by name"),
    ("fit resume path", lambda: fit(1, resume="file.nc"),
     T_ERR, "'file.nc'", "`resume` must be", "xarray.open_datatree"),
    ("fit resume method", lambda: fit(1, method="cd", resume=record_of_run(method="persistent")),
     V_ERR, "method='pcd'", "`resume` learned with", "asks for 'cd'"),
    ("fit resume of a posterior", lambda: fit(1, method="pcd", resume=draws()),
     V_ERR, "['posterior']", "must come from pymc_rbm.fit", "resume"),
    ("fit without data", lambda: _fit_free(), V_ERR, "no observed RBM", "found", "observed="),
    ("fit of constants", lambda: _fit_constants(), V_ERR, "nothing to learn", "no free continuous variable", "pm.Flat"),
    ("fit and set_data", lambda: changed(V * 0.7, lambda m: pmr.fit(1, model=m, **MUTED)),
     V_ERR, "such as 0.7", "v must contain only 0 and 1", "Binarise"),
    ("fit and set_data of two", lambda: changed(V * 2.0, lambda m: pmr.fit(1, model=m, **MUTED)),
     V_ERR, "such as 2", "v must contain only 0 and 1", "Binarise"),
    ("fit and set_data NaN", lambda: changed(np.where(V, NAN, 0), lambda m: pmr.fit(1, model=m, **MUTED)),
     V_ERR, "v contains NaN", "whole rows", "masked_invalid"),
    ("fit 3-D", lambda: _fit_3d(), V_ERR, "(2, 5, 4)", "(rows, visible)", "fit needs the data of v"),
    ("fit in JAX mode", lambda: fit(1, compile_kwargs={"mode": "JAX"}), V_ERR, "JAX", "NumPy's generators", "NUMBA"),
    ("sample_gibbs in JAX mode", lambda: _in_jax(lambda: pmr.sample_gibbs(machine(), **MUTED)),
     V_ERR, "JAX", "NumPy's generators", "NUMBA"),
    ("schedule", lambda: pmr.schedules.robbins_monro(0.1, 0), V_ERR, "got 0", "halved_at must be", "positive"),
    ("StopOnLikelihood NaN", lambda: pmr.StopOnLikelihood(np.where(V, NAN, 0)),
     V_ERR, "NaN", "whole rows", "leave such rows out"),
    ("StopOnLikelihood masked", lambda: pmr.StopOnLikelihood(MASKED),
     V_ERR, "missing entries", "whole rows", "leave such rows out"),
    ("StopOnLikelihood patience", lambda: pmr.StopOnLikelihood(V, patience=0),
     V_ERR, "got 0", "patience must be", "at least 1"),
    ("StopOnGap largest", lambda: pmr.StopOnGap(V, largest="a"), V_ERR, "got 'a'", "largest must be", "finite number"),
    ("StopOnGap every", lambda: pmr.StopOnGap(V, every=1.5),
     V_ERR, "got 1.5", "every must be a whole number", "at least 1"),
    ("tempered", lambda: pmr.estimators.tempered(None, None, None, None, None, 1, temperatures=2),
     V_ERR, "got 2", "temperatures must be at least 3", "both ends included"),
    ("averaged of draws", lambda: pmr.averaged(draws()), V_ERR, "['posterior']", "pymc_rbm.fit returned", "averaged"),
    ("averaged of a path", lambda: pmr.averaged("file.nc"), T_ERR, "'file.nc'", "DataTree", "xarray.open_datatree"),
    ("generative of another model", lambda: pmr.generative(_other_names(), learned()),
     V_ERR, "['V']", "no value for", "of another model"),
    ("diagnose of an array", lambda: pmr.diagnose(V, **MUTED),
     T_ERR, "got ndarray", "Expected a DataTree", "sample_gibbs"),
    ("diagnose of nothing", lambda: pmr.diagnose(xr.DataTree(), **MUTED),
     V_ERR, "groups []", "Expected draws", "what fit returned"),
    ("diagnose of other states",
     lambda: pmr.diagnose(draws(), pmr.restricted(W, B, C, pmr.Spin()), **MUTED),
     V_ERR, "such as", "only -1 and 1", "other entries"),
    # -------------------------------------------------------------------------------------------------------- deep
    ("fit_deep data", lambda: pmr.fit_deep(V * 2, [3], **MUTED), V_ERR, "such as 2", "only 0 and 1", "Binarise"),
    ("fit_deep masked", lambda: pmr.fit_deep(MASKED, [3], **MUTED), V_ERR, "4 of 20", "missing entries", "inpaint"),
    ("fit_deep 1-D", lambda: pmr.fit_deep(V[0], [3], **MUTED), V_ERR, "(4,)", "(rows, visible)", "one row"),
    ("fit_deep hidden", lambda: pmr.fit_deep(V, [], **MUTED), V_ERR, "hidden", "at least one machine", "[64, 32]"),
    ("fit_deep hidden zero", lambda: pmr.fit_deep(V, [3, 0], **MUTED),
     V_ERR, "got 0", "hidden must be a whole number", "at least 1"),
    ("fit_deep options", lambda: pmr.fit_deep(V, [3], resume=None, **MUTED),
     V_ERR, "['resume']", "single machines", "below"),
    ("fit_deep visible", lambda: pmr.fit_deep(V, [3], visible="Spin", **MUTED),
     T_ERR, "'Spin'", "visible must be a unit", "pymc_rbm.Bernoulli()"),
    ("fit_deep tied", lambda: pmr.fit_deep(V, [3], tied=True, **MUTED),
     V_ERR, "Machine 1", "cannot be tied", "no machine below"),
    ("network of arrays", lambda: pmr.DeepBeliefNetwork.of(W), T_ERR, "ndarray", "Machine", "fit returned"),
    ("network of nothing", lambda: pmr.DeepBeliefNetwork.of(),
     V_ERR, "deep belief network", "needs", "at least one machine"),
    ("network of a tree", lambda: pmr.DeepBeliefNetwork(xr.DataTree()), V_ERR, "[]", "layer_1, layer_2", "fit_deep"),
    ("network sizes", lambda: pmr.DeepBeliefNetwork.of(machine(), machine()),
     V_ERR, "4 of Bernoulli", "Machine 2 must have", "3 of Bernoulli"),
    ("network first", lambda: two_layers().first(3), V_ERR, "n must be at most 2", "number of machines", "got 3"),
    ("features layer", lambda: two_layers().features(V, 3), V_ERR, "got 3", "at most 2", "number of machines"),
    ("features data", lambda: two_layers().features(V[:, :3]), V_ERR, "(5, 3)", "4 visible units", "length 4"),
    ("features masked", lambda: two_layers().features(MASKED), V_ERR, "4 of 20", "missing entries", "inpaint"),
    ("features seed", lambda: two_layers().features(V, sampled=True, random_seed="a"),
     V_ERR, "got 'a'", "random_seed must be", "Generator"),
    ("bound masked", lambda: two_layers().bound(MASKED, **MUTED), V_ERR, "4 of 20", "missing entries", "whole rows"),
    ("bound log_z", lambda: two_layers().bound(V, "a", **MUTED), V_ERR, "got 'a'", "log_z must be", "finite number"),
    ("bound draws", lambda: two_layers().bound(V, draws=1, **MUTED),
     V_ERR, "got 1", "draws must be a whole number", "at least 2"),
    ("network model", lambda: two_layers().model(V, size=3), V_ERR, "(5, 4)", "rows", "leave size out"),
    ("network inpaint", lambda: two_layers().inpaint(V * 2, **MUTED), V_ERR, "such as 2", "only 0 and 1", "Binarise"),
    # ------------------------------------------------------------------------------------------------------- plots
    ("plot_filters shape", lambda: pmr.plot_filters(learned(), shape=(3, 3)),
     V_ERR, "(3, 3)", "4 visible units", "shape"),
    ("plot_fantasies of fit's result", lambda: pmr.plot_fantasies(learned()),
     V_ERR, "'machines'", "'posterior'", "pm.sample"),
    ("plot_fantasies variable", lambda: pmr.plot_fantasies(draws(), name="x"), V_ERR, "'x'", "name must be", "['v']"),
    ("plot_mixing group", lambda: pmr.plot_mixing(learned()), V_ERR, "'posterior'", "no group", "'particles'"),
    ("plot_learning of draws", lambda: pmr.plot_learning(draws()),
     V_ERR, "['posterior']", "pymc_rbm.fit returned", "learning"),
    ("plot_projections", lambda: pmr.plot_projections(draws()),
     V_ERR, "machine's weights", "pass the machine", "target"),
    ("plot_projections data", lambda: pmr.plot_projections(draws(), machine(), data=V[:, :2]),
     V_ERR, "(5, 2)", "4 visible units", "length 4"),
    # ------------------------------------------------------------------------------------------------------- files
    ("bars_and_stripes", lambda: pmr.datasets.bars_and_stripes(1),
     V_ERR, "got 1", "n must be a whole number", "at least 2"),
    ("from_npz of several", lambda tmp_path: npz(tmp_path, a=V, b=V),
     V_ERR, "'a': (5, 4)", "expected one two-dimensional array", "'data'"),
    ("from_npz grey", lambda tmp_path: npz(tmp_path, data=V * 7), V_ERR, "such as 7", "only 0 and 1", "Binarise"),
    ("from_npz of nothing", lambda tmp_path: npz(tmp_path, data=V[0]),
     V_ERR, "(4,)", "two-dimensional array", "'data'"),
    ("from_npz without a file", lambda tmp_path: pmr.datasets.from_npz(tmp_path / "no.npz"),
     FileNotFoundError, "no.npz", "There is no file", "Check the name"),
    ("--data without a file", lambda: command_line("--data", "no such file"),
     SystemExit, "no such file", "there is no file", "--data"),
    ("--hidden", lambda: command_line("--hidden", "0"), SystemExit, "'0'", "whole number", "at least 1"),
]
# fmt: on


def _named_model(observed, **kwargs):
    coords = {"pixel": list("abcd"), "unit": range(3)}
    with pm.Model(coords=coords):
        weights = pm.Normal("W", dims=("pixel", "unit"))
        return pmr.RBM("v", weights, pm.Flat("b", dims="pixel"), pm.Flat("c", dims="unit"), observed=observed, **kwargs)


def _named_data():
    with pm.Model(coords={"pixel": range(4), "unit": range(3), "row": range(4)}):
        data = pm.Data("data", V[:4], dims=("pixel", "row"))
        return pmr.RBM("v", pm.Normal("W", dims=("pixel", "unit")), B, C, observed=data)


def _swapped_weights():
    with pm.Model(coords={"pixel": range(3), "unit": range(3)}):
        weights = pm.Normal("W", dims=("unit", "pixel"))
        return pmr.RBM("v", weights, pm.Flat("b", dims="pixel"), pm.Flat("c", dims="unit"))


def _observe_labels(observed):
    with pm.Model():
        return pmr.RBM("v", np.zeros((6, 2)), np.zeros(6), np.zeros(2), visible=ONE_HOT, observed=observed)


def _hidden(v, **kwargs):
    with pm.Model():
        return pmr.Hidden("h", v, **kwargs)


def _deep(observed):
    with pm.Model():
        return pmr.DeepBoltzmannMachine("x", [W, W.T], [B, C, B], observed=observed)


def _block_gibbs_of_others(**kwargs):
    with pm.Model():
        return pmr.BlockGibbs([pm.Poisson("x", 1)], **kwargs)


def _fit_free():
    with pm.Model():
        pmr.RBM("v", pm.Normal("W", shape=(4, 3)), B, C)
        return pmr.fit(1, **MUTED)


def _fit_constants():
    with pm.Model():
        pmr.RBM("v", W, B, C, observed=V)
        return pmr.fit(1, **MUTED)


def _fit_3d():
    with model(np.stack([V, V])):
        return pmr.fit(1, **MUTED)


def _other_names():
    with pm.Model() as made:
        pmr.RBM("v", pm.Normal("V", shape=(4, 3)), B, C, observed=V)
    return made


def _in_jax(call):
    with pytensor.config.change_flags(mode="JAX"):
        return call()


@pytest.fixture
def nothing_is_compiled(monkeypatch):
    """Refusals come before the work that costs seconds."""

    def compiled(*args, **kwargs):
        raise AssertionError("something was compiled before the refusal")

    monkeypatch.setattr(NumbaLinker, "jit_compile", compiled)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_refused_in_words(row, tmp_path, nothing_is_compiled, capsys):
    call, error, *fragments = row[1:]
    arguments = [tmp_path] if call.__code__.co_argcount else []
    with pytest.raises(error) as caught:
        call(*arguments)
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    message = str(caught.value) + (capsys.readouterr().err if error is SystemExit else "")
    lacking = [x for x in fragments if x not in message]
    assert not lacking, f"{lacking} not in: {message}"


def test_the_table_is_long():
    assert len(ROWS) >= 150
    assert len({row[0] for row in ROWS}) == len(ROWS)
