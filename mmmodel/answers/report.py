"""The main job: a stack and a reserve (or a depth) in; verdict, numbers and settings out, as text or as JSON."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mmmodel.answers import sizing
from mmmodel.answers.advice import Advice, advise_on, not_exclusive
from mmmodel.answers.question import Question, Size, Sure
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.output import html_table
from mmmodel.model.stack import RESERVE, THROTTLE, QuestionError, Stack, did_you_mean
from mmmodel.model.units import counted, parse_bytes, parse_count, plural

if TYPE_CHECKING:
    # slow to import, and many reports are text about no machine
    from mmmodel.answers import compare
    from mmmodel.answers.machine import OnMachine
    from mmmodel.linux.host import Host

PIECES = 200  # of a map of unsafe reserves: more are no picture, and where z3 finds them one by one they take seconds
PLENTY = 2**40  # units of the reserve


@dataclass(frozen=True)
class Sizes:
    """The three reserves at the asked depth and the two depths at the asked reserve, of the whole stack or of one class.

    Each with how sure it is: Sure.SUFFICIENT where a smaller reserve, or a larger depth, may do.
    """

    name: str
    footprint: int
    safe_reserve: float
    wait_free_reserve: float
    safe_depth: float | None
    wait_free_depth: float | None
    safe_reserve_is: Sure = Sure.EXACT
    wait_free_reserve_is: Sure = Sure.EXACT
    safe_depth_is: Sure | None = None
    wait_free_depth_is: Sure | None = None


@dataclass(frozen=True)
class Report:
    """The answer to one question. `verdict` is None where no reserve is known; `depth` None is the stack's own.

    `pool` is the pool that is sized, `reserve` its capacity; None where there is nothing to size: then `sizes` is empty. Of a machine
    `reserve` is what only the memalloc right may take, None where the stack's steps have other rights.
    """

    stack: Stack
    depth: int | None
    reserve: int | None
    where: str
    sizes: list[Sizes]
    verdict: sizing.Verdict | None
    advice: list[Advice]
    warnings: list[str] = field(default_factory=list)
    own: bool = False  # the reserve is the one in the stack's file: nobody asked for it
    host: str = ""  # the machine that was given
    pool: str | None = RESERVE
    machine: OnMachine | None = None  # where the verdict is on a machine's memory; the sizes are in the abstract all the same

    @property
    def point_name(self) -> str:
        """What a figure calls the point of this depth and this reserve."""
        return "memalloc alone" if self.machine is not None else "the file's own" if self.own else "asked"

    @property
    def asked_depth(self) -> int | None:
        """The depth that was answered for: the asked one, else the capacity of the stack's throttle."""
        throttle = self.stack.pools.get(THROTTLE)
        return self.depth if self.depth is not None else throttle.capacity if throttle else None

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        depth = self.asked_depth
        at = "at the stack's own depths" if depth is None else f"at depth {depth:,}"
        if self.verdict is None:
            sizes = self.sizes[0]
            safe = size_text(self, sizes.safe_reserve, sizes.safe_reserve_is)
            return f"{self.stack.name} {at}: safe from {safe} of {self.pool} on"
        if self.machine is not None:
            return f"{self.verdict.word}: {self.stack.name} {at} on {self.machine.host.name}{self._settings}"
        with_what = "" if self.pool is None else f" with {size_text(self, self.reserve or 0)} of {self.pool}"
        return f"{self.verdict.word}: {self.stack.name} {at}{with_what}"

    @property
    def _settings(self) -> str:
        """The knobs of a machine: what it has, and what it must have."""
        found = self.machine
        if found is None or found.least is None:
            return ""
        value, now = found.least.size.value, "unknown" if found.min_free is None else f"{found.min_free:,}"
        need = "no value of it is safe" if math.isinf(value) else f"safe from {int(value):,} on"
        return f" with vm.min_free_kbytes {now} ({need})"

    @property
    def told(self) -> str:
        """The verdict with its reasons and, on a machine, what its settings come to."""
        if self.verdict is None:
            return "no reserve was asked for, so there is no verdict"
        lines = [] if self.machine is None else ["", *self.machine.lines()]
        return "\n".join([self.verdict.explain(), *lines])

    @property
    def size_table_html(self) -> str:
        """The three reserves and the two depths as an HTML table."""
        head, *rows = _size_rows(self)
        return html_table(head, rows)

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints: plain types; unlimited is the text "inf"."""
        verdict = self.verdict
        return {
            "stack": self.stack.name,
            "digest": self.stack.digest,
            "depth": self.asked_depth,
            "pool": self.pool,
            "reserve": self.reserve,
            "reserve_from": self.where,
            "sizes": [{key: _plain(value) for key, value in vars(sizes).items()} for sizes in self.sizes],
            "verdict": None if verdict is None else _verdict_dict(verdict),
            "advice": [{key: _plain(value) for key, value in vars(advice).items()} for advice in self.advice],
            "warnings": self.warnings,
            **(
                {}
                if self.machine is None or verdict is None
                else {"machine": {**self.machine.as_dict(), "conditions": verdict.conditions}}
            ),
        }


def example_deadlock(report: Report) -> tuple[sizing.Verdict | None, str]:
    """The deadlock of this reserve, or that of the largest unsafe one, if a way into it is known; and a sentence that says which."""
    if report.verdict is not None and not report.verdict.safe:
        which = "The reserve in the stack's file" if report.own else "The asked reserve"
        if report.machine is not None:
            which = f"The memory of {report.machine.host.name}"
        if report.verdict.path is None:
            return None, f"{which} is not shown safe: a stuck state fits, and no way into it is known."
        end = "its deadlock" if report.verdict.reason == "deadlock" else "what never ends"
        named = report.own or report.machine is not None
        what = "The stack" if report.pool is None else which if named else f"The asked {report.pool}"
        if not report.verdict.path:
            return None, f"{what} is unsafe as it stands: no request can take its first step, so that no way leads there."
        return report.verdict, f"{what} is unsafe. This is the way into {end}:"
    if report.pool is None:
        return None, "No deadlock can be reached."
    sizes = report.sizes[0]
    if math.isinf(sizes.safe_reserve):
        found = sizing.verdict(report.stack, report.depth, sizes.footprint, report.pool)
        if found.safe:
            return (
                None,
                "There is no reserve from which on every larger one is safe; at one request's footprint no deadlock can be reached.",
            )
        return (
            found,
            f"No reserve is enough. This is the way into the deadlock at one request's footprint, {size_text(report, sizes.footprint)}:",
        )
    if sizes.safe_reserve <= sizes.footprint:
        return None, "No reserve of one request's footprint or more can deadlock."
    below = int(sizes.safe_reserve) - 1
    found, amount = sizing.verdict(report.stack, report.depth, below, report.pool), size_text(report, below)
    if found.safe:
        return None, (
            f"{amount}, one below the safe reserve, is safe too: the safe reserve of this stack is enough, and may be more than needed. "
            "So no way into a deadlock is drawn."
        )
    if found.path is None:
        return None, f"At {amount}, one below the safe reserve, a stuck state fits, and no way into it is known."
    return found, f"The largest unsafe reserve at this depth is {amount}. This is the way into its deadlock:"


def why_no_advice(report: Report) -> str:
    """Why there is nothing to set, where `report.advice` is empty."""
    reasons = []
    if report.machine is not None:
        least = report.machine.least
        reasons.append("vm.min_free_kbytes cannot be computed for this host" if least is None else least.why)
    elif report.reserve is None:
        reasons.append("no reserve was asked for, so that no depth follows from it")
    elif THROTTLE not in report.stack.pools:
        reasons.append("the stack has no throttle to set")
    elif report.sizes[0].safe_depth == 0:
        reasons.append("at this reserve no depth is safe")
    elif report.sizes[0].safe_depth is not None and math.isinf(report.sizes[0].safe_depth):
        reasons.append("at this reserve every depth is safe")
    if not report.host:
        reasons.append("no host was given whose vm.min_free_kbytes could be set")
    return f"Nothing to set: {'; '.join(reasons)}."


def cross_check(report: Report) -> compare.Table:
    """The report's numbers by a second way each: the solver at the thresholds, the map, the closed form."""
    from mmmodel.answers import compare

    table = compare.Table()
    stack, depth, sizes = report.stack, report.depth, report.sizes[0]
    if report.pool is None:
        return table
    for part in report.sizes:
        model = stack if part.name == WHOLE else stack.only(part.name)
        exact = part.safe_reserve_is is Sure.EXACT
        if math.isinf(part.safe_reserve):
            if exact:
                plenty = sizing.verdict(model, depth, PLENTY, report.pool).safe
                much = "1 TiB" if stack.pools[report.pool].unit == "byte" else "2^40"
                table.add(f"{part.name}: unsafe with {much}", False, plenty, "solved", "no reserve is enough")
            continue
        threshold = int(part.safe_reserve)
        there = sizing.verdict(model, depth, threshold, report.pool)
        table.add(f"{part.name}: safe at R_safe", True, there.safe, "solved", there.method)
        if exact and threshold > part.footprint:
            below = sizing.verdict(model, depth, threshold - 1, report.pool)
            table.add(f"{part.name}: unsafe one below", False, below.safe, "solved", "path replayed")
        try:
            top = sizing.unsafe_reserves(model, depth, report.pool, most=PIECES)
        except ValueError:  # no exact map, or one of too many pieces
            continue
        last = int(top[-1][1]) + 1 if top else part.footprint
        table.add(f"{part.name}: end of the map", threshold, last, "solved", "RES-19: where the unsafe reserves end")
    if report.machine is not None and report.verdict is not None:
        report.machine.check(table, stack, depth)
    elif report.verdict is not None and not math.isinf(sizes.safe_reserve) and report.reserve is not None:
        if report.reserve >= sizes.safe_reserve:
            table.add("verdict at the asked reserve", True, report.verdict.safe, "solved", "R >= R_safe")
        if not report.verdict.safe:
            table.add("unsafe reserves lie below R_safe", True, report.reserve < sizes.safe_reserve, "solved", "R < R_safe")
    return table


