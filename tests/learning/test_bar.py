"""The columns of learning's progress bar."""

import pytest
from rich.console import Console

from pymc_rbm.learning import progress

COLUMNS = progress.LearningProgressBar.columns


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("width", "terminal", "expected"),
    [(60, True, 0), (80, True, 1), (100, True, 3), (200, True, 4), (60, False, 4)],
)
def test_a_narrow_terminal_gets_the_first_columns(monkeypatch, width, terminal, expected):
    console = Console(width=width, force_terminal=terminal, force_jupyter=False)
    monkeypatch.setattr(progress, "get_console", lambda: console)
    assert list(progress.fitting(COLUMNS)) == list(COLUMNS)[:expected]
