"""What a network adds to the writeout path: memory held until the ACK, packets before classification, lost replies, the floor and the lock.

used       given back whatever others do, after a bounded time; consumed: given back only when somebody else acts
cushion    ordinary floor less ATOMIC floor: what the requests may draw below the first before the refill is refused
draw       what all requests but one hold together, at the most, while that one refills the ring
lists      free pages that one processor keeps for itself, counted by no floor
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmodel.answers import plot, sizing
from mmmodel.answers.compare import Table
from mmmodel.answers.performance import knee
from mmmodel.answers.sizing import Verdict
from mmmodel.app.primer.curves import mean_of
from mmmodel.app.primer.parameters import Known, Number, Whole, some
from mmmodel.bounds import receive as receive_bounds
from mmmodel.host.lab import first_rule
from mmmodel.host.lab.measured import VIRTIO, Frequency, by_setting, floors, frequency, guest, recorded_runs, small, thresholds
from mmmodel.model.catalogue import load_stack
from mmmodel.model.schemes import load_scheme
from mmmodel.model.stack import RESERVE, Stack
from mmmodel.model.units import format_bytes, format_seconds
from mmmodel.simulation.estimates import Estimate, student
from mmmodel.simulation.trace import free_over_time

PAGE = 4096
SHARES = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02)  # of the replies that are lost
POINTS = 32  # of a curve over depth
SETTINGS = (1519, 2048, 2304, 2560, 3072)  # of vm.min_free_kbytes, on the machine that was measured
SHORT = 1000  # vm.percpu_pagelist_high_fraction that cuts its lists short
LISTS = {  # runs of one setting with the lists as they are, and cut short: their label, and the fraction
    "lists as they are": ("nbd-devices,vm.min_free_kbytes=3072", 0),
    "lists cut short": ("percpu,vm.min_free_kbytes=3072", SHORT),
}
LISTED_AT = 3072  # their vm.min_free_kbytes
SMALL_DEPTH = 4  # writes on the small machine
CURES = {
    "virtio-no-lock": "",
    "virtio-work-atomic": "refill_work GFP_ATOMIC",
    "virtio-refill-memalloc": "NAPI refill with MEMALLOC",
    "virtio-work-memalloc": "refill_work GFP_KERNEL|MEMALLOC",
}

PARAMETERS: Known = {
    "depth": Whole("requests in flight", 1, 1_000_000),
    "packet_rate": Number("packets a second", 0, 1e9, above=True),
    "packet_bytes": Whole("bytes", 1, 2**30),
    "ring": Whole("packets", 1, 10_000),
    "classify_us": Number("microseconds", 0, 1e9, above=True),
    "timeout_ms": Number("milliseconds", 0, 120_000, above=True),  # TCP_RTO_MAX
    "seed": Whole("", 0),
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


def depths_up_to(depth: int) -> list[int]:
    """1, every fourth depth or every so many that there are about `POINTS`, and the depth itself."""
    step = max(4, depth // POINTS)
    return sorted({1, *range(step, depth, step), depth})


def held_until_ack(depths: Sequence[int], cls: str = "write-4k") -> list[Held]:
    """The reserves of `nbd-tcp` against depth, beside those of a model for which send() is the end of the memory."""
    real, wished = load_stack("nbd-tcp").only(cls), load_stack("nbd-tcp+held-until-sent").only(cls)
    return [
        Held(k, *(int(size(stack, k)) for stack in (real, wished) for size in (sizing.safe_reserve, sizing.wait_free_reserve)))
        for k in depths
    ]


def held_in_words(row: Held) -> str:
    """What the two models say at one depth."""
    return (
        f"At {some(row.depth, 'request')} in flight the path is safe from {format_bytes(row.safe)} on. A model in which sending is the end "
        f"of it computes {format_bytes(row.safe_if_sent)}: too little by a factor of {row.safe / row.safe_if_sent:.3g}."
    )


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
        ax.plot(
            depths,
            np.divide(values, size),
            color=colour,
            marker=marker,
            ls=dashes,
            markevery=max(1, len(depths) // 8),
            label=name,
        )
    ax.set(xlabel="depth K (requests in flight)", ylabel=f"reserve R ({unit})", xlim=(0, depths[-1] * 1.02), ylim=(0, None))
    ax.legend(loc="upper left", fontsize=9, frameon=False)
    last = rows[-1]
    alt = (
        f"Reserve against depth up to {last.depth:,}. With transmit memory held until the ACK the safe reserve ends at "
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


def receive(rate: float, size: int, room: int, hold: float | None, seed: int, means: float) -> Arrivals:
    """Packets on a reserve with room for `room` of them, from empty, simulated for `means` times the mean time in which so many come."""
    most = math.ceil(2 * (means * room + 6 * math.sqrt(means * room))) + 100  # arrivals and drops, six deviations above the mean
    time, free, ended = free_over_time(
        packets(rate, size, hold), room, room * size, seed=seed, horizon=means * room / rate, events=most
    )
    if ended == "budget":
        raise RuntimeError(f"{most} events are too few for {means} times {room} packets")
    return Arrivals(time, free[RESERVE])


def times_to_consume(rate: float, size: int, room: int, runs: int, seed: int) -> Estimate:
    """Mean seconds until packets that nobody drops have taken a reserve with room for `room` of them, simulated `runs` times."""
    gone = [receive(rate, size, room, None, seed + n, 20).gone for n in range(runs)]
    return student("time until the reserve is gone", "s", gone)


def packets_for(load: float, probability: float) -> int:
    """The least number of packets that an M/G/∞ receive path (load: rate × mean time until classified) holds or exceeds with at most
    this probability, by Chernoff's bound (RX-4)."""
    if not 0 < probability < 1:
        raise ValueError(f"probability: {probability!r} is not one; write a number between 0 and 1, such as 1e-9")
    low = high = max(1, math.ceil(load))  # up to the mean the bound is 1, from there on it falls
    while receive_bounds.poisson_tail(load, high) > probability:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if receive_bounds.poisson_tail(load, middle) <= probability else (middle + 1, high)
    return low


