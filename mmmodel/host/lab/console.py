"""What a guest's console says. Whole lines "LAB kind key=value ... ;" come from the lab's programs, the rest from the kernel.

Verdicts
    survive   the load finished                   hang      no progress for stall + confirm seconds, though looked at
    slow      the time limit came, still moving   oom       the load was killed
    silent    the guest said nothing at the end   failed    it could not be set up, or the load failed
    traced    a recording was made, no load run

A console loses and mixes characters when a machine dies, so a line that does not read as it should is passed over and
counted, never guessed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from mmmodel.linux.logs import Normaliser
from mmmodel.linux.sysrq import FAILURE, Report, parse_sysrq
from mmmodel.linux.tasks import FRAME
from mmmodel.linux.text import HostError

WORD = re.compile(r"([a-z_]\w*|[\w./]+)=(\S+)")
LINE = re.compile(r"LAB (?P<kind>[a-z]+)(?P<words>(?: [\w./]+=\S*)*) ;")
PERCPU = re.compile(r"^(?:\[[ .0-9]+\])?\s+free:\d+ free_pcp:(\d+)", re.MULTILINE)
BUDDY = re.compile(r"Node \d+ (\w+): ((?:\d+\*\d+kB(?: \(\w+\))? )+)= \d+kB")
BLOCKS = re.compile(r"(\d+)\*(\d+)kB(?: \((\w+)\))?")
TRACE = 60  # lines after a refusal in which its stack stands
EMPTY = Report((), (), ())


@dataclass(frozen=True)
class Said:
    """One line of the lab's own."""

    kind: str
    words: dict[str, str]

    def number(self, key: str, default: int | float = -1) -> int | float:
        """The number under `key`, `default` where there is none."""
        try:
            value = float(self.words.get(key, ""))
        except ValueError:
            return default
        return int(value) if value.is_integer() else value


@dataclass(frozen=True)
class Refusal:
    """A page that the kernel did not get: who asked, with which flags, and from where (innermost function first)."""

    name: str
    order: int
    flags: tuple[str, ...]
    symbols: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """`refill` (the receive ring, ATOMIC), `memalloc` (a right without a floor), `transmit`, or `other`."""
        if "__GFP_MEMALLOC" in self.flags:
            return "memalloc"
        if any(symbol.startswith("try_fill_recv") for symbol in self.symbols):
            return "refill"
        if any(symbol in ("tcp_write_xmit", "dev_queue_xmit", "skb_segment") for symbol in self.symbols):
            return "transmit"
        return "other"


