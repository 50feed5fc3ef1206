"""The sections of the notebook of the real kernel behind its first figure: their tables and sentences, each from the recorded runs.

Lab       the recorded runs: what is asked of them in several sections
tables    HTML, from html_table
rows      (name, frequency, group) for `labruns.frequency_figure`
texts     Markdown
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mmmodel.answers import compare, plot
from mmmodel.answers.machine import safe_min_free
from mmmodel.answers.sizing import Verdict, verdict
from mmmodel.app.primer import netpath
from mmmodel.app.primer.labruns import pooled
from mmmodel.host import footprints
from mmmodel.host.footprints import Footprint
from mmmodel.host.lab import figures as plot_lab
from mmmodel.host.lab import first_rule, general, measured
from mmmodel.host.lab.general import Beside
from mmmodel.host.lab.measured import Confrontation, Frequency, Run, Survival
from mmmodel.linux.host import FRACTION, load_host
from mmmodel.linux.sysrq import Report
from mmmodel.linux.tasks import Task
from mmmodel.model.catalogue import load_stack
from mmmodel.model.machine import LISTS
from mmmodel.model.output import html_table
from mmmodel.model.stack import Stack

Rows = list[tuple[str, Frequency, str]]
RESERVES = (1519, 2048, 2304, 2432, 2560, 3072)  # of vm.min_free_kbytes, where the two series of nbd devices are compared
MANY = 10  # hangs behind a curve that has a band, and of which a median is spoken
DEFAULT = 1521  # vm.min_free_kbytes of the guest where nobody set it
SMALL = {  # four writes on a memory of a few pages: (scheme of the stack, pages of cushion beyond the draw)
    "floor and lock": ("", 0),
    "lock never entered": ("", 1),
    "floor, no lock": ("virtio-no-lock", 0),
    "refill_work GFP_ATOMIC": ("virtio-work-atomic", 0),
    "refill_work with MEMALLOC": ("virtio-work-memalloc", 0),
    "ring refill with MEMALLOC": ("virtio-refill-memalloc", 0),
}
RECORDINGS = {
    "NBD, virtio": "nbd-virtio-4k-depth-8-6.1",
    "6.12": "nbd-virtio-4k-depth-8-6.12",
    "e1000": "nbd-e1000-4k-depth-8-6.1",
    "e1000, 6.12": "nbd-e1000-4k-depth-8-6.12",
    "e1000e": "nbd-e1000e-4k-depth-8-6.1",
    "e1000e, 6.12": "nbd-e1000e-4k-depth-8-6.12",
    "dm-crypt": "crypt-nbd-virtio-4k-depth-8-6.1",
    "server in guest": "nbd-same-guest-4k-depth-8-6.1",
    "NVMe/TCP": "nvme-tcp-virtio-4k-depth-8-6.1",
    "iSCSI": "iscsi-virtio-4k-depth-8-6.1",
    "loop": "loop-4k-depth-8-6.1",
    "loop, direct": "loop-direct-4k-depth-8-6.1",
    "FUSE": "fuse-4k-depth-8-6.1",
}
LIVES = {  # settings whose time to the hang is drawn, by name
    "default (1519)": ("min-free,vm.min_free_kbytes=1519", "demonstration,default"),
    "nr_requests 4, 16, 64": ("depth,nr_requests=4", "depth,nr_requests=16", "depth,nr_requests=64"),
    "rebuilt driver": ("patched,patch=rebuilt",),
    "refill_work GFP_NOIO": ("patched,patch=work-noio",),
    "one process": ("mechanism,one-process",),
}


@dataclass(frozen=True)
class Driver:
    """A rebuilt virtio_net: its patch in the lab, its name here and in the prototype's runs, and the small model that it is."""

    patch: str
    name: str
    before: str | None
    model: str


DRIVERS = (
    Driver("rebuilt", "rebuilt, unchanged", "unchanged, rebuilt", "floor and lock"),
    Driver("work-noio", "refill_work GFP_NOIO", None, "floor and lock"),
    Driver("work-atomic", "refill_work GFP_ATOMIC", "refill_work GFP_ATOMIC", "refill_work GFP_ATOMIC"),
    Driver("work-memalloc", "refill_work with MEMALLOC", "refill_work GFP_KERNEL|MEMALLOC", "refill_work with MEMALLOC"),
    Driver("refill-memalloc", "NAPI refill with MEMALLOC", "NAPI refill with MEMALLOC", "ring refill with MEMALLOC"),
    # in the model a refill that is polled again and one that comes back after half a second differ in time only
    Driver("poll-again", "polled again, as in 6.19", None, "refill_work GFP_ATOMIC"),
)


@dataclass(frozen=True)
class Cycle:
    """Who closes a cycle on a console: the console's name, how its task is told, and what it wants."""

    console: str
    closes: Callable[[Task], bool]
    wants: str


CYCLES = {
    "loop, direct I/O": Cycle(
        "hang-loop-direct-6.1",
        lambda task: "iomap_dio_bio_iter" in task.symbols,
        "the worker wants a second bio from the set that the swap bios have emptied",
    ),
    "loop, buffered": Cycle(
        "hang-loop-6.1",
        lambda task: task.name.startswith("kthreadd"),
        "the loop's queue wants a new worker, and the thread that makes threads is in reclaim, behind the loop's own writes",
    ),
    "NVMe/TCP, same guest": Cycle(
        "hang-nvmet-6.1",
        lambda task: "sgl_alloc_order" in task.symbols,
        "the target wants pages for the data that it receives, GFP_KERNEL",
    ),
    "FUSE": Cycle("hang-fuse-6.1", lambda task: task.name == "fuse2fs", "the server wants a page of its own memory"),
}
RECLAIM = {  # functions on the way into reclaim and out of it, in every such trace
    *(
        "__schedule",
        "schedule",
        "schedule_timeout",
        "io_schedule_timeout",
        "mempool_alloc",
        "__swap_writepage",
        "shmem_writepage",
    ),
    *("pageout", "shrink_folio_list", "shrink_lruvec", "shrink_node", "do_try_to_free_pages"),
}


def small_verdicts() -> dict[str, Verdict]:
    """The cases of SMALL."""
    return {name: netpath.on_small(scheme, more) for name, (scheme, more) in SMALL.items()}


def listed_verdicts(found: dict[str, Verdict]) -> str:
    """One line a case."""
    return "\n".join(f"{name:28} {'safe' if one.safe else 'DEADLOCK'}   ({one.method})" for name, one in found.items())


# ---- a hang -----------------------------------------------------------------------------------------------------------


def floors_at(min_free_kbytes: int) -> measured.Floors:
    """The floors of the guest with this setting."""
    return measured.floors(measured.guest(min_free_kbytes))


