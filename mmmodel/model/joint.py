"""Several writeout paths on one memory, as one system.

joint   one stack of several: they share the reserve and the pools that a machine has one of; everything else is each one's own
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.stack import LARGEST, RESERVE, THROTTLE, QuestionError, Stack, stack_error

AMOUNTS = ("take", "give", "floor", "mempool")


def joint(*paths: Askable | tuple[Askable, int]) -> Stack:
    """The paths as one stack, each a stack, or a stack with the depth of its throttle: `joint("nbd-tcp", ("iscsi-tcp", 32))`.

    The pool `reserve` and pools that are `shared` are one for all, and must agree in unit, queue and capacity (where some path leaves
    the capacity open, or they differ in that of the reserve, it is open). Other pools, classes and stations have the name of their path
    in front: "nbd-tcp/throttle", "nbd-tcp/write-4k". A class's depth, or its throttle, bounds it as before.

    Of stacks on the reserve alone, given back at completion, R_safe of all is at most the sum of theirs: each further one that waits for t
    or more saves t, the threshold that is the worst for all together (JNT-1 of `bounds`). Raises QuestionError for fewer
    than two paths, a throttle without a capacity, and shared pools that do not agree; StackError for files that cannot be used.
    """
    if len(paths) < 2:
        raise QuestionError(f"joint: {len(paths)} path given; write two or more")
    data: dict[str, Any] = {"name": "", "sources": {}, "pools": {}, "requests": {}}
    names: list[str] = []
    for path in paths:
        stack, depth = (as_stack(path[0]), path[1]) if isinstance(path, tuple) else (as_stack(path), None)
        name = _unused(stack.name, names)
        names.append(name)
        _add(data, name, stack, depth)
    data["name"] = " + ".join(names)
    data["title"] = "on one memory"
    try:
        return Stack.model_validate(data)
    except ValidationError as error:  # a depth that lets nobody in
        raise QuestionError(str(stack_error(data["name"], error))) from None


def _unused(name: str, names: list[str]) -> str:
    number = next(n for n in range(1, len(names) + 2) if (name if n == 1 else f"{name}-{n}") not in names)
    return name if number == 1 else f"{name}-{number}"


def _add(data: dict[str, Any], name: str, stack: Stack, depth: int | None) -> None:
    one = stack.model_dump(mode="json")
    if depth is not None and THROTTLE not in one["pools"]:
        raise QuestionError(f"joint: stack {stack.name} has no throttle to give a depth to; give its classes depths")
    if depth is not None:
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= LARGEST:
            raise QuestionError(
                f"joint: the depth of stack {stack.name} is {depth!r}; write a whole number from 1 to {LARGEST:,}"
            )
        one["pools"][THROTTLE]["capacity"] = depth
    if THROTTLE in one["pools"] and one["pools"][THROTTLE]["capacity"] is None:
        raise QuestionError(
            f"joint: the throttle of stack {stack.name} has no capacity; give the stack with a depth, as ({stack.name!r}, 128)"
        )
    new = {pool: pool if pool == RESERVE or told.get("shared") else f"{name}/{pool}" for pool, told in one["pools"].items()}
    data["sources"] |= {f"{name}/{key}": text for key, text in one["sources"].items()}
    for pool, told in one["pools"].items():
        _named(told, name, one["sources"])
        there = data["pools"].setdefault(new[pool], told)
        if there is not told:
            _agree(there, told, pool, name)
    for cls, told in one["requests"].items():
        _named(told, name, one["sources"])
        told["servers"] = {f"{name}/{station}": count for station, count in told["servers"].items()}
        for step in told["steps"]:
            _renamed(step, new, name, one["sources"])
        if "beside" in told:
            told["beside"] = {f"{name}/{other}": times for other, times in told["beside"].items()}
        data["requests"][f"{name}/{cls}"] = told


def _agree(there: dict[str, Any], told: dict[str, Any], pool: str, name: str) -> None:
    for key in ("unit", "queue"):
        if there.get(key) != told.get(key):
            raise QuestionError(
                f"joint: pool {pool!r} of {name} has {key} {told.get(key)!r}, and {there.get(key)!r} in a path before it"
            )
    if there["capacity"] != told["capacity"]:
        if pool != RESERVE:
            raise QuestionError(
                f"joint: pool {pool!r} of {name} has {told['capacity']}, and {there['capacity']} in a path before it"
            )
        there["capacity"] = None


def _named(told: dict[str, Any], name: str, sources: dict[str, Any]) -> None:
    """The source of a pool, class or step, by its new key."""
    if told.get("source") in sources:
        told["source"] = f"{name}/{told['source']}"


def _renamed(step: dict[str, Any], new: dict[str, str], name: str, sources: dict[str, Any]) -> None:
    _named(step, name, sources)
    for way in (step, *step.get("otherwise", ())):
        for key in AMOUNTS:
            if key in way:
                way[key] = {new[pool]: amount for pool, amount in way[key].items()}
    if isinstance(step["serve"], dict):
        _named(step["serve"], name, sources)
        if step["serve"]["station"]:
            step["serve"]["station"] = f"{name}/{step['serve']['station']}"
    if isinstance(step["refused"], dict):
        for inner in step["refused"].get("steps", ()):
            _renamed(inner, new, name, sources)
