"""Recordings into footprints and stacks: two recorded on real kernels, and small ones whose sums are known."""

import gzip

import pytest

import mmmodel as mm
from mmmodel.host.footprints import (
    Allocation,
    Trace,
    TraceError,
    footprints,
    read_trace,
    report,
    right_of,
    stack_data,
    stack_yaml,
    table,
)
from mmmodel.host.lab.measured import RECORDED
from mmmodel.model.reading import stack_from


def recorded(name):
    return gzip.decompress((RECORDED / "traces" / f"{name}.txt.gz").read_bytes()).decode("latin-1")


OLD, NEW = recorded("nbd-virtio-4k-depth-8-6.1"), recorded("nbd-virtio-4k-depth-8-6.12")


def event(time, name, rest, *frames):
    lines = [f"          writer-60      [000] .....  {time:.6f}: {name}: {rest}"]
    if frames:
        lines += [f"          writer-60      [000] .....  {time:.6f}: <stack trace>", *(f" => {one}" for one in frames)]
    return "\n".join(lines)


def small():
    """Two writes, one after the other; each takes a bio until the reply, a page that is kept, and a segment for a moment."""
    text = ["# tracer: nop"]
    for n in (0, 1):
        t = 10.0 + n
        text += [
            event(t, "kmem_cache_alloc", f"call_site=mempool_alloc+0x1 ptr=b{n} bytes_req=248 bytes_alloc=256 gfp_flags=GFP_NOWAIT|__GFP_NOMEMALLOC", "mempool_alloc", "bio_alloc_bioset"),
            event(t + 0.001, "block_rq_issue", f"43,0 W 4096 () {8 * n} + 8 [writer]"),
            event(t + 0.002, "kmalloc", f"call_site=kmalloc_reserve+0x1 ptr=s{n} bytes_req=1900 bytes_alloc=2048 gfp_flags=GFP_ATOMIC", "__alloc_skb", "skb_segment", "tcp_write_xmit"),
            event(t + 0.003, "kfree", f"call_site=skb_free_head+0x1 ptr=s{n}"),
            event(t + 0.004, "mm_page_alloc", f"page=p pfn=0x{n} order=1 migratetype=0 gfp_flags=GFP_ATOMIC|__GFP_COMP", "skb_page_frag_refill", "try_fill_recv"),
            event(t + 0.1, "block_rq_complete", f"43,0 W () {8 * n} + 8 [0]"),
            event(t + 0.1001, "kmem_cache_free", f"call_site=bio_put+0x1 ptr=b{n} name=bio"),
        ]  # fmt: skip
    return "\n".join(text)


def test_a_small_recording_is_summed_by_hand():
    trace = read_trace(small())
    assert (len(trace.requests), trace.depth, trace.device, trace.passed_over) == (2, 1, "43,0", 0)
    assert trace.latency == pytest.approx(0.099)
    found = {one.category: one for one in footprints(trace)}
    assert set(found) == {"bio", "segments", "ring refill"}
    assert (found["bio"].right, found["bio"].size, found["bio"].released) == ("nomemalloc", 256, "with the reply")
    assert (found["segments"].right, found["segments"].size, found["segments"].released) == ("atomic", 2048, "at once")
    assert (found["ring refill"].right, found["ring refill"].size, found["ring refill"].released) == ("atomic", 8192, "kept")
    assert found["bio"].alive == 256
    assert found["segments"].alive == 0


def test_its_stack_holds_what_was_held_and_can_be_asked():
    stack = mm.Stack.model_validate(stack_data(read_trace(small()), "small", "6.1"))
    assert [step.name for step in stack.requests["write"].steps] == [
        "admit", "bio (nomemalloc)", "segments (atomic)", "ring refill (atomic)", "reply",
    ]  # fmt: skip
    assert mm.footprint(stack) == 256 + max(2048, 8192)
    again = stack_from(__import__("ruamel.yaml", fromlist=["YAML"]).YAML(typ="safe").load(stack_yaml(read_trace(small()))))
    assert mm.footprint(again) == mm.footprint(stack)
    assert mm.wait_free_reserve(stack, depth=3) == 3 * (256 + 8192)


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        ("GFP_NOIO|__GFP_NOWARN|__GFP_NOMEMALLOC|__GFP_MEMALLOC", "memalloc"),
        ("GFP_ATOMIC|__GFP_NOWARN|__GFP_NOMEMALLOC", "atomic"),
        ("GFP_NOWAIT|__GFP_NOWARN|__GFP_NOMEMALLOC", "nomemalloc"),
        ("GFP_KERNEL", "ordinary"),
        ("", "ordinary"),
    ],
)
def test_rights_by_flags(flags, right):
    assert right_of(flags.split("|")) == right