def size(
    stack: Askable,
    reserve: int | str | None = None,
    depth: int | str | None = None,
    host: Host | str | os.PathLike[str] | None = None,
    classes: Sequence[str] | str = (),
    device: str = "nbd0",
    pool: str | None = None,
) -> Report:
    """Size a stack: `reserve` in the pool's unit, `depth` in the throttle's.

    `host`: a machine on whose memory the verdict is, in place of a reserve: one that is loaded, the name of one, or a path. A reserve of
    "host" says the same, and means this machine where no host is given. `classes`: only these request classes, or this one. `pool`: the
    pool that is sized, `reserve` if the stack has it; a stack without one gets its verdict. Raises QuestionError for a question that does
    not fit, StackError and HostError for files that cannot be used.
    """
    machine = _machine(host, reserve)
    model = as_stack(stack, None if machine is None else machine.kernel)
    if classes:
        model = model.only(*([classes] if isinstance(classes, str) else classes))
    if not isinstance(device, str) or not re.fullmatch(r"[A-Za-z0-9][\w.!-]*", device, re.ASCII):
        raise QuestionError(f"device: {device!r} is not the name of a block device; write one such as nbd0 or dm-3")
    sized = _pool(model, pool, reserve)
    asked = _depth(depth)
    if machine is not None and reserve in (None, "host") and (sized == RESERVE or reserve is not None):
        return _on_machine(model, asked, machine, sized, device)
    have, where = _reserve(model, sized, reserve)
    question = Question(model, asked, have, sized or RESERVE)
    verdict = None if have is None and sized is not None else sizing.verdict_of(question)
    warnings = _warnings(question, verdict)
    if machine is not None:
        warnings.append(f"host {machine.name} is not looked at: what was asked about is no machine's memory")
    if sized is None:
        return Report(model, asked, None, "", [], verdict, [], warnings, pool=None)
    own = reserve is None and have is not None
    return Report(model, asked, have, where, _all_sizes(question), verdict, advise_on(question, device), warnings, own, "", sized)


