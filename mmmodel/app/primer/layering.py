"""Layers on one another and paths beside one another: what each adds to the three reserves, and when one may be judged alone.

without   the path with one of its inner layers left out, where what is left can still lie on one another
cut       a path divided between two layers: the steps of the layers above, and those of the layers below, each as a stack by itself
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmmodel.answers import compare, plot, sizing
from mmmodel.app.primer.parameters import Known, Read, check
from mmmodel.linux.host import load_host
from mmmodel.model.joint import joint
from mmmodel.model.machine import memory_of
from mmmodel.model.paths import Composition, compose
from mmmodel.model.stack import RESERVE, QuestionError, Stack, StackError
from mmmodel.model.units import format_bytes

PLENTY = 2**50  # bytes of a reserve for which nobody waits
PARAMETERS: Known = {
    "path": Read(compose, "a path of layers, such as swap/crypt/nbd/nic"),
    "other": Read(compose, "another path of layers, such as swap/iscsi/nic"),
    "host": Read(load_host, 'a recorded host, a folder with one, or "host"'),
}


@dataclass(frozen=True)
class Cut:
    """A path divided between two layers. Sizes in bytes; `shared`: pools that both parts take from, besides the reserve."""

    above: tuple[str, ...]
    below: tuple[str, ...]
    free: float  # R_free of what is above
    safe: float  # R_safe of what is below
    shared: tuple[str, ...]

    @property
    def enough(self) -> float:
        """What JNT-4 says is enough for the whole."""
        return self.free + self.safe


@dataclass(frozen=True)
class Layers:
    """A path and another one beside it, on one machine. Raises QuestionError for a parameter that is none."""

    path: str
    other: str
    host: str

    def __post_init__(self) -> None:
        check(PARAMETERS, vars(self))

    @cached_property
    def composed(self) -> Composition:
        return compose(self.path)

    @cached_property
    def whole(self) -> Stack:
        return self.composed.stack

    @cached_property
    def beside(self) -> Stack:
        """The other path."""
        return compose(self.other).stack

    def steps(self) -> compare.Rows:
        """The steps of the first class, each with the layer that it is from."""
        cls = next(iter(self.composed.steps))
        rows = []
        for placed, step in zip(self.composed.steps[cls], self.whole.requests[cls].steps, strict=True):
            ways = step.take if isinstance(step.take, list) else [step.take]
            takes = " or ".join(_amounts({pool: n for pool, n in way.items() if pool != "right"}) for way in ways if way)
            rows.append((placed.instance, step.name, takes + _mempool(step), _amounts(step.give), step.right or "-"))
        return compare.Rows(("layer", "step", "takes", "gives back", "right"), rows)

    # ---- a layer more --------------------------------------------------------------------------------------------------

    @cached_property
    def variants(self) -> dict[str, tuple[float, float, float]]:
        """R_one, R_safe and R_free (bytes) of the path without each of its inner layers that may be left out, and of the whole."""
        words = self.path.partition("@")[0].split("/")
        found: dict[str, tuple[float, float, float]] = {}
        for at in range(1, len(words) - 1):
            shorter = "/".join(words[:at] + words[at + 1 :])
            try:
                found[shorter] = _three(compose(shorter).stack)
            except StackError:  # what is left does not lie on one another
                continue
        return found | {self.path: _three(self.whole)}

    def figure(self) -> plot.Shown:
        """The three reserves of the whole path, and of what it is without one of its layers."""
        names = list(self.variants)
        finite = [size for sizes in self.variants.values() for size in sizes if math.isfinite(size)]
        size, unit = plot.scale_bytes(max(finite, default=1))
        figure, ax = plot.axes(8.0, 1.6 + 0.6 * len(names))
        looks = (("$R_{free}$", plot.GREEN, "^", 2), ("$R_{safe}$", plot.BLUE, "o", 1), ("$R_{one}$", plot.BLACK, "s", 0))
        for row, name in enumerate(names):
            reach = [value for value in self.variants[name] if math.isfinite(value)]
            ax.plot([min(reach) / size, max(reach) / size], [row, row], color=plot.WASTE, lw=3, zorder=1)
        for label, colour, marker, which in looks:
            at = [(sizes[which] / size, row) for row, sizes in enumerate(self.variants.values()) if math.isfinite(sizes[which])]
            ax.plot(*zip(*at), color=colour, marker=marker, ms=9, ls="", label=label) if at else None
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel=f"reserve ({unit})", ylim=(len(names) - 0.5, -0.5))
        ax.set_xlim(left=-0.02 * max(finite, default=1) / size)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False)
        told = "; ".join(f"{name}: {', '.join(map(_bytes, sizes))}" for name, sizes in self.variants.items())
        return plot.Shown(figure, f"R_one, R_safe and R_free of the path with and without each of its inner layers. {told}.")

    def added(self) -> Iterator[str]:
        """What each layer that may be left out adds, in words."""
        whole = self.variants[self.path]
        for name, sizes in self.variants.items():
            if name != self.path:
                (layer,) = set(self.path.split("/")) - set(name.split("/")) or {"the layer"}
                changes = (
                    f"{label} {_change(few, many)}" for label, few, many in zip(("R_one", "R_safe", "R_free"), sizes, whole)
                )
                yield f"{layer}: {', '.join(changes)}"

    # ---- a layer alone -------------------------------------------------------------------------------------------------

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """The path divided at each place between two of its layers."""
        layers = [node.name for node in self.composed.top.all()]
        if len(set(layers)) != len(layers) or any(len(node.legs) > 1 for node in self.composed.top.all()):
            raise QuestionError(
                f"path: {self.path} lies on several things, and has no one place between two layers; choose one in a line"
            )
        return tuple(self._cut(layers[:at], layers[at:]) for at in range(1, len(layers)))

    def _cut(self, above: Sequence[str], below: Sequence[str]) -> Cut:
        upper, lower = (self._only(part) for part in (above, below))
        free = sizing.wait_free_reserve(upper) if upper is not None else 0
        safe = sizing.safe_reserve(lower) if lower is not None else 0
        shared = set() if upper is None or lower is None else (upper.pools.keys() & lower.pools.keys()) - {RESERVE}
        return Cut(tuple(above), tuple(below), free, safe, tuple(sorted(shared)))

    def _only(self, instances: Sequence[str]) -> Stack | None:
        """The steps of these layers as a stack (None: they take nothing): as many requests at once as the whole path lets there be."""
        data = self.whole.model_dump(mode="json", exclude_defaults=True)
        system = self.whole.system(reserve=PLENTY)
        most = {cls.name: count for cls, count in zip(system.classes, system.in_flight)}
        # who is let go further down leaves such a pool, and more may follow: how many there are is the population
        let_go = {name for name, pool in self.whole.pools.items() if pool.hands_on}
        classes: dict[str, Any] = {}
        for name, cls in data["requests"].items():
            own = [
                step for placed, step in zip(self.composed.steps[name], cls["steps"], strict=True) if placed.instance in instances
            ]
            steps: list[dict[str, Any]] = []
            taken: set[str] = set()
            for step in own:
                given = {pool: amount for pool, amount in step.get("give", {}).items() if pool in taken}
                take = step.get("take", {})
                kept = {key: value for key, value in step.items() if key not in ("give", "take")} | (
                    {"give": given} if given else {}
                )
                if isinstance(take, dict):
                    take = {pool: amount for pool, amount in take.items() if pool not in let_go}
                kept |= {"take": take} if take else {}
                taken |= _taken(kept)
                steps += [kept] if kept.keys() & {"take", "give", "serve"} else []
            if any("take" in step for step in steps):
                classes[name] = {key: value for key, value in cls.items() if key != "beside"} | {
                    "steps": steps,
                    "depth": most[name],
                }
                classes[name].pop("servers", None)
        if not classes:
            return None
        used = {pool for cls in classes.values() for step in cls["steps"] for pool in _taken(step)} | {RESERVE}
        pools = {name: pool for name, pool in data["pools"].items() if name in used}
        return Stack.model_validate(
            {"name": "/".join(instances), "sources": data.get("sources", {}), "pools": pools, "requests": classes}
        )

    def cut_table(self) -> compare.Rows:
        """What JNT-4 counts at each place, beside what the whole path needs."""
        whole = self.variants[self.path][1]
        rows = [
            (
                "/".join(cut.above),
                "/".join(cut.below),
                *map(_bytes, (cut.free, cut.safe, cut.enough, whole)),
                ", ".join(cut.shared) or "-",
            )
            for cut in self.cuts
        ]
        return compare.Rows(
            ("above", "below", "R_free above", "R_safe below", "enough", "R_safe of the whole", "shared pools"), rows
        )

    # ---- paths beside one another --------------------------------------------------------------------------------------

    @cached_property
    def together(self) -> Stack:
        return joint(self.whole, self.beside)

    @cached_property
    def reserves(self) -> tuple[float, float, float]:
        """R_safe (bytes) of each of the two paths alone, and of both on one reserve."""
        whole, beside, both = (sizing.safe_reserve(stack) for stack in (self.whole, self.beside, self.together))
        return whole, beside, both

    def sharing(self) -> str:
        """What it costs, or saves, that the two paths share one reserve."""
        whole, beside, both = self.reserves
        saved = whole + beside - both
        less = (
            f"{_bytes(saved)} less than the sum"
            if saved > 0
            else f"{_bytes(-saved)} more than the sum"
            if saved < 0
            else "the sum"
        )
        return f"alone {_bytes(whole)} and {_bytes(beside)}; on one reserve {_bytes(both)}" + (
            "" if math.isinf(both) else f", {less}"
        )

    @cached_property
    def verdicts(self) -> dict[str, sizing.Verdict]:
        """On the machine's memory: each path alone, and both together."""
        memory = memory_of(load_host(self.host))
        stacks = {self.path: self.whole, self.other: self.beside, "both": self.together}
        return {name: sizing.verdict(stack, host=memory) for name, stack in stacks.items()}

    def on_the_machine(self) -> compare.Rows:
        """The verdicts, with the pools of the deadlock or the first condition."""
        rows = [
            (name, found.word, ", ".join(sorted(found.cycle)) or next(iter(found.conditions), "-"))
            for name, found in self.verdicts.items()
        ]
        return compare.Rows(("path", f"on {self.host}", "deadlock over, or condition"), rows)

    # ---- evidence ------------------------------------------------------------------------------------------------------

    def evidence(self) -> compare.Table:
        """JNT-4 at each cut that shares no pool, the joint reserve on both sides, and the joint verdict against those alone."""
        table = compare.Table()
        whole, beside, both = self.reserves
        for cut in self.cuts:
            if not cut.shared and math.isfinite(cut.enough):
                what = f"R_free({'/'.join(cut.above)}) + R_safe({'/'.join(cut.below)}) is enough for the whole"
                found = sizing.verdict(self.whole, reserve=int(cut.enough))
                table.add(what, True, found.safe and whole <= cut.enough, found.rung, found.method)
        if math.isfinite(both):
            found = sizing.verdict(self.together, reserve=int(both))
            table.add("both paths at their joint R_safe: safe", True, found.safe, found.rung, found.method)
        alone = [found.safe for name, found in self.verdicts.items() if name != "both"]
        said = self.verdicts["both"]
        table.add("both are safe on the machine only if each is", True, all(alone) or not said.safe, said.rung, said.method)
        return table

    def as_dict(self) -> dict[str, Any]:
        """What the notebook saves as its results."""
        whole, beside, both = self.reserves
        return {
            "headline": f"{self.path}: safe from {_bytes(whole)}; with {self.other} from {_bytes(both)}; on {self.host} together {self.verdicts['both'].word}",
            "path": self.path,
            "other": self.other,
            "host": self.host,
            "reserves": {name: list(sizes) for name, sizes in self.variants.items()},
            "alone": [whole, beside],
            "together": both,
            "enough": [cut.enough for cut in self.cuts],
            "verdicts": {name: found.word for name, found in self.verdicts.items()},
        }


