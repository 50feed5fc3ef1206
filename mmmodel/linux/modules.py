"""Parameters of loaded modules, /sys/module/MODULE/parameters, as text (booleans are Y and N)."""

from __future__ import annotations

from mmmodel.linux.text import Tree

PARAMETERS = {
    "dm_mod": ("swap_bios", "reserved_bio_based_ios", "reserved_rq_based_ios"),
    "dm_snapshot": ("snapshot_cow_threshold",),
    "dm_crypt": ("max_read_size", "max_write_size"),
    "nbd": ("nbds_max", "max_part"),
    "loop": ("max_loop", "hw_queue_depth"),
    "fuse": ("max_user_bgreq", "max_user_congthresh"),
    "nvme": ("io_queue_depth", "sgl_threshold"),
    "sunrpc": ("tcp_slot_table_entries", "tcp_max_slot_table_entries", "udp_slot_table_entries"),
    "zswap": ("enabled", "max_pool_percent"),
}


def read_modules(tree: Tree) -> dict[str, dict[str, str]]:
    """Parameter texts by module and name. A module that is not loaded is not an error and not an entry."""
    found: dict[str, dict[str, str]] = {}
    for module, names in PARAMETERS.items():
        base = f"sys/module/{module}/parameters"
        if not tree.exists(base):
            continue
        for name in names:
            if tree.exists(f"{base}/{name}"):
                value = tree.attempt(f"{module}.{name}", lambda base, name: tree.word(f"{base}/{name}"), base, name)
                if value is not None:
                    found.setdefault(module, {})[name] = value
    return found