def receive_figure(used: Arrivals, consumed: Arrivals, end: float) -> plot.Shown:
    """What is free over time: packets that are dropped when classified, and packets that nobody drops."""
    figure, ax = plot.axes()
    size, unit = plot.scale_bytes(float(used.free.max()))
    looks = (
        (used, plot.GREEN, "-", "used: dropped when classified"),
        (consumed, plot.VERMILION, "--", "consumed: nobody drops them"),
    )
    for run, colour, dashes, name in looks:
        time, free = np.append(run.time, end) * 1e3, np.append(run.free, run.free[-1]) / size
        ax.step(time, free, where="post", color=colour, ls=dashes, lw=1.3, label=name)
    top = used.free.max() / size
    whole = format_bytes(float(used.free.max()))
    gone = (
        f"those that nobody drops take the whole reserve of {whole} within {format_seconds(consumed.gone)}"
        if consumed.gone <= end
        else f"those that nobody drops have not taken the whole reserve of {whole} by the end of the picture"
    )
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9, frameon=False)
    ax.set(xlabel="time (ms)", ylabel=f"free of the reserve ({unit})", xlim=(0, end * 1e3), ylim=(0, top * 1.05))
    alt = f"Free memory over time. Packets that are dropped when classified hold {format_bytes(used.most)} at the most here; {gone}."
    return plot.Shown(figure, alt)


