"""Reading text that a kernel wrote, or that somebody damaged since: strict numbers, errors naming file, line and value.

Nothing here guesses. A value that cannot be read raises `HostError`; the caller decides whether that ends the reading
(`zoneinfo`) or is recorded as missing (`Host`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
MAX_TEXT = 32 << 20  # bytes; no text file that is read here comes near it, a runaway FIFO or a wrong path would
PIECE = 1 << 16  # bytes
DEVICE_NUMBER = re.compile(r"[0-9]{1,7}:[0-9]{1,7}")  # major:minor
LARGEST = 2**64 - 1  # the kernel prints unsigned longs


class Cause(Enum):
    """Why a fact cannot be had."""

    ABSENT = auto()
    FORBIDDEN = auto()  # it is there, and this process may not read it
    OTHER = auto()  # malformed, or not what it should be; the message says what


class HostError(ValueError):
    """A fact of a host that cannot be had or cannot be true; the message names file, line and value. `root_could`: a run as root would have it."""

    def __init__(self, message: str, cause: Cause = Cause.OTHER, root_could: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.root_could = root_could


@dataclass(frozen=True)
class Missing:
    """One thing that was looked for and not found, with the reason."""

    name: str
    reason: str
    root_could: bool = False  # a run as root would have it


def whole(text: str, where: str, what: str, largest: int = LARGEST) -> int:
    """The non-negative decimal integer in `text`, at most `largest`; `where`: "file:line", `what`: the field's name."""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise HostError(f"{where}: {what} is {text[:40]!r}, not a non-negative whole number")
    value = int(text)
    if value > largest:
        raise HostError(f"{where}: {what} is {value}, larger than {largest}")
    return value


def signed(text: str, where: str, what: str) -> int:
    """Like `whole`, with an optional minus sign (priorities of swaps)."""
    return -whole(text[1:], where, what) if text.startswith("-") else whole(text, where, what)


@dataclass(frozen=True)
class Tree:
    """A live root ("/") or a recorded directory laid out like one; links that lead out of the latter are refused."""

    root: Path
    missing: list[Missing] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether this is the running machine."""
        return self.root == Path("/")

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def _real(self, path: Path) -> str:
        """os.path.realpath, with every directory looked at once: there are a hundred files in some."""
        parent = str(path.parent)
        if parent not in self._directories:
            self._directories[parent] = os.path.realpath(parent)
        return (
            os.path.realpath(path)
            if path.is_symlink() or path.name == ".."
            else os.path.join(self._directories[parent], path.name)
        )

    @cached_property
    def _directories(self) -> dict[str, str]:
        return {}

    def _forbidden(self, name: str) -> HostError:
        root_could = self.live and os.geteuid() != 0
        return HostError(f"{name}: not readable{' (root could)' if root_could else ''}", Cause.FORBIDDEN, root_could)

    def path(self, name: str) -> Path:
        """The file `name` ("proc/zoneinfo") of this tree. Raises HostError if a link leads out of a recorded tree."""
        path = self.root / name
        if not self.live:
            real = self._real(path)
            if real != self._real_root and not real.startswith(self._real_root + os.sep):
                raise HostError(f"{name}: leads out of the recorded tree")
        return path

    def bytes(self, name: str, most: int = MAX_TEXT) -> bytes:
        """The content of `name`. Raises HostError with the reason if it is absent, unreadable, no file or too large."""
        try:
            path = self.path(name)
            if not path.is_file():
                raise HostError(f"{name}: not a regular file") if path.exists() else _absent(name)
            content = _read(path, most)
        except PermissionError:
            raise self._forbidden(name) from None
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
            if isinstance(error, HostError):
                raise
            raise HostError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
        if len(content) > most:
            raise HostError(f"{name}: larger than {most} bytes")
        return content

    def text(self, name: str) -> str:
        """The content of `name` as text; HostError as in `bytes`, and where it is not UTF-8."""
        try:
            return self.bytes(name).decode()
        except UnicodeDecodeError as error:
            raise HostError(f"{name}: byte {error.start} is not UTF-8 text") from None

    def word(self, name: str) -> str:
        """The content of a one-line file without the line's end."""
        return self.text(name).strip()

    def names(self, name: str) -> list[str]:
        """The sorted names in directory `name`; HostError if it is absent or unreadable."""
        try:
            return sorted(os.listdir(self.path(name)))
        except FileNotFoundError:
            raise _absent(name) from None
        except PermissionError:
            raise self._forbidden(name) from None
        except (OSError, RuntimeError) as error:
            raise HostError(f"{name}: {getattr(error, 'strerror', None) or error}") from None

    def link(self, name: str) -> str:
        """Where the link `name` leads, as text ("socket:[4711]"); a recorded tree may hold it as the content of a file. Raises HostError."""
        try:
            path = self.path(name.rpartition("/")[0]) / name.rpartition("/")[2]
            return os.readlink(path) if self.live or path.is_symlink() else self.word(name)
        except PermissionError:
            raise self._forbidden(name) from None
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, HostError):
                raise
            raise HostError(f"{name}: {getattr(error, 'strerror', None) or error}") from None

    def exists(self, name: str) -> bool:
        """Whether `name` is there and can be looked at."""
        try:
            return self.path(name).exists()
        except (OSError, RuntimeError, HostError):
            return False

    def attempt(self, name: str, read: Callable[P, T], *of: P.args, **named: P.kwargs) -> T | None:
        """`read(*of)`; where that raises HostError, the reason is recorded in `missing` and None is returned."""
        try:
            return read(*of, **named)
        except HostError as error:
            self.note(name, error)
            return None

    def note(self, name: str, reason: str | HostError) -> None:
        """Record that `name` could not be had."""
        self.missing.append(Missing(name, str(reason), isinstance(reason, HostError) and reason.root_could))


def _absent(name: str) -> HostError:
    return HostError(f"{name}: absent", Cause.ABSENT)


def _read(path: Path, most: int) -> bytes:
    """At most `most` + 1 bytes, in pieces: files of /proc/sys answer a read() of some MiB with ENOMEM."""
    pieces, left = [], most + 1
    with path.open("rb", buffering=0) as stream:
        while left > 0 and (piece := stream.read(min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
    return b"".join(pieces)