@dataclass(frozen=True)
class Outcome:
    """What one run came to. Pages throughout; `series` holds (seconds, free, free of the last zone, written, dirtied)."""

    verdict: str
    recognised: str
    kernel: str = ""
    seconds: float = 0.0
    low: int | None = None
    zones: dict[str, int] = field(default_factory=dict)
    written: int | None = None
    dirtied: int | None = None
    gap: float = 0.0
    settings: dict[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    waiting: tuple[str, ...] = ()
    series: tuple[tuple[float, int, int, int, int], ...] = ()
    torn: int = 0
    digest: str = ""
    percpu: int | None = (
        None  # pages of per-cpu lists and of blocks kept for high orders, where the kernel first printed its memory
    )
    high_free: int | None = None

    @property
    def refused(self) -> dict[str, int]:
        """How many refusals of each kind the console shows (the kernel limits how many it prints)."""
        counts: dict[str, int] = {}
        for refusal in self.refusals:
            counts[refusal.what] = counts.get(refusal.what, 0) + 1
        return counts


def parse_console(text: str) -> Outcome:
    """The outcome of a run from its whole console. Never raises: what cannot be read becomes verdict `silent`."""
    said, torn = _said(text)
    last = {one.kind: one for one in said}  # of each kind the last
    report = _report(text)
    refusals = _refusals(text)
    end = last.get("verdict")
    verdict, recognised = _verdict(said, end, report, refusals)
    boot, stall = last.get("boot"), last.get("stall")
    return Outcome(
        verdict=verdict,
        recognised=recognised,
        kernel=boot.words.get("kernel", "") if boot else "",
        seconds=end.number("ms", 0) / 1000 if end else 0.0,
        low=_whole(end, "low"),
        zones={one.words.get("name", "?"): int(one.number("low")) for one in said if one.kind == "zone"},
        written=_whole(end, "written"),
        dirtied=_whole(end, "dirtied"),
        gap=float(end.number("gap", 0)) if end else float(stall.number("gap", 0)) if stall else 0.0,
        settings={key: value for one in said if one.kind in ("sysctl", "queue", "memory") for key, value in one.words.items()},
        refusals=refusals,
        waiting=tuple(dict.fromkeys(_who(task) for task in report.blocked)),
        series=_series(said),
        torn=torn,
        percpu=percpu_pages(text),
        high_free=high_free_pages(text),
        digest=hashlib.sha256(text.encode(errors="replace")).hexdigest(),
    )


def _said(text: str) -> tuple[list[Said], int]:
    """The lab's whole lines, wherever in a console line they stand, and how many were begun but are not whole."""
    found = [Said(match["kind"], dict(WORD.findall(match["words"]))) for match in LINE.finditer(text)]
    return found, max(0, len(re.findall(r"\bLAB [a-z]+", text)) - len(found))


def _report(text: str) -> Report:
    try:
        return parse_sysrq(text, "console")
    except HostError:
        return EMPTY


def _verdict(said: list[Said], end: Said | None, report: Report, refusals: tuple[Refusal, ...]) -> tuple[str, str]:
    error = next((one for one in said if one.kind == "error"), None)
    load = next((one for one in reversed(said) if one.kind == "load"), None)
    if end is not None:
        verdict = end.words.get("is", "silent")
        if verdict == "failed" and end.number("kills") > 0:
            return "oom", "the load was killed for want of memory"
        return verdict, _how(verdict, report, refusals, end)
    if error is not None:
        return "failed", error.words.get("what", "the guest could not be set up")
    if any(one.kind == "trace" for one in said):
        return "traced", "a recording was written"
    if load is not None and load.number("code") > 128:
        return "oom", f"the load ended by signal {int(load.number('code')) - 128}"
    return "silent", "no verdict before the console ended"


def _how(verdict: str, report: Report, refusals: tuple[Refusal, ...], end: Said) -> str:
    if verdict != "hang":
        return {"survive": "the load finished", "slow": "the time limit came before the end"}.get(verdict, "the load failed")
    parts = [f"no page dirtied or written for {end.number('gap'):g} s"]
    if any(refusal.what == "refill" for refusal in refusals):
        parts.append("a refill of the receive ring was refused")
    if any((task.work or "").startswith("refill_work") or "refill_work" in task.symbols for task in report.blocked):
        parts.append("refill_work waits with receive service off")
    if any(refusal.what == "memalloc" for refusal in refusals):
        parts.append("an allocation with every right was refused")
    return "; ".join(parts)


def _refusals(text: str) -> tuple[Refusal, ...]:
    lines = [line.text for line in Normaliser().lines([text])]
    found = []
    for number, line in enumerate(lines):
        if not (match := FAILURE.match(line)):
            continue
        symbols = []
        for after in lines[number + 1 : number + 1 + TRACE]:
            if after.startswith("Mem-Info") or FAILURE.match(after):
                break
            if (frame := FRAME.match(after)) and not frame["unsure"]:
                symbols.append(frame["symbol"].split(".")[0])
        found.append(Refusal(match["name"], int(match["order"]), tuple((match["mode"] or "").split("|")), tuple(symbols)))
    return tuple(found)


def percpu_pages(text: str) -> int | None:
    """Pages of the per-cpu lists in the first memory report: free to nobody but that cpu and type, and in no watermark."""
    found = PERCPU.search(text)
    return int(found[1]) if found else None


def high_free_pages(text: str) -> int | None:
    """Free pages of the first memory report that stand in HIGHATOMIC blocks alone, (H): an order-0 allocation cannot take them."""
    lines = BUDDY.findall(text)
    if not lines:
        return None
    first = lines[: len({zone for zone, _ in lines})]
    return sum(
        int(count) * int(size) // 4 for _, blocks in first for count, size, kinds in BLOCKS.findall(blocks) if kinds == "H"
    )


def _series(said: list[Said]) -> tuple[tuple[float, int, int, int, int], ...]:
    found = []
    for one in said:
        if one.kind == "series" and {"ms", "free", "last", "written", "dirtied"} <= one.words.keys():
            free, last, written, dirtied = (int(one.number(key)) for key in ("free", "last", "written", "dirtied"))
            found.append((one.number("ms") / 1000, free, last, written, dirtied))
    return tuple(found)


def _who(task) -> str:
    """A waiting task without its number, with the work it does and the outermost function that tells why."""
    name = re.sub(r"[/:].*", "", task.name)
    return f"{name} ({task.work})" if task.work else name


def _whole(said: Said | None, key: str) -> int | None:
    value = said.number(key) if said else -1
    return int(value) if value >= 0 else None
