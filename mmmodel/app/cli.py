"""The command line: `python -m mmmodel size STACK --reserve 16MiB`, `... survey`, `... stacks`, `... run NOTEBOOK`, and more.

Exit codes: 0 answered; 1 the verdict is "unsafe" and `--check` asked for it; 2 bad or unreadable input. A user's mistake gets a message,
never a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mmmodel.installed import version

if TYPE_CHECKING:
    from mmmodel.model.stack import Stack

OK, UNSAFE, BAD_INPUT = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = build_parser()
    _complete(parser)
    arguments = parser.parse_args(argv)
    try:
        return arguments.command(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"mmmodel: {error}", file=sys.stderr)
        return BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        prog="mmmodel", description="How large must the writeout path's reserve be, and how deep its queue?"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    sub = _command(commands, "size", _size, "size a stack: verdict, the three reserves, the two depths, settings to paste")
    sub.add_argument(
        "stacks",
        nargs="+",
        metavar="STACK",
        help="a name in the catalogue, the path of a YAML file, or layers: swap/crypt/nbd/virtio_net; several share one memory, "
        "each with a depth of its own, as nbd-tcp@64",
    )
    sub.add_argument(
        "--reserve", metavar="R", help='bytes ("16 MiB", "574KiB", 587776); host: the memory of this machine, or of --host'
    )
    sub.add_argument("--depth", metavar="K", help="requests (or the throttle's unit) in flight; the stack's own when left out")
    sub.add_argument(
        "--host",
        metavar="HOST",
        help="a machine in place of a reserve: a name in data/hosts, a recorded tree or a copy of /proc/zoneinfo",
    )
    sub.add_argument(
        "--class", dest="classes", action="append", default=[], metavar="CLASS", help="only this request class; may be repeated"
    )
    sub.add_argument(
        "--pool",
        metavar="POOL",
        help="the pool that is sized; --reserve is its capacity then (default: reserve, if there is one)",
    )
    sub.add_argument("--device", default="nbd0", metavar="DEV", help="the block device named in the advice (default: nbd0)")
    sub.add_argument("--check", action="store_true", help="exit with 1 unless the verdict is safe, without a condition")
    sub.add_argument("--certificate", metavar="FILE", help="also write what `python -m mmmodel.certificate_checker FILE` checks")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "stacks", _stacks, "list the catalogue, or print one stack with its sources")
    sub.add_argument(
        "stack",
        nargs="?",
        metavar="NAME",
        help="a name in the catalogue, the path of a YAML file, or layers: swap/crypt/nbd/virtio_net",
    )
    sub.add_argument("--parts", action="store_true", help="list the layers that paths are made of, instead of the stacks")
    sub.add_argument("--figure", metavar="FILE", help="also draw the stack's steps and pools into FILE (.png, .svg or .pdf)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "lint", _lint, "check a stack: throttles, rights, units and orders that are wrong or costly")
    sub.add_argument(
        "stack", metavar="STACK", help="a name in the catalogue, the path of a YAML file, or layers: swap/crypt/nbd/virtio_net"
    )
    sub.add_argument("--depth", metavar="K", help="requests (or the throttle's unit) in flight; the stack's own when left out")
    sub.add_argument("--reserve", metavar="R", help='bytes ("16 MiB", "574KiB", 587776); the stack\'s own, or left open')
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(
        commands, "cases", _cases, "the casebook: known deadlocks before and after their fix, and how the model did on them"
    )
    sub.add_argument(
        "case", nargs="?", metavar="NAME", help="a case, or a folder with a case.yaml: what the text says and what was computed"
    )
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "new-part", _new_part, "write a commented file for a layer of your own")
    sub.add_argument("name", metavar="NAME", help="what the layer is called in paths")
    sub.add_argument("-o", "--output", default=".", metavar="DIR", help="the folder of the new file (default: this one)")

    sub = _command(commands, "survey", _survey, "survey a host: its writeout paths, verdicts, margins, settings to paste")
    sub.add_argument("--root", default="/", metavar="DIR", help="a recorded tree or a name in data/hosts (default: this machine)")
    sub.add_argument("--html", metavar="FILE", help="write a page with the figures as well")
    sub.add_argument("--check", action="store_true", help="exit with 1 unless every path is safe without conditions")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "record", _record, "record what a survey reads of a host, without anything that identifies it")
    sub.add_argument("-o", "--output", required=True, metavar="DIR", help="a new directory")
    sub.add_argument("--root", default="/", metavar="DIR", help="the tree to record (default: this machine)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "explain-hang", _explain_hang, "explain a hang: floors that were passed, the cycle in the traces")
    sub.add_argument("hang", metavar="DIR", help="a directory with logs in any form and zoneinfo, or one such file")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(commands, "trace", _trace, "turn an ftrace recording of the kmem events into footprints and a stack file")
    sub.add_argument("file", metavar="FILE", help="a copy of /sys/kernel/tracing/trace, plain or .gz")
    sub.add_argument("--name", default="traced", metavar="NAME", help="the name of the stack (default: traced)")
    sub.add_argument("--kernel", default="", metavar="VERSION", help="the kernel that was traced, for the stack's file")

    sub = _command(commands, "run", _run, "run a notebook with parameters (papermill) into a folder")
    sub.add_argument("notebook", metavar="NOTEBOOK", help="a notebook of the suite by name or number, or a path")
    sub.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated")
    sub.add_argument("-o", "--output", default="out", metavar="DIR", help="the folder for the executed notebook (default: out)")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(
        commands, "rerun", _rerun, "run all notebooks into a dated folder, only what changed, with an index of verdicts"
    )
    sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="only these; all of the suite when left out")
    sub.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for the notebooks that have it; may be repeated",
    )
    sub.add_argument("-o", "--output", default="out", metavar="DIR", help="the dated folder is made in it (default: out)")
    sub.add_argument("--force", action="store_true", help="run what has not changed, too")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = _command(
        commands, "html", _html, "render the notebooks, as executed, and the reference to a static site that needs no network"
    )
    sub.add_argument("-o", "--output", default="site", metavar="DIR", help="the folder of the site (default: site)")

    sub = _command(
        commands, "sweep", _sweep, "compute the points of a study, or run a notebook at many points; finished points are kept"
    )
    sub.add_argument("study", nargs="?", metavar="STUDY", help="a YAML file: a stack, what varies, what to compute")
    sub.add_argument(
        "--notebook", metavar="NOTEBOOK", help="instead of a study: a notebook of the suite by name or number, or a path"
    )
    sub.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=V[,V...]",
        help="values of a notebook's parameter; may be repeated",
    )
    sub.add_argument("-o", "--output", default="out", metavar="DIR", help="the folder for the results (default: out)")
    sub.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a Dask cluster instead of processes of this machine")
    sub.add_argument("--workers", type=int, metavar="N", help="processes (default: one a processor)")
    sub.add_argument("--csv", action="store_true", help="write points.csv as well")
    sub.add_argument("--json", action="store_true", help="print JSON")
    return parser


class _Version(argparse.Action):
    """`--version`, looked up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {version()}")
        parser.exit()


