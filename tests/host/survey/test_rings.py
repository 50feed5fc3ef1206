"""Receive rings: one counting for the survey and for advice, by queue and by the size of a frame; and what shrinking them leaves."""

import re
from dataclasses import replace

import pytest

from mmmodel.answers.machine import advise, conditions, on_machine, ring_bytes, shrink_rings
from mmmodel.answers.question import Question
from mmmodel.host.survey import survey
from mmmodel.linux.host import Host
from mmmodel.linux.network import Nic, Rings, frame_bytes, receive_rings
from mmmodel.model.machine import RINGS
from tests.host.survey.trees import READ, nbd
from tests.linux.conftest import write_tree

MIB = 1 << 20
QUEUES = {f"sys/class/net/eth0/queues/rx-{n}/present": "" for n in range(8)}
DRAWING = {"sys/class/net/eth0/device/uevent": "DRIVER=i40e\n"}


def nic(driver="i40e", mtu=1500, queues=1, rx=256):
    return Nic("eth0", mtu, driver, queues, queues, None if rx is None else Rings(rx, rx))


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (nic(), MIB),
        (nic(queues=8, rx=1024), 32 * MIB),  # 8 queues × 1024 × 4 KiB
        (nic(queues=0), MIB),  # no queue is listed: there is one
        (nic(mtu=4074), MIB),  # 4074 + 22 fit a page
        (nic(mtu=4075), 2 * MIB),
        (nic(mtu=9000), 4 * MIB),  # 3 pages, rounded to 4
        (nic(rx=None), None),
        (nic(mtu=None), None),
        (nic(rx=1 << 23), None),  # no ring has that many
    ],
)
def test_what_a_ring_takes(made, size):
    assert [ring.size for ring in receive_rings([made], 4096)] == [size]


def test_larger_pages_hold_larger_frames():
    assert [frame_bytes(9000, page) for page in (4096, 16384, 65536)] == [16384, 16384, 65536]


def test_a_virtual_interface_has_no_ring():
    assert list(receive_rings([nic(driver=None)], 4096)) == []


def test_survey_and_advice_count_alike(tmp_path):
    """256 descriptors × 8 queues × 4 KiB; of a driver with the atomic right nothing is drawn from the reserve."""
    drawing = str(write_tree(tmp_path / "a", READ | nbd(16) | QUEUES | DRAWING))
    assert survey(drawing, advice=False).rings[0].size == ring_bytes(Host.read(drawing)) == 8 * MIB
    atomic = str(write_tree(tmp_path / "b", READ | nbd(16) | QUEUES))
    assert survey(atomic, advice=False).rings[0].size == 8 * MIB
    assert ring_bytes(Host.read(atomic)) == 0


@pytest.mark.parametrize(("need", "reserve"), [(2 * MIB, 6 * MIB), (MIB, 9 * MIB - 1), (0, 5000)])
def test_shrunk_rings_fit(tmp_path, need, reserve):
    host = Host.read(write_tree(tmp_path / "a", READ | QUEUES | DRAWING))
    found = shrink_rings(need, reserve, host)
    if reserve - need < 8 * 4096:  # not one descriptor a queue
        assert found == []
        return
    (advice,) = found
    rx = int(re.fullmatch(r"ethtool -G eth0 rx ([0-9]+)", advice.lines[0])[1])
    assert need + rx * 8 * 4096 <= reserve < need + (rx + 1) * 8 * 4096
    assert advice.margin == reserve - need - rx * 8 * 4096
    assert advice.undo == "ethtool -G eth0 rx 256"


def test_rings_that_fit_or_cannot_be_helped_are_left(tmp_path):
    host = Host.read(write_tree(tmp_path / "a", READ | QUEUES | DRAWING))
    assert shrink_rings(MIB, 9 * MIB, host) == []
    assert shrink_rings(9 * MIB, 9 * MIB, host) == []


def test_the_survey_s_advice_shrinks_rings(tmp_path):
    """16 requests and 32 MiB of rings do not fit: with rings as small as is told they do, and with larger ones that is not said."""
    more = QUEUES | {f"sys/class/net/eth0/queues/rx-{n}/present": "" for n in range(32)}
    answer = survey(str(write_tree(tmp_path / "a", READ | nbd(16) | more | DRAWING)))
    assert not answer.ok
    lines = [line for advice in answer.advice for line in advice.lines]
    rx = next(int(match[1]) for line in lines if (match := re.fullmatch(r"ethtool -G eth0 rx ([0-9]+)", line)))
    spare = answer.paths[0].judgements[0].spare - 4096 * (5109 + 1900)  # HighAtomic blocks, lowmem_reserve
    assert rx * 32 * 4096 <= spare < (rx + 1) * 32 * 4096
    question = Question.of("nbd-tcp", 16, host=answer.host)
    assert any("receive rings" in condition for condition in conditions(question))
    half = dict.fromkeys(("high", "atomic"), 7 * MIB) | {"memalloc": 0}
    limits = {RINGS: question.memory.limits[RINGS]}
    question = replace(question, memory=replace(question.memory, capacity=14 * MIB, floors=half, parked={}, limits=limits))
    asked = list(advise(question, answer.host, on_machine(question, answer.host)))
    assert any(line.startswith("ethtool -G eth0 rx") for advice in asked for line in advice.lines)
