"""The sentences of the notebooks over many parameters: what each says is true of the numbers that it stands beside.

Each kind of sentence has a phrase for each thing that it can say; which of them may be there follows here from numbers found another way
(by search, by the solver, by hand), and none of the others may.
"""

import re
from itertools import product

import pytest

import mmmodel as mm
from mmmodel.answers import question, sizing
from mmmodel.app.primer import curves, lifetimes, pictures, regions, usage
from mmmodel.model.stack import QuestionError, Request

# ---- 01 -----------------------------------------------------------------------------------------------------------------


def needs(requests):
    """Of the small path: chunks 1, 2 and 1."""
    return 3 * requests + 1


def stuck(requests, reserve):
    """Whether some of them can hold 1 and wait for 2, or hold 3 and wait for 1, so that what is free serves none."""
    crowds = [(a, b) for a in range(requests + 1) for b in range(requests + 1 - a) if a + b]
    return any(0 <= reserve - a - 3 * b < (1 if b else 2) for a, b in crowds)


DAYS = [
    dict(zip(("requests", "few", "reserve", "throttle", "horizon_us"), given))
    for given in [
        (1, 1, 1, 1, 1500), (1, 1, 4, 1, 1500), (2, 3, 1, 1, 1), (8, 3, 3, 4, 1500), (8, 3, 14, 4, 1500), (8, 20, 14, 64, 1500), (8, 8, 14, 8, 1),
        (8, 3, 30, 4, 1500), (3, 1, 4, 1, 1500), (5, 5, 16, 5, 200), (5, 2, 15, 4, 1500), (12, 1, 40, 13, 3000), (2, 12, 7, 1, 1500), (1, 9, 10**9, 99, 1500), (2, 2, 5, 2, 1500), (3, 2, 8, 3, 1500),
    ]
]  # fmt: skip


@pytest.mark.parametrize("given", DAYS, ids=lambda given: "-".join(map(str, given.values())))
def test_pictures(given):
    day = pictures.Day(**given, seed=36)
    safe = {name: not stuck(n, day.reserve) for name, n in (("crowd", day.requests), ("few", day.few), ("in", day.let_in))}
    hopeless = day.reserve < 4
    end = day.crowded.at_the_end()
    assert ("it cannot come to a standstill" in end) == safe["crowd"]
    assert ("**deadlocked on memory**" in end) == day.crowded.hung
    assert ("the run goes on" in end) == (not day.crowded.hung)
    assert ("One request alone needs 4 pages" in end) == (hopeless and day.crowded.hung)
    assert ("is held by those who wait" in end) == (day.crowded.hung and not hopeless)
    assert ("these requests *can* come to a standstill" in end) == (not day.crowded.hung and not safe["crowd"] and not hopeless)
    assert ("by luck alone" in end) == (safe["crowd"] and day.reserve < needs(day.requests))
    assert not (day.crowded.hung and safe["crowd"])
    quiet = day.on_a_quiet_day()
    assert ("it hangs, too" in quiet) == day.quiet.hung
    assert ("never gets into trouble" in quiet) == safe["few"]
    assert ("luck again" in quiet) == (not safe["few"] and not day.quiet.hung)
    assert ("It needs a crowd" in quiet) == (safe["few"] and not safe["crowd"])
    gate = day.behind_the_gate()
    assert ("it always will" in gate) == safe["in"]
    assert ("No throttle is narrow enough" in gate) == hopeless
    assert ("too wide for the reserve" in gate) == (not safe["in"] and not hopeless)
    assert ("keeps none of" in gate) == (day.throttle >= day.requests)
    assert ("hangs all the same" in gate) == (day.gated.hung and not hopeless)
    assert day.evidence().ok
    assert (
        f"{day.requests} request{'s are' if day.requests > 1 else ' is'} safe from {needs(day.requests)} pages on"
        in day.how_many()
    )


# ---- 02 -----------------------------------------------------------------------------------------------------------------

