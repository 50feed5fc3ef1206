"""Machine-checked proofs (Coq 8.16, no further library): which file proves what, and how to have it checked.

`System.v` and `Lines.v` hold all definitions, `Sums.v` what is needed of finite sums, each other file one theorem; `Examples.v` shows
the definitions at work. An entry of the registry names its theorem with the statement, which a test compares with the file's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("System", "Sums", "StuckState", "Safe", "RES8", "RES2", "Lines", "QUE1", "JNT1", "Examples")  # each after what it needs
CLOSED = "Closed under the global context"


def missing() -> str:
    """Why the proofs cannot be checked here; empty if they can."""
    return (
        ""
        if shutil.which("coqc")
        else "coqc is not installed: the proofs are not checked here (apt install coq, version 8.16 or newer)"
    )


def statement(file: str, theorem: str, folder: Path = HERE) -> str:
    """The statement of a theorem as it stands in the file, in one line. ValueError if it is not there."""
    text = (folder / f"{file}.v").read_text(encoding="utf-8")
    found = re.search(rf"^(?:Theorem|Example) {re.escape(theorem)}\s*:(.*?)\.\s*^Proof\.", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"theorem: {theorem} is not in {file}.v")
    return " ".join(found[1].split())


def theorems() -> list[tuple[str, str]]:
    """(file, name) of every theorem and example."""
    found = []
    for file in FILES:
        text = (HERE / f"{file}.v").read_text(encoding="utf-8")
        found += [(file, name) for name in re.findall(r"^(?:Theorem|Example) (\w+)", text, re.MULTILINE)]
    return found


def check(folder: Path = HERE, questions: str = "") -> str:
    """Compile every file with coqc and return what it prints for `questions`, further lines of Coq.

    RuntimeError with coqc's message where a proof fails; FileNotFoundError without coqc."""
    with tempfile.TemporaryDirectory() as built:
        for file in FILES:
            shutil.copy(folder / f"{file}.v", built)
        (Path(built) / "Questions.v").write_text(
            f"From mmmodel Require Import {' '.join(FILES)}.\n{questions}\n", encoding="utf-8"
        )
        for file in (*FILES, "Questions"):
            run = subprocess.run(["coqc", "-q", "-Q", ".", "mmmodel", f"{file}.v"], cwd=built, capture_output=True, text=True)
            if run.returncode:
                raise RuntimeError(f"{file}.v: {run.stderr.strip()}")
    return run.stdout


def axioms() -> dict[str, str]:
    """For every theorem what Coq says it rests on beside the definitions; raises as `check` does."""
    named = theorems()
    told = check(questions="\n".join(f"Print Assumptions {name}.\nCheck tt." for _, name in named))
    parts = re.split(r"^tt\s*: unit$", told, flags=re.MULTILINE)
    return {name: " ".join(part.split()) for (_, name), part in zip(named, parts, strict=False)}
