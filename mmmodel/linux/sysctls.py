"""The sysctls under /proc/sys that the writeout path depends on."""

from __future__ import annotations

from mmmodel.linux.text import HostError, Tree, whole

VM = (
    "min_free_kbytes",
    "watermark_scale_factor",
    "watermark_boost_factor",
    "lowmem_reserve_ratio",
    "admin_reserve_kbytes",
    "page-cluster",
    "stat_interval",
    "swappiness",
    "dirty_ratio",
    "dirty_bytes",
    "dirty_background_ratio",
    "dirty_background_bytes",
    "percpu_pagelist_high_fraction",
)
NET = (
    "ipv4/tcp_mem",
    "ipv4/tcp_wmem",
    "ipv4/tcp_rmem",
    "ipv4/ipfrag_high_thresh",
    "core/wmem_max",
    "core/rmem_max",
    "core/netdev_max_backlog",
    "core/high_order_alloc_disable",
)
OF_MODULES = ("sunrpc/tcp_slot_table_entries", "sunrpc/tcp_max_slot_table_entries", "fs/nfs/nfs_congestion_kb")
SYSCTLS = (*(f"vm/{name}" for name in VM), *(f"net/{name}" for name in NET), *OF_MODULES)

Value = int | tuple[int, ...]


def parse_sysctl(text: str, file: str) -> Value:
    """One integer, or a tuple where the file holds several (lowmem_reserve_ratio, tcp_mem). Raises HostError.

    None of those that are read here may be negative.
    """
    values = tuple(whole(word, file, "the value") for word in text.split())
    if not values:
        raise HostError(f"{file}: empty")
    return values[0] if len(values) == 1 else values


def read_sysctls(tree: Tree) -> dict[str, Value]:
    """Sysctls by dotted name ("vm.min_free_kbytes"); those that cannot be read go to `tree.missing`."""
    found = {}
    for path in SYSCTLS:
        name, file = path.replace("/", "."), f"proc/sys/{path}"
        if path in OF_MODULES and not tree.exists(f"proc/sys/{path.rsplit('/', 1)[0]}"):
            continue  # that module is not loaded: nothing is missing
        value = tree.attempt(name, lambda file: parse_sysctl(tree.text(file), file), file)
        if value is not None:
            found[name] = value
    return found
