"""Bounds that are derived, proved and cited: one short module a subject, every theorem an `Entry` with a permanent ID.

`table()` lists them, `get("RES-2")` shows one. The numeric functions stand in the subjects' modules (`reserve`,
`cycles`, `throughput`, `occupancy`, `hitting`, `receive`, `split`) and need neither SymPy nor z3.
"""

from mmmodel.bounds.registry import Claim, Entry, Quantity, Step, Table, Tight, entries, get, table

__all__ = ["Claim", "Entry", "Quantity", "Step", "Table", "Tight", "entries", "get", "table"]
