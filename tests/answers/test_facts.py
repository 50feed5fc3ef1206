"""Known answers: facts of the kernel's history and of the literature, each with where it comes from."""

import itertools
import random

import pytest

import mmmodel as mm
from mmmodel.bounds import reserve as closed
from mmmodel.model.stack import Stack
from tests.brute import Brute


def stack(pools, **requests):
    return Stack.model_validate(plain(pools, **requests))


def plain(pools, **requests):
    """A stack's file as plain data; steps get names where they have none, so that the brute force can read it too."""
    for name, cls in requests.items():
        name_steps(name, cls["steps"])
    return {"pools": {name: {"capacity": c} if c else {} for name, c in pools.items()}, "requests": requests}


def name_steps(stem, steps):
    for n, step in enumerate(steps):
        step.setdefault("name", f"{stem}-{n}")
        if isinstance(step.get("refused"), dict) and "steps" in step["refused"]:
            name_steps(f"{step['name']}-refused", step["refused"]["steps"])


# ---- one class: RES-1 to RES-3, RES-19 -------------------------------------------------------------------------------


def test_anomaly_of_4_4_3():
    request = mm.Request(chunks=[4, 4, 3])
    unsafe = mm.unsafe_reserves(request, depth=4)
    assert unsafe == [(11, 22), (24, 26), (28, 30), (32, 34)]
    brute = [r for r in range(11, 60) if Brute(chain([4, 4, 3], 4), r).unsafe()]
    assert brute == [r for low, high in unsafe for r in range(low, high + 1)]
    assert 24 in brute
    assert 23 not in brute
    assert mm.safe_reserve(request, depth=4) == 35
    assert mm.wait_free_reserve(request, depth=4) == 44


@pytest.mark.parametrize(("reserve", "safe"), [(22, False), (23, True), (24, False), (27, True), (34, False), (35, True)])
def test_verdicts_around_the_anomaly(reserve, safe):
    verdict = mm.verdict(mm.Request(chunks=[4, 4, 3]), depth=4, reserve=reserve)
    assert verdict.safe == safe
    assert (verdict.path is None) == safe
    path = mm.reachable_deadlock(mm.Request(chunks=[4, 4, 3]), depth=4, reserve=reserve)
    assert (path is None) == safe
    if safe:
        assert ("Beware" in verdict.explain()) == (reserve < 35), "a safe reserve with an unsafe larger one says so"


def test_biggest_chunk_last_needs_least():
    for chunks in ([4, 4, 3], [1, 5, 2], [6, 1, 1, 3]):
        sizes = {order: mm.safe_reserve(mm.Request(chunks=order), depth=3) for order in itertools.permutations(chunks)}
        least = min(sizes.values())
        assert {order for order, size in sizes.items() if size == least} == {o for o in sizes if o[-1] == max(chunks)}


def chain(chunks, depth):
    return plain({"reserve": None}, a={"depth": depth, "steps": [{"take": {"reserve": c}} for c in chunks]})


# ---- NBD over TCP, 4 KiB writes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nbd():
    return mm.load_stack("nbd-tcp").only("write-4k")


def test_nbd_sizes(nbd):
    assert mm.footprint(nbd) == 192 + 5276 + 4992 == 10_460
    assert mm.safe_reserve(nbd, depth=128) == 128 * (192 + 5276) + 4992 == 704_896
    assert mm.wait_free_reserve(nbd, depth=128) == 128 * 10_460 == 1_338_880


def test_nbd_verdicts(nbd):
    assert mm.verdict(nbd, depth=128, reserve=704_896).safe
    below = mm.verdict(nbd, depth=128, reserve=704_895)
    assert not below.safe
    assert below.certain
    assert (below.waiting[0].count, below.waiting[0].holds["reserve"], below.waiting[0].wants["reserve"]) == (128, 5468, 4992)
    assert below.free["reserve"] == 4991
    text = below.explain()
    for phrase in ("requests 1 to 128: admit, bio, send", "each of 128 write-4k requests holds", "5,468 B", "4,992 B", "4,991 B"):
        assert phrase in text, text


def test_nbd_depths(nbd):
    assert mm.safe_depth(nbd, "704896 B") == 128
    assert mm.safe_depth(nbd, 704_895) == 127
    assert mm.wait_free_depth(nbd, 1_338_880) == 128
    assert mm.wait_free_depth(nbd, 1_338_879) == 127
    assert mm.safe_depth(nbd, 10_459) == 0


