"""What lies on what, as one stack: `swap/crypt/nbd/virtio_net`.

    path       names of parts (`mmmodel.model.parts`) from the top down, with `/` between them; a file of one's own where a name would
               stand (`swap/./mine.yaml/nvme`); the kernel behind `@`
    instance   `nbd:nbd0`: this layer is nbd0, and its pools are one on the machine for all paths that name it (its throttle with them)
    legs       `raid1(nbd/virtio_net,nvme)`: what lies on several things; with one thing underneath each leg lies on one such
    compose    an ordinary `Stack` of it, so that whatever takes a stack takes a path

Pools, stations and steps have their instance in front ("crypt/lock", "crypt/map"); pools `shared: machine` have not. The pool that the
topmost part calls its throttle is `throttle`.

**More than one request underneath.** A `Stack` has no fork and join. Where a layer passes several requests on, one class is made for each
of them: it holds what the layers above hold, and ends with the request below. Of several at once, the one that finishes last holds what
lies above, and the others are classes by themselves ("…-alone"). At every moment what is held, and who waits for what, is the same as in
some state of these classes, so that SAFE is exact; a deadlock may need an order that cannot come about: UNSAFE is a warning
(`RequestClass.approximate`).

**For which sizes.** Requests of one page, of the largest that comes through in one piece, and of the largest of all; and of each
power of two between, at which some step takes more than it does for the larger piece.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmmodel.model.amounts import PAGE, Sizes
from mmmodel.model.parts import KERNEL, REQUEST, Largest, Part, PartStep, load_part, part_names, sizes_of
from mmmodel.model.stack import RESERVE, THROTTLE, Stack, StackError, did_you_mean, stack_error

MOST_CLASSES = 48
FILE = re.compile(r"\.ya?ml/")
ENDS_EARLY = "a request that is passed on more than once is a class for each time"
ALONE = "of several requests at once each is a class"


@dataclass(frozen=True)
class Node:
    """A part in its place: `name` is the instance's, `own` whether the path gives it, `legs` what lies underneath."""

    part: Part
    name: str
    own: bool
    legs: dict[str, Node]

    def all(self) -> Iterator[Node]:
        """This one and all underneath."""
        yield self
        for leg in self.legs.values():
            yield from leg.all()


@dataclass(frozen=True)
class Placed:
    """A step of a composed class: the instance and the part that it is from, and the part's own step (None: added by the composition)."""

    instance: str
    part: str
    data: dict[str, Any]
    step: PartStep | None = None


@dataclass(frozen=True)
class Walk:
    """One way down from a layer. `ends`: the layers above have nothing more to do; `alone`: they are not in it at all."""

    steps: tuple[Placed, ...] = ()
    label: tuple[str, ...] = ()
    ends: bool = False
    alone: bool = False
    why: str = ""  # it is approximate
    times: int = 1  # of those that are alone: the most for one request of the layers above

    def then(self, other: Walk) -> Walk:
        """This way, and on by another one."""
        return Walk(
            (*self.steps, *other.steps),
            (*self.label, *other.label),
            self.ends or other.ends,
            other.alone,
            self.why or other.why,
            other.times,
        )


@dataclass(frozen=True)
class Composition:
    """A path, what it was composed of, and the stack that it is. `steps`: of each class, where its steps are from."""

    path: str
    top: Node
    kernel: str
    stack: Stack
    steps: dict[str, tuple[Placed, ...]]
    stand_ins: tuple[str, ...] = ()  # sizes that are not known for this kernel: the largest of other kernels

    def __str__(self) -> str:
        lines = [f"{self.path}: what lies on what, for Linux {self.kernel}"]
        lines += list(_tree(self.top, ""))
        if self.stand_ins:
            lines.append(
                f"not measured for Linux {self.kernel}, the largest of other kernels instead: {', '.join(self.stand_ins)}"
            )
        lines += [f"approximate: {name}: {cls.approximate}" for name, cls in self.stack.requests.items() if cls.approximate]
        return "\n".join([*lines, "", str(self.stack)])

    def as_dict(self) -> dict[str, Any]:
        """The stack as plain data, with the parts and, for each step, the part that it is from."""
        return {
            "path": self.path,
            "kernel": self.kernel,
            "parts": [{"instance": node.name, "part": node.part.name, "title": node.part.title} for node in self.top.all()],
            "stand_ins": list(self.stand_ins),
            "from": {cls: [{"instance": one.instance, "part": one.part} for one in steps] for cls, steps in self.steps.items()},
            "stack": self.stack.model_dump(mode="json"),
        }


