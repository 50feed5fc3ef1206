"""Random stacks as plain data, one seed each: small enough for exhaustive search, mixed enough to be unpleasant."""

import random
from collections import Counter

POOLS = ("reserve", "socket", "lock")


def counted(judge, make, seeds):
    """The kinds that `judge(seed)` counts, of all seeds; a failure names the instance that it is of."""
    counts = Counter()
    for seed in seeds:
        try:
            counts += judge(seed)
        except Exception as error:
            raise AssertionError(f"{make.__name__}({seed}): {error}") from error
    return counts


def instance(seed):
    """(data, depth, reserve, traits): a stack's file as plain data, a question, and what is in it."""
    rng = random.Random(seed)
    traits = {
        name
        for name, chance in {
            "early": 0.45, "floors": 0.35, "loop": 0.3, "fallback": 0.25, "lose": 0.1, "never": 0.03, "throttle": 0.4,
            "weights": 0.5, "free first": 0.15, "tight": 0.15,
        }.items()
        if rng.random() < chance
    }  # fmt: skip
    pools = POOLS[: rng.choice((1, 1, 2, 2, 3))]
    classes = rng.choice((1, 1, 2))
    counts = [rng.randint(1, 5) if classes == 1 else rng.randint(1, 2 + (n == 0)) for n in range(classes)]
    requests, needs = {}, dict.fromkeys(pools, 1)
    for n in range(classes):
        steps, _ = _steps(
            rng, traits, pools, rng.randint(1, 4 if classes == 1 or rng.random() < 0.3 else 3), [{}], needs, f"c{n}s"
        )
        if "throttle" in traits:
            weight = rng.randint(1, 2) if "weights" in traits else 1
            first = steps[0]
            if "fallback" in traits or rng.random() < 0.5 or first.get("repeat", 1) > 1:
                steps.insert(0, {"name": f"c{n}admit", "take": {"throttle": weight}})
            else:
                first.setdefault("take", {})["throttle"] = weight
        elif "free first" in traits:
            steps.insert(0, {"name": f"c{n}free", "take": {}})
        requests[f"c{n}"] = {"steps": steps}
        if "throttle" not in traits or rng.random() < 0.3:
            requests[f"c{n}"]["depth"] = counts[n]
    data = {"pools": {}, "requests": requests}
    for pool in pools:
        low = needs[pool] if "tight" not in traits else max(1, needs[pool] - 2)
        data["pools"][pool] = {"capacity": rng.randint(low, low + rng.choice((1, 3, 6, 10)))}
        if pool != "reserve":
            data["pools"][pool]["capacity"] = max(data["pools"][pool]["capacity"], needs[pool])
    depth = None
    if "throttle" in traits:
        depth = rng.randint(2, 5 if classes == 1 else 3)
        data["pools"]["throttle"] = {"unit": "request"}
    reserve = data["pools"]["reserve"].pop("capacity")
    return data, depth, reserve, frozenset(traits)


def richer(seed):
    """`instance(seed)` with some takes that can be satisfied in several ways, and some that give all back and begin anew."""
    data, depth, reserve, traits = instance(seed)
    rng = random.Random(f"richer {seed}")
    traits = set(traits)
    pools = [name for name in data["pools"] if name != "throttle"] + ["spare"]
    data["pools"]["spare"] = {"capacity": rng.randint(1, 3)}
    for cls in data["requests"].values():
        gives = any(step.get("give") for step in _every(cls["steps"]))
        for step in _every(cls["steps"]):
            if not step.get("take") or step.get("repeat", 1) > 1:
                continue
            if not gives and rng.random() < 0.4:
                ways = [{**step.pop("take"), **({"floor": step.pop("floor")} if "floor" in step else {})}]
                for _ in range(rng.choice((1, 1, 2))):
                    pool = rng.choice(pools)
                    ways.append({pool: rng.randint(1, data["pools"][pool].get("capacity", reserve) if pool != "lock" else 1)})
                step["take"] = ways
                traits.add("either")
            if step.get("refused", "wait") == "wait" and rng.random() < 0.15:
                step["refused"] = {"restart": 0.1}
                traits.add("restart")
    return data, depth, reserve, frozenset(traits)


