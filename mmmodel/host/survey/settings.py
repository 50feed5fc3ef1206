"""Settings to paste: the machine's memory for all paths together, and for each path its depth and the size of its requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from mmmodel.answers.advice import Advice
from mmmodel.answers.machine import advise_depth, advise_memory, least_min_free
from mmmodel.answers.question import Question
from mmmodel.host.survey.answer import CONSUMES, Answer, Judgement, Path
from mmmodel.host.survey.judging import members
from mmmodel.host.survey.servers import here
from mmmodel.linux.text import HostError
from mmmodel.model.joint import joint

A = TypeVar("A", bound=Answer)


def advised(survey: A) -> A:
    """The survey with settings: for its memory, and for each judgement; with none for a path whose server is on this machine."""
    paths = tuple(_with_depths(survey, path) for path in survey.paths)
    question = _whole(survey)
    if question is None:
        return replace(survey, paths=paths)
    try:
        least = least_min_free(replace(question, memory=None), survey.host)
    except HostError:  # the zones do not tell
        return replace(survey, paths=paths)
    settings = tuple(advise_memory(question, survey.host, least))
    return replace(survey, paths=paths, advice=settings, least=least)


def _whole(survey: Answer) -> Question | None:
    """The question about all that is judged and not served by this machine itself, which no setting cures; None: there is nothing."""
    stacks = [judgement.stack for judgement in members(path for path in survey.paths if not here(path.servers))]
    if survey.together is not None and len(stacks) == len(survey.together.members):
        return survey.together.verdict.question
    return Question(joint(*stacks) if stacks[1:] else stacks[0], memory=survey.memory) if stacks else None


def _with_depths(survey: Answer, path: Path) -> Path:
    if here(path.servers):
        return path
    return replace(path, judgements=tuple(replace(j, advice=tuple(_advice(survey, j))) for j in path.judgements))


def _advice(survey: Answer, judgement: Judgement) -> Iterator[Advice]:
    question = judgement.verdict.question
    if not judgement.verdict.safe and judgement.state != CONSUMES:
        yield from advise_depth(question, question.safe_depth.value, judgement.device or "nbd0")
    bottom = survey.host.disk_of(judgement.device)
    largest = [int(m[1]) for name in judgement.stack.requests if (m := re.fullmatch(r"write-([0-9]+)k", name))]
    if bottom and largest and judgement.verdict.safe and max(largest) < bottom.queue.get("max_sectors_kb", 0):
        yield Advice(
            f"Keep requests to the size that was reckoned with: {max(largest)} KiB",
            "/etc/udev/rules.d/91-writeout-size.rules",
            (f'ACTION=="add|change", KERNEL=="{bottom.name}", ATTR{{queue/max_sectors_kb}}="{max(largest)}"',),
            f"{judgement.depth:,} requests of at most {max(largest)} KiB are safe on this memory",
            judgement.spare,
            f"delete the file; echo {bottom.queue['max_sectors_kb']} > /sys/block/{bottom.name}/queue/max_sectors_kb",
            "smaller requests cost throughput; without this setting nothing is claimed for larger ones",
        )
