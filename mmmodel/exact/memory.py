"""Whether an answer fits into memory, asked before it is computed: a refusal says how much is needed and what to use instead.

The sizes are of what a method holds at its peak, beside the chain itself, measured on the three-class chain of
`tests/benchmarks/chain.py` at 1 021 384 states and 6 028 386 transitions, and rounded up.
"""

from __future__ import annotations

from pathlib import Path

STORED = (24, 60)  # bytes a transition and a state while a chain is built with arrays
ITERATED = (36, 200)  # multilevel aggregation with its certificate
WALKED = (20, 80)  # a law at a time
SMALLER = "lump equal requests into counts, bound the question (mm.throughput_bounds), or simulate (mmmodel.simulation, splitting if rare)"
SPARED = 0.95  # share of what is available that a question may take


class StateSpaceTooLarge(ValueError):
    """More states than the limit, or than memory holds."""


def available() -> int | None:
    """Bytes that can be had without swapping (MemAvailable of /proc/meminfo); None where that is not to be read."""
    from mmmodel.linux.meminfo import parse_meminfo

    try:
        return parse_meminfo(Path("/proc/meminfo").read_text(encoding="ascii")).get("MemAvailable")
    except OSError:
        return None


def need(each: tuple[int, int], transitions: int, states: int) -> int:
    """Bytes, from those of a transition and of a state."""
    return each[0] * transitions + each[1] * states


def require(size: int, what: str, instead: str) -> None:
    """Raises StateSpaceTooLarge if `size` bytes are not to be had. what: e.g. "building 10 states"; instead: what else to do."""
    free = available()
    if free is not None and size > SPARED * free:
        raise StateSpaceTooLarge(f"memory: {what} takes about {in_words(size)} and {in_words(free)} are available; {instead}")


def in_words(size: float) -> str:
    """Bytes as GiB."""
    return f"{size / 2**30:.3g} GiB"
