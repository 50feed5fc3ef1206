"""A second transcription of the catalogue's numbers, taken from the sources again and not from `data/`.

`OBJECTS`: sizes of kernel objects in bytes for 6.1 | 6.12 | 6.18 (BTF); a dash where the object was not measured.
`AMOUNTS`: what a class takes in all, and `CAPACITIES`: what a pool holds, each worked out by hand from the sources' figures.
"""

OBJECTS = """
bio                                                      128            128            120
bio_vec                                                  16             16             16
bio_set                                                  392            392            248
bio_integrity_payload                                    96             96             40
request                                                  272            248            248
sk_buff sk_buff_fclones                                  232/472        232/472        224/456
skb_shared_info                                          320            320            320
page folio                                               64/112         64/256         64/256
dm_io                                                    248            248            -
dm_target_io clone_info                                  168/40         168/40         -
dm_snap_pending_exception dm_exception                   128/32         128/32         -
kcopyd_job                                               360            360            -
dm_crypt_io dm_crypt_request                             256/272        256/272        -
skcipher_request                                         80             80             80
dm_thin_endio_hook dm_thin_new_mapping dm_bio_prison_cell  64/88/96     64/88/96       -
nbd_cmd nbd_request nbd_reply                            72/28/16       72/28/16       -
buffer_head xa_node                                      104/576        104/576        104/576
rtable inet_frag_queue ipq                               176/176/200    176/176/200    176/176/200
nfs_pgio_header                                          904            912            -
nfs_page                                                 96             96             -
rpc_task rpc_rqst                                        224/480        224/472        -
nfs_commit_data nfs_direct_req                           712/224        712/216        -
swap_iocb                                                568            568            568
fuse_req                                                 152            152            168
fuse_io_args fuse_writepage_args                         208/272        224/288        232/264
fuse_in_header fuse_write_in                             40/40          40/40          40/40
iscsi_task iscsi_tcp_task                                152/96         152/96         -
scsi_cmnd iscsi_r2t_info iscsi_segment                   296/28/80      296/28/80      -
nvme_tcp_request nvme_tcp_cmd_pdu nvme_iod               184/72/136     192/72/208     -
ublk_io ublk_rq_data ublksrv_io_desc                     -              24/16/24       -
zram_table_entry                                         24             24             16
zspage                                                   -              56             56
loop_cmd virtblk_req                                     104/40         104/56         104/56
rbd_img_request rbd_obj_request ceph_osd_request ceph_msg  160/200/816/240  160/200/816/264  -
drbd_request drbd_peer_request                           224/136        224/136        -
io_kiocb iomap_ioend                                     216/192        248/184        248/200
r1bio r10bio tcmu_cmd                                    88/80/80       80/72/80       -
biovec_16 biovec_64 biovec_128 biovec_max                256/1024/2048/4096  256/1024/2048/4096  256/1024/2048/4096
fs_bio                                                   256            192            192
tx_head                                                  1024           640            576
"""

# stack, class, bytes of the reserve taken in all (a loop's rounds counted)
AMOUNTS = [
    ("nbd-tcp", "write-4k", 10_460),
    ("nbd-tcp", "write-128k", 192 + 1024 + 3 * 1152 + 131_100 + 4992),
    ("nbd-swap-virtio", "swap-write", 256 + (512 + 1024 + 4124) + 3 * 2048 + (256 + 1280 + 2048) + 4096),
    ("nbd-tcp@6.1", "write-4k", 256 + (512 + 1024) + 4124 + (256 + 1024 + 4096)),
    ("iscsi-tcp", "write-4k", 192 + 1152 + 48 + 4992),
    ("iscsi-tcp", "write-128k", 1216 + 1024 + 3456 + 48 + 4992),
    ("nvme-tcp", "write-4k", 192 + 1152 + 72 + 4992),
    ("nvme-tcp", "write-128k", 1216 + 1224 + 4992 + 3456 + 24 + 4992),
    ("nfs-swap", "write-4k", 216 + 128 + 1152 + 4992),
    ("nfs-swap", "write-128k", 216 + 32 * 128 + 3456 + 4992),
    ("dm-crypt-swap", "write-4k", 896 + 192),
    ("dm-crypt-nbd", "write-4k", 896 + 10_460),
    ("dm-crypt-nvme", "write-4k", 896),
    ("dm-crypt-sata", "write-128k", 896),
    ("dm-thin", "write-mapped", 320),
    ("dm-snapshot", "write-again", 256),
    ("fuse-before-6.16", "write-1m", 512 + 152 + 4096 + 1_048_576 + 65_536),
    ("fuse", "write-1m", 512 + 168 + 4096 + 65_536),
    ("ublk", "write-4k", 192 + 256 + 192),
    ("ublk", "write-512k", 192 + 2048 + 256 + 192 + 2048),
    ("loop", "write-4k", 4096),
    ("zram", "page-huge", 4096 + 56),
    ("ddsnap-2007", "write-1", 56 + 768),
    ("ddsnap-2007", "snapshot-read-1", 56 + 768 + 56 + 768),
    ("ddsnap-2007-v1", "write-251", 56 + 768),
    ("ddsnap-2007-v3", "write-1-of-256", 56 + 768),
    ("nas", "nbd-write-4k", 10_460),
    ("nas", "iscsi-write-4k", 6384),
    ("nas", "crypt-write-4k", 896 + 192 + 4096),
]

