"""The reading of consoles, on recorded ones and on damaged ones; nothing is booted."""

import gzip
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmodel.host.lab.console import parse_console
from mmmodel.host.lab.measured import RECORDED


def recorded(name):
    return gzip.decompress((RECORDED / "consoles" / f"{name}.txt.gz").read_bytes()).decode()


HANG, SURVIVE = recorded("hang-6.1"), recorded("survive-6.1")


def test_a_hang_is_read_with_all_that_recognises_it():
    outcome = parse_console(HANG)
    assert outcome.verdict == "hang"
    assert (outcome.low, outcome.zones, outcome.written, outcome.dirtied) == (223, {"DMA": 139, "DMA32": 84}, 127, 28227)
    assert outcome.kernel == "6.1.0-56-cloud-amd64"
    assert outcome.refused == {"refill": 1}
    assert outcome.refusals[0].flags == ("GFP_ATOMIC",)
    assert "try_fill_recv" in outcome.refusals[0].symbols
    assert outcome.waiting == ("kworker (refill_work)", "kswapd0", "hog")
    assert "refill_work waits with receive service off" in outcome.recognised
    assert outcome.torn == 0


def test_pages_that_no_floor_counts_are_read_from_the_first_report():
    assert (parse_console(HANG).percpu, parse_console(SURVIVE).percpu) == (323, None)
    report = "[ 1.2]  free:402 free_pcp:523 free_cma:0\n[ 1.3] Node 0 DMA: 6*4kB (M) 0*8kB = 24kB\n"
    report += "[ 1.4] Node 0 DMA32: 3*4kB (UH) 1*16kB (H) 0*32kB 1*1024kB (H) = 1052kB\n"
    report += "[ 9.2]  free:1 free_pcp:2 free_cma:0\n[ 9.3] Node 0 DMA: 1*4kB (H) = 4kB\n[ 9.4] Node 0 DMA32: 0*4kB = 0kB\n"
    assert (parse_console(report).percpu, parse_console(report).high_free) == (523, 4 + 256)


def test_a_survivor_is_read():
    outcome = parse_console(SURVIVE)
    assert (outcome.verdict, outcome.recognised) == ("survive", "the load finished")
    assert (outcome.low, outcome.dirtied, outcome.refused) == (4188, 46080, {})
    assert outcome.settings["min_free_kbytes"] == "16384"


def test_a_setting_is_read_whatever_its_name():
    """A sysctl has dots in its name, a file below /sys has slashes."""
    said = "LAB sysctl vm.min_free_kbytes=1519 ;\nLAB sysctl kernel/mm/lru_gen/enabled=0x0007 ;\n"
    assert parse_console(said).settings == {"vm.min_free_kbytes": "1519", "kernel/mm/lru_gen/enabled": "0x0007"}


def test_the_series_falls_to_the_low_water_mark_and_time_rises():
    series = parse_console(HANG).series
    assert len(series) > 200
    assert all(a[0] < b[0] for a, b in pairwise(series))
    assert min(row[1] for row in series) <= 224


def test_the_same_console_has_the_same_digest():
    assert parse_console(HANG).digest == parse_console(HANG).digest != parse_console(SURVIVE).digest


@pytest.mark.parametrize(
    ("text", "verdict", "how"),
    [
        ("", "silent", "no verdict"),
        ("SeaBIOS\nLAB boot kernel=6.1 seconds=2 ;\n", "silent", "no verdict"),
        ("LAB error what=attach ;\n", "failed", "attach"),
        ("LAB verdict is=slow ms=90000 low=300 written=5 dirtied=7 gap=2.0 kills=0 ;", "slow", "time limit"),
        ("LAB verdict is=failed ms=9 low=3 written=5 dirtied=7 gap=2.0 kills=1 ;", "oom", "killed"),
        ("LAB load code=137 ;", "oom", "signal 9"),
        ("LAB trace bytes=12 lost=0 ;", "traced", "recording"),
        ("LAB verdict is=surv", "silent", "no verdict"),
    ],
)
def test_short_consoles(text, verdict, how):
    outcome = parse_console(text)
    assert outcome.verdict == verdict
    assert how in outcome.recognised


def test_a_torn_verdict_is_not_guessed_at_but_its_repetition_counts():
    torn = "LAB verdict is=hang ms=13[   20.1] sysrq: Resetting\nLAB verdict is=hang ms=13962 low=223 gap=10.0 ;"
    outcome = parse_console(torn)
    assert (outcome.verdict, outcome.seconds, outcome.torn) == ("hang", 13.962, 1)


def test_a_kernel_line_before_ours_does_not_hide_it():
    assert parse_console("[  3.1] IPv6: eth0LAB verdict is=survive ms=5 low=1 gap=0 ;").verdict == "survive"


def test_a_refusal_with_every_right_and_one_on_the_way_out():
    lines = "kswapd0: page allocation failure: order:0, mode:0x1(GFP_NOIO|__GFP_MEMALLOC), nodemask=(null)\n"
    lines += "hog: page allocation failure: order:0, mode:0xa20(GFP_ATOMIC), nodemask=(null)\n skb_segment+0x1/0x2\nMem-Info:\n"
    lines += "hog: page allocation failure: order:1, mode:0xa20(GFP_ATOMIC), nodemask=(null)\n ? try_fill_recv+0x1/0x2\n"
    assert parse_console(lines).refused == {"memalloc": 1, "transmit": 1, "other": 1}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(HANG)), st.integers(0, len(HANG)))
def test_any_piece_of_a_console_is_read_without_an_error(start, length):
    outcome = parse_console(HANG[start : start + length])
    assert outcome.verdict in ("hang", "silent")


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_read_without_an_error(text):
    assert parse_console(text + "\nLAB verdict is=survive ms=1 low=2 gap=0 ;").verdict == "survive"
