"""The answer in pictures and tables, and the page that holds both."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator

from mmmodel.answers import plot
from mmmodel.host.survey.answer import CONSUMES, SAFE, SAFE_IF, Answer
from mmmodel.host.survey.judging import size_text
from mmmodel.linux.watermarks import Right, lowmem_protection
from mmmodel.model.output import html_table
from mmmodel.model.units import format_bytes

OTHERS = "others"
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # a label across a line


def margin_figure(survey: Answer) -> plot.Shown | None:
    """What every path may draw of the memory below the ordinary floor, beside what others may keep there. None: nothing to draw."""
    memory, whole = survey.memory, survey.together
    bars: dict[str, tuple[float, str]] = {}
    counted = memory.capacity - memory.page * sum(memory.parked.values())

    def needs(spare: float) -> float:
        return max(0.0, counted - spare) if math.isfinite(spare) else 0.0

    for path in survey.paths:
        for j in path.judgements:
            label = f"{j.stack.name}\n{j.device}"
            if j.verdict.safe:
                bars.setdefault(label, (needs(j.spare), j.state))
            elif j.state != CONSUMES:
                bars.setdefault(label, (math.inf, j.state))
    if not bars:
        return None
    if whole is not None:
        bars["all together"] = (needs(whole.spare) if whole.verdict.safe else math.inf, whole.state)
    for name, pages in memory.parked.items():
        if pages:
            bars[f"{name}\n(others may keep it)"] = (float(pages * memory.page), OTHERS)
    for ring in survey.rings:
        if ring.size:
            bars[f"rings of {ring.nic}\n({ring.driver}: {ring.right})"] = (float(ring.size), OTHERS)
    most = max(memory.capacity, *(amount for amount, _ in bars.values() if math.isfinite(amount)))
    size, name = plot.scale_bytes(most)
    figure, ax = plot.axes(8.0, 1.2 + 0.55 * len(bars))
    colours = {SAFE: plot.GREEN, SAFE_IF: plot.SKY, OTHERS: plot.ORANGE}
    hatches = {SAFE: "", SAFE_IF: "//", OTHERS: ".."}
    for row, (amount, state) in enumerate(bars.values()):
        width = most if math.isinf(amount) else amount
        ax.barh(
            row, width / size, color=colours.get(state, plot.VERMILION), hatch=hatches.get(state, "xx"), ec="white", height=0.6
        )
        ax.text(width / size, row, f" {_needs(amount, size, name)} ({state})", va="center", fontsize=9, bbox=CLEAR)
    floor = memory.capacity / size
    ax.axvline(floor, color=plot.BLACK, lw=1.5, label=f"below the ordinary floor, {floor:,.4g} {name}")
    ax.set_yticks(range(len(bars)), list(bars))
    ax.invert_yaxis()
    ax.set(xlabel=f"free memory below the ordinary floor ({name})", xlim=(0, most / size * 1.5))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=9, frameon=False)
    listed = "; ".join(
        f"{' '.join(label.split())} {'more than there is' if math.isinf(amount) else format_bytes(amount)}, {state}"
        for label, (amount, state) in bars.items()
    )
    alt = (
        f"What may be drawn of the {format_bytes(memory.capacity)} below the ordinary floor of host {survey.host.name}, by path and by "
        f"others: {listed}."
    )
    return plot.Shown(figure, alt)


def _needs(amount: float, size: float, name: str) -> str:
    return "more than there is" if math.isinf(amount) else f"{amount / size:,.4g} {name}"


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
    yield "path", "layers", "stack", "depth", "one request", "safe from", "never waits from", "to spare", "verdict"
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
                "any" if math.isinf(j.spare) else format_bytes(j.spare),
                j.state,
            )
        if not path.judgements:
            yield where, layers, "-", "-", "-", "-", "-", "-", path.state
    if survey.together is not None:
        spare = survey.together.spare
        yield (
            "all together",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "any" if math.isinf(spare) else format_bytes(spare),
            survey.together.state,
        )


def table_html(survey: Answer) -> str:
    """The same as an HTML table."""
    head, *rows = table_rows(survey)
    return html_table(head, rows)