def _command(commands, name: str, function: Callable, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    sub.set_defaults(command=function)
    return sub


def _complete(parser: argparse.ArgumentParser) -> None:
    """Shell completion where argcomplete is installed."""
    if "_ARGCOMPLETE" in os.environ:
        try:
            import argcomplete
        except ImportError:
            return
        argcomplete.autocomplete(parser)


def _size(arguments: argparse.Namespace) -> int:
    from mmmodel.answers.report import size

    stack = _together(arguments) if len(arguments.stacks) > 1 else arguments.stacks[0]
    asked = (stack, arguments.reserve, arguments.depth, arguments.host, tuple(arguments.classes))
    report = size(*asked, arguments.device, arguments.pool)
    if arguments.check and report.verdict is None:
        raise ValueError("--check needs a reserve: give --reserve")
    if arguments.certificate is not None:
        if report.verdict is None:
            raise ValueError("--certificate needs a verdict: give --reserve or --host")
        _write(arguments.certificate, json.dumps(report.verdict.certificate()) + "\n")
    _print(arguments, report.as_dict, report)
    return UNSAFE if arguments.check and report.verdict is not None and report.verdict.word != "SAFE" else OK


def _together(arguments: argparse.Namespace) -> Stack:
    """Several stacks as one, each with the depth behind its "@" where it has one. Raises ValueError for --depth beside several."""
    from mmmodel.model.joint import joint

    if arguments.depth is not None:
        raise ValueError(
            f"--depth: {len(arguments.stacks)} stacks have a depth each; write it behind the name, as {arguments.stacks[0]}@64"
        )
    split = (re.fullmatch(r"(.+)@([0-9]{1,9})", name) for name in arguments.stacks)
    return joint(*((match[1], int(match[2])) if match else name for match, name in zip(split, arguments.stacks)))


def _stacks(arguments: argparse.Namespace) -> int:
    from mmmodel.model.catalogue import composition, load_stack, stack_names

    if arguments.stack:
        composed = composition(arguments.stack)
        stack = load_stack(arguments.stack) if composed is None else composed.stack
        if arguments.figure:
            _draw(stack, arguments.figure)
        if composed is not None:
            _print(arguments, composed.as_dict, composed)
        else:
            _print(arguments, lambda: stack.model_dump(mode="json"), stack)
        return OK
    if arguments.figure:
        raise ValueError("--figure draws one stack: give its NAME")
    if arguments.parts:
        return _parts(arguments)
    names = stack_names()
    titles = {name: load_stack(name).title for name in names}
    width = max(map(len, names), default=0)
    _print(arguments, lambda: titles, "\n".join(f"{name.ljust(width)}  {title}" for name, title in titles.items()))
    return OK


def _parts(arguments: argparse.Namespace) -> int:
    from mmmodel.model.parts import load_part, part_names

    parts = {name: load_part(name) for name in part_names()}
    width = max(map(len, parts), default=0)
    lines = [f"{name.ljust(width)}  {part.title}{_lies(part)}" for name, part in parts.items()]
    _print(arguments, lambda: {name: part.model_dump(mode="json") for name, part in parts.items()}, "\n".join(lines))
    return OK


def _lies(part) -> str:
    offers, over = " and ".join(part.offers) or "submits", " and ".join(" or ".join(kinds) for kinds in part.over.values())
    return f" ({offers}{f', over {over}' if over else ''})"


def _new_part(arguments: argparse.Namespace) -> int:
    from mmmodel.model.parts import new_part

    path = new_part(arguments.name, arguments.output)
    print(f"{path}: read the comments, then: python -m mmmodel size swap/./{path.name}/nvme --reserve 16MiB")
    return OK


def _survey(arguments: argparse.Namespace) -> int:
    from mmmodel.host.survey import survey

    answer = survey(arguments.root)
    if arguments.html:
        _write(arguments.html, answer.html_page())
    _print(arguments, answer.as_dict, answer)
    return UNSAFE if arguments.check and not answer.ok else OK


def _record(arguments: argparse.Namespace) -> int:
    from mmmodel.linux.record import record
    from mmmodel.model.units import counted

    made = record(arguments.output, arguments.root)
    lines = [f"recorded: {made.path} ({counted(len(made.files), 'file')})"]
    if made.root_would_add:
        lines.append(f"root would add: {', '.join(made.root_would_add)}")
    data = {"path": str(made.path), "files": list(made.files), "root_would_add": list(made.root_would_add)}
    _print(arguments, lambda: data, "\n".join(lines))
    return OK


def _explain_hang(arguments: argparse.Namespace) -> int:
    from mmmodel.host.hang import explain_hang

    report = explain_hang(arguments.hang)
    _print(arguments, report.as_dict, report)
    return OK if report.answered else BAD_INPUT


def _write(path: str, text: str) -> None:
    from mmmodel.model.output import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


def _draw(stack, file: str) -> None:
    from mmmodel.answers.diagram import draw

    if not file.lower().endswith((".png", ".svg", ".pdf")):
        raise ValueError(f"--figure: {file!r} cannot be written as a picture; end it in .png, .svg or .pdf")
    figure, _ = draw(stack)
    figure.savefig(file, dpi=110, bbox_inches="tight")


def _lint(arguments: argparse.Namespace) -> int:
    from mmmodel.answers.lint import lint
    from mmmodel.model.catalogue import load_stack

    stack = load_stack(arguments.stack)
    findings = lint(stack, arguments.depth, reserve=arguments.reserve)
    reserve = stack.pools.get("reserve")
    left_open = reserve is not None and reserve.capacity is None and arguments.reserve is None
    nothing = "no findings" + ("; the reserve was left open: size tells how large it must be" if left_open else "")
    _print(arguments, lambda: [vars(finding) for finding in findings], "\n".join(map(str, findings)) or nothing)
    return OK


def _cases(arguments: argparse.Namespace) -> int:
    from mmmodel.answers import cases

    if arguments.case is not None:
        case = cases.load_case(arguments.case)
        _print(arguments, case.as_dict, case)
        return OK
    every = cases.load_cases()
    _print(
        arguments,
        lambda: {"cases": [case.as_dict() for case in every], "hit_rate": vars(cases.hit_rate(every))},
        cases.table(every),
    )
    return OK


def _trace(arguments: argparse.Namespace) -> int:
    from mmmodel.host.footprints import report

    print(report(arguments.file, arguments.name, arguments.kernel))
    return OK


def _run(arguments: argparse.Namespace) -> int:
    from mmmodel.app.notebooks import run

    outcome = run(arguments.notebook, arguments.parameter, arguments.output)
    _print(arguments, outcome.as_dict, outcome)
    return OK if outcome.error is None else BAD_INPUT


def _rerun(arguments: argparse.Namespace) -> int:
    from mmmodel.app.rerun import rerun

    outcome = rerun(arguments.parameter, arguments.output, arguments.notebooks, force=arguments.force)
    _print(arguments, outcome.as_dict, outcome)
    return OK if outcome.ok else BAD_INPUT


def _html(arguments: argparse.Namespace) -> int:
    from mmmodel.app.notebooks import SUITE
    from mmmodel.app.site import build_site

    for page in build_site(SUITE, arguments.output):
        print(page)
    return OK


def _sweep(arguments: argparse.Namespace) -> int:
    from mmmodel.app.notebook_sweep import sweep_command

    done = sweep_command(
        arguments.study,
        arguments.notebook,
        arguments.parameter,
        arguments.output,
        arguments.scheduler,
        arguments.workers,
        arguments.csv,
    )
    _print(arguments, done.as_dict, done)
    return OK


def _print(arguments: argparse.Namespace, as_data: Callable[[], object], text: object) -> None:
    print(json.dumps(as_data(), indent=2, ensure_ascii=False) if arguments.json else text)
