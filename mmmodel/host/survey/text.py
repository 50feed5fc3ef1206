"""The answer in words: lines of text, and the plain types of `--json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from mmmodel.answers.advice import Advice
from mmmodel.answers.machine import min_free_of
from mmmodel.answers.sizing import HOW, Verdict
from mmmodel.answers.summary import Done, summary
from mmmodel.host.survey.answer import MEANING, SAFE_IF, UNSAFE, WORST_FIRST, Answer, Judgement, Path
from mmmodel.host.survey.judging import size_text
from mmmodel.model.units import format_bytes


def lines(survey: Answer) -> Iterator[str]:
    host = survey.host
    yield f"host {host.name}, Linux {host.kernel or '(release not known)'}"
    yield f"  memory  {survey.memory}"
    yield f"  exclusive reserve  {format_bytes(survey.reserve)} of it: what only the MEMALLOC right may take, 3/8 of min in every zone"
    for ring in survey.rings:
        size = "size not readable" if ring.size is None else format_bytes(ring.size)
        draws = ": not under the throttle, draws on all of it" if ring.draws else ""
        yield f"  receive rings      {ring.nic} ({ring.driver}): {size}, refilled by right: {ring.right}{draws}"
    yield from _together_text(survey)
    for state in WORST_FIRST:
        for path in survey.paths:
            if path.state == state:
                yield ""
                yield from _path_text(path)
    if not survey.paths:
        yield ""
        yield "no swap, no mount on a block device, no device in use: nothing to judge"
    yield ""
    yield from (f"note: {note}" for note in survey.notes)
    for item in survey.missing:
        yield f"not read: {item.name}: {item.reason}"


def _path_text(path: Path) -> Iterator[str]:
    way = " on ".join(f"{kind} {device}".strip() for kind, device in zip(path.layers, path.devices, strict=True))
    yield f"{path.state.upper()}: {path.use} {path.device}"
    yield f"  is {way}"
    yield f"  that means: {MEANING[path.state]}"
    yield from (f"  no stack: {reason}" for reason in path.refused)
    yield from (f"  note: {note}" for note in path.notes)
    for judgement in path.judgements:
        yield from (f"  {line}" for line in _judgement_text(judgement))


def _together_text(survey: Answer) -> Iterator[str]:
    """The verdict on all paths together, and the settings of the memory that they share."""
    whole = survey.together
    if whole is not None:
        yield ""
        yield f"{whole.state.upper()}: all together: {', '.join(whole.members)}"
        yield f"  that means: {MEANING[whole.state]}"
        if whole.verdict.safe:
            yield f"  {_spare(whole.spare)}"
        elif not any(j.state == UNSAFE for path in survey.paths for j in path.judgements):
            yield from (f"  {line}" for line in _short(whole.verdict))
        yield from (f"  only if: {text}" for text in whole.conditions)
    if survey.least is not None:
        yield ""
        yield f"for all that is judged, together: {survey.least.words(min_free_of(survey.host))}"
    for advice in survey.advice:
        yield from str(advice).splitlines()


def _spare(spare: float) -> str:
    return f"others may keep {'any amount' if math.isinf(spare) else format_bytes(spare)} more below the ordinary floor before that is no longer proved"


def _judgement_text(judgement: Judgement) -> Iterator[str]:
    stack = judgement.stack
    depth = "no throttle" if judgement.depth is None else f"depth {judgement.depth:,}"
    yield f"stack {stack.name}, {depth}: {judgement.state}"
    yield (
        f"  of memory of its own one request needs {size_text(judgement.one)}; safe from {size_text(judgement.safe)} on; nobody waits from "
        f"{size_text(judgement.free)} on"
    )
    if judgement.verdict.safe:
        yield f"  {_spare(judgement.spare)}"
    if judgement.state == UNSAFE:
        yield from (f"  {line}" for line in _short(judgement.verdict))
    yield from (f"  {'only if' if judgement.state == SAFE_IF else 'rests on'}: {text}" for text in judgement.conditions)
    yield from (f"  number: {fact}" for fact in judgement.facts)
    yield from (f"  note: {note}" for note in judgement.notes)
    for advice in judgement.advice:
        yield from (f"  {line}" for line in str(advice).splitlines())


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
        "memory": {
            "below_ordinary": survey.memory.capacity,
            "floors": dict(survey.memory.floors),
            "parked_pages": dict(survey.memory.parked),
        },
        "together": _together_dict(survey),
        "safe_min_free_kbytes": None if survey.least is None else _plain(survey.least.size.value),
        "advice": _advice_dicts(survey.advice),
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
    names = ("devices", "state", "depth", "one", "safe", "free", "spare", "conditions", "notes")
    return {
        "stack": judgement.stack.name,
        **{name: _plain(getattr(judgement, name)) for name in names},
        "facts": [vars(fact) for fact in judgement.facts],
        "explanation": judgement.verdict.explain(),
        "advice": _advice_dicts(judgement.advice),
    }


def _together_dict(survey: Answer) -> dict[str, Any] | None:
    whole = survey.together
    if whole is None:
        return None
    return {
        "members": list(whole.members),
        "state": whole.state,
        "spare": _plain(whole.spare),
        "conditions": list(whole.conditions),
        "explanation": whole.verdict.explain(),
    }


def _advice_dicts(settings: Iterable[Advice]) -> list[dict[str, Any]]:
    return [{key: _plain(value) for key, value in vars(advice).items()} for advice in settings]