def _tree(node: Node, indent: str) -> Iterator[str]:
    name = node.part.name if node.name == node.part.name else f"{node.name} ({node.part.name})"
    yield f"{indent}{name}: {node.part.title}"
    for leg in node.legs.values():
        yield from _tree(leg, indent + "  ")


# ---- from a text to what lies on what -------------------------------------------------------------------------------------


def is_path(text: str) -> bool:
    """Whether a text is meant as a path of layers: several segments, one of which is a part's name."""
    names = set(part_names())
    words = re.split(r"[/(),]", text.partition("@")[0])
    return len(words) > 1 and (any(word.partition(":")[0] in names for word in words) or FILE.search(text) is not None)


@dataclass
class _Reader:
    """Reads a path from left to right; instances get their names here."""

    text: str
    kernel: str
    at: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def fail(self, message: str) -> StackError:
        return StackError(self.text, [("", message)])

    def branch(self) -> list[Any]:
        """Segments down to an end of the text, `,` or `)`: each a (text, legs), legs only of the last."""
        found: list[Any] = []
        while True:
            word = self._word()
            legs: list[Any] = []
            if self.text[self.at : self.at + 1] == "(":
                while self.text[self.at : self.at + 1] in ("(", ","):
                    self.at += 1
                    legs.append(self.branch())
                if self.text[self.at : self.at + 1] != ")":
                    raise self.fail("a bracket is not closed; write raid1(nvme,nbd/virtio_net)")
                self.at += 1
            found.append((word, legs))
            if self.text[self.at : self.at + 1] != "/":
                return found
            if legs:
                raise self.fail("nothing can follow a closing bracket but , or )")
            self.at += 1

    def _word(self) -> str:
        match = re.compile(r"(?:\.{0,2}/[^(),]*?|[^/(),]*)\.ya?ml(?=[/(),]|$)|[^/(),]*").match(self.text, self.at)
        word = match[0] if match else ""
        self.at += len(word)
        if not word:
            raise self.fail("has an empty name; write the parts from the top down, as in swap/crypt/nbd/virtio_net")
        return word

    def node(self, branch: Sequence[Any], above: Sequence[Node], kinds: Sequence[str] = ()) -> Node:
        """What the segments of a branch stand for, under what is over one of these kinds."""
        (word, brackets), rest = branch[0], branch[1:]
        is_file = re.search(r"\.ya?ml$", word) is not None
        text, _, instance = (word, "", "") if is_file else word.partition(":")
        part = load_part(Path(text) if is_file else text, self.kernel)
        for upper in above:
            if upper.part.name in part.not_under:
                raise self.fail(f"{part.name} cannot lie under {upper.part.name}: {part.not_under[upper.part.name]}")
        number = self.names[part.name] = self.names.get(part.name, 0) + 1
        name = instance or (part.name if number == 1 else f"{part.name}-{number}")
        node = Node(part, name, bool(instance), {})
        self._lies(node, above, kinds)
        down = (*above, node)
        legs = brackets or ([rest] if rest else [])
        if not part.over and legs:
            raise self.fail(f"nothing lies under {part.name}, and here {legs[0][0][0]} does; {part.name} is the end of a path")
        if part.over and not legs:
            raise self.fail(f"nothing lies under {part.name}; it is over {_offering(kinds for kinds in part.over.values())}")
        if len(legs) == 1:
            legs *= len(part.over)
        elif len(legs) != len(part.over):
            raise self.fail(f"{part.name} lies on {len(part.over)}, not on {len(legs)}: {', '.join(part.over)}")
        node.legs.update({leg: self.node(branch, down, part.over[leg]) for leg, branch in zip(part.over, legs)})
        return node

    def _lies(self, node: Node, above: Sequence[Node], kinds: Sequence[str]) -> None:
        part = node.part
        if not above:
            if part.offers:
                raise self.fail(f"{part.name} submits nothing: a path begins with who submits: {', '.join(_submitters())}")
        elif not part.offers:
            raise self.fail(f"{part.name} submits, and nothing lies above who submits; a path begins with it")
        elif not set(kinds) & set(part.offers):
            upper = above[-1].part
            raise self.fail(
                f"{upper.name} does not lie on {part.name}, which offers {' and '.join(part.offers)}; "
                f"under {upper.name} may lie {_offering([kinds])}"
            )


