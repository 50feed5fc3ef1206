"""What the notebook of the real kernel says of the recorded runs: each sentence from the runs that are shown, each frequency with its series."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from mmmodel.answers import compare, plot
from mmmodel.app.primer.parameters import Chosen, Known, Read, some
from mmmodel.host.lab import figures as plot_lab
from mmmodel.host.lab import measured
from mmmodel.host.lab.measured import Frequency, Run
from mmmodel.model.stack import QuestionError

KERNEL = "cloud-6.1"  # that of the guest whose watermarks the threshold was computed from
RECORDERS = ("lab", "prototype", "both")
Curves = dict[str, dict[int, Frequency]]  # by series, then by vm.min_free_kbytes


def kernels() -> list[str]:
    """The kernels of which there are runs for the first figure, as the lab names them."""
    runs = measured.recorded_runs()
    found = dict.fromkeys(run.settings.get("kernel", KERNEL) for run in runs)
    return sorted(name for name in found if measured.thresholds(runs, name))


PARAMETERS: Known = {
    "recorder": Chosen(RECORDERS),
    "kernel": Chosen(kernels),
    "live": Read(str, "the name of an experiment of the lab, such as demonstration", empty=True),
}


def chosen(runs: Iterable[Run], recorder: str, kernel: str) -> Curves:
    """The series of a recorder (or of both) on a kernel. Raises QuestionError where there is none."""
    runs = list(runs)
    mine = [run for run in runs if recorder in (run.recorder, "both")]
    found = measured.thresholds(mine, kernel)
    if not found:
        others = [who for who in RECORDERS if measured.thresholds([run for run in runs if who in (run.recorder, "both")], kernel)]
        raise QuestionError(
            f"recorder, kernel: {recorder!r} has no runs on {kernel!r} that could be drawn; with this kernel choose {' or '.join(others)}"
        )
    return found


def pooled(found: Iterable[Frequency]) -> Frequency | None:
    """All of them together; None of nothing."""
    listed = list(found)
    return functools.reduce(operator.add, listed) if listed else None


def sides(curves: Curves, least_safe: int) -> tuple[list[Frequency], list[Frequency]]:
    """For each series its runs below a threshold, and those from it on; a side without runs is left out."""
    below = [pooled(f for at, f in found.items() if at < least_safe) for found in curves.values()]
    above = [pooled(f for at, f in found.items() if at >= least_safe) for found in curves.values()]
    return [f for f in below if f], [f for f in above if f]


def threshold_figure(curves: Curves, least_safe: int) -> plot.Shown:
    """The share of runs that hung against vm.min_free_kbytes, a curve a series, with the predicted threshold."""
    figure, ax = plot.axes(8, 4.4)
    plot_lab.threshold(ax, curves, least_safe)
    below, above = sides(curves, least_safe)
    alt = (
        f"Share of runs that hung against vm.min_free_kbytes, with 95 percent intervals, a curve for each series; "
        f"a dashed line marks the predicted threshold, {least_safe:,}. Left of it: {_listed(below)}. Right of it: {_listed(above)}."
    )
    return plot.Shown(figure, alt)


def answer(runs: Iterable[Run], curves: Curves, kernel: str, least_safe: int, short: Frequency) -> str:
    """Whether the kernel hangs, what was said beforehand, and how far that was right: of the runs drawn, and of all."""
    runs = list(runs)
    drawn = pooled(f for found in curves.values() for f in found.values())
    below, above = sides(curves, least_safe)
    said = [f"**The answer** for `{kernel}` and the series drawn."]
    if drawn is not None and drawn.hangs:
        mine = [run for run in measured.threshold_runs(runs, kernel) if run.series_name in curves]
        watched = [run.last_progress for run in mine if run.hung and run.recorder == "lab"]
        soon = f", at the latest {max(watched):.0f} s after the load began where that was watched" if watched else ""
        killed = sum(run.verdict == "oom" for run in mine)
        ended = "no OOM kill ends it" if not killed else f"an OOM kill ended {killed} of the runs"
        said.append(f"Yes: the kernel hangs ({drawn.words}){soon}, and {ended}.")
    elif drawn is not None:
        said.append(
            f"Not that it was seen: {drawn.words}, so that the share is below {drawn.interval[1]:.2f} (95 %). That does not prove that it never does."
        )
    said.append(
        "Beforehand the model knew the lock, and for every way to swap that was tried whether one is there; it put the threshold of "
        f"`vm.min_free_kbytes` at **{least_safe:,}**. Below it {_listed(below)}; from it on {_listed(above)}."
    )
    wrong = [f for f in above if f.hangs]
    everywhere = [f for f in sides(measured.thresholds(runs, KERNEL), least_safe)[1] if f.hangs]
    if wrong:
        said.append(f"The latter should be none: **the threshold was wrong**, as {_listed(wrong)} show.")
    elif everywhere:
        said.append(
            f"The latter should be none, and is none in the series drawn. Yet **the threshold was wrong**: of all that was recorded on `{KERNEL}`, {_listed(everywhere)}."
        )
    else:
        said.append("The latter should be none, and is.")
    if wrong or everywhere:
        said.append(
            "What the rule had left out, the pages of per-cpu lists, is found, measured and put into the model below; "
            f"with these lists cut short, {short.words}."
        )
    return " ".join(said)


def headline(curves: Curves, kernel: str, least_safe: int, short: Frequency) -> str:
    """The same in one line, for the index."""
    below, above = (_listed(side) for side in sides(curves, least_safe))
    return f"{kernel}: first rule safe from min_free_kbytes {least_safe:,} on; below it {below}; from it on {above}; lists cut short: {short.words}"


def drawn_numbers(curves: Curves) -> dict[str, Any]:
    """The first figure as numbers: each series' (setting, share, low, high), and [hangs, runs] of all that is drawn."""
    drawn = pooled(f for found in curves.values() for f in found.values())
    points = {name: [(at, f.share, *f.interval) for at, f in found.items()] for name, found in curves.items()}
    return {"first_figure": points, "hung": [drawn.hangs, drawn.runs] if drawn else [0, 0]}


