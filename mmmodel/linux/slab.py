"""Object sizes as the slab allocator really rounds them: /proc/slabinfo (root) or /sys/kernel/slab."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmmodel.linux.text import Cause, HostError, Tree, whole

INTERESTING = re.compile(  # bios, sockets' buffers, requests, plain kmalloc
    r"bio-[0-9]+|biovec-.*|bio_integrity.*|skbuff_.*|kmalloc-[0-9]+k?|fuse_request|nfs_.*|rpc_.*|dm_.*|kcopyd_.*|io_kiocb|"
    r"radix_tree_node|buffer_head|zspage|request_queue.*|inet_.*frag.*|ip4-frags|ip6-frags|swapped_bio|iscsi.*|xfs_.*|ext4_io_end.*"
)
NAME = re.compile(r"[^\s/]{1,128}")


@dataclass(frozen=True)
class Slab:
    """One slab cache: `size` bytes are taken per object, `objects` of them from a slab of `pages` pages."""

    size: int
    objects: int
    pages: int
    active: int | None = None  # objects in use


def parse_slabinfo(text: str, file: str = "proc/slabinfo") -> dict[str, Slab]:
    """Caches by name (format 2.x). Raises HostError naming line and value."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("slabinfo - version: 2."):
        raise HostError(f"{file}:1: {(lines or [''])[0][:40]!r} is not 'slabinfo - version: 2.x'")
    found = {}
    for number, line in enumerate(lines[1:], 2):
        if line.startswith("#") or not line.strip():
            continue
        words = line.split()
        if len(words) < 7 or words[6] != ":":
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'name active num objsize objperslab pagesperslab : …'")
        where = f"{file}:{number}"
        active, _, size, objects, pages = (whole(word, where, "a count") for word in words[1:6])
        found[words[0]] = _checked(Slab(size, objects, pages, active), where)
    return found


def read_slabs(tree: Tree) -> dict[str, Slab]:
    """The caches that matter here, from slabinfo where it can be read, else from /sys/kernel/slab."""
    try:
        text = tree.text("proc/slabinfo")
    except HostError as error:
        tree.note("slabinfo", error)
    else:
        return tree.attempt("slabinfo", lambda: _interesting(parse_slabinfo(text))) or {}
    names = tree.attempt("slab sizes", tree.names, "sys/kernel/slab") or []
    found = {}
    for name in names:
        if INTERESTING.fullmatch(name) and NAME.fullmatch(name):
            try:
                found[name] = _sysfs_slab(tree, name)
            except HostError as error:
                if error.cause is Cause.FORBIDDEN:
                    tree.note("slab sizes", error)
                    break  # so are all the others: one line is enough
                tree.note(f"slab {name}", error)
    return found


def _interesting(slabs: dict[str, Slab]) -> dict[str, Slab]:
    return {name: slab for name, slab in slabs.items() if INTERESTING.fullmatch(name)}


def _sysfs_slab(tree: Tree, name: str) -> Slab:
    base = f"sys/kernel/slab/{name}"
    size, objects, order = (
        whole(tree.word(f"{base}/{key}"), f"{base}/{key}", "the value") for key in ("slab_size", "objs_per_slab", "order")
    )
    if order > 20:
        raise HostError(f"{base}/order: {order} is not an order of pages")
    return _checked(Slab(size, objects, 1 << order), base)


def _checked(slab: Slab, where: str) -> Slab:
    """A slab holds its objects, in pages of at most 64 KiB."""
    if slab.size < 1 or slab.objects < 1 or slab.pages < 1 or slab.size * slab.objects > slab.pages << 16:
        raise HostError(f"{where}: {slab.objects} objects of {slab.size} B do not fit {slab.pages} pages")
    return slab
