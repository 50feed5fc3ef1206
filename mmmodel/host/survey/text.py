"""The answer in words: lines of text, and the plain types of `--json`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from mmmodel.answers.sizing import HOW, Verdict
from mmmodel.answers.summary import Done, summary
from mmmodel.host.survey.answer import MEANING, SAFE_IF, UNSAFE, WORST_FIRST, Answer, Judgement, Path
from mmmodel.host.survey.judging import size_text
from mmmodel.model.units import format_bytes


def lines(survey: Answer) -> Iterator[str]:
    host = survey.host
    yield f"host {host.name}, Linux {host.kernel or '(release not known)'}"
    min_free = host.sysctls.get("vm.min_free_kbytes")
    of = f"{min_free:,} kB" if isinstance(min_free, int) else "not readable"
    yield f"  exclusive reserve  {format_bytes(survey.reserve)}: what only writing out can take, 3/8 of min in every zone (vm.min_free_kbytes: {of})"
    for ring in survey.rings:
        size = "size not readable" if ring.size is None else format_bytes(ring.size)
        draws = ": not under the throttle, draws on the reserve" if ring.draws else ""
        yield f"  receive rings      {ring.nic} ({ring.driver}): {size}, refilled by right: {ring.right}{draws}"
    for state in WORST_FIRST:
        for path in survey.paths:
            if path.state == state:
                yield ""
                yield from _path_text(path, survey.reserve - survey.reserve_at_least)
    if not survey.paths:
        yield ""
        yield "no swap, no mount on a block device, no device in use: nothing to judge"
    yield ""
    yield from (f"note: {note}" for note in survey.notes)
    for item in survey.missing:
        yield f"not read: {item.name}: {item.reason}"


def _path_text(path: Path, doubt: int) -> Iterator[str]:
    way = " on ".join(f"{kind} {device}".strip() for kind, device in zip(path.layers, path.devices, strict=True))
    yield f"{path.state.upper()}: {path.use} {path.device}"
    yield f"  is {way}"
    yield f"  that means: {MEANING[path.state]}"
    yield from (f"  no stack: {reason}" for reason in path.refused)
    yield from (f"  note: {note}" for note in path.notes)
    for judgement in path.judgements:
        yield from (f"  {line}" for line in _judgement_text(judgement, doubt))


def _judgement_text(judgement: Judgement, doubt: int) -> Iterator[str]:
    stack = judgement.stack
    depth = "no throttle" if judgement.depth is None else f"depth {judgement.depth:,}"
    yield f"stack {stack.name}, {depth}: {judgement.state}"
    if judgement.right == "all":
        ordinary, atomic = (fact.value for fact in judgement.facts[:2])
        yield f"  ordinary floor {format_bytes(ordinary)}, atomic floor {format_bytes(atomic)}: a cushion of {format_bytes(ordinary - atomic)}"
    else:
        yield from _sizes_text(judgement)
    if judgement.right == "memalloc" and math.isfinite(judgement.margin):
        yield f"  margin {_signed(judgement.margin + doubt)}, after the other paths and the rings" + (
            f"; {_signed(judgement.margin)} if high-order atomic blocks hold all that they may" if doubt else ""
        )
    if judgement.state == UNSAFE:
        yield from (f"  {line}" for line in _short(judgement.verdict))
    yield from (f"  {'only if' if judgement.state == SAFE_IF else 'rests on'}: {text}" for text in judgement.conditions)
    yield from (f"  number: {fact}" for fact in judgement.facts)
    yield from (f"  note: {note}" for note in judgement.notes)
    for advice in judgement.advice:
        yield from (f"  {line}" for line in str(advice).splitlines())


def _signed(margin: float) -> str:
    return format_bytes(abs(margin)) + (" short" if margin < 0 else "")


def _short(verdict: Verdict) -> Iterator[str]:
    """An explanation with requests that do the same one after another on one line, and a long way cut in the middle."""
    found = [Done(line) for line in verdict.explain(way=False).splitlines()]
    if verdict.path:
        found += [Done(HOW), *(replace(line, who=f"  {line.who}") for line in summary(verdict.path))]
    runs = [[found[at] for at in group] for _, group in groupby(range(len(found)), key=lambda at: found[at].what or at)]
    if len(runs) > 28:
        runs = [*runs[:16], [Done(f"  … {len(runs) - 26} more lines …")], *runs[-10:]]
    for run in runs:
        many = f" … {run[-1].who.strip()} ({len(run)} lines)" if len(run) > 1 else ""
        yield str(replace(run[0], who=run[0].who + many))


def _sizes_text(judgement: Judgement) -> Iterator[str]:
    yield (
        f"  one request needs {size_text(judgement.one)}; safe from {size_text(judgement.safe)} on; nobody waits from "
        f"{size_text(judgement.free)} on; of the reserve this path may use {format_bytes(judgement.have)}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else value
    return list(value) if isinstance(value, tuple) else value


def as_dict(survey: Answer) -> dict[str, Any]:
    return {
        "host": survey.host.name,
        "kernel": survey.host.kernel,
        "ok": survey.ok,
        "reserve": survey.reserve,
        "reserve_at_least": survey.reserve_at_least,
        "paths": [_path_dict(path) for path in survey.paths],
        "rings": [vars(ring) for ring in survey.rings],
        "daemons": [
            {
                "name": daemon.name,
                "pid": daemon.pid,
                "io_flusher_on_every_thread": daemon.io_flusher,
                "threads": len(daemon.threads),
                "locked": daemon.locked,
                "resident": daemon.resident,
                "devices": None if daemon.devices is None else list(daemon.devices),
            }
            for daemon in survey.host.daemons
        ],
        "pfmemalloc_drop": survey.host.pfmemalloc_drop,
        "notes": list(survey.notes),
        "missing": [{"name": item.name, "reason": item.reason} for item in survey.missing],
        "root_would_add": list(survey.root_would_add),
    }


def _path_dict(path: Path) -> dict[str, Any]:
    return {
        "use": path.use,
        "device": path.device,
        "layers": list(path.layers),
        "devices": list(path.devices),
        "state": path.state,
        "judgements": [_judgement_dict(judgement) for judgement in path.judgements],
        "refused": list(path.refused),
        "servers": [{"place": server.place.value, "at": server.at, "why": server.why} for server in path.servers],
        "notes": list(path.notes),
    }


def _judgement_dict(judgement: Judgement) -> dict[str, Any]:
    names = ("devices", "state", "right", "depth", "have", "one", "safe", "free", "margin", "conditions", "notes")
    return {
        "stack": judgement.stack.name,
        **{name: _plain(getattr(judgement, name)) for name in names},
        "facts": [vars(fact) for fact in judgement.facts],
        "explanation": judgement.verdict.explain(),
        "advice": [{key: _plain(value) for key, value in vars(advice).items()} for advice in judgement.advice],
    }