def live_runs(experiment: str | None) -> list[Run]:
    """The runs of an experiment of the lab, made now: a series of their own. Raises ValueError; none where no experiment is named."""
    return [replace(run, recorder="live") for run in measured.rerun([experiment])] if experiment else []


def live_text(mine: Sequence[Run], runs: Sequence[Run]) -> str:
    """What was run now beside what was recorded for the same settings, as Markdown; empty where nothing was."""
    recorded = measured.by_setting(runs)
    rows = [
        (label, measured.frequency(group), measured.frequency(recorded[label]) if label in recorded else "not recorded")
        for label, group in measured.by_setting(mine).items()
    ]
    return compare.markdown(("setting", "now", "recorded"), rows, words=3) if rows else ""


def frequency_figure(
    rows: Sequence[tuple[str, Frequency, str]], what: str, height: float = 0.0, width: float = 8.6
) -> plot.Shown:
    """One line a setting: (name, frequency, group). `what` begins the alt text, which then lists them all."""
    figure, ax = plot.axes(width, height or 0.28 * len(rows) + 1.3)
    plot_lab.frequencies(ax, rows)
    listed = "; ".join(f"{name}: {f.words}" + (f", {group}" if group != "runs" else "") for name, f, group in rows)
    return plot.Shown(figure, f"{what}, the share of runs that hung with its 95 percent interval. {listed}.")


def _swap_bios(run: Run) -> int | None:
    """The bound on the bios of a swap device that dm was loaded with."""
    value: int | None = run.settings.get("parameters", {}).get("dm_mod/swap_bios")
    return value


def throttle_text(runs: Sequence[Run], at_device: Frequency, above: dict[int, Frequency], without: Frequency) -> str:
    """A throttle at the device against one above the draw: what hung, what was refused, and the pace; `above` by swap_bios."""
    tight = pooled(f for bound, f in above.items() if bound < 2048)
    bounded = [run for run in runs if run.experiment == "throttle-above" and _swap_bios(run) != 2048]
    refusals = sum((run.refused or {}).get("refill", 0) for run in bounded)
    late = sum(run.verdict == "slow" for run in bounded)
    pace = {
        bound: max(
            (run.pages_written / run.seconds for run in runs if _swap_bios(run) == bound and run.seconds and run.pages_written),
            default=0.0,
        )
        for bound in above
    }
    listed = " and ".join(f"{pace[bound]:.0f} (a bound of {bound})" for bound in above if bound < 2048)
    slower = all(pace[bound] < pace[2048] for bound in above if bound < 2048)
    return "\n".join(
        [
            f"With the throttle at the device, {at_device.words}: it bounds what is on the wire, not what has been drawn.",
            f"With it above, and small enough for its draw to fit the cushion, {tight.words if tight else 'nothing was run'}, and {some(refusals, 'refused refill')} "
            f"{'was' if refusals == 1 else 'were'} seen; dm-crypt without a bound: {without.words}.",
            f"Of these {len(bounded)} runs {late} were still on their way at the time limit. They wrote {listed} pages a second at the most, against {pace[2048]:.0f} "
            f"unbounded: {'that is the price of the bound here' if slower else 'no price of the bound shows in this'}.",
            "Phillips' place is the one where the writes' share of the draw is bounded at all; the share of the per-cpu lists neither place bounds. "
            f"With this few runs the frequencies alone would not decide it, and at 2048, where the bound does not bind, {above[2048].words}.",
        ]
    )


def _listed(found: Sequence[Frequency]) -> str:
    return "; ".join(f.words for f in found) or "nothing was run"