# stack, pool, what it holds
CAPACITIES = [
    ("nbd-tcp", "throttle", 128),
    ("iscsi-tcp", "throttle", 32),
    ("nfs-swap", "iocb", 32),
    ("nfs-swap", "header", 32),
    ("nfs-swap", "task", 8),
    ("nfs-swap", "buffer", 8),
    ("nfs-swap", "slot", 2),
    ("dm-crypt-swap", "throttle", 2048),
    ("dm-crypt-swap", "mempool", 256),
    ("dm-crypt-swap", "lock", 1),
    ("dm-crypt-swap", "reserve", 25_956_352),  # 6337 pages
    ("dm-crypt-nvme", "bio", 2),
    ("dm-crypt-nvme", "io", 16),
    ("dm-crypt-nvme", "clone", 64),
    ("dm-crypt-nvme", "mempool", 256),
    ("dm-crypt-nvme", "rescuer", 1),
    ("dm-crypt-nvme", "scatter", 1),
    ("dm-crypt-nvme", "tags", 1023),
    ("dm-crypt-sata", "tags", 32),
    ("dm-crypt-sata", "scheduler", 64),
    ("dm-crypt-nbd", "tags", 128),
    ("dm-thin", "mappings", 1024),
    ("dm-thin", "cells", 1024),
    ("dm-snapshot", "exceptions", 256),
    ("dm-snapshot", "jobs", 8),
    ("dm-snapshot", "pages", 128),
    ("dm-snapshot", "throttle", 2048),
    ("dm-snapshot", "io", 16),
    ("fuse", "throttle", 12),
    ("fuse-before-6.16", "throttle", 12),
    ("ublk", "throttle", 128),
    ("ddsnap-2007", "throttle", 1000),
    ("ddsnap-2007", "reserve", 1_572_864),  # 3/8 of 4096 KiB
    ("ddsnap-2007-v1", "throttle", 1000),
    ("ddsnap-2007-v1-bypass", "throttle", 1000),
    ("ddsnap-2007-v3", "throttle", 1000),
    ("nas", "reserve", 1_112_064),  # 3/8 of 2896 KiB
    ("nbd-swap-virtio", "bio", 2),
    ("nbd-swap-virtio", "napi", 1),
]

# the guest that nbd-swap-virtio was measured on: min_free_kbytes, ordinary floor, ATOMIC floor, cushion (pages)
FLOORS = [(1519, 503, 269, 234), (2048, 636, 318, 318), (2304, 700, 341, 359), (2560, 764, 366, 398), (3072, 892, 414, 478)]

# scheme, stack, pool, capacity
SCHEMED = [
    ("phillips", "writeout-2007", "throttle", 10),
    ("polyakov", "writeout-2007", "throttle", 10),
    ("zijlstra", "writeout-2007", "rx-budget", 1_048_576),
    ("zijlstra", "writeout-2007", "sndbuf", 131_072),
    ("mainline-2026", "writeout-2007", "throttle", 2048),
    ("ddsnap-v2-race", "ddsnap-2007", "throttle", 1768),
    ("sndbuf", "nbd-tcp", "sndbuf", 4_194_304),
]
