"""The progress bar of learning is PyMC's, with columns that show monitors of learning."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich import get_console
from rich.progress import TextColumn
from rich.table import Column

from pymc_rbm.distributions.pymc_internals import ProgressBarManager

__all__ = ["LearningProgressBar", "fitting"]


OWN_WIDTH = 66
"""How many characters PyMC's own columns need: bar, number, speed, time elapsed and remaining."""


def fitting(columns: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the first columns that a terminal has room for; all of them where there is no terminal."""
    console = get_console()
    if not console.is_terminal or console.is_jupyter:
        return columns
    ends = np.cumsum([max(len(title), 6) + 3 for title, _ in columns.values()])
    return dict(list(columns.items())[: int((OWN_WIDTH + ends <= console.width).sum())])


class LearningProgressBar(ProgressBarManager):
    """Progress bar with one column a monitor, some only if named in ``extra``, as many as there is room for.

    It is updated once an epoch.
    """

    step_name = "Epoch"
    columns: ClassVar = {
        "pseudo_log_likelihood": ("Pseudo-LL", ".2f"),
        "free_energy_gap": ("Gap", ".2f"),
        "rhat": ("R-hat", ".2f"),
        "ess": ("ESS", ".0f"),
    }
    optional: ClassVar = {"sweeps": ("Sweeps", "d"), "swap_rate": ("Swaps", ".0%")}

    def __init__(self, epochs: int, progressbar: bool, *extra: str):
        super().__init__(n_bars=1, progressbar=progressbar)
        self.total = epochs
        shown = fitting(self.columns | {key: self.optional[key] for key in extra})
        columns = [
            TextColumn(f"{{task.fields[{key}]:{style}}}", table_column=Column(title, min_width=len(title)))
            for key, (title, style) in shown.items()
        ]
        stats = {**{key: [0 if key == "sweeps" else float("nan")] for key in shown}, "epoch": [0], "marker_pos": [None]}
        self._backend = self._create_backend(total=epochs, progress_columns=columns, progress_stats=stats)

    @property
    def visible(self) -> bool:
        """Whether the bar is shown; if not, monitors for display alone need not be computed."""
        return self._show_progress

    def update(self, epoch: int, **monitors: float) -> None:
        """Show the monitors after ``epoch`` epochs."""
        if self._show_progress:
            self._backend.update(
                task_id=0,
                advance=1,
                failing=False,
                stats={"epoch": epoch, **monitors},
                is_last=epoch == self.total,
                total=self.total,
            )
