"""What layers there are, as tables: how each is told, and why the catalogue has no stack for those that have none.

A name that stands in no table is unknown, and is said to be: it is never passed over, and never taken for a local disk.
"""

from __future__ import annotations

import re

DISKS = (  # by the name that the driver gives; "local": bios alone on the way out, as far as this machine is concerned
    ("nbd", "nbd"), ("zram", "zram"), ("loop", "loop"), ("ublkb", "ublk"), ("rbd", "rbd"), ("drbd", "drbd"), ("md", "md"),
    ("bcache", "bcache"), ("nvme", "nvme"), ("dm-", "dm"), ("zd", "zvol"), ("etherd!e", "aoe"), ("rnbd", "rnbd"), ("ram", "ram disk"),
    ("nullb", "null_blk"), ("mtdblock", "mtdblock"), ("zloop", "zloop"), ("pktcdvd", "pktcdvd"), ("scini", "powerflex"), ("pxd!pxd", "portworx"),
    ("emcpower", "powerpath"), ("dasd", "dasd"), ("scm", "scm"), ("ubiblock", "ubiblock"),
    *((name, "local") for name in ("vd", "sd", "hd", "xvd", "mmcblk", "pmem", "sr", "fd")),
)  # fmt: skip
DISKS_OF = tuple((re.compile(rf"{re.escape(prefix)}[0-9a-z_.!]*"), kind) for prefix, kind in DISKS)
SCSI = {
    name: name for name in ("iscsi", "iser", "srp", "iscsi-offload", "fcoe", "tcm_loop", "scsi_debug")
}  # by transport; "local" over all others
DM = {
    "snapshot-origin": "snapshot",
    "snapshot-merge": "snapshot",
    "striped": "linear",
    "unstriped": "linear",
    "thin-pool": "linear",
}  # else its target
GUESTS = ("vd", "xvd")  # disks that a hypervisor gives, by name
GIVEN = ("virtio", "hypervisor")  # and by transport

STACKED = {
    "overlay": "upperdir",
    "aufs": None,
    "unionfs": None,
    "ecryptfs": None,
}  # on another file system: the option that names the directory there
NFS = re.compile(r"nfs[0-9]?")
CLUSTERED = frozenset(("gfs2", "ocfs2"))  # on a block device, with locks of other machines
NOT_ON_ONE = frozenset(("btrfs", "bcachefs"))  # on several devices, of which a mount names one

