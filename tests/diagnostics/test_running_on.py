"""Particles that replicas carried between modes while learning are judged by chains that go between modes, too."""

import numpy as np
import pytest
from models import groups, model_of
from options import MUTED, QUIET

import pymc_rbm as pmr
from pymc_rbm.diagnostics import running_on

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Learning ended after")]


@pytest.fixture(scope="module")
def learned():
    """Two groups, between which plain chains of what was learned hardly ever go."""
    rows, *_ = groups(30, 1500, np.array([0.7, 0.3]), 0.03)
    with model_of(rows, 3, 1.0):
        return pmr.fit(updates=3000, method="pt", random_seed=1, **MUTED)


def test_a_ladder_stands_in_where_plain_chains_stay_in_modes(learned, monkeypatch):
    found = pmr.diagnose(learned, **QUIET)
    assert "lift" in found.subject
    assert found.chains == "mixed"
    monkeypatch.setattr(running_on, "LADDERED", ())
    plain = pmr.diagnose(learned, **QUIET)
    assert "lift" not in plain.subject
    assert plain.chains == "not mixed"


def test_particles_in_one_mode_are_not_mixed(learned):
    states = learned["particle_states"]["v"]
    one = states.values[(states.values == states.values[0]).mean(1) > 0.5]
    assert 0 < len(one) < len(states)
    lost = learned.copy()
    filled = np.resize(one, states.shape)
    lost["particle_states"] = lost["particle_states"].to_dataset().assign(v=states.copy(data=filled))
    assert pmr.diagnose(lost, **QUIET).chains == "not mixed"
