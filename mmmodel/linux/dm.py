"""Device-mapper tables: the text of `dmsetup table`, and the kind of a device told by its uuid."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree, whole

RECORDED = "dmsetup-table"  # the name under which a recorded tree holds the output of `dmsetup table`
LINE = re.compile(r"(?:(.+): )?([0-9]+) ([0-9]+) ([a-z0-9_-]+)(?: (.*))?")
UUID_KINDS = {
    "CRYPT-VERITY": "verity",
    "CRYPT-INTEGRITY": "integrity",
    "CRYPT": "crypt",
    "LVM": "lvm",
    "mpath": "multipath",
}


@dataclass(frozen=True)
class DmTarget:
    """One line of a table: `length` sectors of 512 B from `start` of device `name` are served by `target`."""

    name: str  # empty where the text was of a single device
    start: int
    length: int
    target: str  # crypt, linear, snapshot, thin, ...
    args: tuple[str, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The underlying devices named as "major:minor" in the arguments."""
        return tuple(word for word in self.args if re.fullmatch(r"[0-9]+:[0-9]+", word))


def parse_dm_table(text: str, file: str = "dmsetup table") -> tuple[DmTarget, ...]:
    """The targets in the output of `dmsetup table [NAME]`. Raises HostError naming the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip() == "No devices found":
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not '[name:] start length target arguments'")
        name, start, length, target, args = match.groups()
        where = f"{file}:{number}"
        found.append(
            DmTarget(
                name or "",
                whole(start, where, "start"),
                whole(length, where, "length"),
                target,
                tuple((args or "").split()),
            )
        )
    return tuple(found)


def kind_of_uuid(uuid: str) -> str | None:
    """The kind of dm device by the prefix of its uuid ("CRYPT-LUKS2-…" is crypt); None where it does not tell."""
    for prefix, kind in UUID_KINDS.items():
        if uuid.startswith(f"{prefix}-"):
            return kind
    return None


def read_dm(tree: Tree) -> tuple[DmTarget, ...]:
    """The tables of a tree's dm devices: by `dmsetup table` on a live machine (root), else from its recorded output."""
    if tree.live:
        devices = [name for name in tree.attempt("dm tables", tree.names, "sys/block") or [] if name.startswith("dm-")]
        return tree.attempt("dm tables", _live_table) or () if devices else ()
    if not tree.exists(RECORDED):
        tree.note("dm tables", f"{RECORDED}: absent")
        return ()
    return tree.attempt("dm tables", lambda: parse_dm_table(tree.text(RECORDED), RECORDED)) or ()


def _live_table() -> tuple[DmTarget, ...]:
    program = shutil.which("dmsetup", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if program is None:
        raise HostError("dmsetup is not installed")
    try:
        done = subprocess.run([program, "table"], capture_output=True, timeout=10, check=True)
        return parse_dm_table(done.stdout.decode())
    except UnicodeDecodeError:
        raise HostError("dmsetup table: not UTF-8 text") from None
    except (OSError, subprocess.SubprocessError) as error:
        root_could = os.geteuid() != 0
        raise HostError(f"dmsetup table: {error}{' (root could)' if root_could else ''}", root_could=root_could) from None