def _on_machine(model: Stack, depth: int | None, host: Host, pool: str | None, device: str) -> Report:
    """The report of a question about a machine's memory."""
    if pool != RESERVE:
        raise QuestionError(f"reserve: host is the memory of a machine; pool {pool} is not its memory")
    from mmmodel.answers.machine import advise, on_machine  # a machine's readers and the kernel's arithmetic
    from mmmodel.model.machine import memory_of

    question = Question(model, depth, None, RESERVE, memory_of(host))
    verdict, found = sizing.verdict_of(question), on_machine(question, host)
    own = None if not_exclusive(model) else host.exclusive_reserve()
    where = (
        "" if own is None else f"host {host.name}: only memalloc may take it, 3/8 of min in every zone, without lowmem protection"
    )
    warnings = _warnings(question, verdict)
    warnings += [f"host {host.name}: {item.name}: {item.reason}" for item in host.missing if item.name == "page size"]
    sizes = _all_sizes(Question(model, depth, own))
    return Report(
        model,
        depth,
        own,
        where,
        sizes,
        verdict,
        list(advise(question, host, found, device)),
        warnings,
        False,
        host.name,
        RESERVE,
        found,
    )


def _all_sizes(question: Question) -> list[Sizes]:
    """Of the whole stack and, where it has several, of each class."""
    names = question.stack.requests
    parts = [question] if len(names) == 1 else [question, *(question.only(name) for name in names)]
    return [_sizes(part, question) for part in parts]