def test_nbd_map_ends_where_it_is_safe(nbd):
    unsafe = mm.unsafe_reserves(nbd, depth=128)
    assert unsafe[-1][1] == 704_895
    assert unsafe[0][0] == 10_460
    # between the islands the search of the solver agrees, at production size
    low = [(a[1] + 1, b[0]) for a, b in itertools.pairwise(unsafe)][-3:]
    assert low
    for safe, again in low:
        assert mm.verdict(nbd, depth=128, reserve=safe).safe
        assert not mm.verdict(nbd, depth=128, reserve=again).safe


# ---- ddsnap, March 2007: a semaphore taken unit by unit (dm-ddsnap.c, Zumastor 0de622b) ----------------------------------------


@pytest.mark.parametrize(("pages", "safe"), [(250, True), (251, False)])
def test_ddsnap_v1(pages, safe):
    bare = stack({"throttle": 1000}, w={"depth": 4, "steps": [{"take": {"throttle": 1}, "repeat": pages}]})
    assert mm.verdict(bare).safe == safe == closed.unit_by_unit_safe([pages] * 4, 1000)
    own = mm.load_stack("ddsnap-2007-v1").only(f"write-{pages}")
    assert own.pools["throttle"].capacity == 1000
    assert mm.verdict(own).safe == safe


def test_ddsnap_v1_names_the_cycle():
    verdict = mm.verdict(mm.load_stack("ddsnap-2007-v1").only("write-251"))
    assert verdict.cycle == ("throttle",)
    assert sum(group.count * group.holds["throttle"] for group in verdict.waiting) == 1000


def test_taken_at_once_the_same_throttle_is_safe():
    whole = stack({"throttle": 1000}, w={"depth": 4, "steps": [{"take": {"throttle": 251}}]})
    assert mm.verdict(whole).safe


# ---- dm-crypt's page loop, before and with its mutex (7145c241a1bf) -------------------------------------------------------------


def crypt(pages, lock):
    loop = [{"take": {"mempool": 1}, "repeat": 256}]
    steps = [{"take": {"lock": 1}}, *loop, {"give": {"lock": 1}}, {"serve": {"mean": 1}}] if lock else loop
    return stack({"mempool": pages, "lock": 1} if lock else {"mempool": pages}, w={"depth": 2, "steps": steps})


@pytest.mark.parametrize(
    ("pages", "lock", "safe"), [(256, False, False), (510, False, False), (511, False, True), (256, True, True)]
)
def test_dm_crypt(pages, lock, safe):
    assert mm.verdict(crypt(pages, lock)).safe == safe


def test_dm_crypt_of_the_catalogue():
    assert not mm.verdict(mm.load_stack("dm-crypt-swap-before").only("write-1m"), depth=2).safe
    assert mm.verdict(mm.load_stack("dm-crypt-swap").only("write-1m"), depth=2).safe
    assert mm.safe_reserve(mm.load_stack("dm-crypt-swap-before").only("write-1m"), depth=2, pool="mempool") == 511
    assert mm.safe_reserve(mm.load_stack("dm-crypt-swap").only("write-1m"), depth=2, pool="mempool") == 256


# ---- unit by unit: Holt 1972, Habermann 1969 -----------------------------------------------------------------------------------


def test_holt():
    """n processes with claims m_i, taken one at a time and held to the end, are safe iff the sum of m_i - 1 is below R."""
    for seed in range(40):
        rng = random.Random(seed)
        claims = [rng.randint(1, 5) for _ in range(rng.randint(1, 3))]
        for units in range(max(claims), sum(claims) + 2):
            classes = {f"p{n}": {"depth": 1, "steps": [{"take": {"units": 1}, "repeat": m}]} for n, m in enumerate(claims)}
            data = plain({"units": units}, **classes)
            expected = sum(m - 1 for m in claims) < units
            assert mm.verdict(Stack.model_validate(data)).safe == expected, f"claims {claims}, {units} units"
            assert closed.unit_by_unit_safe(claims, units) == expected
            if seed < 10:
                assert Brute(data).unsafe() != expected


# ---- one throttle, two weights: a knapsack (RES-8) -----------------------------------------------------------------


