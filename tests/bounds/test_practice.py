"""Sizing formulas of others against the values that their own sources print, and their laws."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmmodel.bounds.practice import (
    TX_RESERVE_PAGES,
    Node,
    ReceiveBudget,
    conserves,
    dragonfly_reserved_pages,
    freebsd_reserved_pages,
    illumos_reserved_bytes,
    kmalloc_pages,
    others,
    power_of_two,
    slub_pages,
    xnu_reserved_pages,
    zijlstra_tree,
)


def kilobytes(node: Node) -> dict[str, int]:
    found = {node.name: node.total()[0] * 4}
    for child in node.children:
        found |= kilobytes(child)
    return found


def test_zijlstras_tree_to_the_kilobyte():
    """The dump in the comments of mm/reserve.c (SLUB)."""
    tree = zijlstra_tree()
    sizes = kilobytes(tree)
    assert sizes["total network reserve"] == 8156
    assert sizes["protocol TX pages"] == 196
    assert sizes["IPv6 route cache"] == 1372
    assert sizes["IPv4 route cache"] == 5468
    assert sizes["IPv6 fragment cache"] == sizes["IPv4 fragment cache"] == 560
    assert tree.total()[1] == 544817 == 49 + 4096 + 16384 + 2 * 262144
    assert next(tree.lines()) == "total network reserve  8156K 0/544817"
    assert len(list(tree.lines())) == 9


def test_the_parts_of_the_tree():
    assert TX_RESERVE_PAGES == 32
    assert slub_pages(128, 8) == 17
    assert slub_pages(4096, 12) == 343
    assert slub_pages(16384, 12) == 1367
    assert kmalloc_pages(262144, 12) == 128 + 12 == 140


def test_estimators_against_their_formulas_in_floating_point():
    for n in (0, 1, 7, 8, 9, 500, 4097):
        for per_slab in (1, 8, 12, 21):
            for order in (0, 1, 3):
                pages = ceil(Fraction(n, per_slab)) * 2**order
                assert slub_pages(n, per_slab, order, cpus=4) == pages + (4 * 2**order if per_slab > 1 else 0)
    assert slub_pages(10, 4, 0, cpus=2, best_per_slab=32, best_order=3) == 3 + 16


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=50))
def test_two_n_covers_whatever_kmalloc_rounds_up(sizes):
    assert sum(map(power_of_two, sizes)) <= kmalloc_pages(sum(sizes), 0) * 4096
    assert all(size <= power_of_two(size) < 2 * size for size in sizes)


def test_two_is_the_limit_of_the_waste():
    assert Fraction(power_of_two(2**20 + 1), 2**20 + 1) > Fraction(2) - Fraction(1, 2**19)


def test_the_leak_of_rx_emergency_get_is_caught_by_conservation():
    sizes = [1500] * 20  # 2048 each: 16 fit into 2 × 16384, 4 are refused
    assert conserves(ReceiveBudget(16384), sizes, rounds=5)
    leaky = ReceiveBudget(16384, leaks=True)
    assert not conserves(leaky, sizes)
    assert leaky.usage == 20 * 2048 - 4  # 2047 of each refused packet stay


def test_in_the_end_the_leaking_counter_refuses_everything():
    budget, taken = ReceiveBudget(16384, leaks=True), []
    for _ in range(5):
        taken.append([size for size in [1500] * 20 if budget.get(size)])
        for size in taken[-1]:
            budget.put(size)
    # left behind: 4 × 2047 = 8188, so ceil((32768 - 8188) / 2048) = 13 fit; then 7 more, so 6 fit; then 14 more, and none fits
    assert [len(one) for one in taken] == [16, 13, 6, 0, 0]
    assert not budget.get(1)


@given(st.lists(st.integers(1, 70_000), max_size=40), st.integers(1, 200_000))
def test_the_repaired_budget_conserves(sizes, reserve):
    budget = ReceiveBudget(reserve)
    assert conserves(budget, sizes, rounds=2)
    assert budget.usage == 0


def test_other_systems():
    assert xnu_reserved_pages(0) == 768
    assert xnu_reserved_pages(144) == 912  # as a user of macOS reports
    assert xnu_reserved_pages(5000) == 1700
    assert xnu_reserved_pages(144, limit=100) == 100
    assert freebsd_reserved_pages(1024 * 768)["pageout"] == 34
    assert freebsd_reserved_pages(1024 * 768) == {
        "interrupt": 2,
        "pageout": 34,
        "reserved": 32 + 34 + 1024,
        "min": 4 + 3927 + 1090,
    }
    assert dragonfly_reserved_pages(200 * 960) == {"min": 1024, "reserved": 519, "pageout": 263, "interrupt": 135}


def test_illumos_is_a_percentage_between_its_bounds():
    middle = illumos_reserved_bytes(64 * 2**30)
    assert round(100 * middle["pageout_reserve"] / (64 * 2**30), 2) == 0.44
    assert illumos_reserved_bytes(2**28)["pageout_reserve"] >= 4 * 2**20
    assert 0.5 <= illumos_reserved_bytes(2**42)["pageout_reserve"] / 2**30 < 0.6
    assert middle["throttlefree"] == middle["minfree"] == middle["desfree"] * 3 // 4 == middle["lotsfree"] * 3 // 8


def test_one_table_for_one_host():
    rows = {row.system: row.size for row in others(512 * 2**20)}
    assert rows["XNU"] == 912 * 4096
    assert rows["Zijlstra 2008"] == 8156 * 1024
    assert rows["FreeBSD"] == (66 + 131072 // 768) * 4096
    assert rows["NetBSD"] == 6 * 4096
    assert rows["OpenBSD"] == 10 * 4096
    assert list(rows) == ["Zijlstra 2008", "XNU", "FreeBSD", "DragonFly", "illumos", "NetBSD", "OpenBSD"]
    assert all(row.rule and row.source for row in others(2**40))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slub_pages(-1, 8), "objects: -1 is not a whole number, 0 or more"),
        (lambda: slub_pages(1, 0), "per_slab: 0 is not a whole number, 1 or more"),
        (lambda: kmalloc_pages(1.5, 1), "size: 1.5 is not"),
        (lambda: power_of_two(0), "size: 0 is not a whole number, 1 or more"),
        (lambda: freebsd_reserved_pages(10), "pages: 10 is not a whole number, 1024 or more"),
        (lambda: others(True), "memory: True is not"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()
