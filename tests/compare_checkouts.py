"""What two checkouts of the project answer to the same questions:  python -m tests.compare_checkouts OLD NEW

Each checkout answers in a process of its own, through its public face alone (the names of `mmmodel` and the command line), so that
neither has to know how the other's modules are called. The questions are random stacks, every recorded host and damaged copies of
them, and every sweep of data/studies; they are the same for both and come from this checkout. What differs is printed by the place in the
answer where it differs, and the exit code is then 1. Of an error only its kind is compared, not its words.
"""

import argparse
import contextlib
import io
import json
import math
import os
import random
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
INDEX = re.compile(r"\[[0-9]+\]")
PASSING = ("seconds", "versions", "started", "finished")  # of a sweep's point: what two runs of one checkout do not share


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compare_checkouts", description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--stacks", type=int, default=2000, help="random stacks (2000)")
    parser.add_argument("--damaged", type=int, default=200, help="damaged copies of the recorded hosts (200)")
    parser.add_argument(
        "--hosts", type=Path, default=ROOT / "data" / "hosts", help="the folder of the recorded hosts (data/hosts)"
    )
    parser.add_argument("--studies", type=Path, default=ROOT / "data" / "studies", help="the folder of the sweeps (data/studies)")
    given = parser.parse_args(arguments)
    for checkout in (given.old, given.new):
        if not (checkout / "mmmodel" / "__init__.py").is_file():
            parser.error(f"{checkout} is not a checkout: it has no mmmodel/__init__.py")
    with tempfile.TemporaryDirectory() as made:
        asked = questions(given.stacks, given.hosts.resolve(), given.damaged, given.studies.resolve(), Path(made))
        old, new = both(given.old.resolve(), given.new.resolve(), asked, Path(made))
    return report(asked, old, new)


# ---- the questions --------------------------------------------------------------------------------------------------------


def questions(stacks: int, recorded: Path, damaged: int, studies: Path, folder: Path) -> list[dict]:
    """Plain data, one dict a question; the damaged hosts are laid out in `folder`."""
    return [
        *(stack_question(seed) for seed in range(stacks)),
        *({"kind": "survey", "of": of, "root": str(root)} for of, root in hosts(recorded, damaged, folder)),
        *({"kind": "sweep", "of": path.name, "study": str(path)} for path in sorted(studies.glob("*.yaml"))),
    ]


def stack_question(seed: int) -> dict:
    """By turns a stack of everything, one about what bounds the requests, one with several ways to be satisfied, and plain chunks."""
    from tests.instances import gated, instance, plain, richer

    make = (instance, gated, richer, plain)[seed % 4]
    if make is plain:
        data, _ = plain(seed)
        depth, reserve = None, random.Random(seed).randint(4, 40)
    else:
        data, depth, reserve, _ = make(seed)
    return {"kind": "stack", "of": f"{make.__name__} {seed}", "data": data, "depth": depth, "reserve": reserve}


def hosts(recorded: Path, damaged: int, folder: Path):
    """(name, root) of every host in `recorded` and of `damaged` copies with one to four damaged files each."""
    from tests.linux.test_fuzz import damage_tree

    roots = sorted(path for path in recorded.iterdir() if path.is_dir())
    yield from ((root.name, root) for root in roots)
    for number in range(damaged):
        draw = random.Random(f"damaged {number}")
        whole = draw.choice(roots)
        root = folder / f"host{number}"
        shutil.copytree(whole, root)
        files = {
            str(path.relative_to(root)): path.read_text("utf-8", "replace") for path in sorted(root.rglob("*")) if path.is_file()
        }
        del files["ABOUT.yaml"]
        names = damage_tree(root, draw, files)
        yield f"{whole.name} with {', '.join(sorted(names))} damaged", root


# ---- each checkout answers ------------------------------------------------------------------------------------------------


