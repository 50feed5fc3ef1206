"""Every way in which parts of the catalogue can lie on one another, completed to paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mmmodel.model.parts import Part, load_part, part_names

PARTS: dict[str, Part] = {name: load_part(name) for name in part_names()}
BOTTOM = {"block": "disk", "file": "ext4/disk", "net": "nic", "server": "server-locked/disk"}  # what is put under the last one
TOP = {"block": ("direct", "swap"), "file": ("direct", "writeback"), "net": ("direct/nbd",), "server": ("direct/ublk",)}


def lies_on(upper: str, lower: str) -> bool:
    """Whether one may be straight under the other."""
    return any(set(kinds) & set(PARTS[lower].offers) for kinds in PARTS[upper].over.values())


def down(names: tuple[str, ...]) -> str:
    """The parts from the top down as a path; what else lies under the parts, and under the last one, is the simplest of its kind."""
    name, rest = names[0], names[1:]
    legs = [
        down(rest) if rest and set(kinds) & set(PARTS[rest[0]].offers) else BOTTOM[kinds[0]]
        for kinds in PARTS[name].over.values()
    ]
    if not legs:
        return name
    return f"{name}/{legs[0]}" if len(set(legs)) == 1 else f"{name}({','.join(legs)})"


def paths(depth: int) -> Iterator[str]:
    """The paths of so many parts that lie on one another, with the simplest above and below them."""
    for names in itertools.product(PARTS, repeat=depth):
        if not all(lies_on(*pair) for pair in itertools.pairwise(names)):
            continue
        top = PARTS[names[0]]
        above = [""] if not top.offers else [f"{one}/" for one in TOP[top.offers[0]]]
        for one in above:
            yield one + down(names)
