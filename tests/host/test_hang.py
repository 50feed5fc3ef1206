"""Explaining hangs, on parts of recorded consoles (Debian 6.1.192): which floor, which cycle, how sure; and no hang where none was."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmodel.app import cli
from mmmodel.host import hang
from mmmodel.host.hang import CERTAIN, LIKELY, POSSIBLE, Degree, Finding, Seen, explain_hang
from mmmodel.host.lab.measured import console
from mmmodel.linux.network import Nic
from mmmodel.linux.servers import Place
from mmmodel.linux.serving import Serving
from mmmodel.linux.sysrq import read_log
from mmmodel.linux.text import HostError
from tests.host.hangs import HANGS, shown, trace
from tests.host.survey.trees import OTHER, OWN, READ, client, disk, nbd, swaps, tcp
from tests.linux.conftest import FULL, write_tree
from tests.linux.test_fuzz import damaged

REFILL, SERVER, SURVIVOR = "nbd-default-6.1.txt", "server-in-guest-6.1.txt", "survivor-min-free-16384-6.1.txt"


def text(name):
    return (HANGS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [REFILL, "nbd-default-r1-6.1.txt"])
def test_the_refill_of_virtio_net(name):
    report = explain_hang(HANGS / name)
    assert (report.kernel, report.sure, len(report.cycles)) == ("6.1.0", LIKELY, 1)
    cycle = report.cycles[0]
    assert "receive service off" in cycle.name
    assert "refill_work" in cycle.evidence[0]
    assert "__swap_writepage" in cycle.evidence[0]
    assert "kswapd0" in cycle.evidence[1]
    assert "nbd-swap-virtio" in cycle.cure
    assert report.refused[0].endswith("order 0, GFP_ATOMIC")
    # all is seen but that the swap's traffic goes through this card: a server over loopback would be as dead with another cause
    assert [arc.missing for arc in cycle.arcs if not arc.seen] == [
        "which device the swap lies on, and that its replies come through this network card"
    ]


def test_the_floors_at_the_time():
    """By hand from the console: 250 = 139 + 111 pages free when refused; atomic: 40 → 15 + 125 and 338 → 127 pages are to be left."""
    report = explain_hang(HANGS / REFILL)
    first = {floor.right: floor for floor in report.floors if floor.report == "memory at 3.778009 s"}
    assert {right: floor.free for right, floor in first.items()} == dict.fromkeys(first, 250)
    assert (first["atomic"].floor, first["atomic"].refused) == (15 + 125 + 127, True)
    # ordinary: min with its boost, lowmem_reserve, and on 6.1 the whole high-order reservation of 4096 kB
    assert (first["ordinary"].floor, first["ordinary"].refused) == (552 + 125 + 850 + 1024, True)
    assert (first["memalloc"].floor, first["memalloc"].refused) == (0, False)


def test_which_inequality_was_violated():
    """At the refusal the atomic right had failed too; nine seconds later it was back, and only half of min was not."""
    first, last = explain_hang(HANGS / REFILL).violated
    assert first.startswith("memory at 3.778009 s: free pages > 3/8 of min and lowmem_reserve holds in no zone: 250 against 267")
    assert last.startswith("memory at 12.804162 s: free pages > half of min, lowmem_reserve")
    assert "violated: memory at 3.778009 s" in str(explain_hang(HANGS / REFILL))
    assert explain_hang(trace("tar", "mutex_lock", "do_unlinkat")).violated == ()


def test_the_server_in_the_same_memory():
    report = explain_hang(HANGS / SERVER)
    assert report.sure == LIKELY
    assert report.cycles[0].name.startswith("server in the memory")
    assert report.cycles[0].evidence[0].startswith("nbdsrv (pid 100): throttle_direct_reclaim")
    assert missing(report) == ["which device the swap lies on, and that this server serves it", "how long they wait"]


SWAP, LONG = (
    "[    2.0] Adding 614396k swap on /dev/{}.  Priority:-2 extents:1 across:614396k\n",
    "INFO: task {}:{} blocked for more than 120 seconds.\n",
)


def missing(report):
    return [arc.missing for arc in report.cycles[0].arcs if not arc.seen]


@pytest.mark.parametrize(
    ("swaps", "serves", "long", "degree", "said"),
    [
        (["nbd0"], 100, True, CERTAIN, []),
        (["nbd0"], 100, False, LIKELY, ["how long they wait"]),
        (["nbd0"], None, True, LIKELY, ["that this server serves nbd0, which the swap lies on"]),
        (["nbd0"], 7, True, LIKELY, ["that this server serves nbd0, which the swap lies on and pid 7 set up"]),
        (["sdb2"], None, True, POSSIBLE, ["that this server has to do with sdb, which the swap lies on"]),
        (["sdb2"], 100, True, POSSIBLE, ["that this server has to do with sdb, which the swap lies on"]),
        (["nbd0", "sdb2"], 100, True, LIKELY, ["for which of nbd0 and sdb they wait, and that this server serves it"]),
        ([], 100, True, LIKELY, ["which device the swap lies on, and that this server serves it"]),
    ],
)
def test_a_server_is_certain_only_of_its_own_device(tmp_path, swaps, serves, long, degree, said):
    """The device that is waited for may be another one, dead for a reason of its own; the console's wb_workfn is left out."""
    log = (
        "".join(SWAP.format(disk) for disk in swaps)
        + without(text(SERVER), "kworker/u2:1")
        + (LONG.format("nbdsrv", 100) if long else "")
    )
    (tmp_path / "console").write_text(log)
    if serves is not None:
        (tmp_path / "sys/block/nbd0").mkdir(parents=True)
        (tmp_path / "sys/block/nbd0/pid").write_text(f"{serves}\n")
    report = explain_hang(tmp_path)
    assert (report.sure, missing(report)) == (degree, said)
    assert ("every arc is seen" in str(report)) == (degree is CERTAIN)


