"""What `size` costs: as a command, against importing the libraries that it rests on; in a process, against its verdict and safe reserve.

Times are processor time, so that what else runs on the machine counts little; the two sides of a ratio are measured in turns.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import mmmodel as mm

ROUNDS = 9
LIBRARIES = ["-c", "import pydantic, z3, ruamel.yaml"]
COMMAND = ["-m", "mmmodel", "size", "nbd-tcp", "--depth", "128"]
MOST_COMMAND, MOST_SIZE = 3, 2
STACKS = {"nbd-tcp": "574 KiB", "iscsi-tcp": "1 MiB", "loop": "16 MiB", "dm-thin": "16 MiB"}


def main() -> None:
    ratio, size, libraries = command()
    print(
        f"{' '.join(COMMAND[1:])}: {size:.3f} s, the libraries alone {libraries:.3f} s: ratio {ratio:.2f} (asked at most {MOST_COMMAND})"
    )
    for name, reserve in STACKS.items():
        ratio, whole, parts = size_of(name, reserve)
        print(
            f"size {name}: {1e3 * whole:.1f} ms, verdicts and safe reserves {1e3 * parts:.1f} ms: ratio {ratio:.2f} (asked at most {MOST_SIZE})"
        )


def command(rounds: int = ROUNDS) -> tuple[float, float, float]:
    """(median ratio, median seconds of the command, of the libraries): fresh interpreters, with the modules compiled as in an installed wheel."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", *mm.__path__], check=True)
    return _in_turns(lambda: _child(COMMAND), lambda: _child(LIBRARIES), rounds)


def size_of(name: str, reserve: str, rounds: int = ROUNDS) -> tuple[float, float, float]:
    """(median ratio, median seconds of `size`, of a verdict and a safe reserve for the stack and for each class that `size` shows)."""
    stack = mm.load_stack(name)
    shown = [stack, *(stack.only(cls) for cls in stack.requests if len(stack.requests) > 1)]

    def parts() -> None:
        for part in shown:
            mm.verdict(part, reserve=reserve)
            mm.safe_reserve(part)

    return _in_turns(lambda: _spent(lambda: mm.size(stack, reserve=reserve)), lambda: _spent(parts), rounds)


def _in_turns(measure: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    measure(), other()  # what is loaded and compiled once
    pairs = [(measure(), other()) for _ in range(rounds)]
    return statistics.median(a / b for a, b in pairs), *(statistics.median(times) for times in zip(*pairs))


def _spent(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def _child(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