def listed_at(min_free_kbytes: int, fraction: int = 0) -> int:
    """The most pages that the guest's per-cpu lists may keep with these settings."""
    return measured.guest(min_free_kbytes, fraction).parked[LISTS]


def course_figure(pair: Sequence[Run]) -> plot.Shown:
    """Free memory over time of a run that hangs, at the default, and of one that lives."""
    figure, axes = plot.panels(10.5, 4.2, columns=2)
    for ax, run in zip(axes, pair):
        value = run.min_free_kbytes or DEFAULT
        at = floors_at(value)
        floors = {"ordinary": float(at.ordinary), "ATOMIC": float(at.atomic)}
        seconds, free = [row[0] for row in run.series], [row[1] for row in run.series]
        plot_lab.course(ax, seconds, free, floors, f"min_free_kbytes {value:,}: {run.verdict}", run.low_pages)
    alt = (
        "Two panels of free pages against seconds on a logarithmic scale. Left, at the default, the curve falls through the ordinary and "
        "the ATOMIC floor and stays flat below them: the hang. Right, with 16384, it stays far above the ATOMIC floor and the load finishes"
    )
    return plot.Shown(figure, alt)


def hang_text(hang: Run) -> str:
    """Where free memory stood in the hang."""
    return (
        f"In the hang free memory went down to {hang.low_pages} pages, below the ATOMIC floor of {floors_at(DEFAULT).atomic}, and "
        f"stayed there: {hang.pages_written} pages\nhad been written, then none. Recognised by: *{hang.recognised}*."
    )


def waiters_table(report: Report) -> str:
    """The blocked tasks of a console, those of one kind that wait for the same in one line."""
    groups: dict[tuple[str, bool], list[Task]] = {}
    for task in report.blocked:
        who = task.work or task.name.partition(":")[0]
        groups.setdefault((who, task.waits_in("mempool_alloc", "bio_alloc_bioset")), []).append(task)
    rows = [
        (who, str(len(tasks)), "a swap bio" if bio else "other", " ← ".join(tasks[0].symbols[4:8]))
        for (who, bio), tasks in groups.items()
    ]
    return html_table(("who", "tasks", "waits for", "where"), rows)


def cycle_figure(report: Report) -> plot.Shown:
    """Who waits for whom. Raises ValueError where the console does not show refill_work in reclaim."""
    work = next((task for task in report.blocked if task.work == "refill_work"), None)
    if work is None or not work.waits_in("mempool_alloc", "try_to_free_pages", "try_fill_recv", "refill_work"):
        raise ValueError("the console shows no refill_work that waits in reclaim")
    boxes = [
        ("refill_work", "receive service is off\n(napi_disable)"),
        ("direct reclaim", "writes a page to swap"),
        ("swap bio", "ordinary right, then\na mempool of 2"),
        ("writes in flight", "hold the bios until\nthe reply is read"),
    ]
    figure, ax = plot.axes(8.6, 5.2)
    arrows = ["waits for ordinary memory", "waits for a bio", "come back with the reply", "need receive service"]
    plot_lab.waits(ax, boxes, arrows)
    alt = (
        "A cycle of four boxes: refill_work with receive service off waits for ordinary memory from direct reclaim, which waits for a "
        "swap bio, which comes back when writes in flight get their reply, which needs receive service, held by refill_work"
    )
    return plot.Shown(figure, alt)


# ---- what a request takes -----------------------------------------------------------------------------------------------

Prints = dict[str, dict[tuple[str, str], Footprint]]  # of each recording, by class and right


def recorded_footprints() -> Prints:
    """The footprints of RECORDINGS."""
    traced = {name: footprints.read_trace(measured.recorded_trace(file)) for name, file in RECORDINGS.items()}
    return {name: {(p.category, p.right): p for p in footprints.footprints(trace)} for name, trace in traced.items()}


def footprints_table(sizes: Prints) -> str:
    """Bytes per request by class and right, a column a recording; what is below 200 B everywhere is left out."""
    listed = (
        key for found in sizes.values() for key, p in found.items() if key[0] not in ("other", "slab pages") and p.size >= 200
    )
    rows = [
        (*key, *(f"{found[key].size:,.0f}" if key in found else "–" for found in sizes.values())) for key in dict.fromkeys(listed)
    ]
    return html_table(("class", "right", *sizes), rows)


def footprints_text(sizes: Prints, stack: Stack) -> str:
    """What the recordings say, beside the stack that was read from the source."""
    old, new, guest = sizes["NBD, virtio"], sizes["6.12"], sizes["server in guest"]
    crypt = sizes["dm-crypt"]["bio", "nomemalloc"].size - old["bio", "nomemalloc"].size
    weak = old["segments", "atomic"].size + old["ring refill", "atomic"].size
    steps = {step.name: step for step in stack.requests["swap-write"].steps}
    reply = guest["transmit", "ordinary"].size + guest["transmit", "nomemalloc"].size
    segments = new["segments", "atomic"].size / old["segments", "atomic"].size
    transmit = new["transmit", "memalloc"].size / old["transmit", "memalloc"].size
    return "\n".join(
        [
            f"* **virtio**: per request the segments and the ring take {weak:,.0f} B with the ATOMIC right only; what goes out under "
            f"MEMALLOC is {old['transmit', 'memalloc'].size:,.0f} B and what comes in {old['receive', 'memalloc'].size:,.0f} B. The "
            f"catalogue's stack, read from source, has {steps['receive'].take['reserve']:,} B for the last and "
            f"{steps['segment'].take['reserve']:,} B of segments (three of 2048 B; the recording adds their heads).",
            f"* **6.12** takes the same bio ({new['bio', 'nomemalloc'].size:,.0f} B), {abs(segments - 1):.1%} "
            f"{'less' if segments < 1 else 'more'} for the segments and {1 - transmit:.0%} less to transmit: its heads are smaller.",
            "* **e1000 and e1000e** segment in hardware and copy small packets (copybreak), so that an ACK leaves its ring buffer where "
            "it is: no segments and no refill of the ring, on either kernel.",
            f"* **dm-crypt** adds {crypt:,.0f} B of bios and pages, held until the reply. **A server in the same guest** takes "
            f"{reply:,.0f} B a reply with the ordinary right.",
            f"* **loop with direct I/O** takes {sizes['loop, direct']['bio', 'nomemalloc'].count:.0f} bios a write where everything else "
            "takes one: this will matter below.",
        ]
    )


# ---- when it hangs --------------------------------------------------------------------------------------------------------


