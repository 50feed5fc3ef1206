"""mmmodel: reserve against throttle depth on the Linux writeout path.

Every public name is listed here, under the module that has it. A module is loaded when one of its names is first used, so
that a command which only prints a table does not wait for a solver.
"""

import importlib

from mmmodel.installed import version

_PUBLIC = {
    "mmmodel.model.catalogue": ("load_stack", "stack_names"),
    "mmmodel.host.hang": ("HangReport", "explain_hang"),
    "mmmodel.linux.host": ("Host", "load_host"),
    "mmmodel.linux.text": ("HostError",),
    "mmmodel.answers.performance": (
        "best_depth",
        "frontier",
        "knee",
        "throughput",
        "throughput_bounds",
        "time_to_deadlock",
        "time_to_unsafe",
    ),
    "mmmodel.answers.report": ("Report", "size"),
    "mmmodel.answers.sizing": (
        "Verdict",
        "footprint",
        "reachable_deadlock",
        "safe_depth",
        "safe_reserve",
        "unsafe_reserves",
        "verdict",
        "wait_free_depth",
        "wait_free_reserve",
    ),
    "mmmodel.simulation.estimates": ("Simulation", "simulate"),
    "mmmodel.simulation.trace": ("Trace", "trace"),
    "mmmodel.host.survey": ("Survey",),
    "mmmodel.model.stack": ("QuestionError", "Request", "Stack", "StackError"),
    "mmmodel.answers.study": ("Study", "load_study"),
    "mmmodel.answers.sweep": ("run_study",),
    "mmmodel.answers.uncertainty": ("safe_reserve_over_box", "sobol_indices", "verdict_over_box"),
}
_MODULES = {
    "bounds": "mmmodel.bounds",
    "compare": "mmmodel.answers.compare",
    "exact": "mmmodel.exact",
    "linux": "mmmodel.linux",
    "plot": "mmmodel.answers.plot",
    "simulation": "mmmodel.simulation",
    "survey": "mmmodel.host.survey",
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted([*_WHERE, *_MODULES])


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = version()
    elif name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'mmmodel' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
