"""Files written before the modules moved into rooms are read, resumed and diagnosed, and draws are the same."""

import lzma
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from options import QUIET

import pymc_rbm as pmr

FOLDER = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What was learned in eight epochs, a checkpoint after four of them, and draws of what was learned."""
    folder, found = tmp_path_factory.mktemp("before"), {}
    for name in ("learned", "checkpoint", "draws"):
        path = folder / f"{name}.nc"
        path.write_bytes(lzma.decompress((FOLDER / f"{name}_before_rooms.nc.xz").read_bytes()))
        with xr.open_datatree(path) as file:
            found[name] = file.load()
    return found


def learned_model():
    """The model of which the files are."""
    with pm.Model() as model:
        W = pm.Normal("W", 0, 2, shape=(4, 3))
        rows = pmr.datasets.bars_and_stripes(2).values
        pmr.RBM("v", W, pm.Flat("b", shape=4), pm.Flat("c", shape=3), observed=rows)
    return model


@pytest.mark.interpreted
def test_they_are_read(files):
    machine, learned = pmr.machine_of(files["learned"]), files["learned"]
    np.testing.assert_array_equal(machine.couplings[0].weights, learned["parameters"]["W"])
    assert pmr.machine_of(learned_model(), files["checkpoint"]).couplings[0].weights.shape == (4, 3)
    assert pmr.averaged(learned)["parameters"]["W"].shape == (4, 3)
    assert pmr.diagnose(learned, probes=False, **QUIET).learning
    assert pmr.diagnose(files["draws"], machine, **QUIET).chains in ("mixed", "cannot tell")  # 240 draws are few


@pytest.mark.slow
def test_they_are_learned_on_from(files):
    options = {"method": "pcd", "sweeps": 1, "batch_size": 3, "chains": 20, "learning_rate": 0.1, "horizon": 8}
    with learned_model():
        again = pmr.fit(4, resume=files["checkpoint"], progressbar=False, **options)
    assert again.attrs["epochs_done"] == 8
    for name, expected in files["learned"]["parameters"].data_vars.items():
        np.testing.assert_allclose(again["parameters"][name], expected, atol=1e-9)


@pytest.mark.slow
def test_the_draws_are_the_same(files):
    found = pmr.sample_gibbs(learned_model(), files["learned"], draws=60, tune=20, random_seed=5, progressbar=False)
    np.testing.assert_array_equal(found["posterior"]["v"], files["draws"]["posterior"]["v"])
