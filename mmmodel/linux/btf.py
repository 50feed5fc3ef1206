"""Sizes of kernel structures from raw BTF, /sys/kernel/btf/vmlinux and the split BTF of modules beside it.

Format: Documentation/bpf/btf.rst. A header, then a type section of variable-length records and a string section. A
module's BTF goes on where the kernel's ends: its type ids and string offsets count from the kernel's numbers.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from mmmodel.linux.text import HostError, Tree

MAGIC = 0xEB9F
MOST = 256 << 20  # bytes; vmlinux has 4 to 10 MiB
KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_ENUM64 = 4, 5, 6, 19
# Bytes after the 12-byte record: (fixed, per vlen), by kind. Kind 0 (void) is never stored.
EXTRA = {
    1: (4, 0), 2: (0, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 7: (0, 0), 8: (0, 0), 9: (0, 0), 10: (0, 0),
    11: (0, 0), 12: (0, 0), 13: (0, 8), 14: (4, 0), 15: (0, 12), 16: (0, 0), 17: (4, 0), 18: (0, 0), 19: (0, 12),
}  # fmt: skip


@dataclass(frozen=True)
class Btf:
    """Struct sizes of one BTF blob; a split BTF on top of it counts from `types` and `string_bytes`."""

    sizes: dict[str, tuple[int, ...]] = field(repr=False)  # bytes; more than one where structs share a name
    types: int
    string_bytes: int
    strings: bytes = field(repr=False, default=b"")
    file: str = "BTF"

    def struct_size(self, name: str) -> int:
        """sizeof(struct `name`), bytes. Raises HostError if there is none or if structs of that name differ in size."""
        found = self.sizes.get(name, ())
        if not found:
            raise HostError(f"{self.file}: no struct {name!r}")
        if len(found) > 1:
            raise HostError(f"{self.file}: structs named {name!r} have sizes {', '.join(map(str, found))}")
        return found[0]


def parse_btf(blob: bytes, base: Btf | None = None, file: str = "BTF") -> Btf:
    """The struct sizes in a BTF blob; `base` is the kernel's for the split BTF of a module. Raises HostError."""
    order, types, strings = _sections(blob, file)
    first_string = base.string_bytes if base else 0
    everything = (base.strings if base else b"") + strings
    head = struct.Struct(f"{order}III")
    sizes: dict[str, set[int]] = {}
    count, at, end = 0, 0, len(types)
    while at < end:
        if at + 12 > end:
            raise HostError(f"{file}: the type section ends inside type {count + 1}")
        name_offset, info, size = head.unpack_from(types, at)
        kind, entries = info >> 24 & 0x1F, info & 0xFFFF
        if kind not in EXTRA:
            raise HostError(f"{file}: type {count + 1} has the unknown kind {kind}")
        fixed, each = EXTRA[kind]
        at += 12 + fixed + each * entries
        if at > end:
            raise HostError(f"{file}: the type section ends inside type {count + 1}")
        if kind == KIND_STRUCT and name_offset:
            sizes.setdefault(_string(everything, name_offset, file), set()).add(size)
        count += 1
    return Btf(
        {name: tuple(sorted(found)) for name, found in sizes.items()},
        (base.types if base else 1) + count,
        first_string + len(strings),
        everything,
        file,
    )


def read_btf(tree: Tree, module: str | None = None, base: Btf | None = None) -> Btf:
    """The BTF of the kernel, or of a loaded module on top of it, in a tree. Raises HostError."""
    name = module or "vmlinux"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise HostError(f"BTF: {name[:40]!r} is not a module's name")
    file = f"sys/kernel/btf/{name}"
    blob = tree.bytes(file, MOST)
    return parse_btf(blob, base if module else None, file)


def _sections(blob: bytes, file: str) -> tuple[str, bytes, bytes]:
    """Byte order, type section and string section."""
    if len(blob) < 24:
        raise HostError(f"{file}: {len(blob)} bytes are too few for a BTF header")
    orders = [order for order in "<>" if struct.unpack_from(f"{order}H", blob)[0] == MAGIC]
    if not orders:
        raise HostError(f"{file}: begins with {blob[:2].hex()}, not with the BTF magic {MAGIC:x}")
    version, _, length, type_at, type_length, string_at, string_length = struct.unpack_from(f"{orders[0]}BBIIIII", blob, 2)
    if version != 1:
        raise HostError(f"{file}: BTF version {version} is not 1")
    if length < 24 or max(type_at + type_length, string_at + string_length) > len(blob) - length:
        raise HostError(f"{file}: its sections reach beyond its {len(blob)} bytes")
    types = blob[length + type_at : length + type_at + type_length]
    return orders[0], types, blob[length + string_at : length + string_at + string_length]


def _string(strings: bytes, offset: int, file: str) -> str:
    end = strings.find(b"\0", offset)
    if offset >= len(strings) or end < 0:
        raise HostError(f"{file}: string offset {offset} is outside the {len(strings)} bytes of strings")
    return strings[offset:end].decode("utf-8", "replace")
