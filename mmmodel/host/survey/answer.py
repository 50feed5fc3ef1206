"""The answer of a survey, as plain data: facts, judgements, paths, and the whole.

path       a swap area, a mount or an unused device, followed down to what it rests on
judgement  one stack of the catalogue held against the host: facts, three reserves, verdict, conditions, advice
state      "safe" only where every number that the verdict rests on was read on the host or is a constant of the
           kernel's source, and the kernel guarantees the memory; else "safe if", with what would have to hold
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mmmodel.answers.advice import Advice
from mmmodel.answers.machine import LeastMinFree, spare_pages
from mmmodel.answers.sizing import Verdict
from mmmodel.linux.host import Host
from mmmodel.linux.network import Ring
from mmmodel.linux.servers import Server
from mmmodel.linux.text import Missing
from mmmodel.model.machine import Memory
from mmmodel.model.stack import Stack

SAFE, SAFE_IF, UNSAFE, NOT_SHOWN, CONSUMES, UNKNOWN, LOCAL = (
    "safe",
    "safe if",
    "unsafe",
    "not shown safe",
    "consumes",
    "not in the catalogue",
    "local",
)
WORST_FIRST = (UNSAFE, CONSUMES, NOT_SHOWN, UNKNOWN, SAFE_IF, SAFE, LOCAL)
MEANING = {
    SAFE: "no deadlock can be reached, by numbers that were all read here or stand in the kernel's source",
    SAFE_IF: "no deadlock can be reached, if the conditions hold",
    UNSAFE: "a deadlock can be reached, and the way into it is known",
    NOT_SHOWN: "neither a proof of safety nor a way into a deadlock",
    CONSUMES: "what is written stays in memory: no reserve is enough by itself",
    UNKNOWN: "nothing is claimed: the catalogue has no stack for these layers, or not for all of them",
    LOCAL: "a local disk takes nothing but bios on the way out: the catalogue has no stack for it, and nothing is claimed about it",
}
DISKS_ALONE = {"local", "nvme", "linear"}  # layers about which nothing is claimed


@dataclass(frozen=True)
class Fact:
    """One number that a verdict rests on. `origin`: read (on this host), source (a constant of the kernel or of a protocol),
    catalogue (in place of what could not be read here) or assumed; `where`: the file, or the reason."""

    name: str
    value: int
    origin: str
    where: str

    @property
    def known(self) -> bool:
        return self.origin in ("read", "source")

    def __str__(self) -> str:
        return f"{self.name} = {self.value:,} ({self.origin}: {self.where})"


@dataclass(frozen=True)
class Judged:
    """What the judge says of a stack on a memory."""

    verdict: Verdict

    @property
    def state(self) -> str:
        """In the survey's words."""
        if self.verdict.reason == "consumed":
            return CONSUMES
        return {"SAFE": SAFE, "SAFE IF": SAFE_IF, "UNSAFE": UNSAFE, "NOT SHOWN SAFE": NOT_SHOWN}[self.verdict.word]

    @cached_property
    def spare(self) -> float:
        """Bytes below the ordinary floor that others may keep, beyond what is counted, before it is no longer proved to be safe."""
        question = self.verdict.question
        return spare_pages(question) * question.memory.page if self.verdict.safe and question.memory is not None else 0


@dataclass(frozen=True)
class Judgement:
    """One stack of the catalogue with this host's numbers. Sizes in bytes; math.inf where no reserve is enough."""

    stack: Stack
    devices: tuple[str, ...]  # those that the stack stands for, from the top down
    state: str
    facts: tuple[Fact, ...]
    depth: int | None
    one: int  # the three reserves in the abstract: of memory that is this path's own
    safe: float
    free: float
    judged: Judged  # on the machine's memory
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """On the machine's memory, alone."""
        return self.judged.verdict

    @property
    def spare(self) -> float:
        """See `Judged.spare`."""
        return self.judged.spare

    @property
    def device(self) -> str:
        """The undermost device."""
        return self.devices[-1]

    @property
    def name(self) -> str:
        """Stack and device."""
        return f"{self.stack.name} on {self.device}".rstrip()


@dataclass(frozen=True)
class Path:
    """Something that is written out to: what uses it, and the layers under it from the top down."""

    use: str
    device: str
    layers: tuple[str, ...]  # kinds: crypt, linear, nbd, local, …; "file" stands between a loop device and what its file is on
    devices: tuple[str, ...]  # their devices
    swap: bool = False
    file_system: str = ""  # the kind of that which is mounted on the uppermost device; empty: none writes to it
    servers: tuple[Server, ...] = ()  # of the undermost layer, where that is reached over a network
    judgements: tuple[Judgement, ...] = ()
    refused: tuple[str, ...] = ()  # layers that no stack of the catalogue stands for, each with the reason
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The worst of its judgements, and not in the catalogue where a layer has no stack; without either it is local."""
        states = [judgement.state for judgement in self.judgements] + [UNKNOWN] * bool(self.refused)
        if not states:
            return LOCAL if self.layers and set(self.layers) <= DISKS_ALONE else UNKNOWN
        return min(states, key=WORST_FIRST.index)


@dataclass(frozen=True)
class Together:
    """All paths of the machine as one system: what is part of it, and what is said of the whole."""

    members: tuple[str, ...]
    judged: Judged

    @property
    def state(self) -> str:
        return self.judged.state

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict

    @property
    def conditions(self) -> list[str]:
        return self.verdict.conditions

    @property
    def spare(self) -> float:
        """See `Judged.spare`."""
        return self.judged.spare


@dataclass(frozen=True)
class Answer:
    """The answer for one host: its paths with their verdicts, all of them together, and what else touches the memory."""

    host: Host
    memory: Memory  # below the ordinary floor, as every verdict takes it
    paths: tuple[Path, ...]
    rings: tuple[Ring, ...]
    doubts: tuple[str, ...]  # about the floors
    together: Together | None = None  # None: no two paths are judged
    advice: tuple[Advice, ...] = ()  # for all of them
    least: LeastMinFree | None = (
        None  # vm.min_free_kbytes from which on all of them are safe; None: not asked, or it cannot be told
    )
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all paths could be looked for, and every one, and all together, are safe, or local disks about which nothing is claimed."""
        whole = self.together is None or self.together.state == SAFE
        return whole and not self.blind and all(path.state in (SAFE, LOCAL) for path in self.paths)

    @property
    def reserve(self) -> int:
        """Bytes that only memalloc requests may take: 3/8 of min in every zone."""
        return self.host.exclusive_reserve()

    @property
    def blind(self) -> tuple[str, ...]:
        """What could not be read of where this host writes out to: there may be paths that are not in the list."""
        return tuple(item.name for item in self.host.missing if item.name in ("swaps", "mounts", "block devices"))

    @property
    def missing(self) -> tuple[Missing, ...]:
        return self.host.missing

    @property
    def root_would_add(self) -> tuple[str, ...]:
        """What a run as root would read in addition."""
        return tuple(item.name for item in self.host.missing if item.root_could)