def receive_in_words(used: Arrivals, consumed: Arrivals, room: int, load: float) -> str:
    """What the two runs show; `load`: packets about on average if each is dropped when it is classified."""
    whole = int(used.free.max())
    said = (
        f"Dropped when classified, the packets held {format_bytes(used.most)} of {format_bytes(whole)} at the most in this run. "
    )
    if used.most == whole:
        said += (
            f"That is all of it: about {load:.3g} of them are there on average, and there is room for {some(room, 'packet')}. "
        )
    gone = (
        f"were gone after {format_seconds(consumed.gone)}"
        if math.isfinite(consumed.gone)
        else "were not yet gone at the end of the run"
    )
    return f"{said}If nobody drops them, {format_bytes(whole)} {gone}."


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


def losses(timeout: float = 0.2, shares: Sequence[float] = SHARES) -> list[Loss]:
    """What a lossy network costs: the depth at which the stack is as fast as before, and the reserve of that depth."""
    rows = []
    for share in shares:
        stack = lossy(share, timeout)
        depth = int(knee(stack))
        mean = mean_of(stack.requests["write-4k"], "reply")
        rows.append(Loss(share, mean, depth, int(sizing.safe_reserve(stack, depth)), int(sizing.wait_free_reserve(stack, depth))))
    return rows


def loss_in_words(first: Loss, last: Loss) -> str:
    """What the loss costs in depth and memory."""
    said = f"Without loss {some(first.knee, 'request')} in flight give 95 % of the throughput."
    if last.knee == first.knee:
        return f"{said} At {100 * last.share:g} % lost replies it takes no more: this timeout is too short to matter."
    return (
        f"{said} At {100 * last.share:g} % lost replies it takes {last.knee:,}, and {last.safe / first.safe:.3g} times the reserve. "
        "The cost of a bad network is paid in memory."
    )


def loss_figure(rows: Sequence[Loss]) -> plot.Shown:
    """Depth and reserve that keep 95 % of the throughput, against the share of lost replies."""
    figure, (left, right) = plot.panels(8.4, 3.6, columns=2)
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
        f"Left: the depth that keeps 95 % of the throughput, {first.knee:,} without loss and {last.knee:,} at {shares[-1]:g} % "
        f"lost replies. Right: the safe reserve of that depth, {format_bytes(first.safe)} without loss and {format_bytes(last.safe)} at the end."
    )
    return plot.Shown(figure, alt)


# ---- the floor and the lock -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cushion:
    """One `vm.min_free_kbytes` of the machine that was measured: floors, draw and lists in pages, and what the runs of each series did."""

    min_free_kbytes: int
    ordinary: int
    atomic: int
    draw: int
    lists: int
    runs: Mapping[str, Frequency]

    @property
    def cushion(self) -> int:
        return self.ordinary - self.atomic

    @property
    def refused(self) -> bool:
        """Whether the refill can be refused for the writes alone: the draw of the others leaves no page above the ATOMIC floor."""
        return self.draw > self.cushion - 1

    @property
    def refused_with_lists(self) -> bool:
        """The same with as many pages in lists as there may be."""
        return self.draw + self.lists > self.cushion - 1

    @property
    def measured(self) -> str:
        """The frequency of each series."""
        return "; ".join(map(str, self.runs.values())) or "not run"


def cushions() -> list[Cushion]:
    """The settings that were run, least first: the machine's floors beside the lab's frequencies."""
    seen = thresholds(recorded_runs())
    rows = []
    for kbytes in SETTINGS:
        memory = guest(kbytes)
        at = floors(memory)
        runs = {name: found[kbytes] for name, found in seen.items() if kbytes in found}
        rows.append(Cushion(kbytes, at.ordinary, at.atomic, first_rule.draw(), sum(memory.parked.values()), runs))
    return rows


Judged = dict[int, tuple[Verdict, Verdict]]  # by vm.min_free_kbytes: with the lists as they are, and cut short


def judged(rows: Sequence[Cushion]) -> Judged:
    """The machine's verdicts on the path at these settings."""
    return {
        at: (sizing.verdict(VIRTIO, host=guest(at)), sizing.verdict(VIRTIO, host=guest(at, SHORT)))
        for at in (row.min_free_kbytes for row in rows)
    }