def survival_figure(lives: dict[str, Survival]) -> plot.Shown:
    """The share of runs alive over time; a band where MANY hung: for fewer it would cover the picture."""
    figure, ax = plot.axes(8.6, 4.2)
    curves: dict[str, tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]] = {}
    for name, s in lives.items():
        band = (s.low, s.high) if s.hangs >= MANY else (s.share, s.share)
        curves[f"{name}: {s.frequency.hangs}/{s.frequency.runs} ({s.frequency.whose})"] = (s.times, s.share, *band)
    plot_lab.survival(ax, curves, until=12)
    told = "; ".join(f"{name}: {s.frequency.words}, half by {s.median:.1f} s" for name, s in lives.items())
    alt = (
        "Share of runs that have not hung against seconds since the load began, a step curve a setting, with a 95 percent band where ten "
        f"or more hung. {told}."
    )
    return plot.Shown(figure, alt)


# ---- the runs of several sections -------------------------------------------------------------------------------------------


def at(runs: Iterable[Run], label: str) -> Frequency:
    """The frequency of hangs of one setting."""
    return measured.frequency(run for run in runs if run.label == label)


def refused(run: Run) -> bool:
    """Whether a refill was refused in it."""
    return bool((run.refused or {}).get("refill"))


@dataclass(frozen=True)
class Lab:
    """The recorded runs."""

    runs: list[Run]

    @property
    def draw(self) -> int:
        """Pages that the first rule reckons with."""
        return first_rule.draw()

    @cached_property
    def ours(self) -> list[Run]:
        """The lab's runs that came to an end."""
        return [run for run in self.runs if run.recorder == "lab" and run.verdict in measured.COUNTED]

    @cached_property
    def least_safe(self) -> int:
        """The least vm.min_free_kbytes that the first rule called safe."""
        return first_rule.least()

    @cached_property
    def short(self) -> Frequency:
        """With the per-cpu lists cut short."""
        return measured.frequency(run for run in self.runs if run.label.startswith("percpu,"))

    def example(self, label: str) -> Run:
        """The first run of a setting whose course was kept."""
        return next(run for run in self.runs if run.label == label and run.series)

    def floors_table(self, grid: Sequence[int]) -> str:
        """Floors, cushion and what the first rule says, by vm.min_free_kbytes."""
        rows = [
            (*(f"{n:,}" for n in (at, f.ordinary, f.atomic, f.cushion)), _safe(first_rule.safe(at)))
            for at, f in ((at, floors_at(at)) for at in grid)
        ]
        return html_table(("min_free_kbytes", "ordinary floor", "ATOMIC floor", "cushion", f"draw {self.draw} pages"), rows)

    # ---- predictions ----

    @cached_property
    def confrontation(self) -> list[Confrontation]:
        """Every prediction beside the lab's runs of its settings."""
        return measured.confront(measured.read_predictions(), [run for run in self.runs if run.recorder == "lab"])

    @cached_property
    def ran(self) -> list[Confrontation]:
        """The predictions that were put to the test."""
        return [one for one in self.confrontation if one.runs is not None]

    def predicted(self, known: bool) -> Rows:
        """Those whose outcome had been shown by the prototype, or the blind ones."""
        return [
            (f"{one.prediction.name}: {'safe' if one.prediction.safe else 'unsafe'}", one.runs, one.agreement)
            for one in self.ran
            if one.prediction.known == known and one.runs is not None
        ]

    @cached_property
    def beside(self) -> list[Beside]:
        """Every prediction by the first rule and by the general model."""
        return general.beside([run for run in self.runs if run.recorder == "lab"])

    def predictions_table(self) -> str:
        """Every prediction with its outcome and its reason, and what the general model says of it."""
        rows = [
            (
                *(both.said.name, _safe(both.first.prediction.safe), both.said.word, str(both.first.runs or "–")),
                *(both.first.agreement, both.outcome or "–", both.first.prediction.why, f"{both.said.path}: {both.said.why}"),
            )
            for both in self.beside
        ]
        head = ("setting", "predicted", "as modelled now", "hangs/runs [95 %]", "outcome", "now", "why predicted", "why now")
        return html_table(head, rows)

    @cached_property
    def wrong(self) -> list[str]:
        """The settings that were called safe and hung."""
        return [one.prediction.name for one in self.confrontation if one.agreement == "WRONG"]

    def predictions_text(self) -> str:
        """How many agreed, and what stands behind the conservative ones."""
        counts = {
            word: sum(one.agreement == word for one in self.confrontation) for word in ("agreed", "conservative", "WRONG", "open")
        }
        blind = sum(not one.prediction.known for one in self.ran)
        called = pooled(one.runs for one in self.ran if one.prediction.safe and one.runs)
        conservative = ", ".join(
            f"{one.prediction.name} {one.runs.runs}" for one in self.ran if one.agreement == "conservative" and one.runs
        )
        hung = f"Called safe and hung: **{', '.join(self.wrong)}**, followed to the cause below"
        return (
            f"{counts['agreed']} agreed, {counts['conservative']} conservative, {counts['WRONG']} wrong, {counts['open']} not run; "
            f"{blind} of those run were blind.\n{hung if self.wrong else 'No setting that was called safe hung'}; over all that were "
            f"called safe {_words(called)}. A conservative line is no proof of safety; behind them stand, in runs: {conservative}."
        )

    def told(self, prefix: str) -> Rows:
        """The settings of an experiment, each named with what was predicted."""
        said = {label: one.prediction for one in self.confrontation for label in one.prediction.settings}
        rows: Rows = []
        for label, group in measured.by_setting(self.runs).items():
            if label.startswith(prefix):
                found = measured.frequency(group)
                name = label.removeprefix(prefix).replace("vm.min_free_kbytes=", "")
                rows.append((f"{name}: {_safe(said[label].safe)}", found, Confrontation(said[label], found).agreement))
        return rows

    # ---- times to the hang ----

    @cached_property
    def lives(self) -> dict[str, Survival]:
        """The runs of LIVES over time."""
        return {name: measured.survival(run for run in self.runs if run.label in labels) for name, labels in LIVES.items()}

    def lives_text(self) -> str:
        """When the last page moved."""
        labels = {label for some in LIVES.values() for label in some}
        last = [run.last_progress for run in self.runs if run.recorder == "lab" and run.hung and run.label in labels]
        halves = "; ".join(f"{s.median:.1f} s ({name})" for name, s in self.lives.items() if s.median < math.inf)
        many = ", ".join(name for name, s in self.lives.items() if s.hangs >= MANY)
        return (
            f"Over these {len(last)} hangs the last page moved {min(last):.1f} to {max(last):.1f} s after the start; half had hung by "
            f"{halves}. Ten hangs or more stand behind: {many or 'none yet'}."
        )

    # ---- what the frequencies depend on ----

    def devices_table(self) -> str:
        """The same settings with sixteen nbd devices and with two."""
        labels = ("min-free,vm.min_free_kbytes=", "nbd-devices,vm.min_free_kbytes=")
        rows = [(f"{n:,}", *(str(at(self.runs, f"{label}{n}")) for label in labels), _safe(first_rule.safe(n))) for n in RESERVES]
        return html_table(("min_free_kbytes", "16 nbd devices", "2 nbd devices", "predicted"), rows)

    def devices_text(self) -> str:
        """The prototype's own programs, with one thing changed at a time."""
        own, server, sixteen = (
            at(self.runs, f"prototype {how},min-free=2048")
            for how in ("with priority", "with the lab's server", "with 16 nbd devices")
        )
        return (
            f"The prototype's own programs at 2048: with its two devices {own}, with the lab's server {server}, with sixteen devices "
            f"{sixteen}."
        )

    def host_text(self) -> str:
        """What the load of the host may have changed."""
        quiet, crowded, now = (
            at(self.runs, f"prototype{how},min-free=2048") for how in ("", " on a busy host", " with priority")
        )
        both = []
        for group in measured.by_setting(self.ours).values():
            early, late = ([run for run in group if (run.host_busy.get("nice") == -10) == first] for first in (True, False))
            if len(late) >= 2 and len(early) >= 2:
                both.append((measured.frequency(late).interval, measured.frequency(early).interval))
        apart = sum(one[1] < other[0] or other[1] < one[0] for one, other in both)
        busy = [run for run in self.ours if run.host_busy]
        loads = sorted(run.host_load for run in busy if run.host_load is not None)
        waited = statistics.median(run.host_busy["pressure"] or 0.0 for run in busy)
        return "\n".join(
            [
                "The **host** may matter too. Everything is emulated on a machine with other work, and each result says how busy that was: "
                f"load average {loads[0]} to {loads[-1]}, median {statistics.median(loads):.1f}; some task waited for a CPU during "
                f"{waited:.0%} of a run. The prototype at 2048: on a quiet host {quiet}, on a busy one {crowded}, on a busy one with priority "
                f"over the other work (nice -10) {now}.",
                f"The lab's early runs had no priority over other sessions, the later ones had. Of the {len(both)} settings with two runs or "
                f"more of either kind, the intervals of {apart or 'none'} lie apart.",
                "So a frequency is one of this guest on this host. *That* a setting can hang, once seen, is a fact; a row of survivals is "
                "none. The verdict does not ask for the frequency: it bounds the draw.",
            ]
        )

    # ---- where the rule was wrong ----

    @cached_property
    def draws(self) -> list[tuple[str, int, int, Frequency]]:
        """(setting, largest draw seen, cushion, frequency), the draw that comes nearest to its cushion or passes it first."""
        found = []
        for label, group in measured.by_setting(
            run for run in self.runs if run.recorder == "lab" and run.min_free_kbytes
        ).items():
            floors = floors_at(group[0].min_free_kbytes or 0)
            lows = [run.low_pages for run in group if run.low_pages is not None]
            if group[0].settings.get("server", "host") == "host" and lows:
                found.append((label, floors.ordinary - min(lows), floors.cushion, measured.frequency(group)))
        return sorted(found, key=lambda row: -row[1] / row[2])

    def draws_table(self) -> str:
        """`draws`, a line each."""
        rows = [(label, f"{drawn:,}", f"{cushion:,}", str(found)) for label, drawn, cushion, found in self.draws]
        return html_table(("setting", "largest draw seen (pages)", "cushion", "hangs/runs [95 %]"), rows)

    def draws_text(self) -> str:
        """Whether settings hung whose draw stayed below the cushion, and those whose draw passed it."""
        inside, crossed = (
            [found for _, drawn, cushion, found in self.draws if (drawn < cushion) == below] for below in (True, False)
        )
        return "\n".join(
            [
                f"Settings whose draw, as far as it was seen, stayed below the cushion: {len(inside)}; over these {_words(pooled(inside))}. "
                f"Settings whose draw passed it: {len(crossed)}; over these {_words(pooled(crossed))}.",
                "The watcher looks every few milliseconds and can miss the lowest moment; the kernel's own test is exact and made zone by zone.",
                f"The largest draw seen was {max(drawn for _, drawn, _, _ in self.draws)} pages, against the {self.draw} that the "
                "first rule reckons with.",
            ]
        )

    @cached_property
    def lists(self) -> dict[int, list[Run]]:
        """The hangs after a refused refill of which the pages in per-cpu lists are known, by vm.min_free_kbytes."""
        known = [run for run in self.runs if run.recorder == "lab" and run.hung and refused(run) and run.percpu_pages is not None]
        groups = {n: [run for run in known if run.min_free_kbytes == n] for n in (*RESERVES, 4096, 6144, 16384)}
        return {n: group for n, group in groups.items() if group}

    def lists_table(self) -> str:
        """What was drawn and what lay in the lists, beside the cushion and the limit of the lists."""
        rows = []
        for n, group in self.lists.items():
            floors = floors_at(n)
            drawn = _span(floors.ordinary - (run.low_pages or 0) for run in group)
            parked = _span(run.percpu_pages or 0 for run in group)
            whose = measured.frequency(group).whose
            rows.append((f"{n:,}", str(len(group)), whose, drawn, f"{floors.cushion:,}", parked, f"{listed_at(n):,}"))
        head = ("min_free_kbytes", "hangs", "series", "drawn below the ordinary floor", "cushion")
        return html_table((*head, "in per-cpu lists at the refusal", "their limit"), rows)

    @property
    def list_settings(self) -> dict[str, str]:
        """The label before the reserve, with lists as they are and cut short."""
        return {"as they are": "nbd-devices,vm.min_free_kbytes=", "cut short": "percpu,vm.min_free_kbytes="}

    def list_rows(self) -> Rows:
        """Three reserves with the lists as they are and cut short."""
        return [
            (f"{n:,}, lists {what}", at(self.runs, f"{label}{n}"), "runs")
            for n in (1519, 2048, 3072)
            for what, label in self.list_settings.items()
        ]

    @cached_property
    def least_now(self) -> tuple[float, float]:
        """The least vm.min_free_kbytes that the model calls safe now, with per-cpu lists as they are and cut short; math.inf for none."""
        host = load_host(measured.GUEST)
        least, short = (safe_min_free(measured.VIRTIO, host.with_sysctls({FRACTION: n})) for n in (0, netpath.SHORT))
        return least, short

    def lists_text(self) -> str:
        """What the lists explain, and what takes the rule's place."""
        deepest = {
            what: max(
                floors_at(run.min_free_kbytes or 0).ordinary - run.low_pages
                for run in self.runs
                if run.label in {f"{label}{n}" for n in (1519, 2048, 3072)} and run.low_pages is not None
            )
            for what, label in self.list_settings.items()
        }
        least, short = self.least_now
        enough = "**no `vm.min_free_kbytes` is shown to be enough**" if math.isinf(least) else f"{least:,} kB are"
        return (
            f"The test of that: `vm.percpu_pagelist_high_fraction={netpath.SHORT}` leaves the lists {listed_at(3072, netpath.SHORT)} pages and "
            f"changes nothing else. The largest draw falls from {deepest['as they are']} pages to {deepest['cut short']}: **the draw was "
            "the lists**, hardly the writes in flight. The form of the rule stands: no setting hung whose draw stayed below its cushion "
            "(above). What was wrong is the bound of the draw.\n\n"
            "So the rule is gone. The model is asked about the machine, whose memory has the pages of the lists, up to their limit, beside "
            "the rights: they are drawn from below the floor and come back when somebody returns from reclaim. With lists as they are "
            f"{enough}, for their limit grows faster than the cushion, though a large one may never hang; with them cut short {short:,} kB are "
            "enough. On a memory of a few pages the least safe cushion moves by exactly the pages in lists:"
        )

    def general_text(self) -> str:
        """The counts of the general model beside those of the first rule."""
        told = [both for both in self.beside if both.outcome is not None and both.first.runs is not None]
        was, now = (Counter(words) for words in ([b.first.agreement for b in told], [b.outcome for b in told]))
        names = {word: [b for b in told if b.first.agreement == word] for word in ("agreed", "conservative", "WRONG")}
        exact = sum(b.outcome == "agreed" for b in names["conservative"])
        lost = [b for b in names["agreed"] if b.outcome == "conservative"]
        limited = sum(b.said.lists is not None and b.said.lists < (b.said.within or 0) for b in lost)
        mended = [b.said.name for b in names["WRONG"] if b.outcome == "agreed"]
        known, within = self.lists_in_hangs
        left = Counter(b.said.path for b in self.beside if b.outcome is None)
        return "\n".join(
            [
                f"The general model knows the paths of {len(told)} of the {len(self.beside)} predictions: {now['agreed']} right, "
                f"{now['conservative']} conservative, {now['WRONG']} wrong. Of the same the first rule had {was['agreed']} right, "
                f"{was['conservative']} conservative, {was['WRONG']} wrong. Wrong then and right now, without a rule made for them: "
                f"{', '.join(mended) or 'none'}. Of the {len(names['conservative'])} conservative ones {exact or 'none'} became exact, and of the right ones "
                f"{len(lost)} became conservative: {limited} of these are proved safe as long as per-cpu lists keep no more than some number of "
                "pages, and the kernel lets them keep more.",
                f"That number can be tested. Of {known} hangs whose lists were counted, {within or 'none'} had no more in them than its setting "
                "is proved safe with.",
                f"Not expressed yet: {', '.join(f'{path} ({count})' for path, count in left.items())}.",
            ]
        )

    @cached_property
    def lists_in_hangs(self) -> tuple[int, int]:
        """Hangs of which the pages in per-cpu lists are known; those with no more of them than their setting is proved safe with."""
        allowed = {label: both.said.lists for both in self.beside for label in both.first.prediction.settings if both.outcome}
        seen = [
            (run.percpu_pages, allowed[run.label])
            for run in self.runs
            if run.recorder == "lab" and run.hung and run.percpu_pages is not None and run.label in allowed
        ]
        return len(seen), sum(most is not None and pages <= most for pages, most in seen)

    def slow_reader_text(self) -> str:
        """An attempt to break what was called safe."""
        told = []
        for n in (1519, 3072, 16384):
            group = [run for run in self.runs if run.label == f"slow-reader,vm.min_free_kbytes={n}"]
            lowest = min(run.low_pages for run in group if run.low_pages is not None)
            told.append(f"at {n:,} {measured.frequency(group)}, lowest {lowest:,} pages")
        return (
            "An attempt to break it: a server that waits 5 ms before it reads each request lets the send buffer fill, up to the 4 MiB of "
            f"tcp_wmem, whatever is in flight. {'; '.join(told)}. The draw did not grow with it as the prediction for 3,072 feared."
        )

    # ---- throttles ----

    def with_label(self, *parts: str) -> Frequency:
        """The runs of the lab and of the prototype whose setting has one of these in its name."""
        mine = (run for run in self.runs if run.recorder in ("lab", "prototype"))
        return measured.frequency(run for run in mine if any(part in run.label for part in parts))

    # ---- drivers and cards ----

    @cached_property
    def patched(self) -> dict[str, Frequency]:
        """The runs of each rebuilt driver, by patch."""
        return {one.patch: at(self.runs, f"patched,patch={one.patch}") for one in DRIVERS}

    def driver_rows(self, models: dict[str, Verdict]) -> Rows:
        """The rebuilt drivers, each named with what its model says."""
        rows = []
        for one in DRIVERS:
            safe, found = models[one.model].safe, self.patched[one.patch]
            outcome = "agreed" if safe == (found.hangs == 0) else "WRONG" if safe else "conservative"
            rows.append((f"{one.name} (model: {'safe' if safe else 'deadlock'})", found, outcome))
        return rows

    def when_refused(self, *patches: str) -> Frequency:
        """The runs of these drivers in which a refill was refused."""
        labels = {f"patched,patch={patch}" for patch in patches}
        return measured.frequency(run for run in self.runs if run.label in labels and refused(run))

    @cached_property
    def locked(self) -> Frequency:
        """Of the drivers that wait with receive service off."""
        return self.when_refused("rebuilt", "work-noio")

    @cached_property
    def cured(self) -> Frequency:
        """Of those that do not."""
        return self.when_refused("work-atomic", "work-memalloc", "poll-again")

    def drivers_text(self) -> str:
        """What a refused refill leads to, with the drivers that wait and those that do not."""
        before = measured.prototype_refusals()
        cured_before = before["refill_work GFP_ATOMIC"] + before["refill_work GFP_KERNEL|MEMALLOC"]
        lowest = {
            patch: min(run.low_pages for run in self.runs if run.label == f"patched,patch={patch}" and run.low_pages is not None)
            for patch in ("work-atomic", "rebuilt")
        }
        return (
            f"Given that a refill *was* refused, of the drivers that wait {self.locked.words}, {before['unchanged'].words}; of those that do "
            f"not {self.cured.words}, {cured_before.words}. Memory fell as low in the survivors ({lowest['work-atomic']} pages at the lowest "
            f"with GFP_ATOMIC) as in the hangs ({lowest['rebuilt']}): the floor is the trigger, **waiting for ordinary memory while holding "
            "receive service is the lock**, and it does not matter whether the waiter writes."
        )

    @cached_property
    def intel(self) -> list[Run]:
        """The runs with e1000 and e1000e."""
        return [run for run in self.runs if run.label.startswith("nic,") and "e1000" in run.label]

    def cards_text(self) -> str:
        """Why e1000 and e1000e saw no refusal."""
        refusals = sum((run.refused or {}).get("refill", 0) for run in self.intel)
        lowest = min(run.low_pages for run in self.intel if run.low_pages is not None)
        return (
            f"e1000 and e1000e: {measured.frequency(self.intel).words}, with {refusals} refused refills, though free memory fell to {lowest} "
            "pages. The recording says why they saw none: an ACK is small and is copied, its buffer never leaves the ring. So what these "
            "cards show is that nothing is refused, not how they recover from a refusal."
        )

    @cached_property
    def newer(self) -> list[Run]:
        """The lab's runs on 6.12 with virtio_net, whatever their reserve and lists."""
        cards = (run for run in self.ours if run.settings.get("nic", "virtio-net-pci") == "virtio-net-pci")
        return [run for run in cards if run.settings.get("kernel", "").endswith("-6.12") and run.verdict in measured.COUNTED]

    def newer_text(self) -> str:
        """Of two changes between 6.1 and 6.12, which may be why 6.12 refused no refill."""
        told = []
        for label, name in (
            ("percpu-6.12", "of fixed length, about that of 6.1"),
            ("percpu-6.12-long", "of an eighth of the zone"),
        ):
            group = [run for run in self.runs if run.label == label]
            lowest = min(run.low_pages for run in group if run.low_pages is not None)
            told.append(
                f"with lists {name} {measured.frequency(group)}, {sum(map(refused, group))} with a refused refill, lowest {lowest} pages"
            )
        floor = floors_at(1519).atomic
        return (
            f"On 6.12 with virtio_net {measured.frequency(self.newer).words}, {sum(map(refused, self.newer))} of them with a refused refill. "
            "Two changes were suspected. *HighAtomic blocks*: since 281dd25c1a01 an order-0 ATOMIC allocation may take their free pages. "
            "That cannot be the difference: Debian's 6.1.192, which hangs, has the same words (mm/page_alloc.c, lines 3764–73). *Lists "
            "that tune themselves* (6.7): vm.percpu_pagelist_high_fraction other than 0 switches that off. "
            f"At 1519, {'; '.join(told)}; the ATOMIC floor is {floor} pages. Both predictions said that it would hang. So the first is no "
            "difference, and the second taken back alone changes nothing that was seen. **No refusal in these runs is no proof that 6.12 "
            "cannot refuse a refill**: its refill_work waits as before."
        )

    @cached_property
    def causes(self) -> list[tuple[Confrontation, list[Run]]]:
        """The guesses at what separates 6.12 from 6.1, each with its runs."""
        guessed = measured.confront(measured.read_predictions(measured.RECORDED / "causes.yaml"), self.ours)
        return [(one, [run for run in self.ours if run.label in one.prediction.settings]) for one in guessed]

    def causes_table(self) -> str:
        """Each guess at a cause beside its runs: hangs, refusals, the least of free memory, and what was written to swap."""
        rows = []
        for one, group in self.causes:
            said = one.prediction
            came = "not run" if one.runs is None else "as guessed" if (one.runs.hangs == 0) == said.safe else "otherwise"
            low = [run.low_pages for run in group if run.low_pages is not None]
            told = (said.name, "no hang" if said.safe else "hang", "known" if said.known else "guessed", str(one.runs or "–"))
            written = _span(run.pages_written or 0 for run in group) if group else "–"
            seen = (str(sum(map(refused, group))), _span(low) if low else "–", written)
            rows.append((*told, *seen, came, said.why))
        head = ("setting", "said", "how", "hangs/runs [95 %]", "with a refused refill", "lowest free pages", "pages swapped out")
        return html_table((*head, "outcome", "why said"), rows)

    def causes_text(self) -> str:
        """What else tells 6.12 from 6.1 and was tried: the algorithm that reclaims, the blocks that are not kept, nbd's queue."""
        got = {one.prediction.name: str(one.runs or "not run") for one, _ in self.causes}
        bare = at(self.runs, "mechanism,no-high-order")
        idle = sum((run.pages_written or 0) <= 1 for _, group in self.causes for run in group)
        return (
            "Guesses at the cause, each written before its first run (`data/lab/causes.yaml`); no verdict rests on them.\n\n"
            "*The algorithm that reclaims.* Debian has the multi-generational LRU on in 6.12 and off in 6.1. "
            f"With it off: 6.1 {got['classic-6.1']}, 6.12 {got['classic-6.12']}. With it on: 6.1 {got['generations-6.1']}, 6.12 "
            f"{got['generations-6.12']}. It is not what separates them.\n\n"
            "*HighAtomic blocks, once more.* 6.12 keeps none in a zone of less than 51,200 pages (mm/page_alloc.c, 6.12.117, lines "
            "2072–79; <c3a2a48e2cfe08176a80eaf01c110deb9e918055.1700821416.git.quic_charante@quicinc.com>), and the guest has less than "
            f"40,000. 6.1 kept from making them: {bare}; with the reclaim of 6.12 besides: {got['like-6.12']}. And 6.12 with reclaim "
            f"and lists of 6.1: {got['like-6.1']}. A guest of 320 MiB, where 6.12 may keep such blocks, tells nothing: with all three as on "
            f"6.1 {got['blocks-6.12']}, but 6.1 itself there {got['blocks-6.1']}.\n\n"
            "*The queue.* In the guest of the cloud 6.12 nbd has 128 requests of up to 1280 KiB and no scheduler (mq-deadline is a module "
            "that the guest is not given), in that of 6.1 it has 256 of up to 128 KiB and mq-deadline. "
            f"6.1 with the queue of 6.12: {got['queue-6.1']}. 6.12 with requests of up to 128 KiB: {got['queue-6.12']}.\n\n"
            "So none of these alone makes 6.12 refuse a refill, nor do lists and algorithm together, and none alone keeps 6.1 from hanging; "
            "whether two together make it rarer cannot be said from so few runs. The cause was not found. What else changed between the "
            f"two kernels was not tried. (Runs that wrote no page to swap tell nothing and count as alive; of those there were {idle}.)"
        )

    # ---- other ways to swap ----

    def across_text(self) -> str:
        """iSCSI, NVMe/TCP and NFS across virtio-net to another machine."""
        told = []
        for stack in ("iscsi", "nvme-tcp", "nfs"):
            low, high = (
                [r for r in self.runs if r.label == f"stacks,{stack},vm.min_free_kbytes={n}" and r.verdict in measured.COUNTED]
                for n in (1519, 16384)
            )
            by_lock = sum(refused(run) and run.hung for run in low)
            told.append(
                f"{stack} at 1519 {measured.frequency(low)}, {by_lock} of the hangs with a refused refill, at 16384 {measured.frequency(high)}"
            )
        return (
            f"Across virtio-net, the server on another machine: {'; '.join(told)}. The lock is the card's driver's, whoever sends; how often "
            "it is entered depends on the draw, and that on the sender: NBD copies the page into the socket, the others send it where it lies."
        )

    def server_rows(self) -> Rows:
        """The NBD server inside the guest, with one precaution after the other."""
        inside = {
            label: group
            for label, group in measured.by_setting(self.runs).items()
            if "server" in label and "guest" in label and "ext4" not in label
        }
        return [(label.removeprefix("prototype,"), measured.frequency(group), "runs") for label, group in inside.items()]

    # ---- what to do ----

    def advice_text(self) -> str:
        """What an administrator should set."""
        larger = [pooled(f for n, f in found.items() if n >= 2560) for found in measured.thresholds(self.runs).values()]
        cushion = floors_at(16384).cushion
        kinds = ("stacks,loop", "stacks,fuse", "stacks,nvme-tcp-same-guest")
        local = measured.frequency(r for r in self.runs if r.label.startswith(kinds) and r.min_free_kbytes == 16384)
        locked_server = at(self.runs, "guest-server,direct-locked-flusher")
        return "\n".join(
            [
                f"* **Raise `vm.min_free_kbytes`.** The first rule asked for {self.least_safe:,}, which was too little; take several times "
                f"that. From 2560 on {'; '.join(map(_words, larger))}; at 16384 the cushion is {cushion:,} pages, "
                f"{cushion / self.draw:.0f} times the draw. To apply: `sysctl vm.min_free_kbytes=16384`; to undo: the old value.",
                "* **Bound the writes above the network** where there is a dm target between: `echo 64 > "
                "/sys/module/dm_mod/parameters/swap_bios`.",
                "* **Do not trust `nr_requests`**: it stands below the memory that it would have to bound.",
                "* **Keep the server off the machine that swaps to it.** `mlock`, O_DIRECT and PR_SET_IO_FLUSHER do not help: with all three "
                f"{locked_server.words}.",
                "* **Cut the per-cpu lists short**: `sysctl vm.percpu_pagelist_high_fraction=1000` (to undo: 0). With it "
                f"{self.short.words} on the stock kernel, those at 1519 included; with `vm.min_free_kbytes` from {self.least_now[1]:,} on as well "
                "the model finds no way into the deadlock. It costs lock traffic on machines with many CPUs, which was "
                "not measured.",
                "* **No swap on a loop device, on a FUSE file or on a target in the same kernel**: at 16384 too, "
                f"{local.words}. No reserve cures them.",
                "* `mmmodel size nbd-swap-virtio`, and `mmmodel trace` on a recording of your own kernel, give the numbers of your machine.",
            ]
        )

    @cached_property
    def default(self) -> dict[str, Frequency]:
        """The plain runs at the default reserve, by series."""
        settings: tuple[dict[str, int], ...] = ({}, {"vm.min_free_kbytes": 1519})
        plain = [run for run in self.runs if measured.is_plain(run) and run.settings.get("sysctls", {}) in settings]
        return measured.by_series(run for run in plain if run.settings.get("kernel") == "cloud-6.1")

    def maintainer_text(self) -> str:
        """A report that a maintainer of virtio_net could act on."""
        ran, newer = self.runs, measured.threshold_runs(self.runs, "cloud-6.12")
        small = [run for run in newer if (run.min_free_kbytes or 0) < 1519]
        smaller = ", ".join(map(str, sorted({run.min_free_kbytes or 0 for run in small}, reverse=True)))
        enough = [pooled(f for n, f in found.items() if n >= 2432) for found in measured.thresholds(ran).values()]
        packages = sorted({run.package for run in ran if run.settings.get("kernel", "cloud-6.1") == "cloud-6.1"})
        qemus = sorted({run.qemu for run in ran if run.recorder == "lab"})
        before = {one.patch: at(ran, f"prototype,module: {one.before}") for one in DRIVERS if one.before}
        parked = [run.percpu_pages or 0 for group in self.lists.values() for run in group]
        got = self.patched
        return "\n\n".join(
            [
                "**virtio_net: refill_work can deadlock with swap over the network**",
                "*Symptom.* Swap on NBD over virtio-net, memory pressure from several processes: the machine stops within seconds. No OOM "
                "kill, free memory stays just below 3/8 of the min watermark, all tasks in D on `mempool_alloc ← bio_alloc_bioset ← "
                "__swap_writepage`.",
                "*Reproducer.* `make lab-kernel` (192 MiB guest under qemu, 180 MiB of anonymous memory dirtied by 8 processes, server on "
                "the host), or: swapon /dev/nbd0, vm.min_free_kbytes at its default, dirty more than the memory.",
                f"*Frequency at the default.* {'; '.join(map(str, self.default.values()))} on {' and '.join(packages)}; qemu "
                f"{'; '.join(qemus)}. On 6.12 with the same settings: {measured.frequency(r for r in newer if r.min_free_kbytes == 1519)}; "
                f"with smaller reserves ({smaller}) {measured.frequency(small)}, {sum(map(refused, small))} of them with a refused refill.",
                "*Cause.* `refill_work()` (drivers/net/virtio_net.c, 6.1.192 lines 1570–72; 6.12 lines 2724–26) calls `napi_disable()` and "
                "then `try_fill_recv(…, GFP_KERNEL)`. It is scheduled when an order-0 GFP_ATOMIC refill is refused, which happens exactly "
                "when memory is short. Its allocation enters direct reclaim, reclaim writes to swap, the swap bio comes from fs_bio_set "
                "(ordinary right, then a mempool of two), the bios in flight wait for replies, and replies need the NAPI that it switched "
                "off.",
                "*Evidence for the cause.* sysrq-w shows refill_work in that stack. One word changed at a time in the driver of the same "
                f"source package: GFP_ATOMIC in refill_work {got['work-atomic']}, __GFP_MEMALLOC in refill_work {got['work-memalloc']}, "
                f"__GFP_MEMALLOC in the NAPI refill {got['refill-memalloc']}, against {got['rebuilt']} rebuilt without a change. GFP_NOIO in "
                f"refill_work does not help ({got['work-noio']}): what must go is the wait, not the write. Of the runs in which a refill was "
                f"refused: with a driver that waits {self.locked.words}, with one that does not {self.cured.words}. (An earlier series: "
                f"{before['work-atomic']}, {before['work-memalloc']}, {before['refill-memalloc']} against {before['rebuilt']}.)",
                "*The change that mainline made.* Since 6.19 a refused refill makes NAPI poll again, and there is no worker (fcdef3bcbb2c, "
                "<20260106150438.7425-2-minhquangbui99@gmail.com>; made for a race with XDP). Its change "
                f"of the receive loop, put into the driver of 6.1.192: {got['poll-again']}; a refill was refused in "
                f"{self.when_refused('poll-again').runs} of these runs. The lock is gone, the trigger stays. "
                "Where it is not wanted as it is, GFP_ATOMIC in refill_work does the same (it comes back after half a second).",
                "*What decides how often.* How many pages per-cpu lists hold when the refill is refused: "
                f"{min(parked)} to {max(parked)}. With vm.percpu_pagelist_high_fraction=1000 and all else as it was {self.short.words}.",
                f"*Other observations.* nbd loaded with nbds_max=2, min_free_kbytes 2048: {at(ran, 'nbd-devices,vm.min_free_kbytes=2048')}; "
                f"with the default of 16: {at(ran, 'min-free,vm.min_free_kbytes=2048')}. rx_queue_size 512 and 1024: "
                f"{at(ran, 'ring,rx_queue_size=512')} and {at(ran, 'ring,rx_queue_size=1024')}. net.core.high_order_alloc_disable=1: "
                f"{at(ran, 'mechanism,no-high-order')}. e1000 and e1000e under the same load: {measured.frequency(self.intel)}. "
                f"vm.min_free_kbytes from 2432 on: {'; '.join(map(str, enough))}.",
                f"*Dates.* {min(r.date for r in self.ours)[:10]} to {max(r.date for r in self.ours)[:10]}, {len(self.ours)} runs of the lab "
                "in all; each result has its kernel, package, qemu and date.",
                "*Not shown.* Real NICs and real memory sizes (the guest is emulated); the recovery of drivers whose refill was never "
                "refused in our runs; a hang on 6.12 unless one is counted above; whether the change costs throughput.",
            ]
        )

    def schemes_table(self) -> str:
        """Which recorded setting stands for which scheme, and what it did."""
        rows = [(one.stack, one.scheme or "(as it is)", one.describe(self.runs)) for one in measured.counterparts()]
        return html_table(("stack", "scheme", "measured"), rows)

    # ---- evidence ----

    def evidence(
        self, models: dict[str, Verdict], sizes: Prints, bios: dict[str, Verdict], moved: dict[tuple[int, int], bool]
    ) -> compare.Table:
        """Expected and got: predictions, the small models, the rebuilt drivers and the recordings."""
        table, traces = compare.Table(), "data/lab/traces"
        for one in self.ran:
            if one.runs is not None and one.prediction.safe and one.prediction.name not in self.wrong:
                note = f"{one.runs.words}; predicted {one.prediction.written[:16]}"
                table.add(f"{one.prediction.name}: any hang", False, one.runs.hangs > 0, "measured", note)
        safe = [both for both in self.beside if both.said.safe and both.first.runs]
        hung = sum(both.outcome == "WRONG" for both in safe)
        table.add("safe as modelled now: any hang", False, hung > 0, "measured", f"{len(safe)} of the predictions")
        failed = [both for both in self.beside if both.first.agreement == "WRONG"]
        mended = sum(both.outcome == "agreed" for both in failed)
        table.add("wrong predictions that the model gets right", len(failed), mended, "measured", "data/lab/general.yaml")
        known, within = self.lists_in_hangs
        name = "hangs with fewer pages in lists than proved safe"
        table.add(name, 0, within, "measured", f"{known} hangs whose lists were counted")
        table.add("per-cpu lists cut short: any hang", False, self.short.hangs > 0, "measured", self.short.words)
        steps = ", ".join(str(next(more for more in MORE if moved[pages, more]) - 1) for pages in PARKED)
        name = "model: 0, 1, 2 pages in lists move the least safe cushion by"
        table.add(name, "0, 1, 2", steps, "solved", "nbd-swap-virtio, four writes on a few pages")
        for driver in DRIVERS:
            found, safe_model = self.patched[driver.patch], models[driver.model].safe
            table.add(f"driver {driver.name}: any hang", not safe_model, found.hangs > 0, "measured", found.words)
        name = "drivers that do not wait, a refill refused: any hang"
        table.add(name, False, self.cured.hangs > 0, "measured", self.cured.words)
        said = ", ".join("safe" if one.safe else "deadlock" for one in bios.values())
        name = "model, loop with direct I/O: one bio set, two"
        table.add(name, "deadlock, safe", said, "proved", bios["own-set"].method)
        count = sizes["loop, direct"]["bio", "nomemalloc"].count
        table.add("bios of a write through a loop device with direct I/O", 2, count, "measured", traces, tolerance=0.01)
        for name, model in models.items():
            table.add(f"model, {name}", name != "floor and lock", model.safe, model.rung, model.method)
        old, new = (sizes[name]["bio", "nomemalloc"].size for name in ("NBD, virtio", "6.12"))
        table.add("bio per request, 6.12 against 6.1 (B)", old, new, "measured", traces, tolerance=0.05)
        name, atomic = "ATOMIC floor at 1519 (pages), the prototype's guest and the lab's", floors_at(1519).atomic
        table.add(name, 269, atomic, "measured", "Mem-Info of the guest", tolerance=0.01)
        return table