UNPROTECTED = "its sockets are not SOCK_MEMALLOC (Linux 6.12), so that replies to it are not received into the reserve"
MEMORY = "its pages are memory themselves: writing to it sets none free"
FOR_TESTS = "is made for trying out failures, and nobody writes to it in earnest"
OF_A_PROCESS = "a process of this machine serves it, with memory of its own"
OF_AN_ADAPTER = "its queues are an adapter's own, and what they take on the way out is not in the catalogue"
NO_STACK = (  # why the catalogue has none, where there is more to say than that; the first that matches
    # file systems
    (r"nfs[0-9]?", "its sockets are SOCK_MEMALLOC only while a swap file on it is active (net/sunrpc, Linux 6.12); the catalogue has NFS swap, not NFS write-back"),
    (r"rbd|ceph|drbd|cifs|smb3|afs|coda|lustre|orangefs|beegfs|glusterfs", UNPROTECTED),
    (r"9p", "each write takes a request and its buffers, up to msize, with the ordinary right; over TCP its sockets are not SOCK_MEMALLOC either"),
    (r"virtiofs", "each write is a FUSE request to the hypervisor's machine: it takes its buffers with the ordinary right and waits for room in a queue"),
    (r"vboxsf|vmhgfs|prl_fs|hgfs", "its server is the hypervisor: what a request to it takes is not in the catalogue"),
    (r"zfs|zvol", "a write takes buffers of the ZFS cache, and their documentation advises against swapping to it (openzfs #7734, open)"),
    (r"btrfs", "its swap file lies on one of its devices, and which one cannot be told from /proc and /sys"),
    (r"bcachefs", "it is on several devices, with a journal, buckets and btree nodes of its own between a write and a device"),
    (r"gfs2|ocfs2", "a write may wait for a lock that another machine holds, and the message about it takes memory"),
    (r"overlay|aufs|unionfs", "its files lie on a file system that cannot be seen from here"),
    (r"ecryptfs", "it encrypts into pages of its own, which it takes with the ordinary right, and writes them to another file system"),
    (r"jffs2|ubifs|yaffs2?", "it writes to flash without a block device, and may have to collect garbage before it can"),
    # arrays
    (r"md-raid1|md-raid10", "a write takes an r1bio (r10bio) of the array and a clone for each mirror"),
    (r"md-raid[456]", "a write holds a stripe of the array's cache until all of its members have been written"),
    (r"md-faulty", FOR_TESTS),
    (r"md-multipath", "with a path that fails, a write is tried again on another, from a mempool of its own"),
    (r"md-container", "what its arrays are is told by a program (external metadata), not by the kernel"),
    (r"md(-.*)?", "an array takes clones of its own"),
    # targets of device mapper
    (r"integrity", "a write waits for room in its journal, and for its tags, which it reads and writes through buffers of its own (dm-bufio)"),
    (r"writecache", "a write waits for a free block of the cache, and where it is full, for write-back to the device underneath"),
    (r"cache", "a write may wait for its block to be copied between the two devices (kcopyd, with a pool of pages)"),
    (r"multipath", "with no path left its requests wait without a bound where queue_if_no_path is set: a process of this machine, multipathd, must bring one back"),
    (r"raid", "an array of md under device mapper: a write takes what that takes, a stripe of its cache or a clone for each member"),
    (r"mirror", "a write waits for its dirty log, and takes an I/O for each mirror"),
    (r"clone", "a write to what has not been copied yet waits for the copy"),
    (r"era", "the first write to a block in an era waits for metadata"),
    (r"switch", "a table of its own says which path each request takes, and it has no stack for any"),
    (r"vdo", "a write takes one of its fixed number of data_vios, and waits for compression and for the index of duplicates"),
    (r"zoned", "a write may wait for a zone to be set free by copying"),
    (r"ebs", "a write of a part of a block reads the rest first, through buffers of its own (dm-bufio)"),
    (r"pcache", "a write takes room in a cache in persistent memory, and waits for write-back where there is none"),
    (r"inlinecrypt|default-key", "without hardware that encrypts, a write takes pages for what is encrypted (blk-crypto-fallback)"),
    (r"verity", "it is read-only"),
    (r"zero|error", "what is written to it goes nowhere"),
    (r"delay|dust|flakey|log-writes", FOR_TESTS),
    (r"user|bow", OF_A_PROCESS),
    (r"several targets .*", "its parts are served by different targets: each of them would need a stack"),
    # disks
    (r"bcache", "a write waits for a bucket of the cache and for keys of its btree, with threads and mempools of its own"),
    (r"loop with direct I/O", "past the page cache the file system of the file maps each write anew; the stack loop is of a buffered file"),
    (r"zloop", "a loop device of a file a zone; the stack loop is of one buffered file"),
    (r"aoe", "its frames belong to no SOCK_MEMALLOC socket (Linux 6.12), so that replies to it are not received into the reserve"),
    (r"rnbd|srp|iser|nvme-rdma|nvme-fc|iscsi-offload", OF_AN_ADAPTER),
    (r"fcoe", "its frames are socket buffers that belong to no SOCK_MEMALLOC socket"),
    (r"nvme-loop|tcm_loop", "its target is in this very kernel, and writes to something of this machine in turn"),
    (r"virtio over vdpa|portworx", OF_A_PROCESS),
    (r"powerflex", "a block device over a network, by a driver outside of the kernel's source"),
    (r"powerpath", "several paths to a disk, by a driver outside of the kernel's source: it may wait where none is left"),
    (r"tmpfs|ramfs|ram disk|null_blk|scsi_debug", MEMORY),
    (r"mtdblock", "it keeps a whole erase block in memory, which it takes at the first write"),
    (r"ubiblock", "it is read-only"),
    (r"dasd|scm|pktcdvd", "its driver builds each request in memory of its own; that is not in the catalogue"),
    (r"\?|.*unknown.*", "what it is cannot be told from what could be read"),
)  # fmt: skip


def kind_of_name(name: str) -> str:
    """What a disk is by its name; "?" where that is in no table."""
    return next((kind for pattern, kind in DISKS_OF if pattern.fullmatch(name)), "?")


def reason(kind: str) -> str | None:
    """Why the catalogue has no stack for a layer of this kind; None where there is nothing to say but that."""
    return next((text for pattern, text in NO_STACK if re.fullmatch(pattern, kind)), None)
