"""The BTF reader on blobs built by hand (format: Documentation/bpf/btf.rst), and on this kernel's own."""

import struct
from pathlib import Path

import pytest

from mmmodel.linux.btf import parse_btf, read_btf
from mmmodel.linux.text import HostError, Tree


def blob(types: bytes, strings: bytes, order: str = "<", version: int = 1) -> bytes:
    header = struct.pack(f"{order}HBBIIIII", 0xEB9F, version, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def kind(name: int, number: int, vlen: int, size: int, rest: bytes = b"", order: str = "<") -> bytes:
    return struct.pack(f"{order}III", name, number << 24 | vlen, size) + rest


STRINGS = b"\0int\0bio\0list_head\0next\0"  # offsets 1, 5, 9, 19


def kernel_types(order: str = "<") -> bytes:
    word = struct.Struct(f"{order}I").pack
    member = struct.pack(f"{order}III", 19, 1, 0)
    return b"".join(
        [
            kind(1, 1, 0, 4, word(0x01000020), order),  # 1: int
            kind(0, 3, 0, 0, struct.pack(f"{order}III", 1, 1, 8), order),  # 2: an array
            kind(5, 4, 2, 120, member * 2, order),  # 3: struct bio
            kind(0, 4, 1, 77, member, order),  # 4: an anonymous struct
            kind(9, 4, 1, 16, member, order),  # 5: struct list_head
            kind(9, 4, 0, 24, b"", order),  # 6: another of that name
            kind(5, 7, 0, 0, b"", order),  # 7: a forward declaration
            kind(1, 13, 2, 1, struct.pack(f"{order}IIII", 0, 1, 0, 1), order),  # 8: a function's type
            kind(1, 19, 1, 8, struct.pack(f"{order}III", 1, 2, 3), order),  # 9: enum64
            kind(1, 15, 1, 8, struct.pack(f"{order}III", 1, 2, 3), order),  # 10: data section
        ]
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_struct_sizes(order):
    btf = parse_btf(blob(kernel_types(order), STRINGS, order))
    assert btf.struct_size("bio") == 120
    assert btf.types == 11  # with void
    assert btf.string_bytes == len(STRINGS)
    with pytest.raises(HostError, match="structs named 'list_head' have sizes 16, 24"):
        btf.struct_size("list_head")
    with pytest.raises(HostError, match="no struct 'int'"):
        btf.struct_size("int")


def test_the_split_btf_of_a_module_counts_from_the_kernel_s():
    base = parse_btf(blob(kernel_types(), STRINGS))
    own = b"\0nbd_cmd\0"
    types = kind(len(STRINGS) + 1, 4, 0, 72) + kind(5, 4, 0, 128)  # a new name, and the kernel's "bio"
    split = parse_btf(blob(types, own), base)
    assert split.struct_size("nbd_cmd") == 72
    assert split.struct_size("bio") == 128
    assert split.types == 13


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few for a BTF header"),
        (b"\x7fELF" + bytes(40), "begins with 7f45, not with the BTF magic eb9f"),
        (blob(b"", b"", version=2), "BTF version 2 is not 1"),
        (blob(kernel_types(), STRINGS)[:-1], "reach beyond"),
        (blob(kernel_types()[:-1], STRINGS), "ends inside type 10"),
        (blob(kernel_types() + b"\0\0\0\0", STRINGS), "ends inside type 11"),
        (blob(kind(1, 20, 0, 0), STRINGS), "unknown kind 20"),
        (blob(kind(999, 4, 0, 8), STRINGS), "string offset 999 is outside"),
    ],
)
def test_malformed_btf(content, message):
    with pytest.raises(HostError, match=message):
        parse_btf(content)


def test_every_truncation_is_refused():
    whole = blob(kernel_types(), STRINGS)
    for length in range(len(whole)):
        with pytest.raises(HostError):
            parse_btf(whole[:length])


def test_no_path_for_a_module(tmp_path):
    with pytest.raises(HostError, match="is not a module's name"):
        read_btf(Tree(tmp_path), "../../etc/passwd")


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").is_file(), reason="this machine has no BTF")
def test_this_kernel():
    btf = read_btf(Tree(Path("/")))
    assert btf.types > 10_000
    assert btf.struct_size("bio_vec") == 16
    assert btf.struct_size("list_head") == 2 * struct.calcsize("P")
