"""One fault has one message: wrong machines and wrong states, given to every public function that takes them.

Nothing is compiled before the refusal, and no machine that is refused can be made.
"""

import inspect
import re

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import reference as ref
import xarray as xr
from options import QUIET
from pytensor.link.numba.linker import NumbaLinker

import pymc_rbm as pmr
from pymc_rbm.machine.machine import Coupling, Layer

W, B, C = ref.machine(4, 3, seed=4)
U = np.array([[0, 1, 0, 0.5], [1, 0, 2, 0], [0, 2, 0, 0], [0.5, 0, 0, 0]])
V, H = np.array(ref.states(4)[3:8], dtype="int8"), np.array(ref.states(3)[2:7], dtype="int8")
HOLES = np.ma.masked_array(V, V * 0 + np.eye(5, 4))
DRAWS = xr.DataTree.from_dict({"posterior": xr.Dataset({"v": (("chain", "draw", "unit"), np.tile(V, (2, 20, 1)))})})
LABELLED = pmr.Beside(pixel=(pmr.Bernoulli(), 3), label=(pmr.Bernoulli(), 1))
NAN, INF = np.nan, np.inf


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch):
    def compiled(*args, **kwargs):
        raise AssertionError("something was compiled before the refusal")

    monkeypatch.setattr(NumbaLinker, "jit_compile", compiled)


