"""Bounds that are derived, proved and cited: one short module a subject, every theorem an `Entry` with a permanent ID.

`table()` lists them, `get("RES-2")` shows one. The numeric functions stand in the subjects' modules (`reserve`,
`cycles`, `throughput`, `occupancy`, `hitting`, `receive`, `split`, `queues`, `either`, `ladder`, `joint`) and need neither SymPy nor z3.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmmodel.bounds.registry import Claim, Entry, Quantity, Step, Table, Tight, entries, get, table

__all__ = ["Claim", "Entry", "Quantity", "Step", "Table", "Tight", "entries", "get", "table"]


def __getattr__(name: str) -> object:
    """The registry's names, loaded when one is first used: a size needs only the formulas."""
    if name in __all__:
        return getattr(importlib.import_module("mmmodel.bounds.registry"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