def both(old: Path, new: Path, asked: list[dict], folder: Path) -> tuple[list, list]:
    """The answers of both checkouts, asked at the same time. Raises RuntimeError where one did not answer all."""
    (folder / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    answers: dict[str, list] = {}
    running = [
        threading.Thread(target=lambda name=name, path=path: answers.update({name: ask(path, folder, name)}))
        for name, path in (("old", old), ("new", new))
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for name in ("old", "new"):
        if len(answers.get(name, ())) != len(asked):
            raise RuntimeError(f"{name}: {len(answers.get(name, ()))} of {len(asked)} questions answered")
    return answers["old"], answers["new"]


def ask(checkout: Path, folder: Path, name: str) -> list:
    """Run this file as a program on `checkout`; -P keeps this folder out of its path."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    work = folder / name
    work.mkdir()
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as out:
        command = [sys.executable, "-P", str(HERE), "--answer", str(checkout), str(folder / "questions.json")]
        subprocess.run(command, stdout=out, env=environment, cwd=work, check=False)
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def answer_all(checkout: str, asked: str) -> None:
    """In the checkout's own process: one line of JSON a question."""
    import mmmodel

    if not Path(mmmodel.__file__).is_relative_to(checkout):
        raise RuntimeError(f"asked {checkout}, but {mmmodel.__file__} would answer")
    out = sys.stdout
    for question in json.loads(Path(asked).read_text(encoding="utf-8")):
        answer = {"stack": of_stack, "survey": of_survey, "sweep": of_sweep}[question["kind"]](question)
        print(json.dumps(answer, default=str), file=out, flush=True)


def of_stack(question: dict) -> dict:
    import mmmodel as mm

    depth, reserve = question["depth"], question["reserve"]
    stack = attempt(lambda: mm.Stack.model_validate(question["data"]))
    if isinstance(stack, dict):
        return {"stack": stack}

    def verdict() -> dict:
        found = mm.verdict(stack, depth=depth, reserve=reserve)
        return {"safe": found.safe, "path": found.path is not None}

    return {
        "verdict": attempt(verdict),
        "safe_reserve": attempt(lambda: mm.safe_reserve(stack, depth=depth)),
        "wait_free_reserve": attempt(lambda: mm.wait_free_reserve(stack, depth=depth)),
        "safe_depth": attempt(lambda: mm.safe_depth(stack, reserve=reserve)),
        "wait_free_depth": attempt(lambda: mm.wait_free_depth(stack, reserve=reserve)),
    }


def of_survey(question: dict) -> dict:
    code, printed = command_line("survey", "--root", question["root"], "--json")
    return {"exit": code, "answer": json.loads(printed) if printed else None}


def of_sweep(question: dict) -> dict:
    code, _ = command_line("sweep", question["study"], "-o", "points")
    lines = [json.loads(line) for line in Path("points/points.jsonl").read_text(encoding="utf-8").splitlines()]
    shutil.rmtree("points")
    kept = [{key: value for key, value in line.items() if key not in PASSING} for line in lines]
    return {"exit": code, "points": sorted(kept, key=lambda line: line["point"])}


def attempt(question) -> object:
    """The answer, or the kind of error."""
    try:
        return question()
    except Exception as error:
        return {"error": type(error).__name__}


def command_line(*arguments: str) -> tuple[int, str]:
    """`python -m mmmodel` in this process: (exit code, what it printed)."""
    sys.argv = ["mmmodel", *arguments]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_module("mmmodel", run_name="__main__")
        except SystemExit as done:
            return (done.code if isinstance(done.code, int) else int(done.code is not None)), out.getvalue()
    return 0, out.getvalue()


# ---- what differs ---------------------------------------------------------------------------------------------------------


def report(asked: list[dict], old: list, new: list) -> int:
    """Print the differences by place; 1 if there are any."""
    places: dict[str, list[str]] = {}
    differing: Counter[str] = Counter()
    for question, before, after in zip(asked, old, new, strict=True):
        found = list(differences(before, after))
        differing[question["kind"]] += bool(found)
        for place, was, now in found:
            general = f"{question['kind']}: {INDEX.sub('[*]', place)}"
            places.setdefault(general, []).append(f"{question['of']}: {short(was)} -> {short(now)}")
    for place, examples in sorted(places.items()):
        print(f"{len(examples):6} × {place}")
        for example in examples[:3]:
            print(f"         {example}")
    for kind, count in Counter(question["kind"] for question in asked).items():
        print(f"{kind}: {count} asked, {differing[kind]} answered differently")
    return int(bool(places))


def differences(before: object, after: object, place: str = ""):
    """(place, before, after) of every leaf that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key, "(absent)"), after.get(key, "(absent)"), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from differences(was, now, f"{place}[{at}]")
    elif before != after and not both_nan(before, after):
        yield place, before, after


def both_nan(before: object, after: object) -> bool:
    return isinstance(before, float) and isinstance(after, float) and math.isnan(before) and math.isnan(after)


def short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer_all(*sys.argv[2:])
    else:
        sys.exit(main())