CLASSES = [
    ("nbd-tcp", "write-4k", 1), ("nbd-tcp", "write-4k", 9), ("iscsi-tcp", "write-128k", 3), ("loop", "write-4k", 5), ("nas", "receive", 7),
    ("dm-crypt-swap", "write-4k", 6), ("fuse", "write-1m", 12), ("nbd-swap-virtio", "swap-write", 3), ("ddsnap-2007-v1", "write-251", 1004),
]  # fmt: skip


@pytest.mark.parametrize(("stack", "cls", "depth"), CLASSES)
def test_regions(stack, cls, depth):
    found = regions.Regions(stack, cls, depth, 1)
    lines, said = found.whose_lines(), found.islands_in_words()
    chunks = sizing.chunks(found.path)
    by_hand = depth * (sum(chunks) - chunks[-1]) + chunks[-1]
    assert ("that this notebook derives:" in lines) <= (found.safe == by_hand)
    assert "a smaller one may be" not in lines  # all of these are exact
    if isinstance(found.islands, str):
        assert "there is no map" in said
        return
    unsafe = sizing.unsafe_reserves(found.path, depth)
    assert ("has none at depth" in said) == (not unsafe)
    assert ("has none that stands apart" in said) == (len(unsafe) == 1)
    assert ("has islands, too" in said) == (len(unsafe) > 1)
    assert (f"{len(unsafe)} separate runs" in said) == (len(unsafe) > 1)
    if unsafe:
        assert unsafe[-1][1] + 1 == found.safe
        assert "just below the safe reserve" in said
        assert not sizing.verdict(found.path, depth, unsafe[-1][1]).safe
    order = found.order_in_words()
    if "no other order needs less" in order:
        assert depth == 1 or chunks[-1] == max(chunks)
    elif "at best" in order:
        assert depth > 1
        assert chunks[-1] < max(chunks)


def test_a_reserve_that_may_not_be_the_least_is_said_to_be_one(monkeypatch):
    monkeypatch.setattr(question.Case, "safe", property(lambda case: question.Size(20_000, question.Sure.SUFFICIENT)))
    assert "at depth 5 is enough, and a smaller one may be" in regions.Regions("loop", "write-4k", 5, 1).whose_lines()


# ---- 03 -----------------------------------------------------------------------------------------------------------------

CURVES = [
    ("nbd-tcp", "write-4k", "40 KiB", 3), ("nbd-tcp", "write-4k", "40 KiB", 9), ("nbd-tcp", "write-4k", "10460", 4), ("nbd-tcp", "write-128k", "", 12),
    ("iscsi-tcp", "write-4k", "1 MiB", 12), ("dm-crypt-nbd", "write-4k", "30 KiB", 5), ("nas", "receive", "", 40), ("dm-crypt-swap", "write-4k", "4 KiB", 9),
]  # fmt: skip


@pytest.mark.parametrize(("stack", "cls", "reserve", "deepest"), CURVES)
def test_curves(stack, cls, reserve, deepest):
    path = curves.one_class(stack, cls)
    one = curves.throughput_curve(path, reserve, deepest)
    said, two = one.in_words, one.two_curves()
    safe = (
        int(re.search(r"up to ([\d,]+) requests? no deadlock", said)[1].replace(",", ""))
        if "any number of requests no" not in said
        else None
    )
    assert safe is None or mm.verdict(path, safe, one.reserve).safe
    beyond = safe is not None and not mm.verdict(path, safe + 1, one.reserve).safe
    words = " ".join(text.get_text() for text in one.figure().figure.axes[0].texts)
    assert ("deadlock possible" in words) == (beyond and safe < one.depths[-1])
    assert ("safe by luck at the most" in words) == (not beyond and safe is not None and safe < one.depths[-1])
    if "One request more" in one.two_curves():
        assert ("by luck" in one.two_curves()) != beyond
    best = int(re.search(r"best(?: depth)? is (\d+)", said)[1])
    known = {k: float(mm.throughput(path, k, one.reserve)) for k in sorted({1, best, *range(1, min(one.looked, 8) + 1)})}
    assert known[best] >= max(known.values()) * (1 - 1e-9)
    assert ("the deepest safe depth as well" in said) == (safe == best)
    assert ("the deepest safe one" in said) <= (safe is not None)
    assert ("Here they are the same." in two) == (safe == best)
    assert ("No depth is unsafe here" in two) == (safe is None)
    last = max(one.held)
    turned = one.held[last] < max(one.held.values()) * (1 - curves.TURNS)
    assert ("it turns **down**" in two) == (turned and last > one.free)
    assert ("lies on the green one" in two) == (last <= one.free)
    if "lies below it from then on" in two:
        assert all(
            float(mm.throughput(path, k, one.reserve)) < float(mm.throughput(path, k))
            for k in range(int(one.free) + 1, min(last, deepest) + 1)
        )
    assert ("K_{free}" in words) == (one.free <= one.depths[-1])
    assert ("K_{safe}" in words) == (one.safe <= one.depths[-1])


