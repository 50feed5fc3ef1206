"""A driver of the guest's kernel, rebuilt with the changes that patches.yaml describes.

Headers and source come from Debian's packages of the same version; one file is compiled, in seconds. A change is given by
function and by words, so no source of the kernel is kept here, and one that does not fit the source any more is refused.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mmmodel.host.lab.packages import Headers, Kernel, Unavailable, headers, tool
from mmmodel.model.reading import read_yaml

PATCHES = Path(__file__).resolve().parent / "patches.yaml"


class Change(BaseModel):
    """In `function`, the words `was` become `becomes`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    function: str
    was: str
    becomes: str


class Patch(BaseModel):
    """A file of the kernel's source and what is changed in it; none: rebuilt as it is, the control of the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    source: str
    changes: list[Change]

    @property
    def module(self) -> str:
        return Path(self.source).stem


def patch(name: str) -> Patch:
    """The patch of that name. Raises Unavailable."""
    known = read_yaml(PATCHES)
    if name not in known:
        raise Unavailable(f"patch: {name!r} is not one of {', '.join(known)}")
    return Patch.model_validate(known[name])


def changed(text: str, changes: Sequence[Change]) -> str:
    """The source with the changes made. Raises Unavailable where a function or its words do not stand there exactly once."""
    for one in changes:
        begin, end = extent(text, one.function)
        body = text[begin:end]
        if (times := body.count(one.was)) != 1:
            raise Unavailable(f"patch: {one.was!r} stands {times} times in {one.function}, not once; the source is another one")
        text = text[:begin] + body.replace(one.was, one.becomes) + text[end:]
    return text


def extent(text: str, function: str) -> tuple[int, int]:
    """Where the definition of a C function begins and ends in kernel style: the closing brace stands at the margin."""
    found = list(re.finditer(rf"^[\w*\s]+\b{re.escape(function)}\([^;{{]*\)\n\{{\n.*?^\}}$", text, re.MULTILINE | re.DOTALL))
    if len(found) != 1:
        raise Unavailable(f"patch: {function} is defined {len(found)} times in the source, not once")
    return found[0].span()


def built(kernel: Kernel, name: str, packages: Path, folder: Path) -> tuple[str, bytes]:
    """(module, its file) for the patch of that name, compiled for `kernel` below `folder`. Raises Unavailable."""
    wanted = patch(name)
    place = folder / f"{kernel.release}-{name}"
    module = place / f"{wanted.module}.ko"
    if not module.exists():
        at = headers(kernel, packages)
        place.mkdir(parents=True, exist_ok=True)
        (place / Path(wanted.source).name).write_text(changed(source(at, wanted.source), wanted.changes))
        (place / "Makefile").write_text(f"obj-m := {wanted.module}.o\n")
        _make(at, place)
        subprocess.run([tool("strip"), "--strip-debug", str(module)], check=True)  # the guest keeps the file in its memory
    return wanted.module, module.read_bytes()


def source(at: Headers, path: str) -> str:
    """A file of the kernel's source package. Raises Unavailable."""
    kept = at.source.parent / Path(path).name
    if not kept.exists():
        with tarfile.open(at.source) as archive:
            for member in archive:  # the archive is read only as far as the file
                if member.name.partition("/")[2] == path and (file := archive.extractfile(member)) is not None:
                    kept.write_bytes(file.read())
                    break
            else:
                raise Unavailable(f"{at.source.name} has no {path}")
    return kept.read_text()


def _make(at: Headers, place: Path) -> None:
    # the package's Makefile names the place where it would be installed
    (at.build / "Makefile").write_text(f"include {at.common}/Makefile\n")
    made = subprocess.run([tool("make"), "-C", str(at.build), f"M={place}", "modules"], capture_output=True, text=True)
    if made.returncode:
        last = "; ".join(line for line in made.stderr.splitlines() if "error" in line.lower())[:500]
        raise Unavailable(f"{place.name} does not compile: {last or 'no reason given'}")
