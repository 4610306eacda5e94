"""Bars of long work: in a terminal, in Jupyter, and nowhere else."""

import numpy as np
import pytest
from rich.console import Console

import pymc_rbm as pmr
from pymc_rbm.support import work


@pytest.mark.parametrize(
    ("terminal", "jupyter", "widgets", "shown"),
    [(True, False, False, True), (False, False, True, False), (False, True, True, True), (False, True, False, False)],
)
def test_where_a_bar_is_shown(monkeypatch, terminal, jupyter, widgets, shown):
    console = Console(force_terminal=terminal, force_jupyter=jupyter)
    monkeypatch.setattr(work, "get_console", lambda: console)
    monkeypatch.setattr(work, "find_spec", lambda name: object() if widgets else None)
    assert work.can_show(True) is shown
    assert work.can_show(False) is False


def test_a_pipe_gets_no_empty_lines(capfd):
    machine = pmr.restricted(np.zeros((4, 2)), np.zeros(4), np.zeros(2))
    pmr.inpaint(np.ma.masked_array(np.zeros((1, 4)), [[0, 0, 0, 1]]), machine, draws=20, tune=20, random_seed=1)
    drawn = pmr.sample_gibbs(machine, random_seed=1)
    pmr.diagnose(drawn, machine, random_seed=1)
    assert "".join(capfd.readouterr()) == ""
