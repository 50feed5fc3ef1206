"""The table of schemes: the verdicts that the thread argued about, the reserves by hand, the scaled-down copies against full size."""

from __future__ import annotations

from math import inf

import pytest

import mmmodel as mm
from mmmodel.exact.flood import flood
from mmmodel.primer import budget, schemes
from mmmodel.simulation.estimates import Estimate
from mmmodel.simulation.trace import KINDS, trace
from mmmodel.transitions import Relation
from tests.catalogue import test_schemes

WRITE, LOGGED, OTHERS, DDSNAP, CRYPT = schemes.GROUNDS

# who blocks whom; "" is safe
WHY = {
    ("snitzer-2007", WRITE): "",
    ("snitzer-2007", LOGGED): "throttle + daemon + dirty",
    ("phillips", WRITE): "",
    ("phillips", LOGGED): "",
    ("phillips", OTHERS): "consumed",
    ("polyakov", WRITE): "daemon + throttle + reserve",
    ("lameter", LOGGED): "daemon + dirty",
    ("lameter", DDSNAP): "",
    ("lameter-no-clean", DDSNAP): "reserve",
    ("zijlstra", OTHERS): "",
    ("zijlstra", LOGGED): "daemon + dirty",
    ("unprotected-2007", CRYPT): "mempool",
    ("mainline-2026", CRYPT): "",
    ("sized-2026", OTHERS): "",
}


@pytest.mark.parametrize(("scheme", "ground"), WHY, ids=[f"{scheme}-{ground.title}" for scheme, ground in WHY])
def test_cells_that_the_thread_argued_about(scheme, ground):
    one = schemes.cell(scheme, ground)
    assert one.word == ("unsafe" if WHY[scheme, ground] else "safe")
    assert one.why == WHY[scheme, ground]
    assert bool(one.verdict.path) == (one.word == "unsafe")


def test_no_change_of_that_stack_is_no_cell():
    assert schemes.cell("lameter", CRYPT) is None


@pytest.mark.parametrize(("scheme", "depth"), [("phillips", 1000), ("unprotected-2007", 32768), ("lameter", 32768)])
def test_reserve_of_ddsnap_by_hand(scheme, depth):
    """The query's skb goes as soon as it is read: K - 1 wait with 56 B each, one has 56 + 768, which is K(F - c) + c."""
    assert schemes.reserve_needed(schemes.applied(scheme, DDSNAP)) == depth * 56 + 768


@pytest.mark.parametrize("scheme", ["phillips", "mempools", "mainline-2026", "unprotected-2007"])
def test_needed_is_safe_and_no_less_than_the_least(scheme):
    stack = schemes.applied(scheme, DDSNAP)
    needed = schemes.reserve_needed(stack)
    assert mm.verdict(stack, reserve=int(needed)).safe
    assert needed >= mm.safe_reserve(stack)


def test_no_reserve_cures_a_cycle_without_memory():
    assert schemes.reserve_needed(schemes.applied("snitzer-2007", LOGGED)) == inf
    assert schemes.reserve_needed(schemes.applied("phillips", OTHERS)) == inf


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_scaled_down_copies_are_those_that_were_searched(scheme):
    for n, ground in enumerate((WRITE, LOGGED)):
        copy = schemes.scaled_down(schemes.applied(scheme, ground))
        found = mm.reachable_deadlock(copy) is not None
        assert found == test_schemes.WRITEOUT.get(scheme, (True, True, True))[n]
        if (scheme, ground) not in schemes.SCALED:
            assert schemes.cell(scheme, ground).verdict.safe != found


def test_the_scaled_cell_has_no_flood_at_full_size():
    for scheme, ground in schemes.SCALED:
        assert flood(Relation(schemes.applied(scheme, ground).system())) is None
        assert schemes.cell(scheme, ground).scaled


def test_throughput_is_that_of_one_daemon():
    """The daemon holds its thread for 50 + 40 us: 1 / 90 us is the most, and 12 requests about are near it."""
    x, rung = schemes.throughput(schemes.applied("unprotected-2007", WRITE))
    assert rung == "solved"
    assert 0.999 / 90e-6 < x <= 1 / 90e-6 * (1 + 1e-12)
    share, _ = schemes.kept("phillips", WRITE)
    assert 0.999 < share < 1


