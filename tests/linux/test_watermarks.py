"""The kernel's watermark arithmetic against published tables, measured floors and this machine."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmmodel.linux.host import Host
from mmmodel.linux.text import HostError
from mmmodel.linux.watermarks import (
    RULES,
    Marks,
    exclusive_reserve,
    highatomic_limit,
    min_free_kbytes_for,
    right_floor,
    rules_for,
    total_floor,
    zone_floor,
    zone_marks,
)
from mmmodel.linux.zoneinfo import zone_index
from tests.linux.conftest import zone


def test_the_24_gib_host_to_the_page(big):
    """min, low, high read on the machine; min_free_kbytes 67584 (domain notes §4.4)."""
    marks = zone_marks(big, 67584)
    printed = [(21, 26, 31), (4393, 5491, 6589), (12480, 15600, 18720)]
    assert [(mark.min, mark.low, mark.high) for mark in marks[:3]] == printed
    assert [mark.min for mark in marks[3:]] == [32, 0]  # Movable and Device, empty: as this kind of machine prints them


def test_the_24_gib_host_s_reserve(big):
    """§2.2: DMA 3840 + DMA32 (1648 + 8576) + Normal 4680 = 18744 pages; 6337 without the lowmem term."""
    assert exclusive_reserve(big, lowmem=True) == 18744
    assert exclusive_reserve(big) == 6337
    assert exclusive_reserve(big, "DMA32") == 6337 - 4680
    assert total_floor(big, "memalloc") == 0


# --- a 192 MiB guest of Debian 6.1.192, measured -------------------------------------------------------------------
# Its serial logs print managed:15360kB (DMA) and managed:141724kB (DMA32), lowmem_reserve[] 0 125 125 125 125.
# The 125 were computed at boot, when DMA32 had 32213 to 32255 managed pages (that also gives the default 1519 kB).
LAB = (zone("DMA", 0, 3840, (0, 125, 125, 125)), zone("DMA32", 1, 35431, (0, 0, 0, 0)))


def lab_floor(min_free_kbytes: int, right: str) -> int:
    marks = zone_marks(LAB, min_free_kbytes, rules=RULES["6.1"])
    return sum(right_floor(mark.min, right) + z.protection[2] for z, mark in zip(LAB, marks, strict=True))


@pytest.mark.parametrize(
    ("min_free_kbytes", "atomic", "ordinary"),
    [(1519, 269, 503), (2048, 318, 636), (2304, 341, 700), (2560, 366, 764), (3072, 414, 892)],
)
def test_the_guest_s_floors(min_free_kbytes, atomic, ordinary):
    """Floors in pages, §6.2."""
    assert lab_floor(min_free_kbytes, "atomic") == atomic
    assert lab_floor(min_free_kbytes, "ordinary") == ordinary


def test_the_guest_s_other_floors():
    assert lab_floor(1519, "high") == 315
    assert [mark.min for mark in zone_marks(LAB, 1519, rules=RULES["6.1"])] == [37, 341]


@pytest.mark.parametrize("dma32", [32213, 32234, 32255])
def test_the_guest_s_boot(dma32):
    """At boot, with min_free_kbytes 1519: watermarks 40/50/60 and 338/422/506 (printed + 512 of boost)."""
    zones = (zone("DMA", 0, 3840, (0,) * 4), zone("DMA32", 1, dma32, (0,) * 4))
    marks = zone_marks(zones, 1519, rules=RULES["6.1"])
    assert [(m.min, m.low, m.high) for m in marks] == [(40, 50, 60), (338, 422, 506)]


# --- rules ----------------------------------------------------------------------------------------------------------


def test_2_6_21_knows_no_scale_factor_and_counts_present_pages():
    zones = (zone("Normal", 0, 90_000, (0, 0), present=100_000, spanned=100_000), zone("HighMem", 1, 100_000, (0, 0)))
    normal, high = zone_marks(zones, 4000, rules=RULES["2.6.21"])
    assert normal == Marks(1000, 1250, 1500, None)
    assert high == Marks(97, 97 + 250, 97 + 500, None)


def test_the_scale_factor_widens_the_gaps():
    (mark,) = zone_marks((zone("Normal", 0, 1_000_000, (0, 0)),), 4096, scale_factor=100)
    assert mark == Marks(1024, 11024, 21024, 31024)


def test_movable_memory_shares_min_free_before_6_12_only():
    zones = (zone("Normal", 0, 50_000, (0, 0)), zone("Movable", 1, 50_000, (0, 0)))
    assert [mark.min for mark in zone_marks(zones, 4000, rules=RULES["6.1"])] == [500, 500]
    assert [mark.min for mark in zone_marks(zones, 4000, rules=RULES["6.12"])] == [1000, 48]


@pytest.mark.parametrize(
    ("release", "kernel"),
    [
        ("6.12.117-amd64", "6.12"),
        ("6.1.0-56-cloud-amd64", "6.1"),
        ("6.6.9", "6.1"),
        ("6.18.44", "6.12"),
        ("7.0", "6.12"),
        ("2.6.21", "2.6.21"),
        ("2.6.32-5-686", "2.6.21"),
        ("2.4.37", "2.6.21"),
        ("5.10.0", "5.10"),
        ("4.19.2", "5.10"),
    ],
)
def test_rules_for_a_release(release, kernel):
    assert rules_for(release).kernel == kernel


def test_a_release_without_version():
    with pytest.raises(HostError, match="does not begin with a version"):
        rules_for("linux-next")


# --- rights ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**40))
def test_the_ladder(minimum):
    floors = [right_floor(minimum, right) for right in ("memalloc", "atomic", "high", "ordinary")]
    assert floors == sorted(floors)
    assert 8 * floors[1] - 3 * minimum in range(0, 10)  # three eighths, rounded up twice
    assert right_floor(minimum, "oom") == minimum - minimum // 2


def test_boost_order_and_the_high_order_reservation():
    # kernel 6.1: printed min 850 of which 512 boost, protection 0, 1024 pages reserved for high-order atomic requests
    guest = zone("DMA32", 1, 35431, (0, 0, 0, 0), min=850, low=934, high=1018, boost=512)
    index, old = zone_index((guest, zone("DMA", 0, 1, (0, 0, 0, 0))), "Normal"), RULES["6.1"]
    assert zone_floor(guest, "ordinary", index, highatomic=1024, rules=old) == 850 + 1024
    assert zone_floor(guest, "atomic", index, highatomic=1024, rules=old) == 127
    assert zone_floor(guest, "atomic", index, order=3, rules=old) == right_floor(850, "atomic") + 7
    assert zone_floor(guest, "high", index, highatomic=8, rules=old) == 425 + 8
    assert zone_floor(guest, "high", index, highatomic=8) == 169
    assert zone_floor(guest, "memalloc", index, highatomic=530) == 530


def test_an_unknown_right():
    with pytest.raises(HostError, match="'root' is not one of ordinary"):
        right_floor(5, "root")


# --- the reserve and its inverse ----------------------------------------------------------------------------------


def test_cma_can_be_what_the_floor_leaves():
    plain = zone("Normal", 0, 10_000, (0, 0), min=800, low=900, high=1000)
    for cma, expected in [(0, 300), (400, 300), (600, 200), (5000, 0)]:
        assert exclusive_reserve((dataclasses.replace(plain, cma=cma),)) == expected


def test_highatomic_pages_are_not_for_memalloc():
    plain = zone("Normal", 0, 10_000, (0, 0), min=800, low=900, high=1000)
    for free, expected in [(0, 300), (100, 200), (530, 0)]:
        assert exclusive_reserve((dataclasses.replace(plain, free_highatomic=free),)) == expected
    both = dataclasses.replace(plain, free_highatomic=100, cma=450)
    assert exclusive_reserve((both,)) == 200


@pytest.mark.parametrize(
    ("kernel", "managed", "limit"),
    [
        ("6.1", 35431, 1024),  # the guest above: 4096 kB reserved, as its Mem-Info prints
        ("6.1", 600, 600),  # two blocks even of a small zone, if it had them
        ("6.12", 51_199, 0),
        ("6.12", 51_200, 512),
        ("6.12", 51_300, 1024),
        ("6.12", 772915, 8192),
        ("2.6.21", 772915, 0),
    ],
)
def test_how_far_the_high_order_reservation_grows(kernel, managed, limit):
    assert highatomic_limit(managed, RULES[kernel]) == limit


def test_a_zone_gives_at_most_itself():
    tiny = zone("DMA", 0, 100, (0, 0, 500, 500), min=16, low=20, high=24)
    zones = (tiny, zone("DMA32", 1, 5000, (0, 0, 0, 0), min=80, low=100, high=120))
    assert exclusive_reserve(zones) == 6 + 30
    assert exclusive_reserve(zones, lowmem=True) == 100 + 30


@given(st.integers(0, 64 << 20))
def test_the_inverse_is_the_least(reserve):
    sizes = {"DMA": 3840, "DMA32": 772915, "Normal": 2195456, "Movable": 0, "Device": 0}
    zones = tuple(zone(name, index, size) for index, (name, size) in enumerate(sizes.items()))
    least = min_free_kbytes_for(reserve, zones)

    def given_by(min_free_kbytes: int) -> int:
        marks = zone_marks(zones, min_free_kbytes)
        return 4096 * sum(right_floor(mark.min, "atomic") for mark in marks[:3])

    assert given_by(least) >= reserve
    assert least == 0 or given_by(least - 1) < reserve


def test_the_inverse_by_brute_force():
    zones = (zone("DMA", 0, 37, (0,) * 4), zone("DMA32", 1, 411, (0,) * 4))

    def reserve_at(kb: int) -> int:
        return 4096 * sum(min(z.managed, right_floor(m.min, "atomic")) for z, m in zip(zones, zone_marks(zones, kb)))

    reached = [reserve_at(kb) for kb in range(6000)]
    for reserve in range(0, 4096 * 448, 1777):
        assert min_free_kbytes_for(reserve, zones) == next(kb for kb, have in enumerate(reached) if have >= reserve)
    assert min_free_kbytes_for(4096 * 448, zones) == next(kb for kb, have in enumerate(reached) if have >= 4096 * 448)
    with pytest.raises(HostError, match=r"out of reach: these zones can keep at most 1835008 B"):
        min_free_kbytes_for(4096 * 448 + 1, zones)


def test_bad_arguments(big):
    with pytest.raises(HostError, match="reserve_bytes is -1"):
        min_free_kbytes_for(-1, big)
    with pytest.raises(HostError, match="no zone has kernel memory"):
        zone_marks((zone("Normal", 0, 0, (0, 0)),), 100)


# --- this machine ---------------------------------------------------------------------------------------------------


def test_this_machine_to_the_page(live_zones):
    host = Host.read("/")
    computed = host.computed_marks()
    if computed is None:
        pytest.skip("vm.min_free_kbytes or vm.watermark_scale_factor cannot be read here")
    if any(zone.boost is None for zone in host.zones):
        pytest.skip(f"kernel {host.kernel} does not print the boost")
    stale = host.stale_marks()
    lowmem = [zone for zone in host.zones if zone.name not in ("HighMem", "Movable")]
    pages_min = host.sysctls["vm.min_free_kbytes"] * 1024 // host.page_size
    if stale and 0 <= pages_min - sum(zone.min_unboosted for zone in lowmem) < len(lowmem):
        # The printed ones split the same min_free_kbytes by other sizes: those before memory was given back after
        # booting, or lent to or taken from a virtual machine. The kernel does not compute them again then.
        pytest.skip(f"watermarks older than the zones' sizes: {'; '.join(stale)}")
    assert not stale
    for printed, mark in zip(host.zones, computed, strict=True):
        assert printed.promo in (None, mark.promo and mark.promo + printed.boost)