@functools.cache
def _submitters() -> list[str]:
    return [name for name in part_names() if not load_part(name).offers]


def _offering(wanted: Any) -> str:
    kinds = list(dict.fromkeys(kind for some in wanted for kind in some))
    parts = [name for name in part_names() if set(load_part(name).offers) & set(kinds)]
    return f"{' or '.join(kinds)}: {', '.join(parts)}"


def read_path(text: str, kernel: str = KERNEL) -> Node:
    """The parts that a path names, in their places. Raises StackError with what could lie where something does not."""
    reader = _Reader(text, kernel)
    branch = reader.branch()
    if reader.at < len(text):
        raise reader.fail(f"{text[reader.at :]!r} is out of place; legs stand in brackets, as in raid1(nvme,nbd/virtio_net)")
    return reader.node(branch, ())


# ---- from what lies on what to a stack ------------------------------------------------------------------------------------


def load_path(text: str, kernel: str | None = None) -> Stack:
    """The stack that a path is: see `compose`."""
    return compose(text, kernel).stack


def compose(text: str, kernel: str | None = None) -> Composition:
    """The path composed, for a kernel (`…@6.1` says the same; Linux 6.12 where nobody asks for one).

    Raises StackError: an order that makes no sense is refused with what could lie there, a part with the place in its file.
    """
    before, _, suffix = text.partition("@")
    kernel = kernel or suffix or KERNEL
    if not re.fullmatch(r"\d+(\.\d+)+", kernel):
        raise StackError(text, [("kernel", f"{kernel!r} is not a kernel's version; write one such as 6.12")])
    # a file of one's own may change from one call to the next
    return _Composer(before, kernel).made() if FILE.search(f"{before}/") else _known(before, kernel)


@functools.lru_cache(maxsize=256)
def _known(path: str, kernel: str) -> Composition:
    return _Composer(path, kernel).made()


