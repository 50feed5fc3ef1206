"""Exact answers: verdicts and their search, Markov chains, closed networks, loss systems, the law of the reserve in use.

Modules are loaded when they are first named, so that a verdict does not wait for the linear algebra.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmmodel.exact import chain as chain
    from mmmodel.exact import islands as islands
    from mmmodel.exact import loss as loss
    from mmmodel.exact import network as network
    from mmmodel.exact import occupancy as occupancy
    from mmmodel.exact import reach as reach
    from mmmodel.exact import stack_chain as stack_chain
    from mmmodel.exact import stuck as stuck
    from mmmodel.exact import verdict as verdict

_MODULES = ("chain", "islands", "loss", "network", "occupancy", "reach", "stack_chain", "stuck", "verdict")


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