def _three(stack: Stack) -> tuple[float, float, float]:
    return sizing.footprint(stack), sizing.safe_reserve(stack), sizing.wait_free_reserve(stack)


def _taken(step: dict[str, Any]) -> set[str]:
    """The pools that a step takes from, by any way."""
    take = step.get("take", {})
    ways = take if isinstance(take, list) else [take]
    inner = step["refused"].get("steps", []) if isinstance(step.get("refused"), dict) else []
    found = {pool for way in (*ways, step.get("mempool", {})) for pool in way if pool not in ("right", "floor")}
    return found.union(*(_taken(one) for one in inner))


def _amounts(amounts: Any) -> str:
    return ", ".join(f"{pool} {amount:,}" if isinstance(amount, int) else str(pool) for pool, amount in amounts.items()) or "-"


def _mempool(step: Any) -> str:
    return f", else {_amounts(step.mempool)}" if step.mempool else ""


def _change(few: float, many: float) -> str:
    if math.isinf(few) or math.isinf(many):
        return f"from {_bytes(few)} to {_bytes(many)}"
    sign = "+" if many >= few else "−"
    return f"{sign}{format_bytes(abs(int(many - few)))}"


def _bytes(size: float) -> str:
    return "no size" if math.isinf(size) else format_bytes(int(size))
