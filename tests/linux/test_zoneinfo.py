"""The zoneinfo parser: what it reads, and that what it refuses is named."""

import pytest

from mmmodel.linux.text import HostError
from mmmodel.linux.zoneinfo import parse_zoneinfo, zone_index

TEXT = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 1490
  pages free     3840
        boost    3
        min      54
        low      63
        high     75
        promo    87
        spanned  4095
        present  3998
        managed  3840
        cma      16
        protection: (0, 3019, 4939, 4939)
      nr_free_pages 3840
      nr_free_cma  7
  pagesets
    cpu: 0
              count:    11
              high:     240
              batch:    60
  vm stats threshold: 4
    cpu: 1
              count:    2
              high:     240
              batch:    60
  node_unreclaimable:  0
  start_pfn:           1
Node 1, zone    DMA32
  pages free     10
        min      1
        low      2
        high     3
        spanned  100
        present  90
        managed  80
        protection: (0, 0, 0, 0)
"""
LINES = TEXT.splitlines(keepends=True)


def test_every_field():
    dma, other = parse_zoneinfo(TEXT)
    assert (dma.node, dma.name, dma.index, dma.free) == (0, "DMA", 0, 3840)
    assert (dma.min, dma.low, dma.high, dma.promo, dma.boost) == (54, 63, 75, 87, 3)
    assert dma.min_unboosted == 51
    assert (dma.spanned, dma.present, dma.managed, dma.cma, dma.free_cma) == (4095, 3998, 3840, 16, 7)
    assert dma.protection == (0, 3019, 4939, 4939)
    assert (dma.pcp, dma.pcp_limit) == ((11, 2), (240, 240))
    assert (other.node, other.index, other.promo, other.boost, other.cma, other.pcp) == (1, 1, None, None, None, ())


def test_the_limit_of_percpu_lists_is_the_largest_that_the_kernel_may_tune_to():
    tuned = TEXT.replace("batch:    60\n", "batch:    60\n              high_min: 240\n              high_max: 4000\n", 1)
    assert parse_zoneinfo(tuned)[0].pcp_limit == (4000, 240)
    partly = TEXT.replace("              high:     240\n", "", 1)
    assert parse_zoneinfo(partly)[0].pcp_limit == ()


@pytest.mark.parametrize(
    ("names", "length", "asked", "index"),
    [
        (["DMA", "DMA32"], 4, "Normal", 2),  # x86-64; old kernels print populated zones only
        (["DMA", "Normal", "HighMem"], 4, "Normal", 1),  # x86-32
        (["Normal"], 3, "Normal", None),  # DMA Normal Movable, or Normal HighMem Movable: cannot be told
        (["Normal", "HighMem"], 3, "Normal", 0),
        (["Normal"], 2, "Normal", 0),
        (["DMA", "DMA32", "Normal", "Movable", "Device"], 5, "Normal", 2),
    ],
)
def test_the_place_of_a_zone(names, length, asked, index):
    marks = "min 0\n low 0\n high 0\n spanned 1\n present 1\n managed 1"
    block = f"Node 0, zone {{}}\n pages free 1\n {marks}\n protection: ({{}})\n"
    text = "".join(block.format(name, ", ".join("0" * length)) for name in names)
    if index is None:
        with pytest.raises(HostError, match="do not tell which zones exist"):
            parse_zoneinfo(text)
    else:
        assert zone_index(parse_zoneinfo(text), asked) == index


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pages free     3840", "pages free     -1", r"proc/zoneinfo:4: free is '-1', not a non-negative whole number"),
        ("pages free     3840", "pages free", r"proc/zoneinfo:4: free is 'pages free'"),
        ("min      54", "min      many", r"proc/zoneinfo:6: min is 'many'"),
        ("min      54", "min      5_4", r"min is '5_4'"),
        ("min      54", "min      ٥٤", r"min is '٥٤'"),
        ("min      54", "min      99999999999999999999", r"larger than"),
        ("min      54", "min      64", r"node 0, zone DMA: min 64, low 63, high 75 do not ascend"),
        ("boost    3", "boost    55", r"boost 55 is larger than min 54"),
        ("managed  3840", "managed  4000", r"managed 4000, present 3998, spanned 4095 do not ascend"),
        ("managed  3840", "managed  3840\n        managed  3840", r"'managed' occurs twice"),
        ("        managed  3840\n", "", r"node 0, zone DMA has no 'managed'"),
        ("(0, 3019, 4939, 4939)", "(0, 3019, 4939)", r"'protection' has \[3, 4\] entries"),
        ("(0, 3019, 4939, 4939)", "(0, x, 4939, 4939)", r"protection is 'x'"),
        ("(0, 3019, 4939, 4939)", "()", r"protection is ''"),
        ("Node 1, zone    DMA32", "Node 0, zone DMA", r"node 0, zone DMA occurs 2 times"),
        ("Node 1, zone    DMA32", "Node 1, zone Weird", r"zone 'Weird' is not one of DMA"),
        ("Node 1, zone    DMA32", "Node one", r"is not 'Node N, zone NAME'"),
        ("Node 0, zone      DMA\n", "", r"stands before the first"),
        ("count:    11", "count:    NaN", r"count is 'NaN'"),
    ],
)
def test_malformed_text_is_refused_by_name(old, new, message):
    assert old in TEXT
    with pytest.raises(HostError, match=message):
        parse_zoneinfo(TEXT.replace(old, new, 1))


def test_nothing_is_refused():
    with pytest.raises(HostError, match="no line 'Node N, zone NAME'"):
        parse_zoneinfo("")


def test_a_truncated_file_is_refused_or_reads_the_zones_before_the_cut():
    whole = parse_zoneinfo(TEXT)
    for cut in range(len(LINES)):
        try:
            zones = parse_zoneinfo("".join(LINES[:cut]))
        except HostError:
            continue
        assert [zone.managed for zone in zones] == [zone.managed for zone in whole][: len(zones)]


def test_this_machine(live_zones):
    assert sum(zone.managed for zone in live_zones) > 0
