"""Random stacks as plain data, one seed each: small enough for exhaustive search, mixed enough to be unpleasant."""

import random

POOLS = ("reserve", "socket", "lock")


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
