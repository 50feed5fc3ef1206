"""LAD-*: the ladder of rights on a machine, against every state (the search of mmmodel.exact, tests/brute.py) and the kernel's integers."""

import itertools
import math
from fractions import Fraction

import pytest

from mmmodel.bounds import ladder, reserve
from mmmodel.exact import reach
from mmmodel.linux import percpu, watermarks
from mmmodel.model.machine import Memory
from mmmodel.model.stack import Stack
from tests.brute import Brute

RIGHTS = ("memalloc", "atomic", "high")


def deadlock_on_a_machine(minimum, depth, held, chunk, parked, floor):
    again = [
        {"name": "lock again", "take": {"napi": 1}},
        {"name": "ordinary", "take": {"reserve": chunk}, "right": "ordinary"},
        {"name": "unlock", "give": {"napi": 1}},
    ]
    steps = [
        {"name": "send", "take": {"reserve": held}, "right": "memalloc", "serve": "1 ms"},
        {"name": "receive", "take": {"napi": 1}, "serve": "1 ms", "give": {"napi": 1, "reserve": held}},
        {"name": "refill", "take": {"reserve": chunk}, "right": "atomic", "serve": "1 ms", "refused": {"steps": again}},
    ]
    data = {"pools": {"napi": 1, "reserve": {}}, "requests": {"write": {"depth": depth, "steps": steps}}}
    floors = {"high": floor, "atomic": floor, "memalloc": 0}
    memory = Memory(minimum, floors, {"lists": parked} if parked else {}, page=1)
    return reach.search(Stack.model_validate(data).system(memory=memory), compiled=False).moves is not None


def test_floor_and_lock_against_every_state():
    answers = []
    for depth, held, chunk, parked in itertools.product((1, 2, 3), (1, 2, 4), (1, 2), (0, 1, 3)):
        if chunk > held:
            continue
        for minimum in (held, held + 2, 2 * held, 2 * held + 3, 4 * held + 2, 13):
            if minimum < held:
                continue
            for floor in {0, 1, reserve.atomic_floor(minimum)}:
                safe = ladder.lock_never_entered(minimum, depth, held, chunk, parked, floor)
                dead = deadlock_on_a_machine(minimum, depth, held, chunk, parked, floor)
                assert safe != dead, (minimum, depth, held, chunk, parked, floor)
                answers.append(safe)
    assert min(answers.count(True), answers.count(False)) > 100


def test_the_least_min_of_floor_and_lock_is_the_three_eighths_rule():
    """Where all draws find room the least M is RES-16's with one request less than in RES-14, and from there on all is safe."""
    for depth, held, chunk, parked in itertools.product((2, 5, 128), (3, 10), (1, 3), (0, 40)):
        least = reserve.floor_reserve_three_eighths(1, 0, (depth - 1) * held + parked + chunk)
        assert all(ladder.lock_never_entered(m, depth, held, chunk, parked) for m in range(least, least + 50))
        assert not ladder.lock_never_entered(least - 1, depth, held, chunk, parked)
        assert least < reserve.floor_reserve_three_eighths(depth, held, chunk + parked)
    with pytest.raises(ValueError, match="chunk: 3 pages, held 2"):
        ladder.lock_never_entered(10, 2, 2, 3)


def test_parked_pages_that_grow_with_min():
    for need, share in itertools.product((1, 7, 300), (Fraction(0), Fraction(1, 8), Fraction(1, 2), Fraction(3, 5))):
        least = ladder.least_floor(need, share)
        assert least * Fraction(5, 8) - share * least == need
    for share in (Fraction(5, 8), Fraction(5, 4)):
        with pytest.raises(ValueError, match="no min_free_kbytes is enough"):
            ladder.least_floor(1, share)