# Independent of this reader: the prototype's own table of a recording of the same kernel (4 KiB, depth 8),
# where segments and their 256 B heads are two lines: 6176 + about 750 of 800; bio 320; ring refill 5120, by chunks of 32 KiB.
@pytest.mark.parametrize("text", [OLD, NEW], ids=["6.1", "6.12"])
def test_recorded_kernels(text):
    trace = read_trace(text)
    assert (len(trace.requests), trace.depth, trace.passed_over) == (32, 8, 0)
    found = {(one.category, one.right): one for one in footprints(trace)}
    assert found["bio", "nomemalloc"].size == 320
    assert found["bio", "nomemalloc"].released == "with the reply"
    assert found["segments", "atomic"].size == pytest.approx(6176 + 750, rel=0.03)
    assert found["segments", "atomic"].released == "at once"
    assert found["ring refill", "atomic"].size % 1024 == 0
    assert found["ring refill", "atomic"].released == "kept"
    # the prototype: transmit 1584, receive 3600; in source: sk_buff 512 + head 1024, a page and sk_buff 256 less what is reused
    assert found["transmit", "memalloc"].size == pytest.approx(1584 if text is OLD else 1050, rel=0.04)
    assert found["receive", "memalloc"].size == pytest.approx(3600, rel=0.05)
    assert "segments" in table(footprints(trace))


def test_a_receive_buffer_on_top_of_a_transmission_is_a_receive_buffer():
    softirq = [
        "__alloc_pages",
        "__napi_alloc_skb",
        "virtnet_poll",
        "net_rx_action",
        "__do_softirq",
        "tcp_write_xmit",
        "tcp_sendmsg_locked",
    ]
    assert Allocation(0.0, 4096, ("GFP_ATOMIC",), "mm_page_alloc", softirq).category == "receive"
    assert Allocation(0.0, 4096, ("GFP_ATOMIC",), "mm_page_alloc", softirq[5:]).category == "transmit"
    assert Allocation(0.0, 512, ("GFP_NOIO",), "mempool_alloc", ["vfs_write"]).category == "bio"


def test_the_traced_stack_of_the_catalogue_is_what_its_recording_gives():
    assert mm.load_stack("nbd-virtio-traced") == mm.Stack.model_validate(stack_data(read_trace(OLD), "nbd-virtio-traced", "6.1"))


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(TraceError, match="no completed write of device '8,0'; there are requests of 43,0"):
        read_trace(small(), "8,0")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no kmem allocation"),
        ("nonsense\n=> \n", "no kmem allocation"),
        (event(1.0, "kmalloc", "call_site=f+0 ptr=a bytes_req=1 bytes_alloc=8 gfp_flags=GFP_KERNEL"), "no block_rq_issue"),
    ],
)
def test_a_recording_of_nothing_says_what_is_missing(text, complaint):
    with pytest.raises(TraceError, match=complaint):
        read_trace(text)


def test_damaged_lines_are_counted_and_passed_over():
    text = (
        small()
        + "\n"
        + event(12, "kmalloc", "call_site=f+0 ptr=a bytes_al")
        + "\nCPU 0 lost 7 events\n"
        + event(12, "block_rq_issue", "43,")
    )
    assert read_trace(text).passed_over == 3


def test_no_known_class_is_no_stack():
    trace = read_trace(small())
    for one in trace.allocations:
        one.symbols, one.site = [], "unknown"
    with pytest.raises(TraceError, match="stacktrace triggers"):
        stack_data(Trace(trace.device, trace.requests, trace.allocations))


def test_a_path_is_read_as_a_file(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text(small() + "\n\0\0\0")  # as written to a raw disk
    assert len(read_trace(path).requests) == 2
    said = report(path, "mine", "6.1")
    assert "2 requests of device 43,0, 1 in flight at most" in said
    assert "name: mine" in said
    assert len(read_trace(RECORDED / "traces" / "nbd-virtio-4k-depth-8-6.1.txt.gz").requests) == 32
