"""The answer in pictures and tables, and the page that holds both."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator

from mmmodel.answers import plot
from mmmodel.host.survey.answer import SAFE, SAFE_IF, Answer
from mmmodel.host.survey.judging import size_text
from mmmodel.linux.watermarks import Right, lowmem_protection
from mmmodel.model.output import html_table
from mmmodel.model.units import format_bytes


def margin_figure(survey: Answer) -> plot.Shown | None:
    """What every path with the memalloc right and every ring needs of the reserve, beside what there is. None: nothing to draw."""
    bars: list[tuple[str, float, str]] = []
    done = set()
    for path in survey.paths:
        for judgement in path.judgements:
            key = judgement.device, judgement.stack.name
            if judgement.right == "memalloc" and not math.isinf(judgement.safe) and key not in done:
                done.add(key)
                bars.append((f"{judgement.stack.name}\n{judgement.device}", judgement.safe, judgement.state))
    bars += [
        (f"rings of {ring.nic}\n({ring.driver}: {ring.right})", float(ring.size), "ring") for ring in survey.rings if ring.size
    ]
    if not bars:
        return None
    size, name = plot.scale_bytes(max(survey.reserve, *(amount for _, amount, _ in bars)))
    figure, ax = plot.axes(8.0, 1.2 + 0.55 * len(bars))
    colours = {SAFE: plot.GREEN, SAFE_IF: plot.SKY, "ring": plot.ORANGE}
    hatches = {SAFE: "", SAFE_IF: "//", "ring": ".."}
    for row, (_, amount, state) in enumerate(bars):
        ax.barh(
            row, amount / size, color=colours.get(state, plot.VERMILION), hatch=hatches.get(state, "xx"), ec="white", height=0.6
        )
        ax.text(amount / size, row, f" {amount / size:,.4g} {name} ({state})", va="center", fontsize=9)
    ax.axvline(survey.reserve / size, color=plot.BLACK, lw=1.5, label=f"exclusive reserve, {survey.reserve / size:,.4g} {name}")
    if survey.reserve_at_least < survey.reserve:
        low = survey.reserve_at_least / size
        ax.axvline(
            low, color=plot.BLACK, lw=1.2, ls=":", label=f"the same, high-order atomic blocks taken off, {low:,.4g} {name}"
        )
    ax.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    ax.invert_yaxis()
    right = max(survey.reserve, *(amount for _, amount, _ in bars)) / size
    ax.set(xlabel=f"reserve ({name})", xlim=(0, right * 1.35))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=9, frameon=False)
    listed = "; ".join(f"{' '.join(label.split())} {format_bytes(amount)}, {state}" for label, amount, state in bars)
    alt = f"What needs the exclusive reserve of host {survey.host.name}, which is {format_bytes(survey.reserve)}: {listed}."
    return plot.Shown(figure, alt)


def floor_figure(survey: Answer) -> plot.Shown:
    """Free memory by right: what each right must leave, zone by zone, with what is free now."""
    host = survey.host
    rights: tuple[Right, ...] = ("ordinary", "atomic", "memalloc")
    floors = [host.floor(right) for right in rights]
    size, name = plot.scale_bytes(max(floors[0], 1))
    figure, ax = plot.axes(8.0, 2.4)
    lowmem = host.page_size * lowmem_protection(host.zones)
    for row, floor in enumerate(floors):
        apart = lowmem if rights[row] != "memalloc" else 0
        ax.barh(
            row, (floor - apart) / size, color=plot.WASTE, hatch="//", ec="white", height=0.6, label="" if row else "watermark"
        )
        if lowmem:
            label = "" if row else "lowmem protection"
            ax.barh(
                row, apart / size, left=(floor - apart) / size, color=plot.SKY, hatch="..", ec="white", height=0.6, label=label
            )
        ax.text(floor / size, row, f" must leave {floor / size:,.4g} {name}", va="center", fontsize=9)
    reserve = survey.reserve / size
    ax.axvline(reserve, color=plot.BLUE, lw=1.5, ls="--", label=f"exclusive reserve, {reserve:,.4g} {name}")
    ax.set_yticks(range(3), rights)
    ax.invert_yaxis()
    ax.set(xlabel=f"free memory ({name})", xlim=(0, floors[0] / size * 1.3))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False)
    listed = "; ".join(f"{right} {format_bytes(floor)}" for right, floor in zip(rights, floors, strict=True))
    return plot.Shown(
        figure,
        f"What a request of each right must leave free on host {host.name}: {listed}; of each but the last "
        f"{format_bytes(lowmem)} is lowmem protection, which is not part of the exclusive reserve: that is {format_bytes(survey.reserve)}.",
    )


def page(survey: Answer) -> str:
    """The page that stands alone: the table, the figures, and all of the text."""
    figures = [figure for figure in (margin_figure(survey), floor_figure(survey)) if figure is not None]
    title = html.escape(f"Writeout paths of host {survey.host.name}")
    style = (
        "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
        "td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}pre{white-space:pre-wrap}img{max-width:100%}"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>\n'
        f"<body><h1>{title}</h1>\n{table_html(survey)}\n"
        + "\n".join(figure._repr_html_() for figure in figures)
        + f"\n<pre>{html.escape(str(survey))}</pre>\n</body></html>\n"
    )


def table_rows(survey: Answer) -> Iterator[tuple[str, ...]]:
    """The head and a line a judgement (or a path without one) of the survey as a table."""
    yield "path", "layers", "stack", "depth", "one request", "safe from", "never waits from", "may use", "verdict"
    for path in survey.paths:
        where, layers = f"{path.use} {path.device}", " on ".join(path.layers)
        for j in path.judgements:
            depth = "-" if j.depth is None else f"{j.depth:,}"
            yield (
                where,
                layers,
                j.stack.name,
                depth,
                size_text(j.one),
                size_text(j.safe),
                size_text(j.free),
                format_bytes(j.have),
                j.state,
            )
        if not path.judgements:
            yield where, layers, "-", "-", "-", "-", "-", "-", path.state


def table_html(survey: Answer) -> str:
    """The same as an HTML table."""
    head, *rows = table_rows(survey)
    return html_table(head, rows)