def test_lists_of_the_low_watermark_against_every_min():
    """The low watermark and the lists' limit as the `linux` room has them, on a zone large enough that four batches do not matter less."""
    for cpus, need in ((1, 1), (2, 2), (4, 9), (64, 64)):
        for minimum in range(0, 3_000, 7 if cpus > 1 else 1):
            assert not ladder.lists_leave(minimum, cpus, need)
            low = minimum + minimum // 4
            assert cpus * (low // cpus) <= _lists(low, cpus)
    with pytest.raises(ValueError, match="need: 1 pages, 2 CPUs"):
        ladder.lists_leave(100, 2, 1)


def _lists(low, cpus):
    zone = type("Zone", (), {"managed": 1 << 18})()
    return percpu.zone_limit(zone, low, cpus, cpus, kernel="6.1")


def test_the_floors_are_those_of_the_linux_room():
    for minimum, right in itertools.product(range(400), RIGHTS):
        assert ladder.right_floor(minimum, right) == watermarks.right_floor(minimum, right)
    with pytest.raises(ValueError, match="right: 'ordinary' is not one of"):
        ladder.right_floor(10, "ordinary")


def by_right(minimum, depth, steps):
    """Chunks by right on an ordinary floor, as a plain stack with the floors in figures."""
    laid = [
        {"name": f"s{j}", "take": {"r": chunk}, "floor": {"r": ladder.right_floor(minimum, right)}}
        for j, (chunk, right) in enumerate(steps)
    ]
    return Brute({"pools": {"r": {"capacity": minimum}}, "requests": {"x": {"depth": depth, "steps": laid}}}).unsafe()


def test_two_steps_by_right_against_every_state():
    entry = next(e for e in ladder.entries() if e.id == "LAD-4")
    for minimum, depth, held, chunk in itertools.product(range(1, 13), (1, 2, 3), (1, 2, 4), (1, 3, 4)):
        for first, second in itertools.product(RIGHTS, repeat=2):
            safe = ladder.two_steps_safe(minimum, depth, (held, first), (chunk, second))
            assert safe != by_right(minimum, depth, [(held, first), (chunk, second)])
            floors = {"f_h": ladder.right_floor(minimum, first), "f_r": ladder.right_floor(minimum, second)}
            assert safe == entry.numeric(M=minimum, K=depth, h=held, c=chunk, **floors)


def _anomalies(minimum, lengths, rights):
    """(depth, steps) that are safe at `minimum` and not at a larger one, fewest requests and steps first."""
    for depth, length in itertools.product((1, 2, 3), lengths):
        for chunks in itertools.product(range(1, minimum + 1), repeat=length):
            for chosen in itertools.product(rights, repeat=length):
                steps = list(zip(chunks, chosen))
                if sum(chunks) <= minimum and not by_right(minimum, depth, steps):
                    yield from ((more, depth, steps) for more in range(minimum + 1, minimum + 4) if by_right(more, depth, steps))


def test_the_least_anomaly_of_the_ladder():
    """With the memalloc right alone 3 pages are safe and 4 are not (RES-19); with two rights in two steps it is 6 and 7."""
    assert not any(next(_anomalies(minimum, (1, 2, 3), RIGHTS), None) for minimum in (1, 2))
    assert next(_anomalies(3, (1, 2), RIGHTS)) == (4, 2, [(2, "memalloc"), (1, "memalloc")])
    for minimum in range(1, 6):
        assert all(len({right for _, right in steps}) < 2 for _, _, steps in _anomalies(minimum, (1, 2), ("memalloc", "atomic")))
    safe, unsafe, depth, *steps = ladder.least_anomaly()
    assert (safe, unsafe, depth, *steps) == (6, 7, 2, (2, "atomic"), (4, "memalloc"))
    assert [m for m in range(6, 30) if by_right(m, depth, steps)] == [7]


def test_the_least_anomaly_of_floor_and_lock():
    safe, unsafe, depth, held, chunk = ladder.least_lock_anomaly()
    assert (safe, unsafe, depth, held, chunk) == (23, 24, 3, 12, 1)
    dead = [m for m in range(12, 40) if deadlock_on_a_machine(m, depth, held, chunk, 0, reserve.atomic_floor(m))]
    assert dead == [m for m in range(12, 40) if not ladder.lock_never_entered(m, depth, held, chunk)]
    assert safe not in dead
    assert unsafe in dead
    assert max(dead) == reserve.floor_reserve_three_eighths(1, 0, 2 * held + chunk) - 1


def test_the_settings_of_a_real_depth():
    """nbd on virtio_net at depth 128: 127 others draw 366 pages; 503 pages of min leave 234 between the floors, 892 leave 478."""
    draw = math.ceil(127 * (5_660 + 6_144) / 4096)
    assert draw == 366
    for minimum, atomic, parked, safe in ((503, 269, 0, False), (892, 414, 0, True), (892, 414, 473, False)):
        assert ladder.lock_never_entered(minimum, 2, draw, 1, parked, atomic) == safe