def judged_in_words(rows: Sequence[Cushion], verdicts: Judged) -> str:
    """A line a setting."""
    return "\n".join(
        f"min_free_kbytes {row.min_free_kbytes}: cushion {row.cushion}, draw {row.draw}, lists up to {row.lists:,} pages: {long.word}; "
        f"lists cut short: {short.word} ({short.method})"
        for row in rows
        for long, short in [verdicts[row.min_free_kbytes]]
    )


def on_small(scheme: str = "", more: int = 0, parked: int = 0) -> Verdict:
    """Four writes on a memory of a few pages, with a cushion of their draw and `more` pages, and pages parked in per-cpu lists."""
    data = load_stack(f"{VIRTIO}+{scheme}" if scheme else VIRTIO).model_dump(mode="json")
    data["requests"]["swap-write"]["depth"] = SMALL_DEPTH  # of the writes alone: depth= would count a worker among them
    return sizing.verdict(Stack.model_validate(data), host=small(small_draw() + more * PAGE, parked))


def small_draw() -> int:
    """Bytes that SMALL_DEPTH writes draw at most while one of them refills: what the others hold, and its own bio."""
    steps = {step.name: step for step in load_stack(VIRTIO).requests["swap-write"].steps}
    return (SMALL_DEPTH - 1) * sum(steps[name].take[RESERVE] for name in ("send", "segment")) + steps["bio"].take[RESERVE]


def cures() -> list[tuple[str, str, Frequency | None]]:
    """Schemes that change one thing in the driver: their name, title and frequency of hangs where one was measured."""
    return [
        (name, load_scheme(name).title, _hangs(f"prototype,module: {label}") if label else None) for name, label in CURES.items()
    ]


def lists() -> dict[str, tuple[Verdict, Frequency | None]]:
    """One setting with the lists as they are and cut short: verdict, and frequency of hangs."""
    return {
        name: (sizing.verdict(VIRTIO, host=guest(LISTED_AT, fraction)), _hangs(label))
        for name, (label, fraction) in LISTS.items()
    }


def _hangs(label: str) -> Frequency | None:
    runs = by_setting(recorded_runs()).get(label, [])
    return frequency(runs) if runs else None


def cushions_in_words(rows: Sequence[Cushion]) -> str:
    """How the runs of each series bear out the picture: what hung where the writes alone draw more, or with the lists, or not even so."""
    groups = {
        "Where the writes alone draw more than the cushion": [row for row in rows if row.refused],
        "Where they do only together with the lists": [row for row in rows if row.refused_with_lists and not row.refused],
        "Where not even the two together do": [row for row in rows if not row.refused_with_lists],
    }
    pooled = {head: _pooled(group) for head, group in groups.items() if group}
    said = [f"{head}, {'; '.join(f.words for f in found.values()) or 'nothing was run'}." for head, found in pooled.items()]
    safe = pooled.get("Where not even the two together do", {})
    if wrong := [name for name, f in safe.items() if f.hangs]:
        said.append(f"So the picture is not the whole truth: runs of {'; '.join(wrong)} hung where it promises that none would.")
    else:
        said.append("None of the runs contradicts the picture; that none hung is no proof of safety.")
    return " ".join(said)


def _pooled(rows: Sequence[Cushion]) -> dict[str, Frequency]:
    pooled: dict[str, Frequency] = {}
    for row in rows:
        for name, found in row.runs.items():
            pooled[name] = pooled[name] + found if name in pooled else found
    return pooled