def test_weights_make_a_knapsack():
    """Throttle 5: a weighs 2 and holds 7, b weighs 3 and holds 9 before the last unit. Best: one of each, 16; never 2 of b."""
    classes = {
        "a": {"steps": [{"take": {"throttle": 2}}, {"take": {"reserve": 7}}, {"take": {"reserve": 1}}]},
        "b": {"steps": [{"take": {"throttle": 3}}, {"take": {"reserve": 9}}, {"take": {"reserve": 1}}]},
    }
    model = stack({"throttle": 5, "reserve": None}, **classes)
    # threshold 1: 1 + 7 + 9; thresholds 7 and 9 find nobody who holds: at most 9
    assert mm.safe_reserve(model) == 17
    assert closed.knapsack_safe_reserve([([7, 1], None, 2, None), ([9, 1], None, 3, None)], 5) == 17
    assert not mm.verdict(model, reserve=16).safe
    assert mm.verdict(model, reserve=17).safe
    assert mm.safe_reserve(model, depth=6) == 1 + 3 * 7
    assert mm.safe_reserve(model, depth=7) == 1 + 2 * 7 + 9


# ---- rights: RES-15 and RES-16 -----------------------------------------------------------------------------------------


def acknowledged(depth, held, chunk, floor):
    """Transmit memory is held until the acknowledgement, and that needs a receive buffer above a floor."""
    steps = [{"take": {"reserve": held}}, {"take": {"reserve": chunk}, "floor": {"reserve": floor}}]
    return plain({"reserve": None}, w={"depth": depth, "steps": steps})


@pytest.mark.parametrize(("depth", "held", "chunk", "floor"), [(1, 3, 2, 4), (2, 3, 2, 4), (3, 2, 1, 5), (4, 1, 3, 2)])
def test_privilege_inversion(depth, held, chunk, floor):
    data = acknowledged(depth, held, chunk, floor)
    model = Stack.model_validate(data)
    needed = floor + depth * held + chunk
    assert mm.safe_reserve(model) == needed == closed.floor_reserve(depth, held, chunk, floor)
    assert not mm.verdict(model, reserve=needed - 1).safe, "what lies below the floor never helps the acknowledgement"
    for reserve in range(max(held, chunk + floor), needed + 3):
        assert mm.verdict(model, reserve=reserve).safe != Brute(data, reserve).unsafe()


def test_floors_in_the_threshold_are_sufficient_and_not_always_tight():
    """c + f in place of c (section 4.2): never unsafe at or above it, and sometimes safe at one below."""
    loose = 0
    for seed in range(150):
        rng = random.Random(seed)
        count, depth = rng.randint(2, 3), rng.randint(1, 3)
        chunks = [rng.randint(1, 4) for _ in range(count)]
        floors = [rng.choice((0, 0, rng.randint(1, 4))) for _ in range(count)]
        steps = [{"take": {"reserve": c}} | ({"floor": {"reserve": f}} if f else {}) for c, f in zip(chunks, floors, strict=True)]
        data = plain({"reserve": None}, w={"depth": depth, "steps": steps})
        bound = closed.safe_reserve_classes([(chunks, floors, depth)])
        exact = mm.safe_reserve(Stack.model_validate(data))
        assert exact <= bound
        assert not any(Brute(data, r).unsafe() for r in range(exact, bound + 2))
        need = mm.footprint(Stack.model_validate(data))
        if exact > need:
            assert Brute(data, exact - 1).unsafe()
        loose += exact < bound
    assert 0 < loose < 75


def virtio(memory, lock, fills=4):
    """virtio_net under swap over a network (notebook 12): two writes of 4 hold memory until their acknowledgement.

    The refill of the receive ring takes above an atomic floor of 3; refused, its worker switches receive service off (`lock`)
    and waits for ordinary memory. The acknowledgement needs receive service. Without the lock the worker only waits.
    """
    worker = ([{"take": {"service": 1}}] if lock else []) + [{"take": {"reserve": 2}, "serve": {"mean": 1}}]
    refill = {"take": {"reserve": 2}, "floor": {"reserve": 3}, "serve": {"mean": 1}, "refused": {"steps": worker}}
    write = [
        {"take": {"reserve": fills}, "serve": {"mean": 1}},
        {"take": {"service": 1}, "serve": {"mean": 1}},
    ]
    return plain(
        {"reserve": memory, "service": 1},
        write={"depth": 2, "steps": write},
        refill={"depth": 1, "steps": [refill]},
    )