def refusal(call, *arguments):
    """The kind and text of the error that a call raises."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call(*arguments)
    return type(caught.value), str(caught.value)


# ----------------------------------------------------------------------------------------------- how machines are made


def by_machine(W, b, c, visible=None, hidden=None):
    layers = Layer(visible or pmr.Bernoulli(), b), Layer(hidden or pmr.Bernoulli(), c)
    return pmr.Machine(layers, (Coupling(0, 1, W),))


def in_a_model(W, b, c, visible=None, hidden=None):
    with pm.Model():
        return pmr.RBM("v", W, b, c, visible=visible, hidden=hidden)


def later(W, b, c, visible=None, hidden=None):
    """Whoever sets parameters of a machine that is right."""
    visible = visible and visible.family
    right = pmr.restricted(None, None, None, visible, hidden)
    machine = right.with_parameters([b, c, W, *(visible.parameters if visible else ())])
    return pmr.machine_of(machine)


MAKERS = {
    "restricted": pmr.restricted,
    "Machine": by_machine,
    "RBM.dist": lambda W, b, c, visible=None, hidden=None: pmr.RBM.dist(W, b, c, visible=visible, hidden=hidden),
    "RBM": in_a_model,
    "free_energy": lambda W, b, c, visible=None, hidden=None: pmr.free_energy(
        V, W, b, c, visible=visible, hidden=hidden
    ),
    "energy": lambda W, b, c, visible=None, hidden=None: pmr.energy(V, H, W, b, c, visible=visible, hidden=hidden),
}
GENERAL = {
    "boltzmann": pmr.boltzmann,
    "Machine": lambda U, b, unit=None: pmr.Machine((Layer(unit or pmr.Bernoulli(), b),), (Coupling(0, 0, U),)),
    "BoltzmannMachine.dist": lambda U, b, unit=None: pmr.BoltzmannMachine.dist(U, b, unit=unit),
}
SHAPES = "W is (visible, hidden), b is (visible,) and c is (hidden,)."
FINITE = "contains NaN or infinity, or has missing entries; the parameters of a machine must be finite numbers."
# fmt: off
BORN_WRONG = {
    "W transposed": ((W.T, B, C),
        f"The shapes do not fit: W (3, 4), b (4,), c (3,). {SHAPES} W looks transposed: pass W.T. (scikit-learn's"),
    "b too short": ((W, B[:1], C),
        f"The shapes do not fit: W (4, 3), b (1,), c (3,). {SHAPES} Check which of them has the wrong size."),
    "c too long": ((W, B, B),
        f"The shapes do not fit: W (4, 3), b (4,), c (4,). {SHAPES} Check which of them has the wrong size."),
    "rows of b and of c": ((W, np.stack([B] * 5), np.stack([C] * 2)),
        f"The batch axes do not fit: W (4, 3), b (5, 4), c (2, 3). {SHAPES} Axes before these are as long for all"),
    "b a number": ((W, np.array(0.0), C), f"b must have at least 1 axis, got shape (). {SHAPES}"),
    "c a number": ((W, B, 0.0), f"c must have at least 1 axis, got shape (). {SHAPES}"),
    "W a vector": ((W[0], B, C), f"W must have at least 2 axes, got shape (3,). {SHAPES}"),
    "no hidden units": ((W[:, :0], B, C[:0]), "W has shape (4, 0), but each side of a machine needs at least"),
    "no visible units": ((W[:0], B[:0], C), "W has shape (0, 3), but each side of a machine needs at least one unit."),
    "NaN in W": ((W * NAN, B, C), f"W {FINITE}"),
    "infinity in W": ((W * INF, B, C), f"W {FINITE}"),
    "NaN in b": ((W, B * NAN, C), f"b {FINITE}"),
    "infinity in b": ((W, B - INF, C), f"b {FINITE}"),
    "NaN in c": ((W, B, C * NAN), f"c {FINITE}"),
    "infinity in c": ((W, B, C + INF), f"c {FINITE}"),
    "NaN in a list": ((W.tolist(), [NAN] * 4, C), f"b {FINITE}"),
    "W masked": ((np.ma.masked_less(W, 0), B, C), f"W {FINITE}"),
    "NaN in a DataArray": ((xr.DataArray(W * NAN), B, C), f"W {FINITE}"),
    "W of texts": (([["a"] * 3] * 4, B, C), "W must be numbers, got an array of dtype <U1 (such as 'a', 'a', 'a')."),
    "W of complex numbers": ((W + 0j, B, C), "W must be numbers, got an array of dtype complex128"),
    "b ragged": ((W, [[0.0], [0.0, 1.0]], C), "b must be rows of the same length, got rows of different lengths."),
    "visible a name": ((W, B, C, "Spin"), "visible must be a unit such as pymc_rbm.Bernoulli() or pymc_rbm.Gaussian("),
    "hidden a class": ((W, B, C, None, pmr.Spin), "hidden must be a unit, got the class Spin. Call it: pymc_rbm.Spin("),
    "half a unit": ((W, B, C, pmr.Categorical(3)),
        "4 visible entries are not a whole number of Categorical(q=3) units, which take 3 entries each: give a "),
    "another number of parts": ((W, B, C, pmr.Beside((pmr.Spin(), 5))), "4 visible entries do not fit Beside("),
    "sigma of another length": ((W, B, C, pmr.Gaussian([1.0, 2.0])),
        "sigma of Gaussian has shape (2,), but there are 4 units on the visible side. Give one number for all, or 4."),
    "sigma of hidden units": ((W, B, C, None, pmr.Gaussian(np.ones(4))),
        "sigma of Gaussian has shape (4,), but there are 3 units on the hidden side. Give one number for all, or 3."),
}
GENERAL_SHAPES = "U is (units, units) and b is (units,)."
BORN_WRONG_IN_ONE_LAYER = {
    "U not square": ((W, B), f"The shapes do not fit: U (4, 3), b (4,). {GENERAL_SHAPES} (A machine with W"),
    "b too short": ((U, B[:3]), f"The shapes do not fit: U (4, 4), b (3,). {GENERAL_SHAPES} (A machine with W"),
    "U a vector": ((U[0], B), f"U must have at least 2 axes, got shape (4,). {GENERAL_SHAPES}"),
    "NaN in U": ((U * NAN, B), f"U {FINITE}"),
    "infinity in b": ((U, B + INF), f"b {FINITE}"),
    "U asymmetric": ((np.triu(U), B), "U must be symmetric, but U and its transpose differ by up to 2. Pass (U + U.T)"),
    "U with a diagonal": ((U + np.eye(4), B), "U must be zero between a unit and itself (on the diagonal, in blocks"),
    "U inside a unit": ((U, B, pmr.Categorical(2)), "U must be zero between a unit and itself (on the diagonal, in"),
    "half a unit": ((U, B, pmr.Categorical(3)), "4 visible entries are not a whole number of Categorical(q=3) units"),
    "sigma of another length": ((U, B, pmr.Gaussian([1.0, 2.0])), "sigma of Gaussian has shape (2,), but there are 4"),
}
# fmt: on


def kind_of_refusal(make, reference, fault):
    """The kind of error with which a machine is not made, in the words expected, which are those of ``reference``."""
    arguments, message = fault
    kind, found = refusal(make, *arguments)
    assert found.startswith(message)
    assert found == refusal(reference, *arguments)[1]
    return kind


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("fault", BORN_WRONG)
def test_no_wrong_machine_of_two_layers_is_made(fault, maker):
    kind = kind_of_refusal(MAKERS[maker], pmr.restricted, BORN_WRONG[fault])
    assert kind is (TypeError if fault in ("visible a name", "hidden a class") else ValueError)


@pytest.mark.parametrize("maker", GENERAL)
@pytest.mark.parametrize("fault", BORN_WRONG_IN_ONE_LAYER)
def test_no_wrong_machine_of_one_layer_is_made(fault, maker):
    kind_of_refusal(GENERAL[maker], pmr.boltzmann, BORN_WRONG_IN_ONE_LAYER[fault])


def test_right_machines_are_made_by_all():
    for make in (*MAKERS.values(), *GENERAL.values()):
        if make not in (MAKERS["free_energy"], MAKERS["energy"]):  # they would compile
            make(*((W, B, C) if make in MAKERS.values() else (U, B)))


LAYER = Layer(pmr.Bernoulli(), np.zeros(2))


# fmt: off
NOT_MACHINES = [
    ((LAYER,) * 2, (Coupling(0, 2, np.eye(2)),), ValueError, "joins layers 0 and 2, but the machine has 2 layers."),
    ((LAYER,) * 2, (Coupling(-1, 0, np.eye(2)),), ValueError, "joins layers -1 and 0, but the machine has 2"),
    ((LAYER,) * 2, (Coupling(0, 1.0, np.eye(2)),), ValueError, "joins layers 0 and 1.0, but the machine has 2"),
    ((LAYER,) * 2, (Coupling(0, 1, np.eye(2)),) * 2, ValueError, "Layers 0 and 1 are coupled by 2 couplings: give one"),
    ((LAYER,) * 2, (Coupling(0, 1, np.eye(2)), Coupling(1, 0, np.eye(2))), ValueError, "are coupled by 2 couplings"),
    ((LAYER,) * 2, (Coupling(0, 1, np.eye(2), ((0,), (1,))),), ValueError, "two layers takes no classes"),
    ((LAYER, 3), (), TypeError, "takes a tuple of Layers and a tuple of Couplings, got 3 in the place of a Layer"),
    ((LAYER,), (np.eye(2),), TypeError, "in the place of a Coupling. Make a machine of arrays by pymc_rbm.restricted"),
    ((Layer(None, np.zeros(2)),), (), TypeError, "visible must be a unit such as"),
    ((LAYER,) * 3, (Coupling(0, 1, np.eye(2)), Coupling(1, 2, np.eye(3))), ValueError,
     "the weights between layers 1 and 2 (3, 3)"),
    ((LAYER,) * 3, (Coupling(1, 2, np.eye(2) * NAN),), ValueError, "the weights between layers 1 and 2 contains NaN"),
    ((LAYER,) * 3, (Coupling(2, 2, np.eye(2)),), ValueError, "between layers 2 and 2 must be zero between a unit and"),
    ((LAYER,), (Coupling(0, 0, np.array([[0, 1], [1, 0.0]]), ((0, 1),)),), ValueError, "no two units that are coupled"),
    ((LAYER,), (Coupling(0, 0, np.zeros((2, 2)), ((0,),)),), ValueError, "each of the 2 entries once"),
    ((Layer(pmr.Categorical(2), np.zeros(2)),), (Coupling(0, 0, np.zeros((2, 2)), ((0,), (1,))),), ValueError,
     "those of a unit together"),
]
# fmt: on


@pytest.mark.parametrize(("layers", "couplings", "kind", "message"), NOT_MACHINES)
def test_what_makes_no_machine(layers, couplings, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        pmr.Machine(layers, couplings)


def test_a_machine_of_lists_has_arrays():
    machine = pmr.Machine([Layer(pmr.Bernoulli(), [0, 1]), LAYER], [Coupling(0, 1, [[1.0, 2.0], [3.0, 4.0]])])
    assert all(isinstance(p, np.ndarray) for p in machine.parameters)
    assert isinstance(machine.layers, tuple) and isinstance(machine.couplings, tuple)
    assert hash(machine.template) == hash(pmr.restricted(None, None, None).template)


# ------------------------------------------------------------------------------------ wrong machines, to every function


BY_MACHINE = {
    "energy": lambda m: pmr.energy(V, H, m),
    "free_energy": lambda m: pmr.free_energy(V, m),
    "conditional_hidden": lambda m: pmr.conditional_hidden(V, m),
    "conditional_visible": lambda m: pmr.conditional_visible(H, m),
    "hidden_mean": lambda m: pmr.hidden_mean(V, m),
    "log_likelihood": lambda m: pmr.log_likelihood(V, m, **QUIET),
    "log_conditional": lambda m: pmr.log_conditional(V, m, units=np.arange(4) < 1, **QUIET),
    "pseudo_log_likelihood": lambda m: pmr.pseudo_log_likelihood(V, m),
    "log_partition": lambda m: pmr.log_partition(m, **QUIET),
    "sample_gibbs": lambda m: pmr.sample_gibbs(m, **QUIET),
    "inpaint": lambda m: pmr.inpaint(HOLES, m, **QUIET),
    "classify": lambda m: pmr.classify(V, m),
    "marginal_free_energy": lambda m: pmr.marginal_free_energy(V, m, parts=["label"]),
    "mixture_parameters": lambda m: pmr.mixture_parameters(m),
    "diagnose": lambda m: pmr.diagnose(DRAWS, m, **QUIET),
    "plot_projections": lambda m: pmr.plot_projections(DRAWS, m),
    "machine_of_row": lambda m: pmr.machine_of_row(m, row=0),
    "machine_of": pmr.machine_of,
}
SUMS = "log_likelihood", "log_conditional", "log_partition", "inpaint", "free_energy", "pseudo_log_likelihood"
"""What star-shaped machines have, too."""
FORMULAS = "energy", "free_energy", "conditional_hidden", "conditional_visible"
"""Parameters may have batch axes here."""
ROWS = *FORMULAS, "log_likelihood", "inpaint", "diagnose", "plot_projections", "machine_of_row"
"""Biases may differ by row here."""
ENERGIES = *FORMULAS, "hidden_mean", "classify", "marginal_free_energy"
"""These exist whether or not a machine can be normalised."""
HANDLES = "machine_of", "machine_of_row"
"""They hand machines on and compute nothing."""
RIGHT, GENERAL_RIGHT = pmr.restricted(W, B, C, LABELLED), pmr.boltzmann(U, B, LABELLED)
ONE_HOT = pmr.boltzmann(np.zeros((4, 4)), B, pmr.Categorical(2))


def star(*pairs):
    sizes = 4, 3, 2
    layers = [Layer(LABELLED if n == 4 else pmr.Bernoulli(), np.zeros(n)) for n in sizes]
    return pmr.Machine(layers, [Coupling(i, j, np.ones((sizes[i], sizes[j]))) for i, j in pairs])


def lateral():
    return pmr.Machine((*RIGHT.layers,), (*RIGHT.couplings, Coupling(1, 1, np.ones((3, 3)) - np.eye(3))))


NOT_A_PAIR = "Expected a machine of a visible and a hidden layer, or of one layer coupled to itself, got"
NOT_ONE = "Expected one machine, got parameters with batch axes:"
NOT_A_MACHINE = "Expected a Machine, an RBM variable, a PyMC model with one, or what pymc_rbm.fit returned, got"
NO_NUMBERS = "Numbers are needed, but"
LAYERS = ("conditional_hidden", "hidden_mean", "conditional_visible", "energy")
# fmt: off
WRONG = {  # how it is made, what is said, and who need not say it
    "NaN in W": (lambda: RIGHT.with_parameters([B, C, W * NAN]), f"W {FINITE}", ()),
    "infinity in W": (lambda: RIGHT.with_parameters([B, C, W * INF]), f"W {FINITE}", ()),
    "NaN in b": (lambda: RIGHT.with_parameters([B * NAN, C, W]), f"b {FINITE}", ()),
    "infinity in b": (lambda: RIGHT.with_parameters([B + INF, C, W]), f"b {FINITE}", ()),
    "NaN in c": (lambda: RIGHT.with_parameters([B, C * NAN, W]), f"c {FINITE}", ()),
    "infinity in c": (lambda: RIGHT.with_parameters([B, C - INF, W]), f"c {FINITE}", ()),
    "NaN in U": (lambda: GENERAL_RIGHT.with_parameters([B, U * NAN]), f"U {FINITE}", ()),
    "NaN in the bias of one layer": (lambda: GENERAL_RIGHT.with_parameters([B * NAN, U]), f"b {FINITE}", ()),
    "U asymmetric": (lambda: GENERAL_RIGHT.with_parameters([B, np.triu(U)]), "U must be symmetric, but", ()),
    "U with a diagonal": (lambda: GENERAL_RIGHT.with_parameters([B, U + np.eye(4)]), "U must be zero between a", ()),
    "U inside a unit": (lambda: ONE_HOT.with_parameters([B, U]), "U must be zero between a unit and itself", ()),
    "U inside a class": (lambda: pmr.boltzmann(U * 0, B).with_parameters([B, U]), "classes must hold each of the", ()),
    "W by row": (lambda: pmr.restricted(np.stack([W] * 5), B, C, LABELLED), NOT_ONE, (*FORMULAS, *HANDLES)),
    "biases by row": (lambda: pmr.restricted(W, np.stack([B] * 5), C, LABELLED), NOT_ONE, (*ROWS, "machine_of")),
    "W symbolic": (lambda: pmr.restricted(pt.dmatrix(), B, C, LABELLED), f"{NO_NUMBERS} W of this machine is", HANDLES),
    "all symbolic": (lambda: pmr.restricted(pt.dmatrix(), pt.dvector(), pt.dvector(), LABELLED),
        f"{NO_NUMBERS} b and c and W of this machine are symbolic or missing.", HANDLES),
    "without c": (lambda: pmr.restricted(W, B, None, LABELLED), f"{NO_NUMBERS} c of this machine is", HANDLES),
    "a star": (lambda: star((0, 1), (0, 2)), f"{NOT_A_PAIR} 3 layers and 2 couplings. Put the layers of each side",
        (*SUMS, *HANDLES, "classify", "marginal_free_energy")),
    "a chain": (lambda: star((0, 1), (1, 2)), f"{NOT_A_PAIR} 3 layers and 2 couplings. Put the layers of each side",
        (*SUMS, *HANDLES, "classify", "marginal_free_energy")),
    "the free energy of a chain": (lambda: star((0, 1), (1, 2)), "The free energy has a closed form only where",
        set(BY_MACHINE) - {"free_energy", "pseudo_log_likelihood", "classify", "marginal_free_energy"}),
    "layers that are not coupled": (lambda: pmr.Machine(RIGHT.layers, ()), f"{NOT_A_PAIR} 2 layers and 0 couplings.",
        (*SUMS, *HANDLES, *LAYERS, "classify", "marginal_free_energy")),
    "hidden units coupled": (lateral, f"{NOT_A_PAIR} 2 layers and 2 couplings.",
        (*SUMS, *HANDLES, "energy", "conditional_visible", "classify", "marginal_free_energy")),
    "not normalisable": (lambda: pmr.restricted(3 * np.eye(4), B, B, pmr.Gaussian(), pmr.Gaussian()),
        "The machine cannot be normalised: the weights between its real units are so large", (*ENERGIES, *HANDLES)),
    "a number": (lambda: 3, f"{NOT_A_MACHINE} int.", ()),
    "a text": (lambda: "machine", f"{NOT_A_MACHINE} str.", ()),
    "a class": (lambda: pmr.Machine, f"{NOT_A_MACHINE} type.", ()),
    "a layer": (lambda: LAYER, f"{NOT_A_MACHINE} Layer.", ()),
    "nothing": (lambda: None, "No machine was given, and no model is on", ("diagnose", "plot_projections")),
}
# fmt: on


@pytest.mark.parametrize("fault", WRONG)
def test_every_function_refuses_a_wrong_machine_in_the_same_words(fault):
    make, message, others = WRONG[fault]
    target = make()
    found = {name: refusal(use, target) for name, use in BY_MACHINE.items() if name not in others}
    assert all(text.startswith(message) for _, text in found.values()), found
    assert len(set(found.values())) == 1, found


def test_the_tables_have_all_public_functions():
    functions = {name: getattr(pmr, name) for name in pmr.__all__ if inspect.isfunction(getattr(pmr, name))}
    taking = {name for name, f in functions.items() if {"target", "W"} & set(inspect.signature(f).parameters)}
    # These take a posterior of a model's W; or arrays, and are makers.
    assert taking - {"invariants", "relabel", "restricted"} == set(BY_MACHINE)
    assert min(len(WRONG), len(BORN_WRONG), len(WRONG_STATES)) >= 20


# -------------------------------------------------------------------------------------- wrong states, to every function


BY_STATES = {
    "energy": (lambda v, m: pmr.energy(v, H, m), "v"),
    "free_energy": (pmr.free_energy, "v"),
    "conditional_hidden": (pmr.conditional_hidden, "v"),
    "hidden_mean": (pmr.hidden_mean, "v"),
    "log_likelihood": (lambda v, m: pmr.log_likelihood(v, m, **QUIET), "data"),
    "log_conditional": (lambda v, m: pmr.log_conditional(v, m, units=np.arange(4) < 2, **QUIET), "data"),
    "pseudo_log_likelihood": (pmr.pseudo_log_likelihood, "data"),
    "log_partition": (lambda v, m: pmr.log_partition(m, data=v, **QUIET), "data"),
    "sample_gibbs": (lambda v, m: pmr.sample_gibbs(m, start=v, **QUIET), "start"),
    "inpaint": (lambda v, m: pmr.inpaint(v, m, **QUIET), "data"),
    "plot_projections": (lambda v, m: pmr.plot_projections(DRAWS, m, data=v), "data"),
    "classify": (lambda v, m: pmr.classify(v, beside(m)), "v"),
    "marginal_free_energy": (lambda v, m: pmr.marginal_free_energy(v, beside(m), parts=["label"]), "v"),
    "features": (lambda v, m: pmr.DeepBeliefNetwork.of(m).features(v), "data"),
    "states of features": (lambda v, m: pmr.DeepBeliefNetwork.of(m).features(v, sampled=True), "data"),
    "bound": (lambda v, m: pmr.DeepBeliefNetwork.of(m).bound(v, **QUIET), "data"),
    "DeepBeliefNetwork.inpaint": (lambda v, m: pmr.DeepBeliefNetwork.of(m).inpaint(v, **QUIET), "data"),
    "DeepBeliefNetwork.model": (lambda v, m: pmr.DeepBeliefNetwork.of(m).model(v), "observed"),
    "RBM": (lambda v, m: observed(pmr.RBM, v, m), "observed"),
    "initval": (lambda v, m: observed(pmr.RBM, None, m, initval=v), "initval"),
    "BoltzmannMachine": (lambda v, m: general(v, m), "observed"),
    "DeepBoltzmannMachine": (lambda v, m: deep(v, m), "observed"),
    "Hidden": (lambda v, m: hidden(v, m), "observed"),
    "conditional_visible": (lambda h, m: pmr.conditional_visible(h, upside_down(m)), "h"),
    "h of energy": (lambda h, m: pmr.energy(V, h, upside_down(m)), "h"),
}
MEANS = "energy", "h of energy", *FORMULAS[1:], "hidden_mean", "features"
"""Numbers need not be states here, such as means."""
HOLES_ALLOWED = (
    "log_likelihood", "log_conditional", "inpaint", "RBM", "BoltzmannMachine", "DeepBoltzmannMachine", "Hidden",
    "DeepBeliefNetwork.inpaint", "DeepBeliefNetwork.model", "initval",
)  # fmt: skip
"""Entries may be missing here."""
ANY_AXES = (
    *MEANS, "RBM", "initval", "BoltzmannMachine", "DeepBoltzmannMachine", "Hidden", "sample_gibbs",
    "states of features", "DeepBeliefNetwork.inpaint", "DeepBeliefNetwork.model",
)  # fmt: skip
"""Rows may have any number of axes here, and there may be none."""
WITHOUT_PARTS = "classify", "marginal_free_energy"
"""They take states without the part, too, and say how many entries that is."""
NETWORK = "features", "states of features", "bound"
"""What is missing here is drawn by the network's own `inpaint`."""
OTHER_SIDE = "Hidden", "conditional_visible", "h of energy"