RIGHTS = ("ordinary", "nomemalloc", None, "high", "atomic", "atomic", "memalloc", "memalloc", "memalloc")


def machine(seed):
    """(data, depth, reserve, memory, traits): every kind of waiting at once, two times in three on a machine's memory (of pages of 1 byte).

    `memory` is what `mmmodel.model.machine.Memory` takes; then `reserve` is None, and else the other way round.
    """
    rng = random.Random(f"machine {seed}")
    on_it = rng.random() < 0.67
    traits = {
        name
        for name, chance in {
            "fifo": 0.3, "ways": 0.4, "restart": 0.2, "fallback": 0.25, "lose": 0.1, "floors": 0.25, "early release": 0.4, "never": 0.02,
            "throttle": 0.5, "two classes": 0.35, "loop": 0.1, **({"parked": 0.5, "outsiders": 0.25, "mempool": 0.25} if on_it else {}),
        }.items()
        if rng.random() < chance
    }  # fmt: skip
    pools = {"lock": rng.randint(1, 2), "spare": rng.randint(1, 3)}
    plenty = {"reserve": 4, **pools}
    used = set()

    def amounts(taken):
        """Something of a pool or two; what has been taken so far makes a large amount less likely."""
        names = {rng.choice(("reserve", "reserve", "reserve", *pools))} | (
            {rng.choice(tuple(plenty))} if rng.random() < 0.15 else set()
        )
        return {name: rng.randint(1, min(plenty[name], 4 if rng.random() < 0.3 else 2)) for name in sorted(names)}

    def way(step):
        if "floors" in traits and rng.random() < 0.5:
            name = rng.choice(sorted(step["take"]))
            if step["take"][name] < plenty[name]:
                step["floor"] = {name: rng.randint(1, plenty[name] - step["take"][name])}
                used.add("floors")
        if on_it and step["take"].get("reserve"):
            step["right"] = rng.choice(RIGHTS)
            used.add("rights")
        return step

    def laid(count, stem, held, inner=False):
        """Steps and what is held at least behind them."""
        steps = []
        for n in range(count):
            step = way({"name": f"{stem}{n}", "take": amounts(held)})
            took, before = [step["take"]], dict(held)
            plain = step["take"].get("reserve") and step.get("right") in ("ordinary", "nomemalloc", None) and on_it
            if "ways" in traits and rng.random() < 0.5:
                others = [way({"take": amounts(held)}) for _ in range(rng.choice((1, 1, 2)))]
                took += [other["take"] for other in others]
                step["take"] = [
                    {**one.pop("take"), **{k: one.pop(k) for k in ("floor", "right") if k in one}} for one in (step, *others)
                ]
                used.add("ways")
            elif "mempool" in traits and plain and rng.random() < 0.7:
                step["mempool"] = {"spare": 1}
                took.append({**step["take"], "reserve": 0})
                used.add("mempool")
            elif "loop" in traits and rng.random() < 0.4:
                step["repeat"] = 2
                used.add("loop")
            held = {name: held.get(name, 0) + min(one.get(name, 0) for one in took) for name in plenty}
            if "early release" in traits and rng.random() < 0.5:
                own = took[0] if step.get("repeat") else held
                give = {name: rng.randint(1, own[name]) for name in plenty if own.get(name) and rng.random() < 0.7}
                give = (
                    {"reserve": step["take"]["reserve"]} if step.get("mempool") else give
                )  # where memory goes back, so does an element
                if give:
                    step["give"] = give
                    held = {name: max(0, held[name] - give.get(name, 0)) for name in plenty}
                    used.add("early release")
            others = [kind for kind in ("restart", "lose", "fallback") if kind in traits]
            if others and rng.random() < 0.5:
                kind = rng.choice(others)
                if kind == "fallback" and not inner and not step.get("repeat"):
                    around, ends = laid(rng.randint(1, 2), f"{step['name']}r", before, True)
                    step["refused"] = {"steps": around}
                    held = {name: min(held[name], ends.get(name, 0)) for name in plenty}
                    used.add(kind)
                elif kind != "fallback":
                    step["refused"] = {kind: 0.1}
                    used.add(kind)
            if "never" in traits and rng.random() < 0.2:
                step["serve"] = "never"
            elif rng.random() < 0.5:
                step["serve"] = {"mean": 1}
            steps.append(step)
        return steps, held

    requests, classes = {}, 1 + ("two classes" in traits)
    for k in range(classes):
        steps, _ = laid(rng.randint(1, 4 - classes + (rng.random() < 0.3)), f"c{k}s", {})
        if "throttle" in traits:
            steps.insert(0, {"name": f"c{k}admit", "take": {"throttle": 1}})
        depth = {"depth": rng.randint(1, 4 - classes)} if "throttle" not in traits or rng.random() < 0.3 else {}
        requests[f"c{k}"] = {**depth, "steps": steps}
    data = {"pools": {name: {"capacity": have} for name, have in pools.items()}, "requests": requests}
    data["pools"] |= {"reserve": {"unit": "byte"}} | ({"throttle": {"unit": "request"}} if "throttle" in traits else {})
    for name, pool in data["pools"].items():
        if "fifo" in traits and rng.random() < (0.6 if name == "lock" else 0.3):
            pool["queue"] = "fifo"
            used.add("fifo")
            for cls in requests.values() if name == "throttle" else ():  # in a line before it any number may stand
                cls.setdefault("depth", rng.randint(1, 4 - classes))
    depth = rng.randint(1, 4 - classes) if "throttle" in traits else None
    have = rng.randint(3, 14)
    floor = rng.randint(0, max(0, have - 4) if rng.random() < 0.8 else have)
    memory = None
    if on_it:
        memory = {
            "capacity": have,
            "floors": {"high": floor, "atomic": rng.randint(floor // 2, floor), "memalloc": 0},
            "parked": {"lists": rng.randint(1, 3)} if "parked" in traits else {},
            "atomic": rng.randint(1, 2) if "outsiders" in traits else 0,
            "page": 1,
        }
    used |= traits & {"throttle", "two classes", *(("parked", "outsiders") if on_it else ())} | {
        "machine" if on_it else "abstract"
    }
    return data, depth, None if on_it else have, memory, frozenset(used)


def _every(steps):
    for step in steps:
        yield step
        if isinstance(step.get("refused"), dict) and "steps" in step["refused"]:
            yield from _every(step["refused"]["steps"])


def plain(seed, served=False):
    """(data, chunks by class with depths): one reserve, nothing given back early, no floors: where closed forms are exact."""
    rng = random.Random(seed)
    count = rng.randint(1, 2)
    classes = [([rng.randint(1, 6) for _ in range(rng.randint(1, 4))], rng.randint(1, 4 - count)) for _ in range(count)]
    serve = {"serve": {"mean": 1}} if served else {}
    requests = {
        f"c{n}": {"depth": depth, "steps": [{"name": f"c{n}s{j}", "take": {"reserve": c}} | serve for j, c in enumerate(chunks)]}
        for n, (chunks, depth) in enumerate(classes)
    }
    return {"pools": {"reserve": {}}, "requests": requests}, classes


def throttled(seed):
    """(data, chunks and weight by class, depth): one reserve held to the end, one throttle with weights."""
    rng = random.Random(seed)
    classes = [([rng.randint(1, 4) for _ in range(rng.randint(1, 3))], rng.randint(1, 2)) for _ in range(2)]
    requests = {
        f"c{n}": {
            "steps": [{"name": f"c{n}admit", "take": {"throttle": weight}}]
            + [{"name": f"c{n}s{j}", "take": {"reserve": c}} for j, c in enumerate(chunks)]
        }
        for n, (chunks, weight) in enumerate(classes)
    }
    return {"pools": {"throttle": {}, "reserve": {}}, "requests": requests}, classes, rng.randint(2, 4)


def gated(seed):
    """(data, depth, reserve, traits): small stacks about what bounds the requests: a throttle that is held, given back, passed by, or none."""
    rng = random.Random(seed)
    traits = {
        name
        for name, chance in {
            "early": 0.4, "partial": 0.15, "bypass": 0.35, "unit by unit": 0.15, "weights": 0.3, "together": 0.2, "own depth": 0.6,
            "several": 0.4, "exempt": 0.15, "later fallback": 0.3, "freed": 0.4, "beyond": 0.15, "floors": 0.15, "lose": 0.1,
            "never": 0.02, "lock": 0.4, "scarce": 0.1, "line": 0.2,
        }.items()
        if rng.random() < chance
    }  # fmt: skip
    if "line" in traits:  # who is refused or lost in a line, or counts towards a depth there, is for other tests
        traits -= {"bypass", "later fallback", "lose", "together"}
    pools = {} if "together" in traits else {"throttle": {"unit": "request"}}
    pools |= {"lock": {"capacity": rng.randint(1, 2)}} if "lock" in traits else {}
    most = 3 if "several" not in traits else 2
    requests = {}
    for n in range(2 if "several" in traits else 1):
        steps = _gated_steps(rng, traits, f"c{n}", exempt="together" in traits or ("exempt" in traits and n))
        own = {"depth": rng.randint(1, most + 1)} if "line" in traits or rng.random() < 0.75 * ("own depth" in traits) else {}
        requests[f"c{n}"] = own | {"steps": steps}
    depth = rng.randint(1, most)
    if "scarce" not in traits:
        depth = max(depth, *(_most_held(cls["steps"], "throttle") for cls in requests.values()), 1)
    needs = max(_most_held(cls["steps"], "reserve") for cls in requests.values())
    low = needs - 1 if "scarce" in traits or "beyond" in traits else needs
    reserve = 4 if "beyond" in traits and rng.random() < 0.5 else max(1, low + rng.randint(0, 3))
    pools["reserve"] = {"unit": "byte"}
    for pool in pools.values():  # first come, first served: then it matters how many stand before the first step
        pool |= {"queue": "fifo"} if "line" in traits and rng.random() < 0.6 else {}
    return {"pools": pools, "requests": requests}, depth, reserve, frozenset(traits)


def _gated_steps(rng, traits, stem, exempt):
    """The steps of one class; what is given back is held on every way."""

    def reserve(top=2):
        return {"reserve": rng.randint(1, top)}

    def maybe_served(step):
        if rng.random() < 0.5:
            step["serve"] = {"mean": rng.choice((0.5, 1, 2)), "servers": 1} if rng.random() < 0.5 else {"mean": 1}
        return step

    # where the one take stands that may be more than there is
    beyond = rng.choice(("entry", "entry", "around", 1, 2)) if "beyond" in traits else None
    weight = 2 if "weights" in traits and rng.random() < 0.6 else 1
    gate = {} if exempt else {"throttle": weight}
    first = maybe_served({"name": f"{stem}s0", "take": dict(gate)})
    if exempt or rng.random() < 0.3:
        first["take"] |= {"lock": 1} if "lock" in traits and rng.random() < 0.5 else reserve()
    held = dict(first["take"])
    steps = [first]
    if "unit by unit" in traits and not exempt:
        first["take"] = held = {"throttle": 1}
        first["repeat"] = weight = 2
        held = {"throttle": 2}
    elif "bypass" in traits and rng.random() < 0.8:
        other = {"lock": 1} if "lock" in traits and rng.random() < 0.4 else reserve()
        other |= gate if rng.random() < 0.2 else {}
        other = {"reserve": 5} if beyond == "entry" else other
        first["refused"] = {"steps": [maybe_served({"name": f"{stem}r0", "take": other})]}
        held = {pool: min(held.get(pool, 0), other.get(pool, 0)) for pool in held}
    for n in range(1, rng.randint(2, 3) + 1):
        take = {"lock": 1} if "lock" in traits and not held.get("lock") and rng.random() < 0.35 else reserve()
        take = {"reserve": 5} if beyond == n else take
        step = maybe_served({"name": f"{stem}s{n}", "take": take})
        before = dict(held)
        held = {pool: held.get(pool, 0) + take.get(pool, 0) for pool in {*held, *take}}
        give = {}
        if "early" in traits and held.get("throttle") and rng.random() < 0.6:
            give["throttle"] = rng.randint(1, held["throttle"]) if "partial" in traits else held["throttle"]
        if "freed" in traits and rng.random() < (0.8 if "beyond" in traits else 0.5):
            give |= {pool: held[pool] for pool in ("reserve", "lock") if held.get(pool)}
        if "floors" in traits and take.get("reserve") and rng.random() < 0.4:
            step["floor"] = {"reserve": rng.randint(1, 2)}
        if "lose" in traits and rng.random() < 0.4:
            step["refused"] = {"lose": 0.5}
        elif "later fallback" in traits and rng.random() < 0.6:
            inner = {"name": f"{stem}r{n}", "take": {"lock": 1} if "lock" in traits and rng.random() < 0.5 else reserve(1)}
            if before.get("throttle") and rng.random() < 0.5:
                inner["give"] = {"throttle": before["throttle"]}
            if beyond == "around":
                inner["take"] = {"reserve": 5}
            step["refused"] = {"steps": [maybe_served(inner)]}
            around = {
                p: before.get(p, 0) + inner["take"].get(p, 0) - inner.get("give", {}).get(p, 0) for p in {*held, *inner["take"]}
            }
            give = {}
            held = {pool: min(amount, around.get(pool, 0)) for pool, amount in held.items()}
        if give:
            step["give"] = give
            held = {pool: amount - give.get(pool, 0) for pool, amount in held.items()}
        if "never" in traits and rng.random() < 0.3:
            step["serve"] = "never"
        steps.append(step)
    return steps


def _most_held(steps, pool):
    """The most that one request can need of the pool at once, floors included, over all ways through the class."""
    most, ways = 0, {0}
    for step in (one for one in steps for _ in range(one.get("repeat", 1))):
        after = set()
        for held in ways:
            taken = held + step["take"].get(pool, 0)
            most = max(most, taken + (step.get("floor", {}).get(pool, 0) if step["take"].get(pool) else 0))
            after.add(taken - step.get("give", {}).get(pool, 0))
            if isinstance(step.get("refused"), dict) and "steps" in step["refused"]:
                (other,) = step["refused"]["steps"]
                most = max(most, held + other["take"].get(pool, 0))
                after.add(held + other["take"].get(pool, 0) - other.get("give", {}).get(pool, 0))
        ways = after
    return most


def _steps(rng, traits, pools, count, ways, needs, stem):
    """`count` steps and the holdings they can lead to from `ways`; `needs` grows to what one request needs of each pool."""
    steps = []
    for n in range(count):
        step = {"name": f"{stem}{n}", "take": {}}
        for pool in pools:
            if rng.random() < (0.75 if len(pools) == 1 else 0.5):
                step["take"][pool] = 1 if pool == "lock" else rng.randint(1, 4)
        if "floors" in traits and step["take"] and rng.random() < 0.5:
            pool = rng.choice(list(step["take"]))
            step["floor"] = {pool: rng.randint(1, 3)}
        repeat = 1
        if "loop" in traits and rng.random() < 0.35:
            repeat = step["repeat"] = rng.randint(2, 3)
        if "lose" in traits and step["take"] and rng.random() < 0.4:
            step["refused"] = {"lose": 0.1}
        before = ways
        taken = [{p: way.get(p, 0) + repeat * step["take"].get(p, 0) for p in pools} for way in ways]
        for pool in pools:
            floor = step.get("floor", {}).get(pool, 0)
            needs[pool] = max(needs[pool], *(way[pool] + floor for way in taken))
        ways = taken
        if "early" in traits and rng.random() < 0.6:
            for pool in pools:
                # what every way holds; inside a loop no more than the loop's own take, so that each round is covered
                most = min(way[pool] for way in taken) if repeat == 1 else step["take"].get(pool, 0)
                if most and rng.random() < 0.7:
                    step.setdefault("give", {})[pool] = rng.randint(1, most)
            ways = [{p: way[p] - repeat * step.get("give", {}).get(p, 0) for p in pools} for way in taken]
        if "fallback" in traits and step["take"] and repeat == 1 and "refused" not in step and rng.random() < 0.4:
            inner = (traits - {"fallback"}) | ({"fallback"} if rng.random() < 0.2 else set())
            other, ends = _steps(rng, inner, pools, rng.randint(1, 2), before, needs, f"{step['name']}r")
            step["refused"] = {"steps": other}
            ways = ways + ends
        if "never" in traits and rng.random() < 0.3:
            step["serve"] = "never"
        elif rng.random() < 0.5:
            step["serve"] = {"mean": 1}
        steps.append(step)
    return steps, ways
