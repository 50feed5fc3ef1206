"""Explaining hangs, on parts of recorded consoles (Debian 6.1.192): which floor, which cycle, how sure; and no hang where none was."""

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmodel import cli
from mmmodel.hang import CERTAIN, LIKELY, POSSIBLE, explain_hang
from mmmodel.linux import HostError
from mmmodel.measured import console
from tests.linux.conftest import FULL
from tests.linux.test_fuzz import damaged

HANGS = Path(__file__).parents[1] / "data" / "hangs"
REFILL, SERVER, SURVIVOR = "nbd-default-6.1.txt", "server-in-guest-6.1.txt", "survivor-min-free-16384-6.1.txt"


def text(name):
    return (HANGS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [REFILL, "nbd-default-r1-6.1.txt"])
def test_the_refill_of_virtio_net(name):
    report = explain_hang(HANGS / name)
    assert (report.kernel, report.sure, len(report.cycles)) == ("6.1.0", CERTAIN, 1)
    cycle = report.cycles[0]
    assert "receive service off" in cycle.name
    assert "refill_work" in cycle.evidence[0]
    assert "__swap_writepage" in cycle.evidence[0]
    assert "kswapd0" in cycle.evidence[1]
    assert "nbd-swap-virtio" in cycle.cure
    assert report.refused[0].endswith("order 0, GFP_ATOMIC")


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
    assert first.startswith("memory at 3.778009 s: free pages > 3/8 of min and lowmem_reserve does not hold in any zone: 250 against 267")
    assert last.startswith("memory at 12.804162 s: free pages > half of min, lowmem_reserve")
    assert "violated: memory at 3.778009 s" in str(explain_hang(HANGS / REFILL))
    assert explain_hang(trace("tar", "mutex_lock", "do_unlinkat")).violated == ()


def test_the_server_in_the_same_memory():
    report = explain_hang(HANGS / SERVER)
    assert report.sure == LIKELY  # one report alone: how long nothing moved is not seen
    assert report.cycles[0].name.startswith("server in the memory")
    assert report.cycles[0].evidence[0].startswith("nbdsrv (pid 100): throttle_direct_reclaim")
    again = text(SERVER) + "\nINFO: task nbdsrv blocked for more than 120 seconds.\n"
    assert explain_hang(again).sure == CERTAIN


def test_a_survivor_is_no_hang():
    report = explain_hang(HANGS / SURVIVOR)
    assert not report.hang
    assert report.sure is None
    assert str(report).startswith("NO HANG SHOWN")


def test_a_refusal_alone_is_no_hang():
    """The refused allocation of the hang's console without its blocked tasks: a machine that may have recovered."""
    report = explain_hang(text(REFILL).split("sysrq: Show Memory")[0])
    assert report.refused
    assert not report.hang


def test_what_is_not_seen_is_not_certain():
    """Each missing arc lowers the sureness: without kswapd, then without the refill itself."""
    whole = text(REFILL)
    assert explain_hang(without(whole, "kswapd0")).sure == LIKELY
    bare = explain_hang(without(without(whole, "kswapd0"), "kworker/0:2"))
    assert [(cycle.name, cycle.sure) for cycle in bare.cycles] == [("swap bios do not come back", POSSIBLE)]


def without(log, task):
    return re.sub(rf"(?ms)^\[[^\]]*\] task:{re.escape(task)}\s.*?</TASK>\n", "", log)


def trace(name, *symbols, work=None):
    """A task as sysrq-w prints it, innermost function first."""
    lines = [f"task:{name} state:D stack:0     pid:7 ppid:2 flags:0x4000", "Call Trace:", " <TASK>"]
    lines[1:1] = [f"Workqueue: queue {work} [module]"] if work else []
    return "\n".join([*lines, *(f" {symbol}+0x1/0x20" for symbol in ("__schedule", "schedule", *symbols)), " </TASK>", ""])


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


def test_a_directory_with_zoneinfo(tmp_path):
    (tmp_path / "dmesg").write_text(text(REFILL))
    (tmp_path / "zoneinfo").write_text(FULL["proc/zoneinfo"])
    report = explain_hang(tmp_path)
    assert report.sure == CERTAIN
    mine = {floor.right: (floor.free, floor.refused) for floor in report.floors if floor.report == "zoneinfo"}
    assert mine == dict.fromkeys(("ordinary", "high", "atomic", "memalloc"), (303800, False))


def test_on_the_command_line(capsys, tmp_path):
    assert cli.main(["explain-hang", str(HANGS / REFILL), "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["sure"] == CERTAIN
    assert cli.main(["explain-hang", str(tmp_path)]) == cli.BAD_INPUT
    assert "holds none of" in capsys.readouterr().err
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
    assert [cycle.name for cycle in explain_hang(console("hang-6.1")).cycles] == ["receive service off while its refill waits for memory (virtio_net)"]
    assert not explain_hang(console("survive-6.1")).hang
