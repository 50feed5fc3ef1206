"""The network path: reserves by hand, the M/G/∞ tail against SciPy, cushions against the floors in the catalogue, figures in words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.stats import poisson

import mmmodel as mm
from mmmodel.answers import sizing
from mmmodel.app.primer import netpath
from mmmodel.exact import reach
from mmmodel.host.lab.measured import guest


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
    its = [row.runs["prototype, 2 nbd devices"] for row in rows]
    assert [(runs.hangs, runs.runs) for runs in its] == [(19, 20), (8, 8), (4, 6), (0, 8), (0, 8)]
    assert [row.refused for row in rows] == [True, True, True, False, False]
    assert all(row.refused_with_lists for row in rows)


def test_cures_were_tried():
    runs = {name: runs for name, _, runs in netpath.cures()}
    assert runs.pop("virtio-no-lock") is None
    assert all(one.hangs == 0 and one.runs == 8 for one in runs.values())


def test_the_cures_hold_where_every_state_was_searched():
    assert reach.search(netpath.on_small().question.system).moves is not None
    for scheme, more in [("", 1), *((name, 0) for name in netpath.CURES)]:
        found = netpath.on_small(scheme, more)
        assert found.safe
        assert reach.search(found.question.system).moves is None


def test_the_lists_move_the_threshold_by_their_own_size():
    for pages in (0, 1, 2):
        assert not netpath.on_small("", pages, pages).safe
        assert netpath.on_small("", pages + 1, pages).safe


def test_percpu_lists_take_what_the_cushion_had_left():
    """By hand: the cushion of 3072 is 478 pages, 127 others draw 1,499,108 B with a bio of 256 B, the refill asks for a page: 110 are left."""
    listed = {name: (verdict.safe, runs.hangs > 0) for name, (verdict, runs) in netpath.lists().items()}
    assert listed == {"lists as they are": (False, True), "lists cut short": (True, False)}
    left = (478 * 4096 - 127 * (1536 + 4124 + 3 * 2048) - 256 - 4096) // 4096
    for pages in (left, left + 1):
        memory = replace(guest(3072), parked={"per-cpu lists": pages})
        assert sizing.verdict(netpath.VIRTIO, host=memory).safe == (pages == left == 110)


def test_the_verdicts_are_those_of_the_machine():
    rows = netpath.cushions()[-2:]
    verdicts = netpath.judged(rows)
    assert {at: [one.safe for one in pair] for at, pair in verdicts.items()} == {2560: [False, False], 3072: [False, True]}
    said = netpath.judged_in_words(rows, verdicts).splitlines()
    assert said[1].startswith(
        "min_free_kbytes 3072: cushion 478, draw 366, lists up to 958 pages: UNSAFE; lists cut short: SAFE IF ("
    )


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


def test_packets_are_found_by_halving_as_by_counting():
    from mmmodel.bounds.receive import poisson_tail

    for load in (0.0, 1e-6, 0.4, 1.0, 37.5, 1000.0):
        for probability in (0.5, 1e-3, 1e-12):
            counted = next(n for n in range(1, 3000) if poisson_tail(load, n) <= probability)
            assert netpath.packets_for(load, probability) == counted
    assert netpath.packets_for(1e9, 1e-3) > 1e9  # at once, not one by one


def test_a_short_timeout_costs_nothing_and_a_long_one_does():
    assert "too short to matter" in netpath.loss_in_words(*netpath.losses(1e-6, [0.0, 0.02]))
    long = netpath.losses(0.2, [0.0, 0.02])
    assert f"it takes {long[1].knee:,}, and {long[1].safe / long[0].safe:.3g} times the reserve" in netpath.loss_in_words(*long)


def test_a_reserve_that_is_too_small_for_the_load_is_said_to_be_full():
    used, consumed = (netpath.receive(1000, 100, 5, hold, 1, 30) for hold in (0.1, None))  # 100 about, room for 5
    said = netpath.receive_in_words(used, consumed, 5, 100.0)
    assert "That is all of it: about 100 of them are there on average, and there is room for 5 packets." in said
    assert f"500 B were gone after {consumed.gone * 1e3:.4g} ms" in said
    scarce = netpath.receive(1000, 100, 5, 1e-6, 1, 30)
    assert "all of it" not in netpath.receive_in_words(scarce, consumed, 5, 1e-3)


def test_a_reserve_that_is_not_gone_yet_is_not_said_to_be():
    used, slow = (netpath.receive(1000, 100, 50, hold, 1, 0.2) for hold in (1e-4, None))
    assert slow.gone == math.inf
    assert "were not yet gone at the end of the run" in netpath.receive_in_words(used, slow, 50, 0.1)
    assert "have not taken the whole reserve" in netpath.receive_figure(used, slow, 0.01).alt


@pytest.mark.parametrize("depth", [1, 2, 5, 128, 129, 1_000_000])
def test_a_curve_over_depth_has_few_points_and_both_ends(depth):
    depths = netpath.depths_up_to(depth)
    assert depths[0] == 1
    assert depths[-1] == depth
    assert len(depths) <= netpath.POINTS + 2
    assert f"At {depth:,} request{'s' * (depth > 1)} in flight" in netpath.held_in_words(netpath.held_until_ack([depth])[0])
