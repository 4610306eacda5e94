"""The public face: names, signatures, one order of arguments, the model on the context stack, old spellings."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import reference as ref
from options import QUIET

import pymc_rbm as pmr

pytestmark = pytest.mark.interpreted

MACHINE = pmr.restricted(*ref.machine(4, 3, seed=1))
V = (np.random.default_rng(1).random((5, 4)) < 0.5).astype("int8")
HOLES = np.ma.masked_array(V, np.tile(np.arange(4) == 1, (5, 1)))
FUNCTIONS = {name: getattr(pmr, name) for name in pmr.__all__ if inspect.isfunction(getattr(pmr, name))}
ABOUT = {"data", "v", "idata"}
"""What a function is asked about, which comes first, before the machine and what was learned."""


@pytest.fixture(scope="module")
def model():
    with pm.Model() as made:
        pmr.RBM("v", *(MACHINE.parameters[i] for i in (2, 0, 1)), shape=(5, 4))
    return made


def test_dir_is_the_public_names():
    assert dir(pmr) == sorted(pmr.__all__)
    assert sorted(set(pmr.__all__)) == sorted(pmr.__all__)
    assert set(dir(pmr.estimators)) <= {"NegativePhase", "contrastive", "exact", "fast_persistent"} | {
        "persistent", "tempered", "trajectory_tempered", "unbiased",
    }  # fmt: skip


def test_signatures_show_what_there_is():
    assert {"visible", "hidden", "log_z", "sweeps", "observed"} <= set(inspect.signature(pmr.RBM).parameters)
    assert {"unit", "pattern", "log_z", "sweeps"} <= set(inspect.signature(pmr.BoltzmannMachine).parameters)
    assert {"visible", "hidden", "log_z", "sweeps"} <= set(inspect.signature(pmr.RBM.dist).parameters)


@pytest.mark.parametrize("name", [x for x, f in FUNCTIONS.items() if "target" in inspect.signature(f).parameters])
def test_one_order_of_arguments(name):
    """What is asked about, the machine, what was learned; then options."""
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters)
    first = parameters[: parameters.index("target")]
    assert set(first) <= ABOUT, name
    if "learned" in parameters:
        assert parameters.index("learned") == parameters.index("target") + 1
    assert not {"thin", "var_name"} & set(parameters)


CALLS = {
    "log_likelihood": lambda *machine: pmr.log_likelihood(V, *machine, **QUIET)["log_likelihood"]["v"],
    "log_conditional": lambda *m: pmr.log_conditional(V, *m, units=np.arange(4) < 1, **QUIET)["log_conditional"],
    "pseudo_log_likelihood": lambda *machine: pmr.pseudo_log_likelihood(V, *machine),
    "inpaint": lambda *machine: pmr.inpaint(HOLES, *machine, draws=30, tune=5, **QUIET)["mean"]["v"],
    "hidden_mean": lambda *machine: pmr.hidden_mean(V, *machine),
    "log_partition": lambda *machine: pmr.log_partition(*machine).estimate,
    "sample_gibbs": lambda *machine: pmr.sample_gibbs(*machine, draws=5, tune=5, **QUIET)["posterior"]["v"],
}


@pytest.mark.filterwarnings("ignore:.*rows have not converged")
@pytest.mark.parametrize("name", CALLS)
def test_the_model_on_the_stack_is_meant_where_no_machine_is_given(name, model):
    with model:
        found = CALLS[name]()
    np.testing.assert_array_equal(found, CALLS[name](model))
    with pytest.raises(TypeError, match=r"No machine was given.*give target.*with model:"):
        CALLS[name]()


OLD = {
    "log_likelihood": (
        lambda: pmr.log_likelihood(MACHINE, None, V, 1.0)["log_likelihood"]["v"],
        lambda: pmr.log_likelihood(V, MACHINE, log_z=1.0)["log_likelihood"]["v"],
    ),
    "log_conditional": (
        lambda: pmr.log_conditional(MACHINE, None, V, np.arange(4) < 1)["log_conditional"],
        lambda: pmr.log_conditional(V, MACHINE, units=np.arange(4) < 1)["log_conditional"],
    ),
    "pseudo_log_likelihood": (
        lambda: pmr.pseudo_log_likelihood(MACHINE, None, data=V),
        lambda: pmr.pseudo_log_likelihood(V, MACHINE),
    ),
    "inpaint": (
        lambda: pmr.inpaint(MACHINE, None, HOLES, draws=30, tune=5, **QUIET)["mean"]["v"],
        lambda: pmr.inpaint(HOLES, MACHINE, draws=30, tune=5, **QUIET)["mean"]["v"],
    ),
    "sample_gibbs": (
        lambda: pmr.sample_gibbs(MACHINE, draws=5, tune=5, thin=2, **QUIET)["posterior"]["v"],
        lambda: pmr.sample_gibbs(MACHINE, draws=5, tune=5, sweeps=2, **QUIET)["posterior"]["v"],
    ),
    "log_partition": (
        lambda: pmr.log_partition(MACHINE, None, "ais", temperatures=10, **QUIET).estimate,
        lambda: pmr.log_partition(MACHINE, method="ais", temperatures=10, **QUIET).estimate,
    ),
}


@pytest.mark.filterwarnings("ignore:.*rows have not converged")
@pytest.mark.parametrize("name", OLD)
def test_old_spellings_work_and_warn(name):
    old, new = OLD[name]
    with pytest.warns(DeprecationWarning, match=rf"^{name}\(.* is now ") as caught:
        found = old()
    np.testing.assert_array_equal(found, new())
    assert caught[0].filename == __file__


def test_old_names_beside_new_ones():
    with pytest.raises(TypeError, match="thin= and sweeps=, which are the same argument"):
        pmr.sample_gibbs(MACHINE, thin=2, sweeps=3)


@pytest.mark.parametrize(("old", "new"), [("tempering", "tempered"), ("coupling", "unbiased")])
def test_modules_of_one_estimator_are_found_in_the_one_of_all(old, new):
    with pytest.warns(DeprecationWarning, match=f"pymc_rbm.estimators.{new}"):
        assert getattr(getattr(pmr, old), new) is getattr(pmr.estimators, new)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pmr.nothing  # noqa: B018


@pytest.mark.slow
def test_types_are_seen_in_a_script_of_a_user(tmp_path):
    script = tmp_path / "script.py"
    lines = [
        "import pymc_rbm as pmr",
        "machine = pmr.restricted([[0.5]], [0.0], [0.0])",
        "reveal_type(machine)",
        "reveal_type(pmr.log_partition(machine))",
        "reveal_type(pmr.inpaint([[float('nan')]], machine))",
        "pmr.log_partition(machine, particles='many')",
    ]
    script.write_text("\n".join(lines))
    root = str(Path(pmr.__file__).parents[1])
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", str(tmp_path), str(script)]
    shown = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"MYPYPATH": root}, capture_output=True, text=True, check=False
    ).stdout
    for line, words in ((3, "Machine"), (4, "LogPartitionEstimate"), (5, "DataTree"), (6, "has incompatible type")):
        assert re.search(rf"script.py:{line}: .*{words}", shown), shown