def test_a_burst_hangs_the_unprotected_path_at_once_and_never_a_safe_one():
    assert schemes.time_to_hang("unprotected-2007", WRITE, seed=1, horizon="2 ms", runs=4).mean < 1e-3
    assert schemes.time_to_hang("phillips", WRITE, seed=1, horizon="2 ms", runs=4).mean is None
    assert schemes.time_to_hang("phillips", OTHERS, seed=1) is None


def test_generations():
    words = [(row[0], row[2], row[3]) for row in schemes.generations().rows]
    assert words == [
        ("v1", "safe", "-"),
        ("v1", "unsafe", "throttle"),
        ("v1'", "unsafe", "reserve"),
        ("v2", "safe", "-"),
        ("v2, racing", "safe", "-"),
        ("v3", "safe", "-"),
    ]


def test_tables_and_figure_tell_every_cell():
    cells = schemes.table(("phillips", "lameter"), (WRITE, LOGGED, CRYPT))
    rows = schemes.cells_table(cells, {}, {}).rows
    assert len(rows) == 5
    assert {row[2] for row in rows} == {"safe", "unsafe", "unsafe *"}
    assert [row[-1] == "-" for row in rows] == [False, True, True, True, True]  # Phillips' throttle was run, on another path
    assert "hung: dm swap_bios 64 and 8" in rows[0][-1]
    assert rows[0][-1].endswith("(another path)")
    assert len(schemes.paths_table(cells).rows) == 2
    alt = schemes.figure(cells, (WRITE, LOGGED, CRYPT)).alt
    assert "Phillips: write through a daemon safe" in alt
    assert "unsafe (daemon + dirty)" in alt


def test_depth_on_the_reserves_of_others():
    stack = mm.load_stack("nbd-tcp").only("write-4k")
    rows = schemes.others_table(512 * 1024**2, {"nbd": stack}).rows
    zijlstra = next(row for row in rows if row[0].startswith("Zijlstra"))
    assert zijlstra[3] == f"{(8156 * 1024 - 4992) // (192 + 5276):,}"


def timed(mean):
    low, high = (None, None) if mean is None else (mean / 2, mean * 2)
    return Estimate("time", "s", mean, low, high, 25, "never in 25 replications" if mean is None else "")


def test_what_the_simulated_runs_show_is_what_is_said():
    cells = [
        one
        for across in schemes.table(["unprotected-2007", "polyakov"]).values()
        for one in across
        if one and not one.verdict.safe
    ]
    hung = dict(zip(cells, (timed(1e-3), timed(2e-3))))
    said = schemes.times_in_words(hung, 0.02)
    assert "Of the 2 unsafe cells that were simulated, 2 hung within 20 ms" in said
    assert "after 1 ms on average; the latest" in said
    assert "no simulated run took" not in said
    quiet = schemes.times_in_words(dict(zip(cells, (timed(None), timed(None)))), 1.0)
    assert "0 hung within 1 s" in quiet
    assert "soonest" not in quiet
    assert f"({'; '.join(f'{schemes._short(one.scheme)}, {one.ground.title}' for one in cells[:2])})" in quiet


def test_long_runs_are_refused_by_name(monkeypatch):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    cells = [one for across in schemes.table(["polyakov"]).values() for one in across if one and not one.verdict.safe]
    with pytest.raises(budget.TooDear, match=r"horizon_ms = 3600000, runs = 100: 100 simulated runs of each of 2 unsafe cells"):
        schemes.times_to_hang(cells, 1, 3600.0, 100)
    assert set(schemes.times_to_hang(cells, 1, 0.001, 2)) == {
        one for one in cells if one.ground.title in ("write through a daemon", "the daemon dirties pages")
    }


def test_the_estimate_of_simulated_events_is_near_what_is_simulated():
    """In ends of services, of runs that no deadlock ends: counted in a log, within a factor of three."""
    stack = schemes.few(schemes.applied("phillips", schemes.GROUNDS[0]), 12)
    cost = budget.simulated(stack, 4, 0.05)
    seen = trace(stack, seed=1, horizon=0.05, events=100_000)
    ends = 4 * int((seen.kind == KINDS.index("done")).sum())
    assert ends / 3 <= cost.units - 4 <= 3 * ends
