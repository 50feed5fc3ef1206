"""The network path: reserves by hand, the M/G/∞ tail against SciPy, cushions against the floors in the catalogue, figures in words."""

from __future__ import annotations

import math

import pytest
from scipy.stats import poisson

import mmmodel as mm
from mmmodel import load_stack, sizing
from mmmodel.primer import netpath
from mmmodel.stack import Stack


@pytest.mark.parametrize("depth", [1, 8, 128])
def test_held_until_ack_by_hand(depth):
    (row,) = netpath.held_until_ack([depth])
    assert row.safe == depth * (192 + 5276) + 4992
    assert row.free == depth * (192 + 5276 + 4992)
    assert row.safe_if_sent == depth * 192 + 5276
    assert row.free_if_sent == depth * (192 + 5276)


def test_used_is_bounded_and_consumed_is_gone():
    used, consumed = (netpath.receive(20_000, 4992, 40, hold, 3, 10) for hold in (20e-6, None))
    assert used.gone == math.inf
    assert used.most < 40 * 4992
    assert consumed.gone < 0.02
    assert consumed.free[-1] == 0


def test_time_to_consume_is_that_of_the_theorem():
    ran = netpath.times_to_consume(1000, 4992, 10, 40, seed=5)
    assert ran.covers(10 / 1000)


@pytest.mark.parametrize("load", [0.1, 0.4, 5.0])
@pytest.mark.parametrize("probability", [1e-3, 1e-9])
def test_room_for_packets_is_enough_and_not_much_more(load, probability):
    room = netpath.packets_for(load, probability)
    assert poisson.sf(room - 1, load) <= probability
    exact = next(n for n in range(1, 200) if poisson.sf(n - 1, load) <= probability)
    assert exact <= room <= exact + 3


def test_loss_is_paid_in_depth():
    none, some = netpath.losses(0.2, [0.0, 0.01])
    assert none.reply == pytest.approx(300e-6)
    assert some.reply == pytest.approx(300e-6 + 0.2 * 0.01 / 0.99)
    stack = netpath.lossy(0.01)
    enough = 0.95 / 40e-6
    assert mm.throughput(stack, some.knee - 1) < enough <= mm.throughput(stack, some.knee)
    assert mm.safe_reserve(stack, depth=none.knee) == none.safe


def test_a_refused_reply_is_a_wait():
    lost, waits = netpath.refused_replies_are_lost(), mm.load_stack("nbd-tcp").only("write-4k")
    assert mm.safe_reserve(lost, depth=16) == mm.safe_reserve(waits, depth=16)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="share"):
        netpath.lossy(share)


@pytest.mark.parametrize("probability", [0, 1])
def test_a_probability_is_one(probability):
    with pytest.raises(ValueError, match="probability"):
        netpath.packets_for(1, probability)


def test_cushions_as_measured():
    """domain: cushions 234, 318, 359, 398, 478 pages; hangs 19/20, 8/8, 4/6, 0/8, 0/8 on Debian 6.1.192."""
    rows = netpath.cushions()
    assert [row.cushion for row in rows] == [234, 318, 359, 398, 478]
    its = [row.runs[netpath.MODELLED] for row in rows]
    assert [(runs.hangs, runs.runs) for runs in its] == [(19, 20), (8, 8), (4, 6), (0, 8), (0, 8)]
    assert [row.refused for row in rows] == [True, True, True, False, False]


def test_cures_were_tried():
    runs = {name: runs for name, _, runs in netpath.cures()}
    assert runs.pop("virtio-no-lock") is None
    assert all(one.hangs == 0 and one.runs == 8 for one in runs.values())


def test_percpu_lists_take_what_the_cushion_had_left():
    """By hand: the cushion of 3072 is 478 pages, eleven others draw 381, the refill asks for one: 96 pages may lie in lists."""
    verdicts = {name: sizing.verdict(f"{netpath.VIRTIO}+{name}").safe for name, _, _ in netpath.lists()}
    assert verdicts == {"min-free-3072": True, "min-free-3072-lists": False, "min-free-3072-short-lists": True}
    hung = {name: runs.hangs > 0 for name, _, runs in netpath.lists()}
    assert hung == {name: not safe for name, safe in verdicts.items()}
    for pages in (96, 97):
        data = load_stack(f"{netpath.VIRTIO}+min-free-3072-lists").model_dump(mode="json")
        park, drain = data["requests"]["lists"]["steps"]
        park["take"]["reserve"] = drain["give"]["reserve"] = pages * netpath.PAGE
        assert sizing.verdict(Stack.model_validate(data)).safe == (pages == 96)


def test_figures_say_what_they_show():
    used, consumed = (netpath.receive(20_000, 4992, 20, hold, 3, 5) for hold in (20e-6, None))
    shown = [
        netpath.cushion_figure(netpath.cushions()),
        netpath.held_figure(netpath.held_until_ack([1, 4, 8])),
        netpath.loss_figure(netpath.losses(0.2, [0.0, 0.01])),
        netpath.receive_figure(used, consumed, 0.01),
    ]
    assert all(len(one.alt) > 60 and one.png.startswith(b"\x89PNG") for one in shown)
    assert "At 2304: 4 of 6 runs hung" in shown[0].alt
