"""Finding, reading and refusing stacks; the amounts that the first stacks must have."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmodel.installed import DATA
from mmmodel.model.amounts import rounded
from mmmodel.model.askable import as_stack
from mmmodel.model.catalogue import STACKS, load_stack, stack_names
from mmmodel.model.reading import read_yaml, size_table, stack_from
from mmmodel.model.stack import Fallback, QuestionError, Serve, Stack, StackError

NAMES = stack_names()


def chunks(stack: Stack, cls: str, pool: str = "reserve") -> list[int]:
    return [step.take[pool] for step in stack.requests[cls].steps for _ in range(step.repeat) if step.take.get(pool)]


def every_step(stack: Stack):
    def walk(steps):
        for step in steps:
            yield step
            if isinstance(step.refused, Fallback):
                yield from walk(step.refused.steps)

    for name, cls in stack.requests.items():
        for step in walk(cls.steps):
            yield name, step


# ---- every stack ----------------------------------------------------------------------------------------------------


def test_the_catalogue_is_there():
    assert DATA.is_dir()
    assert {"nbd-tcp", "dm-crypt-swap", "dm-crypt-swap-before", "ddsnap-2007", "ddsnap-2007-v1"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_loads_under_its_own_name_and_is_described(name):
    stack = load_stack(name)
    assert stack.name == name
    assert stack.title
    assert stack.description
    assert stack.kernel
    assert as_stack(name).digest == stack.digest
    assert load_stack(STACKS / f"{name}.yaml").digest == stack.digest
    assert Stack.model_validate(stack.model_dump(mode="json")).digest == stack.digest


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_a_source_or_an_assumption(name):
    stack = load_stack(name)
    told: list[tuple[str, str, str]] = [(f"pools.{pool}", p.source, p.assumption) for pool, p in stack.pools.items()]
    for cls, request in stack.requests.items():
        told.append((f"requests.{cls}", request.source, request.assumption))
    for cls, step in every_step(stack):
        told.append((f"{cls}.{step.name}", step.source, step.assumption))
        if isinstance(step.serve, Serve):
            told.append((f"{cls}.{step.name}.serve", step.serve.source, step.serve.assumption))
    assert told
    for place, source, assumption in told:
        assert source or assumption, f"{place} has neither a source nor an assumption"
        assert not source or source in stack.sources, f"{place}: {source!r} is not in sources:"
    cited = {source for _, source, _ in told}
    for size in (read_yaml(STACKS / f"{name}.yaml").get("sizes") or {}).values():
        assert size.get("source") or size.get("assumption")
        assert not size.get("source") or size["source"] in stack.sources
        cited.add(size.get("source"))
    assert set(stack.sources) <= cited, "a source that nothing cites"


def test_every_size_of_the_shared_table_has_a_source():
    table = size_table()
    assert len(table.sizes) > 50
    for name, size in table.sizes.items():
        assert size.source or size.assumption, name


@pytest.mark.parametrize("name", NAMES)
def test_a_step_has_a_context_and_a_take_from_the_reserve_has_a_right(name):
    for cls, step in every_step(load_stack(name)):
        assert step.context, f"{cls}.{step.name}"
        if step.take.get("reserve"):
            assert step.right, f"{cls}.{step.name}"


# ---- the first stacks -----------------------------------------------------------------------------------------------


def test_nbd_tcp_has_the_chunks_of_its_wire_and_skb_sizes():
    stack = load_stack("nbd-tcp")
    assert chunks(stack, "write-4k") == [192, 512 + 640 + 28 + 4096, 256 + 640 + 4096]
    assert chunks(stack, "write-4k") == [192, 5276, 4992]
    footprint, last = sum(chunks(stack, "write-4k")), chunks(stack, "write-4k")[-1]
    assert footprint == 10_460
    assert 128 * (footprint - last) + last == 704_896
    assert 128 * footprint == 1_338_880
    assert chunks(stack, "write-128k") == [192 + 1024, 3 * (512 + 640) + 28 + 128 * 1024, 4992]
    assert round(chunks(stack, "write-128k")[1] / 1024, 1) == 131.4
    assert stack.pools["throttle"].capacity == 128
    assert stack.pools["reserve"].capacity is None


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("6.1", [256, 512 + 1024 + 4124, 256 + 1024 + 4096]),
        ("6.12", [192, 5276, 4992]),
        ("6.18", [192, 512 + 576 + 4124, 256 + 576 + 4096]),
    ],
)
def test_nbd_tcp_by_kernel(kernel, expected):
    stack = load_stack("nbd-tcp", kernel=kernel)
    assert chunks(stack, "write-4k") == expected
    assert stack.kernel == kernel
    assert load_stack(f"nbd-tcp@{kernel}").digest == stack.digest
    assert (stack.digest == load_stack("nbd-tcp").digest) == (kernel == "6.12")


def test_dm_crypt_swap_takes_its_pages_one_by_one_under_the_lock():
    stack, before = load_stack("dm-crypt-swap"), load_stack("dm-crypt-swap-before")
    for cls, pages in (("write-4k", 1), ("write-128k", 32), ("write-1m", 256)):
        assert chunks(stack, cls, "mempool") == chunks(before, cls, "mempool") == [1] * pages
        steps = [step.name for step in stack.requests[cls].steps]
        assert steps[steps.index("lock") : steps.index("unlock") + 1] == ["lock", "pages", "unlock"]
        assert [name for name in steps if name not in ("lock", "unlock")] == [step.name for step in before.requests[cls].steps]
        assert chunks(stack, cls) == chunks(before, cls)
    assert stack.pools["throttle"].capacity == 8 * 1024**2 // 4096 == 2048
    assert stack.pools["mempool"].capacity == 256
    assert stack.pools["lock"].capacity == 1
    assert "lock" not in before.pools
    assert stack.pools["reserve"].capacity == 6337 * 4096
    assert chunks(stack, "write-4k") == [896, 192]  # 248 + 256 + 80 + 272 = 856 in a cache-aligned slab


def test_ddsnap_throttles_take_the_whole_need_in_v2_and_unit_by_unit_in_v1():
    v2, v1 = load_stack("ddsnap-2007"), load_stack("ddsnap-2007-v1")
    assert [chunks(v2, cls, "throttle") for cls in v2.requests] == [[1], [4], [1]]
    assert chunks(v1, "write-251", "throttle") == [1] * 251
    assert chunks(v1, "write-250", "throttle") == [1] * 250
    assert v1.requests["write-251"].depth == v1.requests["write-250"].depth == 4
    assert v1.pools["throttle"].capacity == v2.pools["throttle"].capacity == 1000
    # the classical condition for units: deadlock free iff the sum of (claim - 1) is below the capacity (Holt, Habermann)
    assert 4 * (251 - 1) >= 1000 > 4 * (250 - 1)
    assert chunks(v2, "write-1") == [56, 768]
    assert chunks(v2, "snapshot-read-1")[:3] == [56, 768, 56]


# ---- an independent search on scaled-down copies of the facts -------------------------------------------------------


def deadlocks(claims: list[int], capacity: int, lock: bool) -> bool:
    """Whether processes that take `claims` units one by one can stop for good; with `lock`, the loop runs under a mutex."""
    start = (0,) * len(claims)
    seen, stack = {start}, [start]
    while stack:
        held = stack.pop()
        inside = [i for i, n in enumerate(held) if 0 < n < claims[i]]
        moves = []
        for i, n in enumerate(held):
            if n == claims[i]:
                moves.append((*held[:i], 0, *held[i + 1 :]))  # done: all of it back
            elif sum(held) < capacity and not (lock and n == 0 and inside):
                moves.append((*held[:i], n + 1, *held[i + 1 :]))
        if not moves:
            return True
        for move in moves:
            if move not in seen:
                seen.add(move)
                stack.append(move)
    return False


def test_the_shapes_of_the_facts_at_a_scale_that_can_be_searched():
    # dm-crypt: 2 requests of n pages on n deadlock, on 2n - 1 not; under the lock n is enough
    for n in (2, 3, 8):
        assert deadlocks([n, n], n, lock=False)
        assert deadlocks([n, n], 2 * n - 2, lock=False)
        assert not deadlocks([n, n], 2 * n - 1, lock=False)
        assert not deadlocks([n, n], n, lock=True)
    # ddsnap v1: 4 submitters of b units on 4 (b - 1), as 251 on 1000, deadlock; of one unit less they do not
    for b in (3, 5):
        assert deadlocks([b] * 4, 4 * (b - 1), lock=False)
        assert not deadlocks([b - 1] * 4, 4 * (b - 1), lock=False)


# ---- what is refused ------------------------------------------------------------------------------------------------

MINIMAL = "kernel: '6.12'\npools: {reserve: {}}\nrequests: {w: [{take: {reserve: %s}}]}\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "stack.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BAD_FILES = [
    ("", "is empty"),
    ("# nothing but a comment\n", "is empty"),
    ("- a\n- b\n", "holds a list, not a mapping"),
    ("just words\n", "holds a text, not a mapping"),
    ("12\n", "holds the value 12, not a mapping"),
    (b"name: \xff\xfe\n", "is not UTF-8 (byte 6)"),
    (b"\x00\x01\x02", "is not YAML"),
    ("pools: {a: 1\n", "is not YAML"),
    ("pools: [1, 2\nrequests: }\n", "is not YAML"),
    ("a: 1\n\tb: 2\n", "is not YAML"),
    ("a: *nowhere\n", "is not YAML"),
    ("a: !!python/object:os.system x\n", "is not YAML"),
    ("a: !!int x\n", "is not YAML"),
    ("name: a\n---\nname: b\n", "is not YAML"),
    ("name: a\nname: b\n", 'line 2, column 1: found duplicate key "name"; write each key once'),
    ("pools: {r: 1, r: 2}\n", "duplicate key"),
    ("{}\n", "pools: is missing"),
    ("pools: {}\nrequests: {}\n", "pools"),
    ("pools: 3\nrequests: {w: [{}]}\n", "pools"),
    ("pools: {reserve: {}}\nrequests: [1]\n", "requests"),
    ("pools: {reserve: {}}\nrequests: {w: []}\n", "requests.w.steps"),
    ("pools: {reserve: {}}\nrequests: {w: {steps: 3}}\n", "requests.w.steps"),
    ("pools: {reserve: {}}\nrequests: {w: {steps: [3]}}\n", "requests.w.steps[0]"),
    (MINIMAL % "fast", "requests.w.steps[0].take.reserve: unknown size 'fast'"),
    (MINIMAL % "bioo", "the nearest are bio"),
    (MINIMAL % "slab(bio", "a bracket is not closed"),
    (MINIMAL % "slab()", "out of place"),
    (MINIMAL % "'bio +'", "ends too early"),
    (MINIMAL % "'bio 3'", "not a quantity"),
    (MINIMAL % "'bio + 3 4'", "'4' is out of place"),
    (MINIMAL % "'round(bio)'", "'round' is not a rounding; write slab, kmalloc, pages"),
    (MINIMAL % "'bio + 4 ms'", "has the unit 'ms'; write one of B"),
    (MINIMAL % "'bio + 16M'", "is not an amount"),
    (MINIMAL % "'bio + -4'", "'-' is out of place"),
    (MINIMAL % "'4K'", "has the unit 'K'"),
    (MINIMAL % "-4", "is negative"),
    (MINIMAL % "null", "is not a number"),
    (MINIMAL % ".nan", "not finite"),
    ((MINIMAL % "bio").split("\n", 1)[1], "the size 'bio' is not known for kernel (none); it is for 6.1, 6.12, 6.18"),
    ((MINIMAL % "dm_io").replace("6.12", "6.18"), "the size 'dm_io' is not known for kernel 6.18; it is for 6.1, 6.12"),
    (MINIMAL % "4" + "sizes: 3\n", "sizes"),
    (MINIMAL % "4" + "sizes: {x: {}}\n", "sizes.x"),
    (MINIMAL % "4" + "sizes: {x: {all: 4 ms}}\n", "sizes.x"),
    (MINIMAL % "4" + "colour: red\n", "colour: unknown key"),
    ("pools: {reserve: {}}\nrequests: {w: [{take: {store: 4}}]}\n", "requests.w.steps[0].take.store: unknown pool"),
    ("pools: {reserve: {}}\nrequests: {w: [{give: {reserve: 4}}]}\n", "gives back 4, but only 0 is held there"),
    ("pools: {reserve: 3}\nrequests: {w: [{take: {reserve: 4}}]}\n", "larger than the pool's capacity"),
    ("pools: {reserve: {capacity: bio, colour: 3}}\nrequests: {w: [{}]}\n", "pools.reserve"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_file_is_refused_with_its_name_the_place_and_the_value(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(StackError) as caught:
        load_stack(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None


def test_all_problems_of_the_amounts_are_told_at_once(tmp_path):
    path = write(tmp_path, "pools: {reserve: {}}\nrequests: {w: [{take: {reserve: one}}, {take: {reserve: two}}]}\n")
    with pytest.raises(StackError) as caught:
        load_stack(path)
    assert [place for place, _ in caught.value.problems] == [
        "requests.w.steps[0].take.reserve",
        "requests.w.steps[1].take.reserve",
    ]


def test_a_size_on_a_fallback_path_is_filled_in(tmp_path):
    steps = "[{take: {reserve: 2 * bio}, refused: {steps: [{take: {reserve: bio + 1}}]}}]"
    stack = load_stack(write(tmp_path, f"kernel: '6.12'\npools: {{reserve: {{}}}}\nrequests: {{w: {steps}}}\n"))
    assert [step.take["reserve"] for _, step in every_step(stack)] == [256, 129]


def test_names_and_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(
        StackError, match=r"nbd-tpc: is neither a stack of the catalogue nor a file; the nearest names are nbd-tcp"
    ):
        load_stack("nbd-tpc")
    with pytest.raises(StackError, match=r"the catalogue has .*nbd-tcp"):
        load_stack("zzzzzzzz")
    for missing in (tmp_path / "none.yaml", str(tmp_path / "none.yaml"), str(tmp_path)):
        with pytest.raises(StackError, match="cannot be read: "):
            load_stack(missing)
    for wrong in ("", "   ", None, 3, "a\0b", ["nbd-tcp"]):
        with pytest.raises(StackError):
            load_stack(wrong)
    large = write(tmp_path, "#" * (2**20 + 1))
    with pytest.raises(StackError, match="larger than 1048576 bytes"):
        load_stack(large)


def test_a_kernel_that_a_stack_has_no_variant_for():
    with pytest.raises(StackError, match=r"kernel: '5\.10' is not a variant of this stack; it has 6\.1, 6\.12, 6\.18"):
        load_stack("nbd-tcp", kernel="5.10")
    with pytest.raises(StackError, match=r"it has 6\.1, 6\.12$"):
        load_stack("dm-crypt-swap@6.18")
    with pytest.raises(StackError, match=r"it has only 2\.6\.23"):
        load_stack("ddsnap-2007", kernel="6.12")
    with pytest.raises(QuestionError):
        load_stack("nbd-tcp").only("write-8k")


def test_a_copy_of_a_stack_elsewhere_is_the_same_stack(tmp_path):
    copy = write(tmp_path, (STACKS / "nbd-tcp.yaml").read_bytes())
    assert load_stack(str(copy)).digest == load_stack("nbd-tcp").digest
    assert load_stack(f"{copy}@6.1").digest == load_stack("nbd-tcp@6.1").digest


def test_roundings():
    assert [rounded("slab", n) for n in (0, 1, 64, 65, 472, 856)] == [0, 64, 64, 128, 512, 896]
    assert [rounded("kmalloc", n) for n in (1, 65, 97, 129, 193, 257, 640, 8193)] == [8, 96, 128, 192, 256, 512, 1024, 16384]
    assert [rounded("pages", n) for n in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["name", "kernel", "pools", "requests", "steps", "take", "give", "reserve", "capacity", "sizes", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_file_holds_is_a_stack_or_a_stack_error(data):
    with contextlib.suppress(StackError):
        assert isinstance(stack_from(data), Stack)


@settings(max_examples=200)
@given(st.text(alphabet="bio_slabkmc(+*) 0123456789.B", max_size=24))
def test_whatever_an_amount_says_is_a_number_or_a_stack_error(text):
    data = {"kernel": "6.12", "pools": {"reserve": {}}, "requests": {"w": [{"take": {"reserve": text}}]}}
    with contextlib.suppress(StackError):
        assert stack_from(data).requests["w"].steps[0].take["reserve"] >= 0