def machine(root, near, far, *, server=None, driver="e1000", nic="eth0"):
    """A recorded tree of a machine whose nbd0 is connected from `near` to `far`, there to process `server` of this machine."""
    rows = [(7000, near, 40000, far, 10809)] + ([(8000, far, 10809, near, 40000), (8001, far, 10809)] if server else [])
    files = READ | nbd(16) | {"proc/net/tcp": tcp(*rows), f"sys/class/net/{nic}/device/uevent": f"DRIVER={driver}\n"}
    if server:
        files |= {
            name: text
            for name, text in client(server, "nbd9", 8000, 8001, comm="nbdsrv", opens="/dev/null").items()
            if "sys/block" not in name
        }
    return write_tree(root, files | {"proc/swaps": swaps("/dev/nbd0")})


def test_a_recorded_tree_tells_who_serves_what(tmp_path):
    """The process at the other end of the client's connection; none of this machine, where the server is elsewhere."""
    log = SWAP.format("nbd0") + without(text(SERVER), "kworker/u2:1") + LONG.format("nbdsrv", 100)
    for name, tree, degree, said in (
        ("own", {"near": "127.0.0.1", "far": "127.0.0.1", "server": 100}, CERTAIN, []),
        (
            "other",
            {"near": "127.0.0.1", "far": "127.0.0.1", "server": 101},
            POSSIBLE,
            ["that pid 101, which serves nbd0, is blocked"],
        ),
        (
            "far",
            {"near": OWN, "far": OTHER},
            POSSIBLE,
            ["that this server has to do with nbd0, whose server is on another machine"],
        ),
    ):
        root = machine(tmp_path / name, **tree)
        (root / "console").write_text(log)
        report = explain_hang(root)
        assert (report.sure, missing(report)) == (degree, said), name


@pytest.mark.parametrize(
    ("tree", "degree", "said"),
    [
        ({"near": OWN, "far": OTHER, "driver": "virtio_net"}, CERTAIN, ""),
        ({"near": OWN, "far": OTHER}, POSSIBLE, "its way leads through another"),
        (
            {"near": "127.0.0.1", "far": "127.0.0.1", "server": 100, "driver": "virtio_net"},
            POSSIBLE,
            "its server is on this machine",
        ),
    ],
)
def test_the_refill_is_certain_where_the_swap_comes_through_its_card(tmp_path, tree, degree, said):
    root = machine(tmp_path / "tree", **tree)
    (root / "console").write_text(text(REFILL))
    report = explain_hang(root)
    assert report.sure == degree
    assert said in "; ".join(missing(report))
    assert (missing(report) == []) == (degree is CERTAIN)