def _pool(model: Stack, pool: str | None, reserve: object) -> str | None:
    """The pool that is sized: the one that was named, else the reserve, else none."""
    have = ", ".join(model.pools)
    if pool is not None and pool not in model.pools:
        raise QuestionError(f"pool: stack {model.name} has no pool {pool!r}; it has {have}{did_you_mean(pool, model.pools)}")
    if pool is not None or RESERVE in model.pools:
        return pool or RESERVE
    if reserve is not None:
        raise QuestionError(f"reserve: stack {model.name} has no pool {RESERVE!r}; name the one that is sized (--pool): {have}")
    return None


def _machine(host: Host | str | os.PathLike[str] | None, reserve: object) -> Host | None:
    if host is None and reserve != "host":
        return None
    from mmmodel.linux.host import Host, load_host

    if isinstance(host, Host):
        return host
    if host is not None and not isinstance(host, str | os.PathLike):
        raise QuestionError(f"host: {host!r} is not a host; give a Host, the name of one, or a path")
    if host:
        return load_host(host)
    return load_host("host") if reserve == "host" else None


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


def _reserve(model: Stack, pool: str | None, reserve: int | str | None) -> tuple[int | None, str]:
    """The capacity of the sized pool, and where it comes from."""
    if pool is None:
        return None, ""
    unit = model.pools[pool].unit
    if reserve is None:
        own = model.pools[pool].capacity
        return own, "the stack's file" if own is not None else ""
    try:
        if unit == "byte":
            return int(parse_bytes(reserve, "reserve", round_down=True)), "asked"
        return parse_count(reserve, "reserve", plural(unit)), "asked"
    except ValueError as error:
        hint = "; or host, for the reserve of this machine or of --host" if pool == RESERVE else ""
        raise QuestionError(f"{error}{hint}") from None


WHOLE = "whole stack"


def _sizes(part: Question, whole: Question) -> Sizes:
    name = WHOLE if part is whole and len(whole.stack.requests) > 1 else next(iter(part.stack.requests))
    made = sizing.sizes(part)
    if not _has_depth(part.stack) or part.pool == THROTTLE:
        made = replace(made, safe_depth=None, wait_free_depth=None)

    def split(size: Size | None) -> tuple[float | None, Sure | None]:
        return (None, None) if size is None else (size.value, surely(size))

    def surely(size: Size) -> Sure:
        return Sure.SUFFICIENT if any(cls.approximate for cls in part.stack.requests.values()) else size.sure

    safe, free = made.safe_reserve, made.wait_free_reserve
    (safe_depth, safe_is), (free_depth, free_is) = split(made.safe_depth), split(made.wait_free_depth)
    return Sizes(
        name, made.footprint, safe.value, free.value, safe_depth, free_depth, surely(safe), surely(free), safe_is, free_is
    )


def _has_depth(stack: Stack) -> bool:
    return THROTTLE in stack.pools or any(cls.depth is None for cls in stack.requests.values())


def _warnings(question: Question, verdict: sizing.Verdict | None) -> list[str]:
    found, model = [], question.stack
    assumed = sorted({step.assumption for cls in model.requests.values() for step in cls.steps if step.assumption})
    if assumed:
        found.append(f"rests on assumptions for memory or structure: {'; '.join(assumed)}")
    if model.settings.get("stand_ins"):
        sizes = ", ".join(model.settings["stand_ins"])
        found.append(f"not measured for Linux {model.kernel}, the largest of other kernels instead: {sizes}")
    if verdict is not None and not verdict.certain and verdict.path is None:
        found.append("a stuck state fits, but no path to it is known: this is a warning, not a proof of deadlock")
    found += [f"{cls}: step {step} is never refused here, so that its {what} is never used" for cls, step, what in question.idle]
    return found


