"""Exact answers: verdicts and their search, Markov chains, closed networks, loss systems, the law of the reserve in use.

Modules are loaded when they are first named, so that a verdict does not wait for the linear algebra.
"""

import importlib

_MODULES = ("chain", "islands", "loss", "multiclass", "network", "occupancy", "reach", "stack_chain", "stuck", "verdict")


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_MODULES])
