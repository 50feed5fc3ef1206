"""Loop devices: the file under each, from /sys/block/loopN/loop (there only while a file is attached)."""

from __future__ import annotations

from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree

DELETED = " (deleted)"  # d_path() of a file whose last name is gone


@dataclass(frozen=True)
class LoopFile:
    """What a loop device writes to. `direct`: past the page cache (O_DIRECT); None: could not be read."""

    backing: str | None  # the file's path, as its opener saw it
    deleted: bool = False
    direct: bool | None = None


def parse_backing_file(text: str, file: str) -> tuple[str, bool]:
    """The path, and whether the file was deleted since. Raises HostError."""
    path = text.removesuffix("\n")
    deleted = path.endswith(DELETED)
    path = path.removesuffix(DELETED)
    if not path.startswith("/") or "\n" in path or "\0" in path:
        raise HostError(f"{file}: {path[:60]!r} is not the path of a file")
    return path, deleted


def parse_flag(text: str, file: str) -> bool:
    """1 or 0, as drivers print a switch. Raises HostError."""
    if text.strip() not in ("0", "1"):
        raise HostError(f"{file}: {text.strip()[:40]!r} is neither 0 nor 1")
    return text.strip() == "1"


def read_loop(tree: Tree, name: str) -> LoopFile | None:
    """The file under loop device `name`; None where no file is attached, or where it is not a loop device."""
    base = f"sys/block/{name}/loop"
    if not tree.exists(base):
        return None
    file, switch = f"{base}/backing_file", f"{base}/dio"
    path, deleted = tree.attempt(f"{name}: backing file", lambda: parse_backing_file(tree.text(file), file)) or (None, False)
    return LoopFile(path, deleted, tree.attempt(f"{name}: dio", lambda: parse_flag(tree.text(switch), switch)))
