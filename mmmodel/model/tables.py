"""A stack as it is shown: pools, steps with what they take and give back, sources."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmmodel.model import output
from mmmodel.model.units import counted, format_bytes, format_seconds

if TYPE_CHECKING:
    from mmmodel.model.stack import Amounts, Serve, Stack, Step


def _rows(stack: Stack) -> Iterator[tuple[str, ...]]:
    for name, cls_ in stack.requests.items():
        for step in cls_.steps:
            yield from _step_rows(stack, name, step)


def _step_rows(stack: Stack, name: str, step: Step) -> Iterator[tuple[str, ...]]:
    served = "" if step.serve is None else "never ends" if step.serve == "never" else _served(step.serve)
    times = f" ×{step.repeat}" if step.repeat > 1 else ""
    why = step.source or (f"assumed: {step.assumption}" if step.assumption else "")
    takes = [_amounts(stack, step.take, step.floor), *(_amounts(stack, way.take, way.floor) for way in step.otherwise)]
    if step.mempool:
        takes.append(f"{_amounts(stack, step.mempool)} (mempool)")
    yield name, step.name + times, " or ".join(takes), served, _amounts(stack, step.give), why
    for other in getattr(step.refused, "steps", ()):
        for _, inner, *rest in _step_rows(stack, name, other):
            yield name, f"  if refused: {inner}", *rest


def _served(serve: Serve) -> str:
    shapes = "".join(f", {key} {value:g}" for key, value in serve.shapes.items())
    dist = "" if serve.dist == "expon" else f" {serve.dist}{shapes}"
    where = f" at {serve.station}" if serve.station else ""
    servers = "" if serve.servers is None else f" on {counted(serve.servers, 'server')}"
    return format_seconds(serve.mean) + dist + servers + where


def _amounts(stack: Stack, amounts: Amounts, floor: Amounts | None = None) -> str:
    parts = []
    for pool, amount in amounts.items():
        text = format_bytes(amount) if stack.pools[pool].unit == "byte" else str(amount)
        if floor and floor.get(pool):
            text += f" above {format_bytes(floor[pool]) if stack.pools[pool].unit == 'byte' else floor[pool]}"
        parts.append(f"{pool} {text}")
    return ", ".join(parts)


def _heads(stack: Stack) -> Iterator[str]:
    yield f"{stack.name}: {stack.title}" if stack.title else stack.name
    for name, pool in stack.pools.items():
        capacity = "asked" if pool.capacity is None else counted(pool.capacity, pool.unit)
        why = pool.source or (f"assumed: {pool.assumption}" if pool.assumption else "")
        yield f"pool {name}: {capacity}" + (f"  [{why}]" if why else "")


_COLUMNS = ("class", "step", "takes", "served", "gives back", "source")


def text_table(stack: Stack) -> str:
    """The stack as text: its pools, its steps in columns, its sources."""
    return "\n".join(_lines(stack))


def _lines(stack: Stack) -> Iterator[str]:
    yield from _heads(stack)
    rows = [_COLUMNS, *_rows(stack)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS) - 1)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip()
    for key, text in stack.sources.items():
        yield f"[{key}] {text}"


def html_table(stack: Stack) -> str:
    """The same for a notebook."""
    heads = "<br>".join(html.escape(line) for line in _heads(stack))
    foot = "".join(f"<li><b>{html.escape(key)}</b> {html.escape(text)}</li>" for key, text in stack.sources.items())
    return f"<p>{heads}</p>{output.html_table(_COLUMNS, _rows(stack))}<ul>{foot}</ul>"
