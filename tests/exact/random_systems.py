"""Random small stacks for the tests of timed chains: plain ones (chunks on one reserve) and wild ones (all that a file can say)."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mmmodel.stack import Request, Stack, System


@dataclass(frozen=True)
class Wild:
    """What a wild stack may have: shares of the steps, and the most classes and pools."""

    classes: int = 2
    pools: int = 2
    untimed: float = 0.25
    release: float = 0.25
    floors: float = 0.15
    refusals: float = 0.15
    laws: float = 0.25
    room: int = 14  # the most of the reserve
    depth: int = 3  # the most of a class


def plain(rng: random.Random, steps: int = 3, depth: int = 4) -> tuple[Request, int]:
    """A bare request of 1..steps timed chunks, and a depth."""
    count = rng.randint(1, steps)
    chunks = [rng.randint(1, 5) for _ in range(count)]
    rates = [rng.choice([1, 2, 3, 5]) for _ in range(count)]
    servers = [rng.choice([None, 1, 2]) for _ in range(count)]
    return Request(chunks=chunks, rates=rates, servers=servers), rng.randint(2, depth)


def wild(rng: random.Random, kind: Wild) -> System:
    """The system of `wild_data`."""
    return Stack.model_validate(wild_data(rng, kind)).system()


def wild_data(rng: random.Random, kind: Wild) -> dict:
    """One to three steps a class, each class with its own depth; the first step takes something."""
    pools = {"reserve": rng.randint(kind.room // 4, kind.room), "lock": rng.randint(1, 3)}
    if kind.pools == 1:
        del pools["lock"]
    requests = {}
    for name in ("a", "b")[: rng.randint(1, kind.classes)]:
        steps = [_step(rng, pools, kind, n) for n in range(rng.randint(1, 3))]
        if not any("serve" in step for step in steps):
            steps[-1]["serve"] = {"mean": 1}
        held = dict.fromkeys(pools, 0)
        for step in steps:
            for pool in pools:
                held[pool] += step["take"].get(pool, 0)
            if "refused" in step:
                if "steps" in step["refused"]:
                    for pool in pools:  # the way round may hold less: what is given back later must be covered on both
                        held[pool] -= step["take"].get(pool, 0)
            elif rng.random() < kind.release:
                pool = rng.choice(list(pools))
                if held[pool]:
                    step["give"] = {pool: rng.randint(1, held[pool])}
                    held[pool] -= step["give"][pool]
        requests[name] = {"depth": rng.randint(2, kind.depth), "steps": steps}
    made = {name: {"capacity": capacity, "unit": "unit"} for name, capacity in pools.items()}
    return {"pools": made, "requests": requests}


def _step(rng: random.Random, pools: dict[str, int], kind: Wild, n: int) -> dict:
    step: dict = {"take": {}}
    if n == 0 or rng.random() < 0.85:
        step["take"]["reserve"] = rng.randint(1, min(4, pools["reserve"]))
    if "lock" in pools and rng.random() < 0.3:
        step["take"]["lock"] = 1
    if "reserve" in step["take"] and rng.random() < kind.floors:
        step["floor"] = {"reserve": rng.randint(0, pools["reserve"] - step["take"]["reserve"])}
    if rng.random() >= kind.untimed:
        step["serve"] = {"mean": rng.choice([0.25, 0.5, 1, 2])}
        servers = rng.choice([None, None, 1, 2])
        if servers:
            step["serve"]["servers"] = servers
            if rng.random() < 0.3:
                step["serve"] |= {"station": f"cpu{servers}"}
        if rng.random() < kind.laws:
            step["serve"] |= rng.choice([{"dist": "gamma", "a": 2}, {"dist": "gamma", "a": 0.5}, {"dist": "uniform"}])
    if n and step["take"] and rng.random() < kind.refusals:
        step["refused"] = {"lose": 0.5}
        if "lock" in pools and rng.random() < 0.5:
            step["refused"] = {"steps": [{"take": {"lock": 1}, "serve": {"mean": 0.5}}]}
    return step
