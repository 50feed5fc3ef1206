"""Bytes and seconds as people write them.

A bare number is bytes or seconds. A number with a unit is that unit: `KiB MiB GiB TiB` are powers of 1024, `kB MB GB TB`
powers of 1000, `B` a byte; `ns us µs ms s min h d` are times. A bare `16M` is refused, because it has meant both.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

BYTE_UNITS = {"B": 1}
BYTE_UNITS |= {f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGT", 1)}
BYTE_UNITS |= {f"{prefix}B": 1000**n for n, prefix in enumerate("kMGT", 1)}
SECOND_UNITS = {"ns": "1e-9", "us": "1e-6", "µs": "1e-6", "μs": "1e-6", "ms": "1e-3"}
SECOND_UNITS |= {"s": "1", "min": "60", "h": "3600", "d": "86400"}

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\W\d_]*)")


class ByteCount(int):
    """Bytes that were written with a unit, so that a pool counted in something else can refuse them."""


def parse_bytes(value: int | float | str, what: str = "size", round_down: bool = False) -> int:
    """Whole bytes from `4096`, `"4 KiB"` or `"1.5 MiB"`. Raises ValueError naming `what`, the value and what would be right.

    `round_down` is for what is there (24.8 MiB of reserve); what is taken must be a whole number as it is written.
    """
    number, unit = _split(value, what, "bytes")
    if unit is None:
        scale = 1
    elif unit in BYTE_UNITS:
        scale = BYTE_UNITS[unit]
    else:
        raise ValueError(
            f"{what}: {value!r} has the unit {unit!r}; write one of {', '.join(BYTE_UNITS)}, or a bare number of bytes"
        )
    count = number * scale
    if round_down and unit is not None:
        count = Fraction(math.floor(count))
    if count.denominator != 1:
        raise ValueError(f"{what}: {value!r} is {float(count):g} bytes; it must be a whole number of bytes")
    if count < 0:
        raise ValueError(f"{what}: {value!r} is negative; bytes are 0 or more")
    return int(count) if unit is None else ByteCount(count)


def parse_seconds(value: int | float | str, what: str = "time") -> float:
    """Seconds, 0 or more, from `0.002` or `"2 ms"`. Raises ValueError naming `what`, the value and what would be right."""
    number, unit = _split(value, what, "seconds")
    if unit is None:
        scale = Fraction(1)
    elif unit in SECOND_UNITS:
        scale = Fraction(SECOND_UNITS[unit])
    else:
        raise ValueError(
            f"{what}: {value!r} has the unit {unit!r}; write one of {', '.join(SECOND_UNITS)}, or a bare number of seconds"
        )
    if number < 0:
        raise ValueError(f"{what}: {value!r} is negative; a time is 0 or more")
    return float(number * scale)


def parse_count(value: int | float | str, what: str = "count", unit: str = "units") -> int:
    """A whole number, 0 or more, of `unit`. Raises ValueError naming `what`, the value and what would be right."""
    number, suffix = _split(value, what, unit)
    if suffix is not None:
        raise ValueError(f"{what}: {value!r} has the unit {suffix!r}; it is counted in {unit}: write a bare whole number")
    if number.denominator != 1 or number < 0:
        raise ValueError(f"{what}: {value!r} is not a whole number of {unit}, 0 or more")
    return int(number)


def format_bytes(count: float) -> str:
    """`10460 B`, `16 KiB`, `1.277 MiB`: exact where it is short, else four significant digits with the bytes behind."""
    if math.isinf(count):
        return "unlimited"
    count = int(count)
    for unit, scale in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= scale:
            if (count * 4) % scale == 0:
                return f"{count / scale:.12g} {unit}"
            return f"{count:,} B ({count / scale:.4g} {unit})"
    return f"{count:,} B"


def plural(unit: str) -> str:
    """Several of a unit: `pages`, `mutexes`, `entries`; a unit that is written in the plural stays as it is."""
    if re.search(r"[^s]s$", unit):
        return unit
    if re.search(r"(s|x|z|ch|sh)$", unit):
        return f"{unit}es"
    return f"{unit[:-1]}ies" if re.search(r"[^aeiou]y$", unit) else f"{unit}s"


def counted(count: float, unit: str) -> str:
    """So many of a unit: `1 page`, `2,048 pages`, `0 pages`; bytes as `format_bytes` writes them."""
    if unit == "byte":
        return format_bytes(count)
    if count == 1:
        return f"1 {unit[:-1] if re.search('[^s]s$', unit) else unit}"
    return f"{int(count):,} {plural(unit)}"


def format_seconds(seconds: float) -> str:
    """Four significant digits in the unit that reads best; years from one year on."""
    if math.isinf(seconds):
        return "never"
    year = 365.25 * 86400
    steps = ((year, "year"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "us"))
    for scale, unit in steps:
        if seconds >= scale:
            number = f"{seconds / scale:.4g}"
            return f"{number} {plural(unit) if unit == 'year' and number != '1' else unit}"
    return f"{seconds / 1e-9:.4g} ns"


def _split(value: int | float | str, what: str, unit: str) -> tuple[Fraction, str | None]:
    """The number as it was written, exactly, and its unit. Booleans, nan and infinities are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{what}: {value!r} is not a number; write {unit} as a number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{what}: {value!r} is not finite; write {unit} as a finite number")
        return Fraction(repr(value)), None
    if isinstance(value, int):
        return Fraction(value), None
    match = _QUANTITY.fullmatch(value.strip())
    if match is None:
        raise ValueError(f'{what}: {value!r} is not a quantity; write a number of {unit}, such as 4096 or "4 KiB" or "2 ms"')
    if len(match[1]) > 40 or abs(int(([*re.split("[eE]", match[1]), "0"])[1])) > 30:
        raise ValueError(f"{what}: {value!r} is out of range for {unit}")
    return Fraction(match[1]), match[2] or None