def test_every_card_of_the_way_must_be_seen():
    """Two connections through cards of two drivers: what the one holds up, the other may let pass."""
    cards = [Nic(name, 1500, driver, 1, 1, None) for name, driver in (("eth0", "virtio_net"), ("eth1", "e1000"))]
    report = read_log([[SWAP.format("nbd0") + text(REFILL)]])
    for some, degree in ((cards[:1], CERTAIN), (cards, LIKELY), ([], LIKELY)):
        seen = Seen(report, {"nbd0": Serving(Place.ELSEWHERE, cards=tuple(some))})
        assert [cycle.sure for pattern in hang.PATTERNS for cycle in pattern(seen)] == [degree]


def test_a_process_that_has_a_ublk_device_open_serves_it(tmp_path):
    opened = {
        name: text for name, text in client(100, "nbd9", comm="server", opens="/dev/ublkc0").items() if "sys/block" not in name
    }
    root = write_tree(tmp_path / "tree", READ | disk("ublkb0") | opened | {"proc/swaps": swaps("/dev/ublkb0")})
    (root / "console").write_text(without(text(SERVER), "kworker/u2:1") + LONG.format("nbdsrv", 100))
    report = explain_hang(root)
    assert (report.sure, missing(report)) == (CERTAIN, [])
    assert "swap lies on ublkb0, which pid 100 serves" in str(report)


def test_a_server_is_not_certain_where_others_wait_for_another_device(tmp_path):
    """A flusher waits for a bio of a device that is not named: the server's may be another."""
    (tmp_path / "console").write_text(SWAP.format("nbd0") + text(SERVER) + LONG.format("nbdsrv", 100))
    (tmp_path / "sys/block/nbd0").mkdir(parents=True)
    (tmp_path / "sys/block/nbd0/pid").write_text("100")
    assert missing(explain_hang(tmp_path)) == ["that all of them wait for nbd0"]


def test_the_lab_s_loop_and_target_are_certain_with_the_time():
    """Their consoles show every arc but how long; a loop device that swap does not lie on is another matter."""
    for name, who in (("hang-loop-direct-6.1", ("kworker/u2:1", 24)), ("hang-nvmet-6.1", ("kworker/0:1H", 35))):
        assert explain_hang(console(name)).sure == LIKELY
        assert explain_hang(console(name) + "\n" + LONG.format(*who)).sure == CERTAIN
    elsewhere = (
        console("hang-loop-direct-6.1").replace("swap on /dev/loop0", "swap on /dev/sdb2")
        + "\n"
        + LONG.format("kworker/u2:1", 24)
    )
    assert explain_hang(elsewhere).cycles[0].sure == POSSIBLE
    far = console("hang-nvmet-6.1").replace("addr 127.0.0.1:4420", "addr 192.0.2.7:4420") + "\n" + LONG.format("kworker/0:1H", 35)
    assert missing(explain_hang(far)) == ["that this target serves nvme0n1, which swap lies on"]


def test_time_is_seen_in_several_ways():
    """The kernel's own message of one of them, not of another task; and the same task in the same place twice."""
    log = console("hang-loop-direct-6.1")
    assert "how long they wait" in missing(
        explain_hang(log + "\n" + LONG.format("other", 9999) + trace("other", "mutex_lock", pid=9999))
    )
    later = "\n".join(line.replace("[   15.", "[   35.") for line in log.splitlines() if line.startswith("[   15."))
    assert "shown twice in the same place, 20.0 s apart" in str(explain_hang(f"{log}\n{later}"))
    assert explain_hang(f"{log}\n{later}").sure == CERTAIN