PARKED, MORE = (0, 1, 2), (0, 1, 2, 3)  # pages in per-cpu lists, and of cushion beyond the draw


def moved_by_lists() -> dict[tuple[int, int], bool]:
    """Whether the small model is safe, by (pages in lists, pages of cushion beyond the draw)."""
    return {(parked, more): netpath.on_small("", more, parked).safe for parked in PARKED for more in MORE}


def moved_table(moved: dict[tuple[int, int], bool]) -> str:
    """`moved_by_lists`, a line for each number of pages in lists."""
    rows = [(str(parked), *("safe" if moved[parked, more] else "DEADLOCK" for more in MORE)) for parked in PARKED]
    return html_table(("pages in lists", *(f"cushion: draw + {more}" for more in MORE)), rows)


def closing_table() -> str:
    """The task that closes each of the four cycles, off its console. Raises ValueError where it does not wait for a swap write."""
    rows = []
    for name, cycle in CYCLES.items():
        task = next(task for task in measured.hang_report(cycle.console).blocked if cycle.closes(task))
        if not {"__swap_writepage", "iomap_dio_bio_iter"} & set(task.symbols):
            raise ValueError(f"{cycle.console}: {task.name} does not wait for a swap write")
        way = " ← ".join([symbol for symbol in task.symbols if symbol not in RECLAIM][:6])
        rows.append((name, task.name.partition(":")[0], cycle.wants, way))
    return html_table(("swap on", "who", "what closes the cycle", "where (innermost first)"), rows)


def looped_bios() -> dict[str, Verdict]:
    """The cycle of the bios as a stack: loop worker and swap on one set of two elements, and on a set each."""
    looped = load_stack(measured.RECORDED / "loop-direct-swap.yaml")
    return {name: verdict(looped.only(name)) for name in looped.requests}


def _safe(safe: bool) -> str:
    return "safe" if safe else "unsafe"


def _span(values: Iterable[int]) -> str:
    found = list(values)
    return f"{min(found)}–{max(found)}"


def _words(found: Frequency | None) -> str:
    return "nothing was run" if found is None else found.words
