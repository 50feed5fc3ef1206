"""What only the notebook on the casebook draws: seven kinds of mistake, one case of each told, with the inequality that it breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmmodel.answers.cases import KINDS, Case, load_case
from mmmodel.answers.compare import Table
from mmmodel.answers.diagram import draw
from mmmodel.answers.plot import Shown
from mmmodel.answers.sizing import safe_reserve
from mmmodel.app.primer.parameters import Known, Read
from mmmodel.model.stack import Stack

COLOURS = {"right, cause agreed": "#1b7837", "wrong verdict or cause": "#d95f02", "not expressed": "#999999"}


def kinds(text: str | None) -> list[str]:
    """Kinds of mistake, separated by commas; all of them for an empty text. Raises ValueError for a word that is none."""
    wanted = [word.strip() for word in (text or "").split(",") if word.strip()] or list(KINDS)
    for word in wanted:
        if word not in KINDS:
            raise ValueError(f"{word!r} is no kind of mistake; the kinds are {', '.join(KINDS)}")
    return wanted


PARAMETERS: Known = {
    "case": Read(load_case, "a case of data/cases, or a folder with a case.yaml"),
    "counted": Read(kinds, 'kinds of mistake, with commas; "" for all of them', empty=True),
}


@dataclass(frozen=True)
class Told:
    """A case that the notebook tells: which pool would have been enough at which size, by an inequality in the case's own numbers."""

    case: Case
    pool: str
    enough: int
    formula: str

    @property
    def stack(self) -> Stack:
        """The stack before the fix."""
        assert self.case.stacks is not None
        return self.case.stacks[0]

    @property
    def got(self) -> int | float:
        """The least capacity from which on the stack before the fix is safe, as the engine has it."""
        return safe_reserve(self.stack, pool=self.pool)

    def __str__(self) -> str:
        have = self.stack.pools[self.pool].capacity
        has = self.case.file.question.reserve if have is None else f"{have:,}"
        return f"{self.case.name}: {self.pool} would have to be {self.formula} = {self.enough:,}; it is {has}"


def picture(name: str) -> Shown:
    """The stack of a case before its fix: each class's steps, and what is held between them."""
    case = load_case(name)
    assert case.stacks is not None
    figure, words = draw(case.stacks[0].model_copy(update={"title": f"{name}, before the fix"}))
    return Shown(figure, f"The steps of each class of requests, and what is held from which step to which. {words}")


def told() -> dict[str, Told]:
    """One case of each kind, with its inequality."""
    made: dict[str, Told] = {}

    def tell(name: str, pool: str, enough: int, formula: str) -> None:
        case = load_case(name)
        made[case.file.kind] = Told(case, pool, enough, formula)

    depth, taken = _of("dm-crypt-mempool", "write-1m", "mempool")
    tell("dm-crypt-mempool", "mempool", depth * (taken - 1) + 1, "n(c - 1) + 1")
    _, taken = _of("blk-crypto-fallback", "write-1m", "bounce")
    tell("blk-crypto-fallback", "bounce", taken, "c")
    depth, _ = _of("dm-integrity-offload", "offloaded", "metadata_wq")
    tell("dm-integrity-offload", "metadata_wq", depth + 1, "waiting + 1")
    others, _ = _of("ashmem-shrinker", "others", "memory")
    tell("ashmem-shrinker", "memory", others + 1, "in use by others + 1")
    depth, _ = _of("dm-snapshot-origins", "write", "cow_count")
    tell("dm-snapshot-origins", "cow_count", depth, "writers")
    depth, taken = _of("dm-crypt-swap-bios", "write", "reserve")
    last = _stack("dm-crypt-swap-bios").requests["write"].steps[-2].take["reserve"]
    tell("dm-crypt-swap-bios", "reserve", depth * (taken - last) + last, "K(F - c) + c")
    depth, _ = _of("nfsd-loopback", "request", "nfsd")
    tell("nfsd-loopback", "nfsd", depth + 1, "in reclaim + 1")
    return made


def outcomes(cases: Sequence[Case]) -> Shown:
    """Cases by kind of mistake and by what came of them, as bars."""
    from matplotlib.figure import Figure

    found = counts(cases)
    figure = Figure(figsize=(8, 0.45 * len(found) + 1.3), layout="constrained")
    axes = figure.subplots()
    for row, parts in enumerate(found.values()):
        left = 0
        for outcome, many in parts.items():
            axes.barh(row, many, left=left, color=COLOURS[outcome], label=outcome if row == 0 else None)
            if many:
                axes.text(left + many / 2, row, str(many), ha="center", va="center", color="white")
            left += many
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("cases")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    words = "; ".join(
        f"{kind}: " + ", ".join(f"{many} {outcome}" for outcome, many in parts.items()) for kind, parts in found.items()
    )
    return Shown(figure, f"Horizontal bars, one for each kind of mistake, of cases by what came of them. {words}")


def counts(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    """{kind: {outcome: cases}}, kinds without a case left out."""
    made: dict[str, dict[str, int]] = {}
    for case in cases:
        parts = made.setdefault(case.file.kind, dict.fromkeys(COLOURS, 0))
        good = "right, cause agreed" if case.right and case.agreed else "wrong verdict or cause"
        parts["not expressed" if case.stacks is None else good] += 1
    return made


def misses(cases: Sequence[Case]) -> str:
    """The cases that missed, each with what it lacks, as Markdown."""
    lines = [f"* `{case.name}`: {case.file.lacks}." for case in cases if not (case.right and case.agreed)]
    return "\n".join(lines) or "None of these missed."


def linted(cases: Sequence[Case]) -> str:
    """How many cases each rule of the linter names from the stack before the fix alone, as Markdown."""
    rules: dict[str, int] = {}
    for case in cases:
        for rule in case.linted:
            rules[rule] = rules.get(rule, 0) + 1
    named = ", ".join(f"`{rule}` {many}" for rule, many in sorted(rules.items(), key=lambda one: -one[1])) or "none"
    return f"Cases that a rule names (a case may have several): {named}."


def add(evidence: Table, stories: Mapping[str, Told]) -> None:
    """The inequality of each told case against the engine, and whether the least size that it gives is safe and one less is not."""
    for story in stories.values():
        evidence.add(f"{story.case.name}: {story.pool} from", story.enough, story.got, "solved", story.formula)


def _stack(name: str) -> Stack:
    case = load_case(name)
    assert case.stacks is not None
    return case.stacks[0]


def _of(name: str, cls: str, pool: str) -> tuple[int, int]:
    """How many requests of the class there are before the fix, and what each takes of the pool in all."""
    requests = _stack(name).requests[cls]
    return requests.depth or 0, sum(step.take.get(pool, 0) * step.repeat for step in requests.steps)
