"""Facts of a Linux machine, live or recorded. The ground floor: plain Python, imports no model code.

`load_host("host")` reads this machine, `load_host("x86-24g")` a recorded one. `watermarks` holds the page allocator's
arithmetic, `zoneinfo` and its neighbours read one file format each, `btf` reads structure sizes.
"""

from mmmodel.linux.addresses import Address, Route, parse_address, parse_fib_trie, parse_if_inet6, parse_ipv6_route, parse_route
from mmmodel.linux.block import BlockDevice, read_block
from mmmodel.linux.btf import Btf, parse_btf, read_btf
from mmmodel.linux.dm import DmTarget, kind_of_uuid, parse_dm_table, read_dm
from mmmodel.linux.ends import Target
from mmmodel.linux.fuse import FuseConnection, read_fuse
from mmmodel.linux.host import Host, load_host, recorded_hosts
from mmmodel.linux.loop import LoopFile, parse_backing_file
from mmmodel.linux.md import Array, parse_level
from mmmodel.linux.meminfo import parse_meminfo, parse_vmstat
from mmmodel.linux.modules import read_modules
from mmmodel.linux.mounts import Mount, Swap, mount_of, parse_mountinfo, parse_mounts, parse_swaps
from mmmodel.linux.network import (
    Nic,
    Ring,
    Rings,
    parse_netstat,
    parse_rings,
    parse_sockstat,
    read_nics,
    receive_rings,
    ring_bytes,
)
from mmmodel.linux.pagetypes import PageTypes, parse_pagetypeinfo
from mmmodel.linux.reach import Reach
from mmmodel.linux.record import Recording, record, recorded_files
from mmmodel.linux.servers import Place, Server
from mmmodel.linux.slab import Slab, parse_slabinfo, read_slabs
from mmmodel.linux.sockets import End, Role, Socket, parse_tcp, parse_unix
from mmmodel.linux.sysctls import parse_sysctl, read_sysctls
from mmmodel.linux.sysrq import Failure, Report, ZoneReport, memory_zones, parse_sysrq, read_log
from mmmodel.linux.tasks import Frame, Task
from mmmodel.linux.text import HostError, Missing, Tree
from mmmodel.linux.thp import read_thp
from mmmodel.linux.threads import Daemon, Thread, parse_stat_flags, read_daemons
from mmmodel.linux.watermarks import (
    RULES,
    Marks,
    Rules,
    default_min_free_kbytes,
    exclusive_reserve,
    free_buffer_pages,
    highatomic_limit,
    khugepaged_min_free_kbytes,
    lowmem_reserve,
    min_free_kbytes_for,
    right_floor,
    rules_for,
    total_floor,
    zone_floor,
    zone_marks,
)
from mmmodel.linux.zoneinfo import Zone, parse_zoneinfo, zone_index
from mmmodel.linux.zram import Zram, parse_mm_stat

__all__ = [
    "RULES",
    "Address",
    "Array",
    "BlockDevice",
    "Btf",
    "Daemon",
    "DmTarget",
    "End",
    "Failure",
    "Frame",
    "FuseConnection",
    "Host",
    "HostError",
    "LoopFile",
    "Marks",
    "Missing",
    "Mount",
    "Nic",
    "PageTypes",
    "Place",
    "Reach",
    "Recording",
    "Report",
    "Ring",
    "Rings",
    "Role",
    "Route",
    "Rules",
    "Server",
    "Slab",
    "Socket",
    "Swap",
    "Target",
    "Task",
    "Thread",
    "Tree",
    "Zone",
    "ZoneReport",
    "Zram",
    "default_min_free_kbytes",
    "exclusive_reserve",
    "free_buffer_pages",
    "highatomic_limit",
    "khugepaged_min_free_kbytes",
    "kind_of_uuid",
    "load_host",
    "lowmem_reserve",
    "memory_zones",
    "min_free_kbytes_for",
    "mount_of",
    "parse_address",
    "parse_backing_file",
    "parse_btf",
    "parse_dm_table",
    "parse_fib_trie",
    "parse_if_inet6",
    "parse_ipv6_route",
    "parse_level",
    "parse_meminfo",
    "parse_mm_stat",
    "parse_mountinfo",
    "parse_mounts",
    "parse_netstat",
    "parse_pagetypeinfo",
    "parse_rings",
    "parse_route",
    "parse_slabinfo",
    "parse_sockstat",
    "parse_stat_flags",
    "parse_swaps",
    "parse_sysctl",
    "parse_sysrq",
    "parse_tcp",
    "parse_unix",
    "parse_vmstat",
    "parse_zoneinfo",
    "read_block",
    "read_btf",
    "read_daemons",
    "read_dm",
    "read_fuse",
    "read_log",
    "read_modules",
    "read_nics",
    "read_slabs",
    "read_sysctls",
    "read_thp",
    "receive_rings",
    "record",
    "recorded_files",
    "recorded_hosts",
    "right_floor",
    "ring_bytes",
    "rules_for",
    "total_floor",
    "zone_floor",
    "zone_index",
    "zone_marks",
]
