"""Updates and seconds bound learning besides epochs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Budget"]


@dataclass
class Budget:
    """The most updates of a run, and the most seconds after its first update; None sets no bound."""

    updates: int | None = None
    seconds: float | None = None
    _end: float | None = field(default=None, init=False)

    def time_gone(self) -> float:
        """Return the share of the seconds that has passed, from 0 to 1; 0 where seconds are not bounded."""
        if self.seconds is None or self._end is None:
            return 0.0
        return min(1.0, 1 - (self._end - time.perf_counter()) / self.seconds)

    def spent(self, updates: int) -> str | None:
        """Return the bound that is reached after ``updates`` updates, in words; None where neither is.

        The clock starts when it is called first: what is compiled for the first update does not count.
        """
        if self.updates is not None and updates >= self.updates:
            return f"{self.updates:,} updates"
        if self.seconds is not None and self._end is None:
            self._end = time.perf_counter() + self.seconds
        return f"{self.seconds:g} seconds" if self.time_gone() == 1 else None
