"""How long a verdict, a map and an exhaustive search take, against the times that part 1 of the project asks for."""

import random
import time

import mmmodel as mm
from mmmodel.exact import reach
from mmmodel.model.stack import Stack

ROUNDS = 5


def main() -> None:
    three_classes()
    nbd_map()
    search()


def best_of(function, rounds: int = ROUNDS) -> tuple[float, object]:
    """The shortest of `rounds` wall times in seconds, and the result: the machine's other work only ever adds."""
    times, result = [], None
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def row(what: str, seconds: float, asked: float) -> None:
    print(f"{what:66} {1e3 * seconds:9.2f} ms   asked {1e3 * asked:6.0f} ms   ratio {seconds / asked:.2f}")


def three_classes() -> None:
    """Three classes of up to 36 steps at depth 2048 in byte units, safe and unsafe, one pool and two, with and without early release."""
    for pools in (1, 2):
        for early in (False, True):
            model = many_steps(random.Random(36), early, pools)
            try:
                needed = int(mm.safe_reserve(model, depth=2048))
            except ValueError as error:
                print(f"safe reserve, {pools} pools, early {early}: {error}")
                continue
            for reserve in (needed, needed - 1):
                seconds, verdict = best_of(lambda model=model, reserve=reserve: mm.verdict(model, 2048, reserve), 3)
                kind = f"{pools} pool{'s' if pools > 1 else ''}{', early release' if early else ''}, {'safe' if verdict.safe else 'unsafe'}"
                row(f"verdict, 3 classes × 36 steps, depth 2048: {kind}", seconds, 0.050)
            seconds, _ = best_of(lambda model=model: mm.safe_reserve(model, depth=2048), 1)
            row("  its safe reserve", seconds, 0.050)


def many_steps(rng: random.Random, early: bool, pools: int = 1) -> Stack:
    """Chunks of 64 B to 8 KiB as allocators round them; with early release one step in three gives back what it took."""
    sizes = [64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]
    requests = {}
    for name, steps in (("small", 12), ("middle", 24), ("large", 36)):
        walk: list[dict] = [{"take": {"throttle": 1}}]
        for _ in range(steps - 1):
            size = rng.choice(sizes)
            step = {"take": {"reserve": size}}
            if pools > 1 and rng.random() < 0.3:
                step = {"take": {"socket": size}}
            if early and rng.random() < 1 / 3:
                step["give"] = dict(step["take"])
            walk.append(step)
        requests[name] = {"steps": walk}
    made: dict[str, dict] = {"throttle": {}, "reserve": {"unit": "byte"}}
    if pools > 1:
        made["socket"] = {"unit": "byte", "capacity": 64 * 2**20}
    return Stack.model_validate({"pools": made, "requests": requests})


def nbd_map() -> None:
    nbd = mm.load_stack("nbd-tcp")
    for name, model in (("4 KiB writes", nbd.only("write-4k")), ("both classes", nbd)):
        seconds, unsafe = best_of(lambda model=model: mm.unsafe_reserves(model, depth=128))
        row(f"map of unsafe reserves, NBD at depth 128, {name}: {len(unsafe)} pieces", seconds, 0.100)


def search() -> None:
    """A safe system, so that every state is visited: compiled against plain on the same states."""
    request = mm.Request(chunks=[3, 1, 4, 1, 5])
    rates = {}
    for compiled, depth in ((True, 40), (True, 12), (False, 12)):
        system = request.stack.system(depth=depth, reserve=int(mm.safe_reserve(request, depth)))
        if compiled:
            reach.search(system, compiled=True)  # the compiler's own time is no part of it
        seconds, found = best_of(lambda system=system, compiled=compiled: reach.search(system, compiled=compiled), 2)
        rates[compiled, depth] = found.states / seconds
        how = "compiled" if compiled else "plain"
        print(
            f"exhaustive search, {how}, depth {depth}: {found.states:,} states, {found.states / seconds:,.0f} states/s (asked 1,000,000)"
        )
    print(f"compiled / plain on the same states: {rates[True, 12] / rates[False, 12]:.0f}")


if __name__ == "__main__":
    main()
