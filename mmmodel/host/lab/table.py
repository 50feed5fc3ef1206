"""The table of a results file: one line a setting, with the interval of its frequency."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mmmodel.host.lab.measured import Run, by_setting, frequency, read_runs


def read_results(path: Path) -> list[Run]:
    """The runs of a results file; none where there is no file yet."""
    return read_runs(path) if path.exists() else []


def table(runs: list[Run]) -> str:
    """Setting, hangs of runs with the 95 % interval, the other verdicts, and the range of the lowest free memory."""
    rows = [("setting", "hangs/runs [95 %]", "verdicts", "lowest free pages")]
    for label, group in by_setting(runs).items():
        counts = Counter(run.verdict for run in group)
        lows = [run.low_pages for run in group if run.low_pages is not None]
        span = f"{min(lows)}-{max(lows)}" if lows else "-"
        rows.append((str(label), str(frequency(group)), ", ".join(f"{n} {verdict}" for verdict, n in counts.items()), span))
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    left_out = Counter(run.verdict for run in runs) - Counter(run.verdict for rest in by_setting(runs).values() for run in rest)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"not counted: {n} {verdict}" for verdict, n in left_out.items())])