def test_the_same_evidence_is_listed_once():
    """A server that waits for a swap bio is server and waiter; a console that is read twice shows no task twice."""
    report = explain_hang(console("hang-fuse-6.1"))
    assert sum("fuse2fs" in line for line in str(report).splitlines()) == 1
    assert [line.split(" (")[0] for line in report.cycles[0].evidence] == ["fuse2fs", "kswapd0", "hog ×8"]
    twice = explain_hang(2 * console("hang-fuse-6.1"))
    assert (twice.blocked, twice.count, twice.cycles[0].evidence) == (report.blocked, report.count, report.cycles[0].evidence)


def test_a_survivor_is_no_hang_and_no_all_clear():
    report = explain_hang(HANGS / SURVIVOR)
    assert (report.hang, report.sure, report.finding, report.answered) == (False, None, Finding.NOT_ANSWERED, False)
    assert str(report).startswith("NOT ANSWERED")


def test_a_refusal_alone_is_no_hang_and_no_all_clear():
    """The refused allocation of the hang's console without its blocked tasks: a machine that may have recovered."""
    report = explain_hang(text(REFILL).split("sysrq: Show Memory")[0])
    assert report.refused
    assert (report.hang, report.answered) == (False, False)


ATOMIC = """BUG: scheduling while atomic: swapper/0/0/0x00000002
CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-1-amd64 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x2
 __schedule_bug+0x1/0x2
 __schedule+0x1/0x2
 schedule+0x1/0x2
 mempool_alloc+0x1/0x2
 </TASK>
"""  # a stack of a task that runs


@pytest.mark.parametrize(
    ("log", "finding", "answered"),
    [
        ("\n", Finding.NOT_ANSWERED, False),
        ("Linux version 6.1\neth0: link becomes ready\n", Finding.NOT_ANSWERED, False),
        (shown("SSRI"), Finding.NONE_BLOCKED, True),
        (shown("SSRI", first=3), Finding.NOT_ANSWERED, False),  # not all tasks: init and kthreadd are not among them
        (shown("SSRI") + "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [x:9]\n", Finding.NOT_ANSWERED, False),
        (shown("SSDI"), Finding.UNEXPLAINED, True),
        (shown("SSRI") + LONG.format("hog", 7), Finding.NONE_BLOCKED, False),
        (shown("SSRI") + LONG.format("task3", 3), Finding.NONE_BLOCKED, False),  # it was blocked before
        (shown("SSRI") + ATOMIC, Finding.NONE_BLOCKED, True),
        ("sysrq: Show Blocked State\nsysrq: Show Memory\n", Finding.NOT_ANSWERED, False),
    ],
)
def test_what_is_an_all_clear(log, finding, answered, capsys, tmp_path):
    report = explain_hang(log)
    assert (report.finding, report.answered) == (finding, answered)
    (tmp_path / "log").write_text(log)
    assert cli.main(["explain-hang", str(tmp_path / "log")]) == (cli.OK if answered else cli.BAD_INPUT)
    assert ("NO TASK BLOCKED: of 4 tasks shown none" in capsys.readouterr().out) == (finding is Finding.NONE_BLOCKED)


HEADER = "task:hog             state:D stack:0     pid:7     ppid:2      flags:0x00004000\n"


