"""The limits of per-cpu lists: by the kernel's arithmetic, and as two recorded guests print them."""

import pytest

from mmmodel.linux.host import FRACTION, MIN_FREE, SCALE, load_host
from mmmodel.linux.percpu import batch, percpu_limit, zone_limit
from mmmodel.linux.text import HostError


@pytest.fixture(scope="module")
def guest():
    return load_host("debian-6.1-nbd-swap")


def test_what_a_guest_prints(guest):
    """6.1: the low watermark of each zone, one CPU."""
    assert guest.percpu_limit() == 46 + 427
    lows = [zone.low for zone in guest.zones]
    assert percpu_limit(guest.zones, lows, 0, guest.kernel) == 46 + 427
    assert [batch(zone.managed) for zone in guest.zones if zone.managed] == [1, 7]


def test_a_kernel_that_tunes_prints_what_is_there_now():
    """6.12 prints 729 pages, which the vmstat worker takes back to the low watermarks."""
    host = load_host("debian-6.12-crypt-nbd")
    assert sum(sum(zone.pcp_limit) for zone in host.zones) == 729
    assert host.percpu_limit() == 46 + 421


def test_a_fraction_cuts_them_short(guest):
    short = guest.with_sysctls({FRACTION: 1000})
    assert short.percpu_limit() == max(3840 // 1000, 4) + max(guest.zones[1].managed // 1000, 4 * 7)
    assert [zone.min for zone in short.zones] == [zone.min for zone in guest.zones]


@pytest.mark.parametrize(
    ("kernel", "fraction", "limit"),
    [
        ("5.10", 0, 2 * 6 * 63),
        ("5.14", 0, 2 * 500),
        ("6.6", 64, 2 * 1562),
        ("6.7", 0, 2 * 500),
        (None, 0, 2 * 500),
        ("6.12", 1000, 2 * 252),
    ],
)
def test_versions(guest, kernel, fraction, limit):
    """200,000 pages with a low watermark of 1,000, two CPUs of one node; a batch is 63, and four of them are the least."""
    zone = guest.zones[1].__class__(**{**vars(guest.zones[1]), "managed": 200_000})
    assert zone_limit(zone, 1000, 2, 2, fraction, kernel) == limit


def test_not_known_without_a_list_of_cpus():
    assert load_host("x86-24g").percpu_limit() is None


def test_other_settings(guest):
    raised = guest.with_sysctls({MIN_FREE: 3072})
    assert raised.sysctls[MIN_FREE] == 3072
    assert sum(zone.min for zone in raised.zones if zone.managed) == 3072 // 4 - 1  # each zone rounds down
    assert raised.percpu_limit() == sum(zone.low for zone in raised.zones if zone.managed)
    wide = guest.with_sysctls({SCALE: 1000})
    assert wide.percpu_limit() > guest.percpu_limit()
    assert guest.zones_with(3072) == raised.zones


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"vm.swappiness": 1}, "vm.swappiness"),
        ({MIN_FREE: -1}, "whole number"),
        ({FRACTION: 7}, "refused by the kernel"),
        ({SCALE: 0}, "from 1"),
    ],
)
def test_settings_that_no_kernel_takes(guest, settings, named):
    with pytest.raises(HostError, match=named):
        guest.with_sysctls(settings)