def cushion_figure(rows: Sequence[Cushion]) -> plot.Shown:
    """Cushion, draw and lists for each setting; below, how many of the runs of each series hung."""
    figure, ax = plot.axes(8.6, 5.2)
    at = range(len(rows))
    ax.plot(at, [row.cushion for row in rows], color=plot.BLUE, marker="o")
    ax.plot(at, [row.draw for row in rows], color=plot.VERMILION, marker="s", ls="--")
    ax.plot(at, [row.draw + row.lists for row in rows], color=plot.PURPLE, marker="^", ls=":")
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
    ax.annotate("cushion between the floors", (at[-1], rows[-1].cushion), xytext=(-8, 10), ha="right", **look)
    ax.annotate("largest draw of the writes", (at[0], rows[0].draw), xytext=(4, 8), **look)
    ax.annotate(
        "draw and per-cpu lists, these as large as they may be", (at[0], rows[0].draw + rows[0].lists), xytext=(40, -4), **look
    )
    series = list(dict.fromkeys(name for row in rows for name in row.runs))
    for line, name in enumerate(("runs that hung", *series)):
        look = {"transform": ax.get_xaxis_transform(), "fontsize": 9, "va": "center", "clip_on": False}
        height = -0.24 - 0.075 * line
        ax.text(-0.35, height, name, ha="right", weight="bold" if not line else "normal", **look)
        for place, row in enumerate(rows if line else ()):
            found = row.runs.get(name)
            colour = plot.BLACK if found is None or not found.hangs else plot.VERMILION
            ax.text(place, height, "–" if found is None else f"{found.hangs} of {found.runs}", ha="center", color=colour, **look)
    ax.set_xticks(at, [f"{row.min_free_kbytes:,}" for row in rows])
    ax.set(
        xlabel="vm.min_free_kbytes (KiB)",
        ylabel="pages of 4 KiB",
        ylim=(0, max(max(row.cushion, row.draw + row.lists) for row in rows) * 1.1),
        xlim=(-0.3, len(rows) - 0.7),
    )
    more = [row for row in rows if row.refused]
    crosses = f"above {more[-1].min_free_kbytes} KiB" if more else "everywhere"
    alt = (
        f"Cushion between the ordinary and the ATOMIC floor against min_free_kbytes: it rises from {rows[0].cushion} to {rows[-1].cushion} "
        f"pages, and {crosses} it is larger than the largest draw of the writes, {rows[0].draw} pages. With per-cpu lists as large as they "
        f"may be the draw rises from {rows[0].draw + rows[0].lists:,} to {rows[-1].draw + rows[-1].lists:,} pages. "
        + " ".join(f"At {row.min_free_kbytes}: {'; '.join(f.words for f in row.runs.values())}." for row in rows if row.runs)
    )
    return plot.Shown(figure, alt)


def add_measured(
    table: Table,
    rows: Sequence[Cushion],
    verdicts: Judged,
    listed: Mapping[str, tuple[Verdict, Frequency | None]],
    cured: Mapping[str, tuple[Verdict, str, Frequency | None]],
) -> None:
    """The arithmetic of the picture against the verdicts, the verdicts against the runs, what the lists and the cures change."""
    few = sum(guest(SETTINGS[0], SHORT).parked.values())
    for row in rows:
        long, short = verdicts[row.min_free_kbytes]
        at = f"{row.min_free_kbytes}"
        table.add(f"{at}: draw and lists against cushion", not row.refused_with_lists, long.safe, long.rung, long.method)
        fits = row.draw + few < row.cushion
        table.add(f"{at}: the same, lists cut short", fits, short.safe, short.rung, short.method)
        for series, found in row.runs.items():
            if found.hangs:
                table.add(f"{at}, {series}: called safe and hung", False, long.safe, "measured", f"Linux 6.1.192: {found.words}")
    seen: Frequency | None
    for name, (verdict, seen) in listed.items():
        if seen is not None:
            table.add(
                f"{LISTED_AT}, {name}: any hang", not verdict.safe, seen.hangs > 0, "measured", f"Linux 6.1.192: {seen.words}"
            )
    for name, (verdict, _, seen) in cured.items():
        table.add(name, True, verdict.safe, verdict.rung, verdict.method)
        if seen is not None:
            table.add(f"{name}: any hang", False, seen.hangs > 0, "measured", f"Linux 6.1.192: {seen.words}")
