"""What a network adds to the writeout path: memory held until the ACK, packets before classification, lost replies, the floor and the lock.

used       given back whatever others do, after a bounded time; consumed: given back only when somebody else acts
cushion    ordinary floor less ATOMIC floor: what the requests may draw below the first before the refill is refused
draw       what all requests but one hold together, at the most, while that one refills the ring
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmodel import plot, sizing
from mmmodel.bounds import receive as receive_bounds
from mmmodel.catalogue import load_stack
from mmmodel.measured import Frequency, Run, by_setting, frequency, recorded_runs
from mmmodel.performance import knee
from mmmodel.simulation.estimates import Estimate, student
from mmmodel.simulation.trace import trace
from mmmodel.stack import RESERVE, Stack
from mmmodel.units import format_bytes

PAGE = 4096
VIRTIO = "nbd-swap-virtio"
SETTINGS = {1519: "", 2048: "min-free-2048", 2304: "min-free-2304", 2560: "min-free-2560", 3072: "min-free-3072"}
LISTS = {
    "min-free-3072": "prototype,min-free=3072",
    "min-free-3072-lists": "nbd-devices,vm.min_free_kbytes=3072",
    "min-free-3072-short-lists": "percpu,vm.min_free_kbytes=3072",
}
CURES = {
    "virtio-no-lock": "",
    "virtio-work-atomic": "refill_work GFP_ATOMIC",
    "virtio-refill-memalloc": "NAPI refill with MEMALLOC",
    "virtio-work-memalloc": "refill_work GFP_KERNEL|MEMALLOC",
}


# ---- held until the ACK ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """Reserves in bytes at one depth: as it is (held until the ACK), and as if memory were given back when it is sent."""

    depth: int
    safe: int
    free: int
    safe_if_sent: int
    free_if_sent: int


def held_until_ack(depths: Sequence[int], cls: str = "write-4k") -> list[Held]:
    """The reserves of `nbd-tcp` against depth, beside those of a model for which send() is the end of the memory."""
    real, wished = load_stack("nbd-tcp").only(cls), load_stack("nbd-tcp+held-until-sent").only(cls)
    return [
        Held(k, *(int(size(stack, k)) for stack in (real, wished) for size in (sizing.safe_reserve, sizing.wait_free_reserve)))
        for k in depths
    ]


def held_figure(rows: Sequence[Held]) -> plot.Shown:
    """The safe reserve against depth, with memory held until the ACK and until it is sent."""
    figure, ax = plot.axes()
    depths = [row.depth for row in rows]
    size, unit = plot.scale_bytes(rows[-1].free)
    lines = (
        ("held until the ACK, wait-free", [r.free for r in rows], plot.GREEN, "^", "-"),
        ("held until the ACK, safe", [r.safe for r in rows], plot.BLUE, "o", "-"),
        ("held until sent, safe", [r.safe_if_sent for r in rows], plot.VERMILION, "s", ":"),
    )
    for name, values, colour, marker, dashes in lines:
        ax.plot(depths, np.divide(values, size), color=colour, marker=marker, ls=dashes, markevery=max(1, len(depths) // 8), label=name)
    ax.set(xlabel="depth K (requests in flight)", ylabel=f"reserve R ({unit})", xlim=(0, depths[-1] * 1.02), ylim=(0, None))
    ax.legend(loc="upper left", fontsize=9, frameon=False)
    last = rows[-1]
    alt = (
        f"Reserve against depth up to {last.depth}. With transmit memory held until the ACK the safe reserve ends at "
        f"{format_bytes(last.safe)}, the wait-free one at {format_bytes(last.free)}; were it given back when sent, the "
        f"safe one would end at {format_bytes(last.safe_if_sent)}."
    )
    return plot.Shown(figure, alt)


# ---- before classification ------------------------------------------------------------------------------------------


def packets(rate: float, size: int, hold: float | None) -> Stack:
    """Packets of others: `rate` a second, `size` bytes each, dropped after `hold` seconds; None: nobody drops them.

    They arrive one after another; how many may be about at once is the depth of a question.
    """
    held: Any = "never" if hold is None else {"mean": hold}
    steps = [
        {"name": "arrive", "serve": {"mean": 1 / rate, "servers": 1}},
        {"name": "packet", "take": {RESERVE: size}, "serve": held},
    ]
    pools = {RESERVE: {"unit": "byte"}}
    return Stack.model_validate({"name": "packets-of-others", "pools": pools, "requests": {"others": {"steps": steps}}})


@dataclass(frozen=True)
class Arrivals:
    """One run of packets: `free` bytes of the reserve from each `time` (seconds) on."""

    time: np.ndarray
    free: np.ndarray

    @property
    def gone(self) -> float:
        """Seconds until nothing is free; inf where that never was."""
        at = np.flatnonzero(self.free == 0)
        return float(self.time[at[0]]) if len(at) else float("inf")

    @property
    def most(self) -> int:
        """Bytes: the most that was in use."""
        return int(self.free.max() - self.free.min())


def receive(rate: float, size: int, room: int, hold: float | None, seed: int, horizon: float) -> Arrivals:
    """Packets on a reserve with room for `room` of them, from empty, simulated for `horizon` seconds."""
    seen = trace(packets(rate, size, hold), room, room * size, seed=seed, horizon=horizon, until_deadlock=False)
    return Arrivals(seen.time, seen.free[:, seen.pools.index(RESERVE)])


def times_to_consume(rate: float, size: int, room: int, runs: int, seed: int) -> Estimate:
    """Mean seconds until packets that nobody drops have taken a reserve with room for `room` of them, simulated `runs` times."""
    end = 20 * room / rate
    gone = [receive(rate, size, room, None, seed + n, end).gone for n in range(runs)]
    return student("time until the reserve is gone", "s", gone)


def packets_for(load: float, probability: float) -> int:
    """The least number of packets that an M/G/∞ receive path (load: rate × mean time until classified) holds or exceeds with at most
    this probability, by Chernoff's bound (RX-4)."""
    if not 0 < probability < 1:
        raise ValueError(f"probability: {probability!r} is not one; write a number between 0 and 1, such as 1e-9")
    number = 1
    while receive_bounds.poisson_tail(load, number) > probability:
        number += 1
    return number


