"""After Ctrl-C the main job ends within two seconds, in whatever phase, and keeps what was learned.

Python hears a signal when the code that runs returns to it. Compilers and sampling processes keep it waiting, and some
libraries go on after an interrupt with what they have. So a thread of its own hears the signal, too: it waits a moment
for the job to end by itself, and then ends the process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import Any

__all__ = ["INTERRUPTED", "Leaving", "leave_with"]

INTERRUPTED = 130
"""The exit code of a process that a user interrupted: 128 + the number of the signal."""
GRACE, LONGEST = 1.5, 30.0
"""Seconds that the job has to end by itself, and the most that it has while what was learned is not yet saved."""


class Leaving:
    """Context in which Ctrl-C is heard by a thread. ``asked`` says whether it came.

    Outside of the main thread, where Python delivers no signals, and where the signal is ignored, it does nothing.
    """

    def __init__(self) -> None:
        self._asked, self._over = threading.Event(), threading.Event()
        self._saved = threading.Event()
        self._saved.set()
        self._here: socket.socket | None = None
        self._helper: Any = None

    @property
    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C came and some library went on nevertheless."""
        if self.asked:
            raise KeyboardInterrupt

    def hold(self, *arguments: object) -> None:
        """Do not end the process before `saved` is called: there is something to save."""
        self._saved.clear()

    def saved(self) -> None:
        """Say that everything is saved, so that the process may end."""
        self._saved.set()

    def helped_by(self, process: Any) -> None:
        """End this process, if it is not None, when the context is left or Ctrl-C came."""
        self._helper = process

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.kill()
            self._helper.wait()

    def __enter__(self) -> Leaving:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and callable(signal.getsignal(signal.SIGINT)):
            self._here, there = socket.socketpair()
            there.setblocking(False)
            self._there, self._before = there, signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
            self._thread = threading.Thread(target=self._listen, args=(self._here,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._end_helper()
        if self._here is not None:
            signal.set_wakeup_fd(self._before)
            self._there.close()
            self._thread.join()

    def _listen(self, here: socket.socket) -> None:
        with here:
            while heard := here.recv(1):
                if heard[0] == signal.SIGINT:
                    self._asked.set()
                    break
        if not heard or self._over.wait(GRACE):
            return
        self._saved.wait(LONGEST)
        if not self._over.wait(0.1):
            print("Interrupted.", file=sys.stderr, flush=True)
            _end_children()
            self._end_helper()
            os._exit(INTERRUPTED)


def _end_children() -> None:
    """End the child processes in which PyMC samples."""
    from multiprocessing import active_children

    for child in active_children():
        child.kill()


def leave_with(parent: int) -> None:
    """Yield to other processes, and end when this is no longer a child of the process with this number."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(INTERRUPTED)

    if hasattr(os, "nice"):
        os.nice(10)
    threading.Thread(target=watch, daemon=True).start()