def parameters(m):
    """Weights first."""
    return m.by_kind.weights_first()


def beside(m):
    """The machine with a label beside its visible units: for states of the others only."""
    unit, (W, b, c) = m.layers[0].unit, parameters(m)[:3]
    both = pmr.Beside(pixel=(unit, 4), label=(pmr.Bernoulli(), 2))
    return pmr.restricted(np.r_[W, np.zeros((2, 3))], np.r_[b, 0, 0], c, both)


def upside_down(m):
    """The machine with its visible units on the hidden side, and as many visible ones as V has columns."""
    return pmr.restricted(np.zeros((4, 4)), np.zeros(4), m.layers[0].bias, None, m.layers[0].unit)


def observed(distribution, v, m, **options):
    W, b, c = parameters(m)[:3]
    with pm.Model():
        return distribution("x", W, b, c, visible=m.layers[0].unit, observed=v, **options)


def general(v, m):
    with pm.Model():
        return pmr.BoltzmannMachine("x", np.zeros((4, 4)), m.layers[0].bias, unit=m.layers[0].unit, observed=v)


def deep(v, m):
    W, b, c = parameters(m)[:3]
    with pm.Model():
        return pmr.DeepBoltzmannMachine(
            "x", [W, np.zeros((3, 2))], [b, c, np.zeros(2)], units=[m.layers[0].unit, None, None], observed=v
        )


