"""Texts and zones that several tests of mmmodel.linux share."""

from pathlib import Path

import pytest

from mmmodel.linux.host import load_host
from mmmodel.linux.zoneinfo import Zone, parse_zoneinfo


def zone(name: str, index: int, managed: int, protection: tuple[int, ...] = (0,) * 5, **more) -> Zone:
    """A zone of which only the size matters."""
    marks = {"min": 0, "low": 0, "high": 0, "free": managed, "spanned": managed, "present": managed} | more
    return Zone(node=0, name=name, index=index, managed=managed, protection=protection, **marks)


@pytest.fixture(scope="session")
def big() -> tuple[Zone, ...]:
    return load_host("x86-24g").zones


@pytest.fixture(scope="session")
def live_zones() -> tuple[Zone, ...]:
    path = Path("/proc/zoneinfo")
    if not path.is_file():
        pytest.skip("no /proc/zoneinfo: this is not Linux")
    return parse_zoneinfo(path.read_text())


# A made-up 2 GiB machine that swaps to dm-crypt on an NBD, as its files would be. The names in capitals must never be
# recorded.
FULL = {
    "proc/zoneinfo": """\
Node 0, zone      DMA
  pages free     3800
        boost    0
        min      73
        low      91
        high     109
        promo    127
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 1900, 1900, 1900)
      nr_free_cma  0
  pagesets
    cpu: 0
              count:    0
Node 0, zone    DMA32
  pages free     300000
        boost    0
        min      9309
        low      11636
        high     13963
        promo    16290
        spanned  520192
        present  520192
        managed  486400
        cma      0
        protection: (0, 0, 0, 0)
      nr_free_cma  0
  pagesets
    cpu: 0
              count:    312
Node 0, zone   Normal
  pages free     0
        boost    0
        min      0
        low      0
        high     0
        promo    0
        spanned  0
        present  0
        managed  0
        cma      0
        protection: (0, 0, 0, 0)
Node 0, zone  Movable
  pages free     0
        boost    0
        min      32
        low      32
        high     32
        promo    32
        spanned  0
        present  0
        managed  0
        cma      0
        protection: (0, 0, 0, 0)
""",
    "proc/pagetypeinfo": "Page block order: 9\nPages per block:  512\n\n"
    "Free pages count per migrate type at order 0 1 2\n"
    "Node    0, zone      DMA, type   HighAtomic      0      0      0 \n"
    "Node    0, zone    DMA32, type    Unmovable >100000      5      1 \n"
    "Node    0, zone    DMA32, type   HighAtomic      3      2      1 \n\n"
    "Number of blocks type     Unmovable   HighAtomic\nNode 0, zone    DMA32            7            1 \n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled": "always [inherit] madvise never\n",
    "proc/meminfo": "MemTotal:        1960960 kB\nAnonPages:        400000 kB\nMapped:           80000 kB\n"
    "PageTables:         4000 kB\nHugePages_Total:       2\n",
    "proc/vmstat": "nr_anon_pages 100000\nnr_mapped 20000\nnr_page_table_pages 1000\nnr_dirty 5\npswpout 0\n",
    "proc/sys/kernel/osrelease": "6.12.117-SECRETCORP-amd64\n",
    "proc/sys/vm/min_free_kbytes": "37533\n",
    "proc/sys/vm/watermark_scale_factor": "10\n",
    "proc/sys/vm/watermark_boost_factor": "15000\n",
    "proc/sys/vm/lowmem_reserve_ratio": "256\t256\t32\t0\n",
    "proc/sys/net/ipv4/tcp_wmem": "4096\t16384\t4194304\n",
    "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    "/dev/dm-0                               partition\t8388604\t\t1024\t\t-2\n"
    "/srv/SECRETUSER/swap\\040file            file\t\t1048572\t\t0\t\t5\n",
    "proc/mounts": "/dev/vda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n"
    "SECRETHOST:/export/SECRETPATH /srv/SECRETDIR nfs4 rw,hard,proto=tcp,rsize=1048576,clientaddr=192.0.2.7 0 0\n"
    "/dev/mapper/SECRETVG-data /SECRETMNT xfs rw,noatime 0 0\n",
    "proc/net/sockstat": "sockets: used 100\nTCP: inuse 5 orphan 0 tw 0 alloc 6 mem 7\nFRAG: inuse 0 memory 0\n",
    "proc/net/netstat": "TcpExt: SyncookiesSent PFMemallocDrop\nTcpExt: 1 42\nIpExt: InNoRoutes\nIpExt: -1\n",
    "proc/slabinfo": "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n"
    "bio-184              64     64    192   21    1 : tunables    0    0    0 : slabdata      3      3      0\n"
    "SECRETCACHE           4      4     64   64    1 : tunables    0    0    0 : slabdata      1      1      0\n"
    "skbuff_head_cache   128    128    256   16    1 : tunables    0    0    0 : slabdata      8      8      0\n",
    "sys/block/nbd0/dev": "43:0\n",
    "sys/block/nbd0/size": "16777216\n",
    "sys/block/nbd0/inflight": "       1        3\n",
    "sys/block/nbd0/queue/nr_requests": "256\n",
    "sys/block/nbd0/queue/max_sectors_kb": "128\n",
    "sys/block/nbd0/queue/max_hw_sectors_kb": "32768\n",
    "sys/block/nbd0/queue/max_segments": "65535\n",
    "sys/block/nbd0/queue/max_segment_size": "65536\n",
    "sys/block/nbd0/queue/scheduler": "none [mq-deadline] bfq\n",
    "sys/block/nbd0/mq/0/nr_tags": "128\n",
    "sys/block/nbd0/mq/0/nr_reserved_tags": "0\n",
    "sys/block/nbd0/mq/1/nr_tags": "128\n",
    "sys/block/nbd0/mq/1/nr_reserved_tags": "0\n",
    "sys/block/dm-0/dev": "253:0\n",
    "sys/block/dm-0/size": "16777208\n",
    "sys/block/dm-0/inflight": "       0        0\n",
    "sys/block/dm-0/queue/max_sectors_kb": "128\n",
    "sys/block/dm-0/queue/max_hw_sectors_kb": "128\n",
    "sys/block/dm-0/queue/max_segments": "64\n",
    "sys/block/dm-0/queue/max_segment_size": "4096\n",
    "sys/block/dm-0/queue/scheduler": "none\n",
    "sys/block/dm-0/slaves/nbd0": "",
    "sys/block/dm-0/dm/name": "SECRETSWAP\n",
    "sys/block/dm-0/dm/uuid": "CRYPT-LUKS2-5ec2e70123456789abcdef-SECRETSWAP\n",
    "sys/block/vda/dev": "254:0\n",
    "sys/block/vda/size": "41943040\n",
    "sys/block/vda/inflight": "0 0\n",
    "sys/block/vda/queue/max_sectors_kb": "1280\n",
    "sys/block/vda/queue/max_hw_sectors_kb": "2147483647\n",
    "sys/block/vda/queue/max_segments": "254\n",
    "sys/block/vda/queue/max_segment_size": "4294967295\n",
    "sys/block/vda/vda1/dev": "254:1\n",
    "sys/block/vda/vda1/partition": "1\n",
    "sys/block/md_SECRETARRAY/dev": "9:127\n",
    "sys/block/md_SECRETARRAY/size": "2048\n",
    "sys/block/md_SECRETARRAY/inflight": "0 0\n",
    "sys/class/bdi/43:0/max_ratio": "100\n",
    "sys/class/bdi/43:0/strict_limit": "0\n",
    "sys/module/dm_mod/parameters/swap_bios": "2048\n",
    "sys/module/dm_mod/parameters/reserved_bio_based_ios": "16\n",
    "sys/class/net/lo/mtu": "65536\n",
    "sys/class/net/enx001122334455/mtu": "1500\n",
    "sys/class/net/enx001122334455/device/uevent": "DRIVER=virtio_net\nMODALIAS=virtio:d00000001v00001AF4\n",
    "sys/class/net/enx001122334455/queues/rx-0/rps_cpus": "0\n",
    "sys/class/net/enx001122334455/queues/tx-0/xps_cpus": "0\n",
    "sys/class/net/enx001122334455/address": "00:11:22:33:44:55\n",
    "ethtool-g/enx001122334455": "Ring parameters for enx001122334455:\nPre-set maximums:\n"
    "RX:\t\t1024\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t1024\n"
    "Current hardware settings:\nRX:\t\t256\nRX Mini:\tn/a\nRX Jumbo:\tn/a\nTX:\t\t512\n",
    "dmsetup-table": "SECRETSWAP: 0 16777208 crypt aes-xts-plain64 5ec2e7c0ffee5ec2 0 43:0 32768 1 allow_discards\n",
    "proc/net/fib_trie": "Main:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n",
    "proc/net/route": "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "enx001122334455\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    "proc/net/tcp": "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 00000000:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5551 1 0000000000000000 100 0 0 10 0\n"
    "   1: 070200C0:2A39 090200C0:9C40 01 00000000:00000000 00:00000000 00000000     0        0 5552 1 0000000000000000 20 4 30 10 -1\n"
    "   2: 070200C0:0016 0A0200C0:9C41 01 00000000:00000000 00:00000000 00000000     0        0 5553 1 0000000000000000 20 4 30 10 -1\n",
    "proc/net/unix": "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01  5554 /run/SECRETSOCKET\n",
    "proc/812/fd/0": "/dev/null\n",
    "proc/812/fd/3": "socket:[5551]\n",
    "proc/812/fd/4": "socket:[5552]\n",
    "proc/812/fd/5": "/home/SECRETUSER/image\n",
    "proc/812/comm": "nbd-server\n",
    "proc/812/cmdline": "nbd-server\0--password=SECRETPW\0",
    "proc/812/status": "Name:\tnbd-server\nVmLck:\t    4096 kB\nVmRSS:\t   20480 kB\n",
    "proc/812/task/812/stat": "812 (nbd-server) S 1 812 812 0 -1 1573184 100 0 0\n",
    "proc/812/task/815/stat": "815 (SECRET) ) name) S 1 812 812 0 -1 4194304 100 0 0\n",
    "proc/999/comm": "SECRETAPP\n",
    "struct-sizes": "bio 128\nsk_buff 232\n",
    "page-size": "4096\n",
}


def write_tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """Lay out files under a directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture
def full_tree(tmp_path) -> Path:
    return write_tree(tmp_path / "full", FULL)