@pytest.mark.parametrize(
    ("log", "sign"),
    [
        (LONG.format("hog", 7), "hog (pid 7): the kernel says"),
        ("Warning  TaskHung  5m23s  kernel-monitor  " + LONG.format("hog", 7), "hog (pid 7): the kernel says"),
        ("INFO: task hog:7 blocked for mo", "hog (pid 7): the kernel says"),
        ("INFO: task hog:7 is blocked on a mutex likely owned by task tar:99.", "hog (pid 7): the kernel says"),
        ("INFO: task ho@@@@blocked for more than 120 seconds.", "a line says that tasks are blocked"),
        ("Kernel panic - not syncing: hung_task: blocked tasks", "a line says that tasks are blocked"),
        ("Name: hog\nState:\tD (disk sleep)", "a line says that tasks are blocked"),
        (HEADER, "hog (pid 7): its header"),
        (HEADER + "Call Trace:\n <TASK>\n </TASK>", "hog (pid 7): its header"),
        ("task:hog             state:D stack:0     pid:7", "a header that is torn"),
        ("task:hog             sta", "a header that is torn"),
        ("Call Trace:\n <TASK>\n __schedule+0x1/0x2\n mempool_alloc+0x1/0x2\n </TASK>", "a stack without a header"),
        (" </TASK>\n __schedule+0x1/0x2\n mempool_alloc+0x1/0x2", "a stack without a header"),
        ("crash> ps\n      7      2   0  ffff8880deadbe00  UN   0.0       0      0  [hog]", "hog (pid 7): it is listed"),
    ],
)
def test_what_cannot_be_read_is_said(log, sign, capsys, tmp_path):
    (tmp_path / "log").write_text(f"{log}\n")
    assert cli.main(["explain-hang", str(tmp_path / "log")]) == cli.BAD_INPUT
    said = capsys.readouterr().out
    assert said.startswith("NOT READ: ")
    assert sign in said
    # with tasks that are read, too: all of a machine's that do not wait, and one that does, which a line without a name may mean
    assert explain_hang(f"{shown('SSR')}{log}\n").unread
    beside = explain_hang(f"{trace('tar', 'mutex_lock', pid=99)}{log}\n")
    assert beside.finding is Finding.UNEXPLAINED
    assert bool(beside.unread) == (sign != "a line says that tasks are blocked")


def test_what_was_read_after_all_is_not_unread():
    """The header is torn or its stack is lost once, and shown whole at another time."""
    whole = trace("hog", "mutex_lock", pid=7)
    for log in (
        LONG.format("hog", 7) + whole,
        HEADER + whole,
        whole + LONG.format("thread-of-hog", 7),
        LONG.format("hog", 7) * 3 + whole,
    ):
        report = explain_hang(log)
        assert (report.unread, report.answered, report.count) == ((), True, 1)


def test_a_hang_is_told_beside_what_is_not_read(capsys, tmp_path):
    (tmp_path / "log").write_text(text(REFILL) + "\n" + LONG.format("other", 999))
    assert cli.main(["explain-hang", str(tmp_path / "log")]) == cli.BAD_INPUT
    first, second, third = capsys.readouterr().out.splitlines()[:3]
    assert first.startswith("NOT READ: 1 ")
    assert second == "  other (pid 999): the kernel says that it is blocked for long"
    assert third.startswith("HANG (likely)")


def test_what_is_not_seen_is_not_certain():
    """Each missing arc lowers the sureness: without kswapd, then without the refill itself."""
    whole = text(REFILL)
    assert "that kswapd waits as well" in missing(explain_hang(without(whole, "kswapd0")))
    bare = explain_hang(without(without(whole, "kswapd0"), "kworker/0:2"))
    assert [(cycle.name, cycle.sure) for cycle in bare.cycles] == [("swap bios do not come back", POSSIBLE)]


def without(log, task):
    return re.sub(rf"(?ms)^\[[^\]]*\] task:{re.escape(task)}\s.*?</TASK>\n", "", log)