@pytest.mark.parametrize(
    ("memory", "lock", "safe"),
    [
        (9, True, False),  # floor and lock: 8 held by two writes, 1 left
        (9, False, True),  # floor without lock: the worker waits, acknowledgements go through
        (12, True, True),  # refused at 4 free, but the worker finds its memory
        (13, True, True),  # lock never entered: 13 - 8 = 2 + 3, the draw stays above the floor
    ],
)
def test_floor_and_lock(memory, lock, safe):
    data = virtio(memory, lock)
    verdict = mm.verdict(Stack.model_validate(data))
    assert verdict.safe == safe != Brute(data).unsafe()
    assert verdict.certain
    if not safe:
        assert any(step.action == "is refused" for step in verdict.path), "the refusal that leads there is on the path"
        assert set(verdict.cycle) == {"reserve", "service"}


def test_lock_is_never_entered_above_the_floor():
    """At 13 no reachable state refuses the refill; at 12 one does."""
    refused = {memory: any_on_detour(Brute(virtio(memory, lock=True))) for memory in (12, 13)}
    assert refused == {12: True, 13: False}


def any_on_detour(brute):
    seen, order = {()}, [()]
    for state in order:
        if any("refused" in brute.places[at].step for at, _ in state):
            return True
        for after in brute.after(state):
            if after not in seen:
                seen.add(after)
                order.append(after)
    return False


# ---- cycles without memory: Kundu and Akyildiz 1989 (CYC-1) ---------------------------------------------------------


def network(rng):
    """(buffers by node, arcs, jobs): a random closed network with blocking after service."""
    nodes = rng.randint(2, 5)
    arcs = [(i, j) for i in range(nodes) for j in range(nodes) if i != j and rng.random() < 0.45] or [(0, 1)]
    buffers = [rng.randint(1, 4) for _ in range(nodes)]
    return buffers, arcs, rng.randint(1, sum(buffers))


def cycles(nodes, arcs):
    """The node sets of all simple directed cycles."""
    return [
        set(order)
        for size in range(2, nodes + 1)
        for order in itertools.permutations(range(nodes), size)
        if order[0] == min(order) and all((a, b) in arcs for a, b in itertools.pairwise((*order, order[0])))
    ]


def as_pools(buffers, arcs, jobs):
    """A job served at i holds a place there until there is one at j. One class for each arc, so that jobs may walk anywhere."""
    hop = {
        f"{i}to{j}": {
            "steps": [
                {"take": {"throttle": 1, f"node{i}": 1}, "serve": {"mean": 1}},
                {"take": {f"node{j}": 1}, "give": {f"node{i}": 1}, "serve": {"mean": 1}},
            ]
        }
        for i, j in arcs
    }
    return plain({"throttle": jobs} | {f"node{n}": b for n, b in enumerate(buffers)}, **hop)


def test_closed_networks_with_blocking():
    """Free of deadlock iff every directed cycle has more places than there are jobs, 275 random networks."""
    unsafe = 0
    for seed in range(275):
        buffers, arcs, jobs = network(random.Random(seed))
        free = all(sum(buffers[n] for n in cycle) > jobs for cycle in cycles(len(buffers), set(arcs)))
        verdict = mm.verdict(Stack.model_validate(as_pools(buffers, arcs, jobs)))
        assert verdict.certain, f"network({seed})"
        assert verdict.safe == free, f"network({seed}): buffers {buffers}, arcs {arcs}, {jobs} jobs"
        if not free:
            blocked = {int(pool.removeprefix("node")) for pool in verdict.cycle}
            assert any(cycle <= blocked for cycle in cycles(len(buffers), set(arcs))), "the pools of a cycle are named"
            unsafe += 1
    assert 75 < unsafe < 200


def test_served_for_ever_consumes():
    """Memory that only another's action gives back is lost (Zijlstra 2007: consumed, not used)."""
    model = stack({"reserve": None}, packet={"depth": 4, "steps": [{"take": {"reserve": 1}, "serve": "never"}]})
    assert not mm.verdict(model, reserve=1000).safe
    assert mm.safe_reserve(model) == float("inf")