def _text(report: Report) -> Iterator[str]:
    stack = report.stack
    yield f"{stack.name}: {stack.title}" if stack.title else stack.name
    unit = stack.pools[THROTTLE].unit if THROTTLE in stack.pools else "request"
    depth, pool = report.asked_depth, report.pool
    yield f"  depth    {'as the stack says' if depth is None else counted(depth, unit)}"
    if pool is None:
        yield f"  nothing is sized: no pool is called {RESERVE}, and none was named (--pool: {', '.join(stack.pools)})"
    else:
        have = "not asked" if report.reserve is None else size_text(report, report.reserve)
        yield f"  {pool.ljust(7)}  {have}" + (f"  ({report.where})" if report.where else "")
    yield ""
    if report.verdict is not None:
        yield report.told
        yield ""
    if report.machine is not None:
        yield "In the abstract, on a reserve that nobody else may take:"
    if report.sizes:
        yield from _size_table(report)
        yield from _marks(report)
    for warning in report.warnings:
        yield f"note: {warning}"
    if report.advice:
        yield ""
        yield "What to set:"
        for advice in report.advice:
            yield from (f"  {line}" for line in str(advice).splitlines())


def _size_table(report: Report) -> Iterator[str]:
    rows = list(_size_rows(report))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _size_rows(report: Report) -> Iterator[tuple[str, ...]]:
    yield "class", "one request, F", "safe from", "never waits from", "safe depth", "wait-free depth"
    for sizes in report.sizes:
        yield (
            sizes.name,
            size_text(report, sizes.footprint),
            size_text(report, sizes.safe_reserve, sizes.safe_reserve_is),
            size_text(report, sizes.wait_free_reserve, sizes.wait_free_reserve_is),
            _count(sizes.safe_depth, sizes.safe_depth_is),
            _count(sizes.wait_free_depth, sizes.wait_free_depth_is),
        )


def _marks(report: Report) -> Iterator[str]:
    """What the words beside the numbers mean, where there are any."""
    reserves = [(row.safe_reserve, row.safe_reserve_is) for row in report.sizes]
    reserves += [(row.wait_free_reserve, row.wait_free_reserve_is) for row in report.sizes]
    loose = [value for value, sure in reserves if sure is Sure.SUFFICIENT]
    if any(map(math.isfinite, loose)):
        yield "or less: that much is enough; whether less is, was not decided"
    if any(map(math.isinf, loose)):
        yield "none known: whether any size is enough was not decided"
    if any(Sure.SUFFICIENT in (row.safe_depth_is, row.wait_free_depth_is) for row in report.sizes):
        yield "or more: up to this depth it is so; whether it is at a larger one was not decided"


def size_text(report: Report, amount: float, sure: Sure = Sure.EXACT) -> str:
    """An amount of the sized pool in words."""
    if math.isinf(amount):
        return "none known" if sure is Sure.SUFFICIENT else f"no {report.pool}"
    text = counted(amount, report.stack.pools[report.pool or RESERVE].unit)
    return f"{text} or less" if sure is Sure.SUFFICIENT else text


def _count(amount: float | None, sure: Sure | None) -> str:
    text = "-" if amount is None else "any" if math.isinf(amount) else f"{int(amount):,}"
    return f"{text} or more" if sure is Sure.SUFFICIENT else text


def _verdict_dict(verdict: sizing.Verdict) -> dict[str, Any]:
    from mmmodel.answers.summary import summary  # as in sizing: most questions have no path

    larger = verdict.larger_unsafe
    return {
        "safe": verdict.safe,
        "certain": verdict.certain,
        "reason": verdict.reason,
        "method": verdict.method,
        "starts": verdict.starts,
        "cycle": list(verdict.cycle),
        "waiting": [{**vars(group), "pools": list(group.pools)} for group in verdict.waiting],
        "path": None if verdict.path is None else [str(line) for line in summary(verdict.path)],
        "larger": verdict.larger.value,
        "larger_unsafe": [_plain(bound) for bound in larger] if isinstance(larger, tuple) else larger and larger.value,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else value
    return list(value) if isinstance(value, tuple) else value