def receive_figure(used: Arrivals, consumed: Arrivals, end: float) -> plot.Shown:
    """What is free over time: packets that are dropped when classified, and packets that nobody drops."""
    figure, ax = plot.axes()
    size, unit = plot.scale_bytes(float(used.free.max()))
    looks = ((used, plot.GREEN, "-", "used: dropped when classified"), (consumed, plot.VERMILION, "--", "consumed: nobody drops them"))
    for run, colour, dashes, name in looks:
        time, free = np.append(run.time, end) * 1e3, np.append(run.free, run.free[-1]) / size
        ax.step(time, free, where="post", color=colour, ls=dashes, lw=1.3, label=name)
    top = used.free.max() / size
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9, frameon=False)
    ax.set(xlabel="time (ms)", ylabel=f"free of the reserve ({unit})", xlim=(0, end * 1e3), ylim=(0, top * 1.05))
    alt = (
        f"Free memory over time. Packets that are dropped when classified never hold more than {format_bytes(used.most)} at once; "
        f"those that nobody drops take the whole reserve of {format_bytes(float(used.free.max()))} within {consumed.gone * 1e3:.3g} ms."
    )
    return plot.Shown(figure, alt)


# ---- lost replies ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """A share of replies is lost and sent again: depth for 95 % of the most throughput, safe and wait-free reserve for it."""

    share: float
    reply: float
    knee: int
    safe: int
    free: int