class _Composer:
    def __init__(self, path: str, kernel: str):
        self.path, self.kernel = path, kernel
        self.top = read_path(path, kernel)
        self.nodes = list(self.top.all())
        self.above = dict(_seen_above(self.top, frozenset()))
        self.stand_ins: dict[str, None] = {}
        self.pools: dict[str, dict[str, Any]] = {}
        self.throttle = self._throttle(self.top)
        self.let_go = frozenset(
            self._pool(node, name) for node in self.nodes for name, pool in node.part.pools.items() if pool.until
        )

    # ---- classes ----

    def made(self) -> Composition:
        request = self.top.part.request
        if request is None:
            raise StackError(self.path, [("", f"{self.top.part.name} submits nothing")])
        classes: dict[str, dict[str, Any]] = {}
        steps: dict[str, tuple[Placed, ...]] = {}
        known: dict[str, str] = {}
        for pages in self._sizes(request.largest):
            riding: dict[str, None] = {}  # the classes of this size that hold what lies above
            for walk in sorted(self._walks(pages), key=lambda walk: walk.alone):
                placed = _finished(walk.steps, self.let_go)
                data = [one.data for one in placed]
                if not any("take" in one or "serve" in one for one in data):
                    continue
                name = known.get(repr(data)) or self._named(walk, pages, classes)
                if not walk.alone:
                    riding[name] = None
                if name in classes and (not walk.alone or "beside" not in classes[name]):
                    classes[name].pop("beside", None)  # it is a class of its own right
                    continue
                if name not in classes:
                    known[repr(data)], steps[name] = name, placed
                    classes[name] = {"title": self._title(walk, pages), "steps": data, "servers": self._servers(data)}
                    classes[name] |= {"approximate": walk.why} | self._told(request)
                if walk.alone:
                    beside = classes[name].setdefault("beside", {})
                    beside |= {above: beside.get(above, 0) + walk.times for above in riding}
                if len(classes) > MOST_CLASSES:
                    raise StackError(
                        self.path,
                        [
                            (
                                "",
                                f"comes to more than {MOST_CLASSES} classes of request; judge it with something simple under one of the "
                                "legs, as in cache(nvme,disk)",
                            )
                        ],
                    )
        stack = self._stack(classes)
        return Composition(self.path, self.top, self.kernel, stack, steps, tuple(self.stand_ins))

    def _named(self, walk: Walk, pages: int, classes: dict[str, Any]) -> str:
        request = self.top.part.request
        name = "-".join([request.name if request else "", _size(pages), *walk.label, *(["alone"] if walk.alone else [])])
        return next(f"{name}{n}" for n in ("", *(f"-{n}" for n in range(2, MOST_CLASSES))) if f"{name}{n}" not in classes)

    def _told(self, request: Largest) -> dict[str, str]:
        told = self._source(self.top, request.source)
        return told or {"assumption": request.assumption}

    def _stack(self, classes: dict[str, dict[str, Any]]) -> Stack:
        used = {pool for cls in classes.values() for step in cls["steps"] for pool in _pools_of(step)}
        sources = {f"{node.part.name}/{key}": text for node in self.nodes for key, text in node.part.sources.items()}
        pools = {name: pool for name, pool in self.pools.items() if name in used}
        pools[RESERVE] = {"unit": "byte", "title": "memory of the path", "assumption": "what a question says that there is"}
        knob = self._knob()
        data = {
            "name": self.path,
            "title": " on ".join(node.part.title for node in self.nodes),
            "kernel": self.kernel,
            "description": f"Composed of {', '.join(node.part.name for node in self.nodes)}.",
            "sources": sources,
            "pools": pools,
            "requests": classes,
            "settings": ({} if knob is None else {"throttle": knob}) | self._stood_in(),
        }
        try:
            return Stack.model_validate(data)
        except ValidationError as error:
            raise stack_error(self.path, error) from None

    def _stood_in(self) -> dict[str, list[str]]:
        """Sizes that were not measured for this kernel."""
        return {"stand_ins": list(self.stand_ins)} if self.stand_ins else {}

    def _walks(self, pages: int) -> list[Walk]:
        return self._node(self.top, REQUEST, pages, Fraction(pages * PAGE), whole=True)

    def _sizes(self, largest: int) -> list[int]:
        """The sizes of request that classes are made of, in pages."""
        piece = min([largest, *(node.part.split.pages for node in self.nodes if node.part.split)])
        sizes = {1, piece, largest}
        most = self._walks(piece)
        for pages in (2**n for n in range(1, piece.bit_length())):
            walks = self._walks(pages) if pages < piece else most
            if len(walks) != len(most) or any(_more(walk.steps, larger.steps) for walk, larger in zip(walks, most)):
                sizes.add(pages)
        return sorted(sizes)

    def _title(self, walk: Walk, pages: int) -> str:
        return f"{_size(pages).replace('k', ' KiB').replace('m', ' MiB')}{', ' * bool(walk.label)}{', '.join(walk.label)}"

    def _servers(self, steps: Sequence[dict[str, Any]]) -> dict[str, int]:
        stations = {
            step["serve"]["station"] for step in steps if isinstance(step.get("serve"), dict) and "station" in step["serve"]
        }
        crews = {f"{node.name}/{station}": count for node in self.nodes for station, count in node.part.servers.items()}
        return {station: crews[station] for station in sorted(stations) if station in crews}

    # ---- walking down ----

    def _node(self, node: Node, entry: str, pages: int, size: Fraction, whole: bool) -> list[Walk]:
        """All ways down from a layer: `whole` requests may be split, and are of several kinds."""
        part = node.part
        if whole and part.split and pages > part.split.pages:
            pieces = self._node(node, entry, part.split.pages, Fraction(part.split.pages * PAGE), whole)
            if part.split.each == "in turn":
                return [replace(walk, why=walk.why or ENDS_EARLY) for walk in pieces]
            count = -(-pages // part.split.pages)
            return [
                *(replace(walk, why=walk.why or ALONE, times=walk.times * count) for walk in pieces),
                *(_by_itself(walk, count - 1) for walk in pieces if not walk.alone),
            ]
        if entry != REQUEST:
            if entry not in part.entries:
                have = ", ".join([*part.entries, *([REQUEST] if part.steps is not None or part.ways else [])])
                raise StackError(
                    self.path,
                    [
                        (
                            "",
                            f"the layer above calls {entry!r} of {part.name}, which has {have}{did_you_mean(entry, part.entries)}",
                        )
                    ],
                )
            return self._steps(node, part.entries[entry], f"entries.{entry}", pages, size)
        if part.steps is not None:
            return self._steps(node, part.steps, "steps", pages, size)
        if not part.ways:
            raise StackError(
                self.path, [("", f"{part.name} takes no whole requests; it has the entries {', '.join(part.entries)}")]
            )
        return [
            replace(walk, label=(name, *walk.label))
            for name, way in part.ways.items()
            for walk in self._steps(node, way.steps, f"ways.{name}.steps", pages, size)
        ]

    def _steps(self, node: Node, steps: Sequence[PartStep], place: str, pages: int, size: Fraction) -> list[Walk]:
        sizes = sizes_of(node.part, self.kernel, pages, size)
        there = [(n, step) for n, step in enumerate(steps) if pages >= step.from_pages and self._applies(node, step)]
        takes = [n for n, step in there if step.take or step.mempool or step.below is not None or step.fork]
        last = takes[-1] if takes else -1
        going, done = [Walk()], list[Walk]()
        for n, step in there:
            if step.submitted:
                going = [walk.then(Walk((Placed(node.name, node.part.name, {"name": "submitted"}, step),))) for walk in going]
            elif step.fork:
                going, ended = self._fork(node, step, f"{place}[{n}]", pages, size, going, n == last)
                done += ended
            elif step.below is None:
                placed = self._placed(node, step, sizes, f"{place}[{n}]")
                going = [walk.then(Walk((placed,))) for walk in going]
            else:
                going, ended = self._below(node, step, sizes, f"{place}[{n}]", going, n == last)
                done += ended
        self.stand_ins |= dict.fromkeys(sizes.stand_ins)
        return [*going, *done]

    def _below(
        self, node: Node, step: PartStep, sizes: Sizes, place: str, going: list[Walk], last: bool
    ) -> tuple[list[Walk], list[Walk]]:
        """The walks that go on behind a `below`, and those that end in it."""
        whole = step.below == REQUEST
        pages = self._amount(node, sizes, f"{place}.pages", step.pages)
        size = Fraction(self._amount(node, sizes, f"{place}.bytes", step.bytes))
        leg = node.legs[step.leg] if step.leg in node.legs else next(iter(node.legs.values()))
        below = self._node(leg, step.below or REQUEST, pages, size, whole)
        done = [walk for walk in below if walk.alone]
        riding = [upper.then(walk) for walk in below if not walk.alone for upper in going]
        if whole and len(node.legs) > 1:
            riding = [replace(walk, label=(*walk.label, step.name or step.leg)) for walk in riding]
        ended = [walk for walk in riding if walk.ends]
        through = [walk for walk in riding if not walk.ends]
        if not whole or last:
            return through, [*ended, *done]
        label = (step.name,) if step.name and len(node.legs) == 1 else ()
        through = [replace(walk, ends=True, label=(*walk.label, *label), why=walk.why or ENDS_EARLY) for walk in through]
        return going, [*ended, *done, *through]

    def _fork(
        self, node: Node, step: PartStep, place: str, pages: int, size: Fraction, going: list[Walk], last: bool
    ) -> tuple[list[Walk], list[Walk]]:
        """Each branch with what lies above, as the one that finishes last; and each by itself."""
        through: list[Walk] = []
        done: list[Walk] = []
        for n, branch in enumerate(step.fork):
            for walk in self._steps(node, branch, f"{place}.fork[{n}]", pages, size):
                if walk.alone:
                    done.append(walk)
                    continue
                through += [replace(upper.then(walk), why=walk.why or ALONE) for upper in going]
                done.append(_by_itself(walk, 1))
        ended = [walk for walk in through if walk.ends]
        through = [walk for walk in through if not walk.ends]
        if last:
            return through, [*ended, *done]
        return going, [*ended, *done, *(replace(walk, ends=True) for walk in through)]

    def _applies(self, node: Node, step: PartStep) -> bool:
        above, on = self.above[id(node)], {leg.part.name for leg in node.legs.values()}
        return (
            (not step.when or bool(above & set(step.when)))
            and not above & set(step.unless)
            and (not step.on or bool(on & set(step.on)))
            and not on & set(step.not_on)
        )

    # ---- numbers ----

    def _amount(self, node: Node, sizes: Sizes, place: str, amount: Any) -> Any:
        if not isinstance(amount, str):
            return amount
        try:
            return sizes.amount(amount)
        except ValueError as error:
            raise StackError(self.path, [(f"{node.part.name}: {place}", str(error))]) from None

    def _placed(self, node: Node, step: PartStep, sizes: Sizes, place: str) -> Placed:
        data = self._step(node, step, sizes, place)
        return Placed(node.name, node.part.name, data, step)

    def _step(self, node: Node, step: PartStep, sizes: Sizes, place: str) -> dict[str, Any]:
        data: dict[str, Any] = {"name": f"{node.name}/{step.name}" if step.name else node.name}
        for key in ("take", "mempool", "give", "floor"):
            given = getattr(step, key)
            if isinstance(given, list):
                data[key] = [self._amounts(node, one, sizes, f"{place}.{key}[{n}]") for n, one in enumerate(given)]
            elif given:
                data[key] = self._amounts(node, given, sizes, f"{place}.{key}")
        if not data.get("take"):  # nothing of it is needed for a request of this size
            data = {key: value for key, value in data.items() if key not in ("take", "mempool")}
        if (repeat := self._amount(node, sizes, f"{place}.repeat", step.repeat)) != 1:
            data["repeat"] = repeat
        if step.serve is not None:
            data["serve"] = self._serve(node, step.serve, sizes, place)
        if step.refused != "wait":
            data["refused"] = step.refused
            if isinstance(step.refused, dict) and "steps" in step.refused:
                inner = [PartStep.model_validate(one) for one in step.refused["steps"]]
                data["refused"] = {
                    "steps": [self._step(node, one, sizes, f"{place}.refused.steps[{n}]") for n, one in enumerate(inner)]
                }
        data |= {key: getattr(step, key) for key in ("right", "context", "assumption") if getattr(step, key)}
        return data | self._source(node, step.source)

    def _source(self, node: Node, source: str) -> dict[str, str]:
        return {"source": f"{node.part.name}/{source}" if source in node.part.sources else source} if source else {}

    def _amounts(self, node: Node, given: dict[str, Any], sizes: Sizes, place: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for pool, amount in given.items():
            if pool in ("right", "floor") and pool not in node.part.pools:
                made[pool] = amount if pool == "right" else self._amounts(node, amount, sizes, f"{place}.floor")
            elif (number := self._amount(node, sizes, f"{place}.{pool}", amount)) != 0:
                made[self._pool(node, pool)] = number
        return made

    def _serve(self, node: Node, given: dict[str, Any] | str, sizes: Sizes, place: str) -> Any:
        if given == "never":
            return given
        serve: dict[str, Any] = dict(given) if isinstance(given, dict) else {"mean": given}
        if isinstance(serve.get("mean"), str):
            try:
                serve["mean"] = sizes.seconds(serve["mean"])
            except ValueError as error:
                raise StackError(self.path, [(f"{node.part.name}: {place}.serve.mean", str(error))]) from None
        if "station" in serve:
            serve["station"] = f"{node.name}/{serve['station']}"
        return serve | self._source(node, serve.get("source", ""))

    # ---- pools ----

    def _throttle(self, node: Node) -> tuple[str, str] | None:
        """The instance and the pool that `depth=` means: the topmost one, above any fork."""
        if node.part.throttle is not None and not node.own and self._uses(node, node.part.throttle):
            return node.name, node.part.throttle
        return self._throttle(next(iter(node.legs.values()))) if len(node.legs) == 1 else None

    def _uses(self, node: Node, pool: str) -> bool:
        steps = (step for walk in node.part.walks.values() for step in _flat(walk))
        return any(self._applies(node, step) and isinstance(step.take, dict) and pool in step.take for step in steps)

    def _knob(self) -> Any:
        if self.throttle is None:
            return None
        instance, pool = self.throttle
        knob = next(node for node in self.nodes if node.name == instance).part.pools[pool].set
        return knob if knob is None or isinstance(knob, str) else knob.model_dump()

    def _pool(self, node: Node, name: str) -> str:
        """The name of a part's pool in the stack, where it is put at its first use."""
        if name == RESERVE or name not in node.part.pools:
            return name
        pool = node.part.pools[name]
        whose = node.part.name if pool.shared == "instance" and not node.own else node.name
        told = THROTTLE if (node.name, name) == self.throttle else name if pool.shared == "machine" else f"{whose}/{name}"
        sizes = sizes_of(node.part, self.kernel, 1, Fraction(PAGE))
        made = {
            "unit": pool.unit,
            "capacity": self._amount(node, sizes, f"pools.{name}.capacity", pool.capacity),
            "queue": pool.queue,
            "shared": pool.shared is not None or node.own,
            "hands_on": pool.until is not None,
            "title": pool.title,
            "assumption": pool.assumption,
        } | self._source(node, pool.source)
        there = self.pools.setdefault(told, made)
        for key in ("unit", "capacity", "queue"):
            if there[key] != made[key]:
                raise StackError(
                    self.path,
                    [
                        (
                            f"{node.part.name}: pools.{name}.{key}",
                            f"is {made[key]}, and {there[key]} in a part above; shared pools must agree",
                        )
                    ],
                )
        return told


def _seen_above(node: Node, above: frozenset[str]) -> Iterator[tuple[int, frozenset[str]]]:
    """Of each layer, the parts whose requests it sees: those above it, up to one that submits anew."""
    yield id(node), above
    below = above | {node.part.name} if node.part.anew is None else frozenset({node.part.name, *node.part.anew})
    for leg in node.legs.values():
        yield from _seen_above(leg, below)


def _flat(steps: Sequence[PartStep]) -> Iterator[PartStep]:
    for step in steps:
        yield step
        for branch in step.fork:
            yield from _flat(branch)


def _by_itself(walk: Walk, times: int) -> Walk:
    return replace(walk, alone=True, ends=True, why=walk.why or ALONE, times=times)


def _finished(steps: Sequence[Placed], let_go: frozenset[str]) -> tuple[Placed, ...]:
    """The steps with what is given back once the request is submitted: at the first mark below the take."""
    made: list[Placed] = []
    held: dict[str, int] = {}
    for one in steps:
        if one.step is not None and one.step.submitted:
            if held:
                made.append(replace(one, data={"name": f"{one.instance}/submitted", "give": held}))
            held = {}
            continue
        taken = one.data.get("take", {})
        if isinstance(taken, dict):
            held |= {pool: held.get(pool, 0) + amount for pool, amount in taken.items() if pool in let_go}
        made.append(one)
    return tuple(made)


def _more(steps: Sequence[Placed], larger: Sequence[Placed]) -> bool:
    """Whether a request takes more at some step than a larger one does."""
    if len(steps) != len(larger):
        return True
    for one, other in zip(steps, larger):
        for key in ("take", "mempool", "floor"):
            few, many = (_ways(step.data.get(key, {})) for step in (one, other))
            if len(few) != len(many) or any(
                amounts[pool] > most.get(pool, 0) for amounts, most in zip(few, many) for pool in amounts
            ):
                return True
    return False


def _ways(amounts: Any) -> list[dict[str, int]]:
    listed = amounts if isinstance(amounts, list) else [amounts]
    return [{pool: int(amount) for pool, amount in way.items() if pool not in ("right", "floor")} for way in listed]


def _pools_of(step: dict[str, Any]) -> Iterator[str]:
    for key in ("take", "mempool", "give", "floor"):
        for way in _ways(step.get(key, {})):
            yield from way
    if isinstance(step.get("refused"), dict):
        for inner in step["refused"].get("steps", ()):
            yield from _pools_of(inner)


def _size(pages: int) -> str:
    kib = pages * PAGE // 1024
    return f"{kib // 1024}m" if kib >= 1024 and kib % 1024 == 0 else f"{kib}k"
