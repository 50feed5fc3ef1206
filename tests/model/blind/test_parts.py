"""Ten parts once more, worked out from the sources that they cite and not from their files: what a request of so many pages takes."""

from __future__ import annotations

import pytest

from mmmodel.model.paths import compose

PAGE = 4096
FCLONE, SKB, HEAD = 512, 256, 640  # 6.12: two sk_buffs and a count in a cache of 512; sk_buff in one of 256; 320 + 320
BIO = 128 + 4 * 16  # with its four inline vectors
DM = 248  # dm_io, its bio inside


def slab(size: int) -> int:
    """In a cache aligned to 64 B."""
    return (size + 63) // 64 * 64


# (path, class): {step: (pool, amount)}; of the reserve in bytes
TAKES = {
    ("swap/nvme", "write-4k"): {
        "swap/reclaim": {"tasks": 1},
        "swap/bio": {"reserve": BIO},  # one folio, one vector
        "nvme/tag": {"throttle": 1},
    },
    ("swap/nvme", "write-2m"): {"swap/bio": {"reserve": BIO}, "nvme/scatter": {"reserve": 128 * 32}},
    ("swap/crypt/disk", "write-4k"): {
        "crypt/admit": {"throttle": 1},
        "crypt/map": {"reserve": slab(DM + 256 + 80 + 272)},
        "crypt/clone": {"reserve": BIO},
        "crypt/lock": {"crypt/lock": 1},
        "crypt/pages": {"crypt/mempool": 1},
    },
    ("swap/crypt/disk", "write-128k"): {"crypt/clone": {"reserve": BIO + 64 * 16}, "crypt/pages": {"crypt/mempool": 1}},
    ("direct/nbd/nic", "write-4k"): {
        "direct/bio": {"reserve": BIO},
        "nbd/tag": {"throttle": 1},
        "nbd/send": {"reserve": FCLONE + HEAD + 28 + PAGE},
        "nic/receive": {"reserve": SKB + HEAD + PAGE},
    },
    ("direct/nbd/nic", "write-128k"): {
        "direct/bio": {"reserve": BIO + 64 * 16},
        "nbd/send": {"reserve": 3 * (FCLONE + HEAD) + 28 + 32 * PAGE},  # 131100 B are more than two times 64 KiB
    },
    ("swap/nbd/virtio_net@6.1", "write-4k"): {
        "swap/bio": {"reserve": 256},
        "nbd/send": {"reserve": 512 + 1024 + 28 + PAGE},
        "virtio_net/segment": {"reserve": 3 * 2048},  # 4124 B in segments of 1448
        "virtio_net/receive": {"virtio_net/napi": 1, "reserve": 3584},
        "virtio_net/refill": {"reserve": PAGE},
    },
    ("direct/iscsi/nic", "write-4k"): {"iscsi/admit": {"throttle": 1}, "iscsi/send": {"reserve": FCLONE + HEAD + 48}},
    ("direct/iscsi/nic", "write-128k"): {
        "iscsi/scatter": {"reserve": 32 * 32},
        "iscsi/send": {"reserve": 3 * (FCLONE + HEAD) + 48},
    },
    ("direct/nvme_tcp/nic", "write-4k"): {"nvme_tcp/command": {"reserve": FCLONE + HEAD + 72}},
    ("direct/nvme_tcp/nic", "write-128k"): {
        "nvme_tcp/command": {"reserve": FCLONE + HEAD + 72},
        "nvme_tcp/data": {"reserve": 3 * (FCLONE + HEAD) + 24},
    },
    ("swap/thin/disk", "write-4k-new"): {
        "thin/admit": {"throttle": 1},
        "thin/map": {"reserve": slab(DM + 64)},
        "thin/cell": {"thin/cells": 1},
        "thin/work": {"thin/worker": 1},
        "thin/mapping": {"thin/mappings": 1},
        "thin/metadata": {"reserve": 4 * PAGE},
    },
    ("writeback/fuse/server/disk", "write-1m"): {
        "fuse/admit": {"throttle": 1},
        "fuse/request": {"reserve": 512 + 152 + 4096},  # args 288 in kmalloc-512; two pointers for each of 256 pages
        "fuse/copies": {"reserve": PAGE},
        "server/memory": {"reserve": 16 * PAGE},
    },
    ("swap/nfs/nic", "write-128k"): {
        "nfs/iocb": {"reserve": 1024},  # 568
        "nfs/direct": {"reserve": 216},
        "nfs/pages": {"reserve": 32 * slab(96)},
        "nfs/header": {"reserve": 1024},  # 912
        "nfs/task": {"reserve": slab(224)},
        "nfs/slot": {"nfs/slot": 1},
        "nfs/buffer": {"reserve": 2048},
        "nfs/send": {"reserve": 3 * (FCLONE + HEAD)},
    },
    ("swap/raid1/disk", "write-4k-first"): {
        "raid1/r1bio": {"reserve": 128},  # 80 and four pointers, in kmalloc-128
        "raid1/clone": {"reserve": BIO},
    },
}
POOLS = {
    "swap/crypt/disk": {"throttle": 8 * 2**20 // PAGE, "crypt/io": 16, "crypt/clones": 64, "crypt/mempool": 256, "bio": 2},
    "direct/nbd/nic": {"throttle": 128},
    "direct/iscsi/nic": {"throttle": 32, "iscsi/scatter": 2},
    "swap/thin/disk": {"throttle": 2048, "thin/cells": 1024, "thin/mappings": 1024, "thin/worker": 1, "thin/buffers": 6},
    "writeback/fuse/server/disk": {"throttle": 12},
    "swap/nfs/nic": {"iocb": 32, "header": 32, "task": 8, "nfs/slot": 2, "buffer": 8},
    "swap/raid1/disk": {"raid1/r1bios": 256, "raid1/clones": 2},
    "swap/nvme": {"throttle": 1023, "nvme/scatter": 1},
    "direct/raid5/disk": {"throttle": 256},
}


@pytest.mark.parametrize(("path", "cls"), TAKES)
def test_the_amounts_of_a_part(path, cls):
    steps = {step.name: step for step in compose(path).stack.requests[cls].steps}
    assert {name: steps[name].take for name in TAKES[path, cls]} == TAKES[path, cls]


@pytest.mark.parametrize("path", POOLS)
def test_the_pools_of_a_part(path):
    pools = compose(path).stack.pools
    assert {name: pools[name].capacity for name in POOLS[path]} == POOLS[path]


def test_ten_parts_are_worked_out():
    assert len({word for path, _ in TAKES for word in path.partition("@")[0].split("/")}) >= 10