def lossy(share: float, timeout: float = 0.2, cls: str = "write-4k") -> Stack:
    """`nbd-tcp` where a share of the replies is lost, any number of times: the mean time to the reply is longer, nothing else.

    A reply that is lost i times (probability share^i (1 - share)) comes i timeouts later: share / (1 - share) of them on average.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: {share!r} is not a share of lost replies; write a number from 0 up to, not including, 1")
    data = load_stack("nbd-tcp").only(cls).model_dump(mode="json")
    reply = next(step for step in data["requests"][cls]["steps"] if step["name"] == "reply")
    reply["serve"]["mean"] += timeout * share / (1 - share)
    return Stack.model_validate(data)


def refused_replies_are_lost(cls: str = "write-4k", timeout: str = "200 ms") -> Stack:
    """`nbd-tcp` where a reply that finds no receive buffer is dropped and comes again, in place of waiting for one."""
    data = load_stack("nbd-tcp").only(cls).model_dump(mode="json")
    next(step for step in data["requests"][cls]["steps"] if step["name"] == "reply")["refused"] = {"lose": timeout}
    return Stack.model_validate(data)


def losses(shares: Sequence[float], timeout: float = 0.2) -> list[Loss]:
    """What a lossy network costs: the depth at which the stack is as fast as before, and the reserve of that depth."""
    rows = []
    for share in shares:
        stack = lossy(share, timeout)
        depth = int(knee(stack))
        mean = next(step.serve.mean for step in stack.requests["write-4k"].steps if step.name == "reply")
        rows.append(Loss(share, mean, depth, int(sizing.safe_reserve(stack, depth)), int(sizing.wait_free_reserve(stack, depth))))
    return rows


def loss_figure(rows: Sequence[Loss]) -> plot.Shown:
    """Depth and reserve that keep 95 % of the throughput, against the share of lost replies."""
    figure, (left, right) = plot.axes(8.4, 3.6, 1, 2)
    shares = [row.share * 100 for row in rows]
    left.plot(shares, [row.knee for row in rows], color=plot.BLUE, marker="o")
    left.set(xlabel="replies lost (%)", ylabel="depth K for 95 % of the throughput", ylim=(0, None))
    size, unit = plot.scale_bytes(rows[-1].free)
    right.plot(shares, [row.free / size for row in rows], color=plot.GREEN, marker="^")
    right.plot(shares, [row.safe / size for row in rows], color=plot.BLUE, marker="o")
    right.annotate("wait-free", (shares[-1], rows[-1].free / size), xytext=(-60, 0), textcoords="offset points", fontsize=9)
    right.annotate("safe", (shares[-1], rows[-1].safe / size), xytext=(-20, -16), textcoords="offset points", fontsize=9)
    right.set(xlabel="replies lost (%)", ylabel=f"reserve for that depth ({unit})", ylim=(0, None))
    first, last = rows[0], rows[-1]
    alt = (
        f"Left: the depth that keeps 95 % of the throughput rises from {first.knee} without loss to {last.knee} at {shares[-1]:g} % "
        f"lost replies. Right: the safe reserve of that depth rises from {format_bytes(first.safe)} to {format_bytes(last.safe)}."
    )
    return plot.Shown(figure, alt)


# ---- the floor and the lock -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cushion:
    """One `vm.min_free_kbytes` of the machine that was measured: floors, cushion and draw in pages, and what its runs did."""

    min_free_kbytes: int
    stack: str
    ordinary: int
    atomic: int
    draw: float
    runs: Frequency | None

    @property
    def cushion(self) -> int:
        return self.ordinary - self.atomic

    @property
    def refused(self) -> bool:
        """Whether the refill can be refused: the draw of the others leaves no page above the ATOMIC floor."""
        return self.draw > self.cushion - 1


def cushions() -> list[Cushion]:
    """The settings that were run, least first: the catalogue's floors beside the lab's frequencies."""
    return [_cushion(kbytes, scheme) for kbytes, scheme in SETTINGS.items()]


def _cushion(kbytes: int, scheme: str) -> Cushion:
    name = f"{VIRTIO}+{scheme}" if scheme else VIRTIO
    (cls,) = load_stack(name).requests.values()
    steps = {step.name: step for step in cls.steps}
    held = sum(steps[step].take[RESERVE] for step in ("send", "segment"))
    floors = [steps[step].floor[RESERVE] // PAGE for step in ("bio", "refill")]
    return Cushion(kbytes, name, *floors, ((cls.depth or 1) - 1) * held / PAGE, _hangs(f"prototype,min-free={kbytes}"))


def cures() -> list[tuple[str, str, Frequency | None]]:
    """Schemes that change one thing in the driver: their name, title and frequency of hangs where one was measured."""
    return [
        (name, load_stack(f"{VIRTIO}+{name}").title.split("; ")[-1], _hangs(f"prototype,module: {label}") if label else None)
        for name, label in CURES.items()
    ]


def lists() -> list[tuple[str, str, Frequency | None]]:
    """One setting without per-cpu lists, with those that were seen, and with short ones: scheme, title, frequency of hangs."""
    return [(name, load_stack(f"{VIRTIO}+{name}").title.split("; ")[-1], _hangs(label)) for name, label in LISTS.items()]


def _hangs(label: str) -> Frequency | None:
    runs: list[Run] = by_setting(recorded_runs()).get(label, [])
    return frequency(runs) if runs else None


def cushion_figure(rows: Sequence[Cushion]) -> plot.Shown:
    """Draw against cushion for each setting; the label of a setting is how many of its runs hung."""
    figure, ax = plot.axes()
    at = [row.min_free_kbytes for row in rows]
    ax.plot(at, [row.cushion for row in rows], color=plot.BLUE, marker="o")
    ax.plot(at, [row.draw for row in rows], color=plot.VERMILION, marker="s", ls="--")
    for row in rows:
        runs = "not run" if row.runs is None else f"{row.runs.hangs} of {row.runs.runs}\nhung"
        colour = plot.VERMILION if row.refused else plot.GREEN
        ax.annotate(
            runs, (row.min_free_kbytes, 0), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9, color=colour
        )
    ax.annotate(
        "cushion between the floors",
        (at[-1], rows[-1].cushion),
        xytext=(-8, 4),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    ax.annotate("largest draw", (at[0], rows[0].draw), xytext=(4, 8), textcoords="offset points", fontsize=9)
    ax.set(xlabel="vm.min_free_kbytes (KiB)", ylabel="pages of 4 KiB", ylim=(0, max(row.cushion for row in rows) * 1.15))
    hung = [row for row in rows if row.refused]
    alt = (
        f"Cushion between the ordinary and the ATOMIC floor against min_free_kbytes: it rises from {rows[0].cushion} to {rows[-1].cushion} "
        f"pages and crosses the largest draw of {rows[0].draw:.0f} pages above {hung[-1].min_free_kbytes if hung else at[0]} KiB. "
        + " ".join(f"At {r.min_free_kbytes}: {r.runs.hangs} of {r.runs.runs} runs hung." for r in rows if r.runs)
    )
    return plot.Shown(figure, alt)
