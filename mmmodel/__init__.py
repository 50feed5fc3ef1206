"""mmmodel: reserve against throttle depth on the Linux writeout path. Every public name is listed here."""

from importlib.metadata import PackageNotFoundError, version

from mmmodel import bounds, exact
from mmmodel.catalogue import load_stack, stack_names
from mmmodel.linux import Host, HostError, load_host
from mmmodel.report import Report, size
from mmmodel.sizing import (
    Verdict,
    footprint,
    reachable_deadlock,
    safe_depth,
    safe_reserve,
    unsafe_reserves,
    verdict,
    wait_free_depth,
    wait_free_reserve,
)
from mmmodel.stack import QuestionError, Request, Stack, StackError

try:
    __version__ = version("mmmodel")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Host",
    "HostError",
    "QuestionError",
    "Report",
    "Request",
    "Stack",
    "StackError",
    "Verdict",
    "bounds",
    "exact",
    "footprint",
    "load_host",
    "load_stack",
    "reachable_deadlock",
    "safe_depth",
    "safe_reserve",
    "size",
    "stack_names",
    "unsafe_reserves",
    "verdict",
    "wait_free_depth",
    "wait_free_reserve",
]