INVALIDATES = (
    "folio_wait_bit_common",
    "__folio_lock",
    "invalidate_inode_pages2_range",
    "fuse_reverse_inval_inode",
    "fuse_notify",
    "fuse_dev_do_write",
)
PATTERNS = [
    ("dirty limit", LIKELY, trace("nbd-server", "io_schedule_timeout", "balance_dirty_pages", "vfs_write") + trace("cp", "balance_dirty_pages")),
    ("dirty limit", POSSIBLE, trace("kworker/1:0", "balance_dirty_pages", "loop_process_work", "kthread", work="loop_workfn")),
    ("transmit", LIKELY, trace("kworker/0:1H", "try_to_free_pages", "tcp_sendmsg", "sock_xmit", "nbd_queue_rq", "kthread")),
    ("transmit", POSSIBLE, trace("kworker/0:1H", "sk_stream_wait_memory", "tcp_sendmsg", "__sock_xmit", "nbd_queue_rq", "kthread")),
    ("mempool of dm-crypt", POSSIBLE, trace("kworker/u4:0", "mempool_alloc", "crypt_alloc_buffer", "kthread", work="kcryptd_crypt")),
    ("mempool of dm-crypt", POSSIBLE, 2 * trace("kworker/u4:0", "mempool_alloc", "kcryptd_crypt_write_convert", "kthread")),
    ("FUSE", LIKELY, trace("cp", "request_wait_answer", "fuse_flush") + trace("sshfs", "try_to_free_pages", "vfs_write")),
    ("FUSE", POSSIBLE, trace("cp", "request_wait_answer", "fuse_flush")),
    ("NFS", POSSIBLE, trace("kswapd0", "mempool_alloc", "rpc_malloc", "rpc_execute", "nfs_writepage", "kswapd", "kthread")),
    ("FUSE server waits in its own", LIKELY, trace("cp", "request_wait_answer", "fuse_lookup", pid=8) + trace("fused", *INVALIDATES)),
    ("FUSE server waits in its own", POSSIBLE, trace("fused", *INVALIDATES)),
    ("FUSE server waits in its own", POSSIBLE, trace("fused", "wait_on_page_bit_common", "__lock_page", *INVALIDATES[2:])),
    ("FUSE server waits in its own", LIKELY, trace("fused", "request_wait_answer", "fuse_lookup_name", "fuse_reverse_inval_entry", "fuse_dev_do_write")),
    ("FUSE server waits in its own", POSSIBLE, trace("fused", "rwsem_down_write_slowpath", "down_write", "fuse_reverse_inval_entry", "fuse_notify")),
    ("FUSE server blocked", LIKELY, trace("cp", "folio_wait_bit_common", "__folio_lock", "fuse_readahead", pid=8) + trace("x", "shrink_node", "fuse_dev_do_write")),
    ("FUSE server blocked", POSSIBLE, trace("cp", "folio_wait_bit_common", "folio_wait_writeback", "fuse_flush")),
    ("FUSE server blocked", POSSIBLE, trace("cp", "__lock_page", "fuse_writepages")),
    ("congestion_wait", POSSIBLE, trace("kswapd0", "congestion_wait", "shrink_node", "kswapd", "kthread")),
    ("receive service", POSSIBLE, trace("kworker/0:2", "schedule_timeout", "try_to_free_pages", "refill_work", "kthread", work="refill_work")),
    ("swap bios", POSSIBLE, trace("kswapd0", "mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "shrink_node", "kswapd", "kthread")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sure", "log"), PATTERNS)
def test_every_pattern(name, sure, log):
    report = explain_hang(log)
    assert [cycle.sure for cycle in report.cycles if name in cycle.name] == [sure]
    assert name in str(report)


def test_blocked_without_a_cycle():
    report = explain_hang(trace("tar", "mutex_lock", "do_unlinkat"))
    assert report.blocked
    assert not report.hang
    assert str(report).startswith("NOT EXPLAINED")


def test_every_blocked_task_is_listed_by_equal_stacks():
    """In text as in JSON, also those beside a cycle; the scheduler's functions say nothing and are left out."""
    log = "".join(trace("tar", "mutex_lock", "do_unlinkat", pid=pid) for pid in (10, 11, 12, 20)) + trace(
        "cp", "mutex_lock", "do_unlinkat", pid=13
    )
    log += trace("mv", "wbt_wait", "rq_qos_wait", pid=30) + trace("ls", "do_wait", state="S", pid=31)
    report = explain_hang(log)
    assert "  tar ×4, cp (pids 10 to 13, 20): waits in mutex_lock < do_unlinkat" in str(report).splitlines()
    assert "  mv (pid 30): waits in wbt_wait < rq_qos_wait" in str(report).splitlines()
    assert "ls" not in str(report).replace("else", "")
    data = report.as_dict()["blocked"]
    assert [group["count"] for group in data] == [5, 1]
    assert [task["pid"] for task in data[0]["tasks"]] == [10, 11, 12, 20, 13]
    assert data[0]["stack"] == ["__schedule", "schedule", "mutex_lock", "do_unlinkat"]
    assert report.count == 6
    beside = str(explain_hang(text(REFILL) + log))
    assert "blocked as well, in none of these cycles:\n  tar ×4, cp (pids 10 to 13, 20): waits in" in beside


def test_a_directory_with_zoneinfo(tmp_path):
    (tmp_path / "dmesg").write_text(text(REFILL))
    (tmp_path / "zoneinfo").write_text(FULL["proc/zoneinfo"])
    report = explain_hang(tmp_path)
    assert report.hang
    mine = {floor.right: (floor.free, floor.refused) for floor in report.floors if floor.report == "zoneinfo"}
    assert mine == dict.fromkeys(("ordinary", "high", "atomic", "memalloc"), (303800, False))


def test_on_the_command_line(capsys, tmp_path):
    assert cli.main(["explain-hang", str(HANGS / REFILL), "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["sure"] == LIKELY
    assert cli.main(["explain-hang", str(tmp_path)]) == cli.BAD_INPUT
    assert "holds no file to read" in capsys.readouterr().err
    assert cli.main(["explain-hang", str(tmp_path / "absent")]) == cli.BAD_INPUT
    with pytest.raises(HostError, match="no such directory"):
        explain_hang(tmp_path / "absent")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_consoles(seed):
    draw = random.Random(seed)
    report = explain_hang(damaged(text(draw.choice([REFILL, SERVER])), draw) + "\n")
    str(report)
    json.dumps(report.as_dict())
    survivor = explain_hang(damaged(text(SURVIVOR), draw) + "\n")
    assert not survivor.hang
    assert not survivor.answered


# Consoles that the kernel lab recorded, each with the cause that its stack names (data/lab/consoles).
@pytest.mark.parametrize(
    ("name", "first", "sure", "seen"),
    [
        ("hang-loop-direct-6.1", "two bios of one set, one above the other (loop)", "likely", "loop_rootcg_workfn"),
        ("hang-nvmet-6.1", "target in the kernel that it is to clean", "likely", "nvmet_tcp_io_work"),
        ("hang-loop-6.1", "a worker more wants a thread, and threads want memory", "possible", "kthreadd"),
        ("hang-fuse-6.1", "server in the memory that it is to clean", "possible", "fuse2fs"),
    ],
)
def test_hangs_of_the_lab_are_named(name, first, sure, seen):
    report = explain_hang(console(name))
    assert (report.cycles[0].name, report.cycles[0].sure) == (first, sure)
    assert seen in report.cycles[0].evidence[0]


def test_the_refill_hang_has_no_other_name_and_a_survivor_none():
    assert [cycle.name for cycle in explain_hang(console("hang-6.1")).cycles] == [
        "receive service off while its refill waits for memory (virtio_net)"
    ]
    assert not explain_hang(console("survive-6.1")).hang


def test_degrees_are_an_order_and_every_cycle_has_one():
    assert list(Degree) == ["certain", "likely", "possible"]
    for _, _, log in PATTERNS:
        for cycle in explain_hang(log).cycles:
            assert isinstance(cycle.sure, Degree)
            assert (cycle.sure is CERTAIN) == all(arc.seen for arc in cycle.arcs)
            assert all(arc.missing for arc in cycle.arcs if not arc.seen)
            assert all(arc.missing in cycle.why for arc in cycle.arcs if not arc.seen)


def test_a_log_of_many_refusals_stays_readable():
    """Equal reports once, of many the first and the last; JSON has all of them."""
    memory = text(REFILL).split("Mem-Info:")[1].rpartition("\n")[0] + "\n"
    log = "".join(f"[{n:5d}.000001] Mem-Info:{memory}" for n in (*range(40), 39))
    report = explain_hang(log + trace("tar", "mutex_lock"))
    assert len(report.floors) == 160
    lines = str(report).splitlines()
    assert sum("pages free," in line for line in lines) == 24
    assert "  and 136 such lines between (--json has all)" in lines
    assert len(report.as_dict()["floors"]) == 160
