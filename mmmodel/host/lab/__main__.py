"""`python -m mmmodel.host.lab [EXPERIMENT ...]`: run experiments and print the table. Without names: the demonstration."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mmmodel.host.lab.experiment import EXPERIMENTS, ExperimentError, experiments
from mmmodel.host.lab.packages import Unavailable
from mmmodel.host.lab.runner import Lab, matrix
from mmmodel.host.lab.table import read_results, table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mmmodel.host.lab", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help="default: demonstration; all: every file of the folder")
    parser.add_argument("--out", type=Path, default=Path("out/lab"), help="work folder (default: out/lab)")
    parser.add_argument("--repeats", type=int, help="instead of what the files say")
    parser.add_argument("--only", metavar="TEXT", default="", help="cells whose label contains TEXT")
    parser.add_argument("--without", metavar="TEXT", help="not the cells whose label contains TEXT")
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    parser.add_argument("--table", action="store_true", help="only print the table of what has been run")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that guest and server are ended too
    try:
        if given.list:
            return _list()
        lab = Lab(given.out)
        if not given.table:
            chosen = experiments(None if given.names == ["all"] else given.names or ["demonstration"])
            if given.repeats:
                chosen = [one.model_copy(update={"repeats": given.repeats}) for one in chosen]
            for label, settings, repeat in matrix(chosen, lab.done()):
                if given.only not in label or (given.without and given.without in label):
                    continue
                line = lab.run(label, settings, repeat)
                print(f"{label} #{repeat}: {line['verdict']} ({line['recognised']}), low {line['low_pages']} pages", flush=True)
                if "note" in line:
                    print(f"  {line['note']}")
        print(table(read_results(lab.results)))
    except (ExperimentError, Unavailable) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _list() -> int:
    for one in experiments():
        print(f"{one.name:24} {len(one.cells()):3} cells × {one.repeats}  {one.title}")
    print(f"({EXPERIMENTS.name}/*.yaml)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
