"""The log of a hang: a 192 MiB guest of Debian 6.1.192 swapping to an NBD (measured; part of its serial console)."""

import dataclasses
from pathlib import Path

import pytest

from mmmodel.linux.sysrq import Failure, memory_zones, parse_sysrq
from mmmodel.linux.text import HostError
from mmmodel.linux.watermarks import RULES, exclusive_reserve, total_floor, zone_floor

LOG = (Path(__file__).parent / "data" / "sysrq-nbd-6.1.txt").read_text()


@pytest.fixture(scope="module")
def report():
    return parse_sysrq(LOG)


def test_the_refused_allocation(report):
    assert report.failures == (Failure("kworker/0:1H", 0, ("GFP_ATOMIC",)),)


def test_the_blocked_tasks(report):
    assert [task.name for task in report.blocked] == [
        "kthreadd",
        "kworker/0:0H",
        "kswapd0",
        "kworker/0:2",
        "hog",
        "hog",
    ]
    assert [task.pid for task in report.blocked] == [2, 8, 36, 45, 117, 118]


def test_the_lock_of_the_hang(report):
    """virtio_net's refill_work waits for a swap bio; and so does kswapd, which alone could clean memory."""
    refill = next(task for task in report.blocked if task.work == "refill_work")
    assert refill.workqueue == "events"
    assert refill.waits_in("mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "try_fill_recv", "refill_work")
    assert not refill.waits_in("refill_work", "mempool_alloc")
    assert [frame.module for frame in refill.frames if frame.symbol == "refill_work" and frame.sure] == ["virtio_net"]
    kswapd = next(task for task in report.blocked if task.name == "kswapd0")
    assert kswapd.waits_in("mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "balance_pgdat", "kswapd")
    assert "xas_store" not in kswapd.symbols  # a "?" frame
    assert "__alloc_pages_slowpath" in refill.symbols  # .constprop.0 taken off


def test_the_memory(report):
    (dma, dma32) = report.memory[0]
    assert (dma.name, dma.free, dma.min, dma.boost) == ("DMA", 560 << 10, 2208 << 10, 2048 << 10)
    assert dma.lowmem_reserve == (0, 125, 125, 125, 125)
    assert (dma32.reserved_highatomic, dma32.managed, dma32.free_pcp) == (4096 << 10, 141724 << 10, 1304 << 10)
    assert dma32.free_highatomic is None


def test_the_floors_at_the_time_of_the_hang(report):
    """Its watermarks are those of boot (40 and 338 pages) and boosted; the printed free pages lie below every floor but
    memalloc's: 140 + 91 = 231 pages."""
    zones = memory_zones(report.memory[0])
    assert [(zone.index, zone.free, zone.min_unboosted, zone.boost) for zone in zones] == [
        (0, 140, 40, 512),
        (1, 91, 338, 512),
    ]
    old = RULES["6.1"]
    assert total_floor(zones, "atomic", rules=old) == 15 + 125 + 127
    assert total_floor(zones, "ordinary", rules=old) == 552 + 125 + 850
    assert total_floor(zones, "memalloc", rules=old) == 0
    assert exclusive_reserve(zones) == 15 + 127
    # The low zone stands exactly at the floor of an order-0 atomic request: one page more and it would be granted.
    assert zone_floor(zones[0], "atomic", 2, rules=old) == zones[0].free
    with pytest.raises(HostError, match="node 0, zone DMA does not print managed"):
        memory_zones((dataclasses.replace(report.memory[0][0], managed=None),))
    with pytest.raises(HostError, match="no zones"):
        memory_zones(())


def test_lines_without_time_stamps_and_torn_ones():
    bare = "\n".join(line[15:] if line.startswith("[") else line for line in LOG.splitlines())
    assert parse_sysrq(bare) == parse_sysrq(LOG)
    torn = LOG.replace("bio_alloc_bioset+0x1e2/0x490", "bio_allo")
    assert len(parse_sysrq(torn).tasks) == 6


def test_newer_kernels_print_more_fields():
    text = "task:kworker/u8:3   state:D stack:0     pid:55    tgid:55    ppid:2      "
    text += "task_flags:0x4208060 flags:0x00080000\n"
    text += "Workqueue: writeback wb_workfn (flush-43:0)\nCall Trace:\n <TASK>\n __schedule+0x1/0x2\n </TASK>\n"
    (task,) = parse_sysrq(text).tasks
    assert (task.pid, task.workqueue, task.work, task.symbols) == (55, "writeback", "wb_workfn", ("__schedule",))


def test_a_log_of_something_else():
    with pytest.raises(HostError, match="no task, memory report or allocation failure"):
        parse_sysrq("Linux version 6.1\n")
