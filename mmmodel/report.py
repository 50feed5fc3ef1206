"""The main job: a stack and a reserve (or a depth) in; verdict, numbers and settings out, as text or as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmmodel import sizing
from mmmodel.advice import Advice, advise
from mmmodel.linux import Host, load_host
from mmmodel.stack import RESERVE, THROTTLE, Askable, QuestionError, Stack, as_stack
from mmmodel.units import format_bytes, parse_bytes, parse_count


@dataclass(frozen=True)
class Sizes:
    """The three reserves at the asked depth and the two depths at the asked reserve, of the whole stack or of one class."""

    name: str
    footprint: int
    safe_reserve: float
    wait_free_reserve: float
    safe_depth: float | None
    wait_free_depth: float | None


@dataclass(frozen=True)
class Report:
    """The answer to one question. `verdict` is None where no reserve is known; `depth` None is the stack's own."""

    stack: Stack
    depth: int | None
    reserve: int | None
    where: str
    sizes: list[Sizes]
    verdict: sizing.Verdict | None
    advice: list[Advice]
    warnings: list[str] = field(default_factory=list)

    @property
    def asked_depth(self) -> int | None:
        """The depth that was answered for: the asked one, else the capacity of the stack's throttle."""
        throttle = self.stack.pools.get(THROTTLE)
        return self.depth if self.depth is not None else throttle.capacity if throttle else None

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints: plain types; unlimited is the text "inf"."""
        verdict = self.verdict
        return {
            "stack": self.stack.name,
            "digest": self.stack.digest,
            "depth": self.asked_depth,
            "reserve": self.reserve,
            "reserve_from": self.where,
            "sizes": [{key: _plain(value) for key, value in vars(sizes).items()} for sizes in self.sizes],
            "verdict": None if verdict is None else _verdict_dict(verdict),
            "advice": [{key: _plain(value) for key, value in vars(advice).items()} for advice in self.advice],
            "warnings": self.warnings,
        }


def size(
    stack: Askable,
    reserve: int | str | None = None,
    depth: int | str | None = None,
    host: Host | str | None = None,
    classes: tuple[str, ...] = (),
    device: str = "nbd0",
) -> Report:
    """Size a stack: `reserve` in bytes, or "host" for the exclusive reserve of `host`; `depth` in the throttle's unit.

    Raises QuestionError for a question that does not fit, StackError and HostError for files that cannot be used.
    """
    model = as_stack(stack)
    if classes:
        model = model.only(*classes)
    if RESERVE not in model.pools:
        raise QuestionError(f"stack {model.name} has no pool {RESERVE!r} to size; it has {', '.join(model.pools)}")
    machine = load_host(host or "host") if host is not None or reserve == "host" else None
    if isinstance(host, Host):
        machine = host
    if not re.fullmatch(r"[A-Za-z0-9][\w.!-]*", device, re.ASCII):
        raise QuestionError(f"device: {device!r} is not the name of a block device; write one such as nbd0 or dm-3")
    asked = _depth(depth)
    have, where = _reserve(model, reserve, machine)
    verdict = None if have is None else sizing.verdict(model, asked, have)
    parts = [model] if len(model.requests) == 1 else [model, *(model.only(name) for name in model.requests)]
    sizes = [_sizes(part, model, asked, have) for part in parts]
    advice = advise(model, asked, have, machine, device)
    return Report(model, asked, have, where, sizes, verdict, advice, _warnings(model, verdict, machine))


def _depth(depth: int | str | None) -> int | None:
    if depth is None:
        return None
    try:
        count = parse_count(depth, "depth", "requests")
    except ValueError as error:
        raise QuestionError(str(error)) from None
    if count < 1:
        raise QuestionError(f"depth: {depth!r} is too small; write 1 or more requests")
    return count


def _reserve(model: Stack, reserve: int | str | None, machine: Host | None) -> tuple[int | None, str]:
    if reserve is None:
        own = model.pools[RESERVE].capacity
        return own, "the stack's file" if own is not None else ""
    if reserve == "host":
        assert machine is not None
        return machine.exclusive_reserve(), f"host {machine.name}: 3/8 of min in every zone, without lowmem protection"
    try:
        if model.pools[RESERVE].unit == "byte":
            return int(parse_bytes(reserve, "reserve", round_down=True)), "asked"
        return parse_count(reserve, "reserve", model.pools[RESERVE].unit + "s"), "asked"
    except ValueError as error:
        raise QuestionError(f"{error}; or host, for the reserve of this machine or of --host") from None


def _sizes(part: Stack, whole: Stack, depth: int | None, reserve: int | None) -> Sizes:
    name = "whole stack" if part is whole and len(whole.requests) > 1 else next(iter(part.requests))
    return Sizes(
        name,
        sizing.footprint(part),
        sizing.safe_reserve(part, depth),
        sizing.wait_free_reserve(part, depth),
        None if reserve is None or not _has_depth(part) else sizing.safe_depth(part, reserve),
        None if reserve is None or not _has_depth(part) else sizing.wait_free_depth(part, reserve),
    )


def _has_depth(stack: Stack) -> bool:
    return THROTTLE in stack.pools or any(cls.depth is None for cls in stack.requests.values())


def _warnings(model: Stack, verdict: sizing.Verdict | None, machine: Host | None) -> list[str]:
    found = []
    assumed = sorted({step.assumption for cls in model.requests.values() for step in cls.steps if step.assumption})
    if assumed:
        found.append(f"rests on assumptions for memory or structure: {'; '.join(assumed)}")
    if verdict is not None and not verdict.certain:
        found.append("a stuck state fits, but no path to it is known: this is a warning, not a proof of deadlock")
    if machine is not None:
        found += [f"host {machine.name}: {item.name}: {item.reason}" for item in machine.missing if item.name == "page size"]
    return found


def _text(report: Report) -> Iterator[str]:
    stack = report.stack
    yield f"{stack.name}: {stack.title}" if stack.title else stack.name
    unit = stack.pools[THROTTLE].unit if THROTTLE in stack.pools else "request"
    depth = report.asked_depth
    yield f"  depth    {'as the stack says' if depth is None else f'{depth:,} {unit}s'}"
    yield f"  reserve  {'not asked' if report.reserve is None else _size(stack, report.reserve)}" + (
        f"  ({report.where})" if report.where else ""
    )
    yield ""
    if report.verdict is not None:
        yield from report.verdict.explain().splitlines()
        yield ""
    yield from _size_table(report)
    for warning in report.warnings:
        yield f"note: {warning}"
    if report.advice:
        yield ""
        yield "What to set:"
        for advice in report.advice:
            yield from (f"  {line}" for line in str(advice).splitlines())


def _size_table(report: Report) -> Iterator[str]:
    stack = report.stack
    head = ("class", "one request, F", "safe from", "never waits from", "safe depth", "wait-free depth")
    rows = [head]
    for sizes in report.sizes:
        rows.append(
            (
                sizes.name,
                *(_size(stack, amount) for amount in (sizes.footprint, sizes.safe_reserve, sizes.wait_free_reserve)),
                *(_count(amount) for amount in (sizes.safe_depth, sizes.wait_free_depth)),
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _size(stack: Stack, amount: float) -> str:
    unit = stack.pools[RESERVE].unit
    if math.isinf(amount):
        return "no reserve"
    return format_bytes(amount) if unit == "byte" else f"{int(amount):,} {unit}s"


def _count(amount: float | None) -> str:
    return "-" if amount is None else "any" if math.isinf(amount) else f"{int(amount):,}"


def _verdict_dict(verdict: sizing.Verdict) -> dict[str, Any]:
    return {
        "safe": verdict.safe,
        "certain": verdict.certain,
        "method": verdict.method,
        "starts": verdict.starts,
        "cycle": list(verdict.cycle),
        "waiting": [{**vars(group), "pools": list(group.pools)} for group in verdict.waiting],
        "path": None if verdict.path is None else sizing.summary(verdict.path),
        "larger_unsafe": None if verdict.larger_unsafe is None else [_plain(bound) for bound in verdict.larger_unsafe],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else value
    return list(value) if isinstance(value, tuple) else value
