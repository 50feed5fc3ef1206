"""A word about what takes long: one line on standard error, if that is a terminal, from the third second on.

    with working("solving 109,791 states"):
        ...
        say("cycle 12")     # beside it, from wherever the work is done; without a `working` around it nothing happens

Labels nest, and all are shown, with the seconds since the first began. Compiled code lets the line be written if it leaves the
interpreter free (`compiled.jit` does).
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE = 2.0  # seconds before the first word, and
EVERY = 0.5  # between two


@dataclass
class _Label:
    what: str
    detail: str
    since: float

    @property
    def words(self) -> str:
        return f"{self.what}, {self.detail}" if self.detail else self.what


class _Line:
    """The line on the terminal while labels are there, written by a thread of its own."""

    def __init__(self) -> None:
        self.labels: list[_Label] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.writer: threading.Thread | None = None

    def push(self, label: _Label) -> None:
        with self.lock:
            self.labels.append(label)
            if len(self.labels) == 1:
                self.over = threading.Event()
                self.writer = threading.Thread(target=self.write, args=(self.over, label.since), daemon=True)
                self.writer.start()

    def drop(self, label: _Label) -> None:
        """The last label takes the line with it, before anything else is written."""
        with self.lock:
            self.labels.remove(label)
            left = bool(self.labels)
        if not left and self.writer is not None:
            self.over.set()
            self.writer.join()

    def write(self, over: threading.Event, began: float) -> None:
        written = False
        while not over.wait(EVERY):
            seconds = time.monotonic() - began
            with self.lock:
                words = " > ".join(label.words for label in self.labels)
            if words and seconds >= PATIENCE:
                time_ = f" … {seconds:.0f} s"
                room = shutil.get_terminal_size().columns - 1 - len(time_)
                sys.stderr.write(f"\r\x1b[K{words[:room]}{time_}")
                sys.stderr.flush()
                written = True
        if written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


_line = _Line()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows that `what` is being done while the block runs. Of several threads that work at once only the main one is shown."""
    if not _shown():
        yield
        return
    label = _Label(what, "", time.monotonic())
    _line.push(label)
    try:
        yield
    finally:
        _line.drop(label)


def say(detail: str) -> None:
    """Changes what the innermost label says beside itself."""
    if _line.labels and threading.current_thread() is threading.main_thread():
        _line.labels[-1].detail = detail


def _shown() -> bool:
    return threading.current_thread() is threading.main_thread() and sys.stderr is not None and sys.stderr.isatty()