def test_a_throttle_that_counts_other_things_than_requests_is_refused_as_that():
    with pytest.raises(
        QuestionError, match="request_class: the throttle of ddsnap-2007-v1 write-250 counts more than one a request"
    ):
        curves.throughput_curve(curves.one_class("ddsnap-2007-v1", "write-250"), 5000, 8)


# ---- 04 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stack", "cls", "depth"),
    [("nbd-tcp", "write-4k", 1), ("iscsi-tcp", "write-128k", 2), ("ublk", "write-512k", 40), ("nbd-tcp", "write-4k", 128)],
)
def test_usage(stack, cls, depth):
    path = curves.one_class(stack, cls)
    one = usage.usage(path, depth)
    said, falls = one.in_words, one.how_it_falls()
    waits = mm.safe_reserve(path, depth) < mm.wait_free_reserve(path, depth)
    assert ("requests can wait" in said) == waits
    assert ("nobody ever waits for memory" in said) == (not waits)
    enough = one.law.reserve_for(9) < one.free
    assert ("nothing less than the worst case" in said) == (not enough)
    assert ("saves nothing here" in falls) == (not enough)
    assert ("practically never happens" in falls) == (float(one.law.tail(one.free - 1)) < 1e-12)


@pytest.mark.parametrize(("arrivals", "large"), list(product((0.0, 1.0, 1e5), (0.0, 0.04))))
def test_packets(arrivals, large):
    both = usage.Packets(arrivals, large)
    assert ("No packet arrives" in both.refused()) == (arrivals == 0)
    assert ("No packet arrives" in both.two_sizes()) == (arrivals == 0)
    assert ("No large packets" in both.two_sizes()) == (arrivals > 0 and not large)


# ---- 05 -----------------------------------------------------------------------------------------------------------------

LIVES = [
    ("4, 4, 3", "1, 2, 3", 3),
    ("1, 6, 1", "1, 20, 20", 4),
    ("1, 1", "1, 1", 2),
    ("5, 1", "1, 1000000", 3),
    ("1, 9, 2", "0.000001, 1, 1", 3),
]


@pytest.mark.parametrize(("chunks", "rates", "depth"), LIVES)
def test_lifetimes(chunks, rates, depth):
    path = lifetimes.bare_path(chunks, rates)
    one = lifetimes.lifetimes(path, depth)
    islands = sizing.unsafe_reserves(Request(chunks=path.chunks), depth)
    assert f"{len(islands)} island{'s' * (len(islands) > 1)} of reserves" in one.in_words
    times = {int(r): float(mm.time_to_deadlock(path, depth, int(r))) for r in one.reserves}
    comes = {r: t for r, t in times.items() if t < float("inf")}
    shows, odd, real = one.what_it_shows(), one.oddities(), one.on_a_real_path()
    assert ("the white gaps" in shows) == (len(islands) > 1)
    assert ("*Spared*" in shows) == (len(comes) < len(times))
    assert ("an accident of the load" in odd) == (len(comes) < len(times))
    pairs = list(zip(times, list(times)[1:]))
    shorter = [(a, b) for a, b in pairs if a in comes and 0 < times[b] < times[a] * (1 - 1e-9)]
    assert ("More memory can shorten the life" in odd) == bool(shorter)
    assert ("No years here" in real) == (bool(comes) and max(comes.values()) <= 31557600)
    assert ("for longer than any test" in real) == (bool(comes) and max(comes.values()) > 31557600)