def hidden(h, m):
    turned = upside_down(m)
    with pm.Model():
        v = pmr.RBM("v", *parameters(turned)[:3], hidden=m.layers[0].unit, shape=(5, 4))
        return pmr.Hidden("h", v, observed=h)


def shaped(*shape):
    return np.zeros(shape, dtype="int8")


def as_frame(x):
    """NaN means missing in what has no mask."""
    return xr.DataArray(x, dims=("row", "unit"))


CATEGORIES, SPINS, REAL, COUNTS, POSITIVE = (
    pmr.Categorical(2), pmr.Spin(), pmr.Gaussian(), pmr.Binomial(3), pmr.Rectified(),
)  # fmt: skip
SIZE = "{name} has shape %s, but the machine has {size} {side} units: the last axis of {name} must have length {size}."
NUMBERS = "{name} must be numbers, got an array of dtype "
MISSING = "{name} has missing entries (1 of 20 are masked or NaN). "
BINARY = "{name} must contain only 0 and 1, got "
ONE_OF = np.arange(20).reshape(5, 4) == 0
# fmt: off
WRONG_STATES = {  # the units, the states, what is said, and who need not say it
    "too short": (None, shaped(5, 3), SIZE % "(5, 3)", ()),
    "too long": (None, shaped(5, 5), SIZE % "(5, 5)", ()),
    "transposed": (None, shaped(4, 5), SIZE % "(4, 5)", ()),
    "a short row": (None, shaped(3), SIZE % "(3,)", ()),
    "a number": (None, 1, SIZE % "()", ()),
    "pictures": (None, shaped(5, 2, 2), SIZE % "(5, 2, 2)", ()),
    "texts": (None, V.astype(str), NUMBERS + "<U4 (such as '0', '0', '1').", ()),
    "complex numbers": (None, V + 0j, NUMBERS + "complex128", ()),
    "dates": (None, V.astype("datetime64[s]"), NUMBERS + "datetime64[s]", ()),
    "ragged": (None, [[1, 0, 1, 0], [1]], "{name} must be rows of the same length, got rows of different lengths.", ()),
    "several variables": (None, xr.Dataset({"a": ("x", [1])}), "{name} must be rows of numbers, got a Dataset of", ()),
    "NaN": (None, np.where(ONE_OF, NAN, V), "{name} contains NaN. Where entries may be missing, mask", ("inpaint",)),
    "infinity": (None, np.where(ONE_OF, INF, V), BINARY + "1 other entries of 20 (such as inf). Binarise", MEANS),
    "twos": (None, np.where(ONE_OF, 2, V), BINARY + "1 other entries of 20 (such as 2). Binarise", MEANS),
    "grey": (None, np.where(ONE_OF, 0.5, V), BINARY + "1 other entries of 20 (such as 0.5). Binarise", MEANS),
    "negative": (None, np.where(ONE_OF, -1, V), BINARY + "1 other entries of 20 (such as -1). Binarise", MEANS),
    "infinite means": (None, np.where(ONE_OF, INF, V),
        "{name} must contain only finite numbers, got 1 other entries of 20 (such as inf). Leave such rows out",
        set(BY_STATES) - set(MEANS)),
    "masked": (None, np.ma.masked_array(V, ONE_OF), MISSING, HOLES_ALLOWED),
    "NaN of a DataArray": (None, as_frame(np.where(ONE_OF, NAN, V)), MISSING, HOLES_ALLOWED),
    "three axes": (None, shaped(2, 5, 4), "{name} must have shape (rows, 4), got (2, 5, 4). Join the axes", ANY_AXES),
    "no rows": (None, shaped(0, 4), "{name} must have shape (rows, 4), got (0, 4). There must be at least", ANY_AXES),
    "0 of spins": (SPINS, np.where(ONE_OF, 0, 2 * V - 1), "{name} must contain only -1 and 1, got 1 other", MEANS),
    "labels beyond": (CATEGORIES, np.array([[0, 2]] * 5), "{name} has one number for each of 2 Categorical(q=2)",
        ("initval",)),
    "two values at once": (CATEGORIES, np.array([[1, 1, 0, 1]] * 5),
        "{name} must contain only 0 and 1, exactly one 1 in each group of 2 neighbouring entries, got 10 other", MEANS),
    "half a unit masked": (CATEGORIES, np.ma.masked_array([[1, 0, 0, 1]] * 5, [[1, 0, 0, 0]] * 5),
        "{name} masks some of the 2 entries of a unit and not others: mask all of them or none.", ()),
    "too many": (COUNTS, np.where(ONE_OF, 4, V), "{name} must contain only whole numbers from 0 to 3, got 1",
        MEANS),
    "infinity of real units": (REAL, np.where(ONE_OF, INF, V), "{name} must contain only finite numbers, got 1",
        ("pseudo_log_likelihood",)),
    "negative of positive units": (POSITIVE, np.where(ONE_OF, -0.5, V), "{name} must contain only finite numbers of at",
        (*MEANS, "pseudo_log_likelihood")),
}
# fmt: on


@pytest.mark.parametrize("fault", WRONG_STATES)
def test_every_function_refuses_wrong_states_in_the_same_words(fault):
    unit, states, message, others = WRONG_STATES[fault]
    machine = pmr.restricted(W, B, C, unit)
    whole = set()
    for function, (use, name) in BY_STATES.items():
        if function in others:
            continue
        kind, text = refusal(use, states, machine)
        size, side = 6 if function in WITHOUT_PARTS else 4, "hidden" if function in OTHER_SIDE else "visible"
        assert kind is ValueError
        assert text.startswith(message.format(name=name, size=size, side=side)), f"{function}: {text}"
        if function not in WITHOUT_PARTS and not (message == MISSING and function in NETWORK):
            whole.add(re.sub(rf"\b({name}|data)\b", "NAME", text).replace("hidden units", "visible units"))
    assert len(whole) == 1, whole


def test_right_states_are_taken():
    """What the tables call wrong is so by its fault alone."""
    machine = pmr.restricted(W, B, C)
    for use in ("RBM", "initval", "BoltzmannMachine", "DeepBoltzmannMachine", "Hidden"):
        BY_STATES[use][0](V[0] if use == "initval" else V, machine)
