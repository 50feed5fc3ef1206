"""mmmodel: reserve against throttle depth on the Linux writeout path.

- `load_stack`, `stack_names`, `Stack`, `Request`: what is asked about, from the catalogue, from a file, or written down
- `size`: the main job, with the verdict, the three reserves, the two depths and settings to paste
- `verdict`, `reachable_deadlock`: whether a deadlock can be reached, and on which path
- `safe_reserve`, `safe_depth`, `unsafe_reserves`: from where on every reserve is safe, to which depth, and which reserves are not
- `wait_free_reserve`, `wait_free_depth`, `footprint`: where nobody ever waits for memory, and what one request takes
- `safe_min_free`, `memory_of`, `Memory`: the same questions on a machine (`host=`), whose memory is entered by right
- `joint`: several paths on one memory
- `throughput`, `throughput_bounds`, `knee`, `best_depth`, `frontier`: what a depth and a reserve buy
- `time_to_deadlock`, `time_to_unsafe`: how long an unsafe stack lives
- `simulate`, `trace`: the same by simulation, with intervals, and the history of one run
- `verdict_over_box`, `safe_reserve_over_box`, `sobol_indices`: numbers that are not known exactly
- `Study`, `load_study`, `run_study`: many points at once
- `load_host`, `survey`, `explain_hang`: machines, their writeout paths and their hangs
- `bounds`, `exact`, `simulation`, `linux`: the theorems, the exact engines, the simulation, the kernel's rules
- `load_case`, `load_cases`: known deadlocks before and after their fix
- `plot`, `compare`: figures and tables of evidence

A reserve is in bytes, an int or a text such as "574 KiB"; a time is in seconds, or a text such as "2 ms". What cannot be answered
raises StackError (the stack), QuestionError (the question) or HostError (the machine); each of them is a ValueError.
"""

import importlib
from typing import TYPE_CHECKING

from mmmodel.installed import version

if TYPE_CHECKING:  # the same names for who reads types without running anything; a test holds the two together
    from mmmodel import bounds as bounds
    from mmmodel import exact as exact
    from mmmodel import linux as linux
    from mmmodel import simulation as simulation
    from mmmodel.answers import compare as compare
    from mmmodel.answers import plot as plot
    from mmmodel.answers.cases import load_case as load_case
    from mmmodel.answers.cases import load_cases as load_cases
    from mmmodel.answers.machine import safe_min_free as safe_min_free
    from mmmodel.answers.performance import best_depth as best_depth
    from mmmodel.answers.performance import frontier as frontier
    from mmmodel.answers.performance import knee as knee
    from mmmodel.answers.performance import throughput as throughput
    from mmmodel.answers.performance import throughput_bounds as throughput_bounds
    from mmmodel.answers.performance import time_to_deadlock as time_to_deadlock
    from mmmodel.answers.performance import time_to_unsafe as time_to_unsafe
    from mmmodel.answers.report import Report as Report
    from mmmodel.answers.report import size as size
    from mmmodel.answers.sizing import Verdict as Verdict
    from mmmodel.answers.sizing import footprint as footprint
    from mmmodel.answers.sizing import reachable_deadlock as reachable_deadlock
    from mmmodel.answers.sizing import safe_depth as safe_depth
    from mmmodel.answers.sizing import safe_reserve as safe_reserve
    from mmmodel.answers.sizing import unsafe_reserves as unsafe_reserves
    from mmmodel.answers.sizing import verdict as verdict
    from mmmodel.answers.sizing import wait_free_depth as wait_free_depth
    from mmmodel.answers.sizing import wait_free_reserve as wait_free_reserve
    from mmmodel.answers.study import Study as Study
    from mmmodel.answers.study import load_study as load_study
    from mmmodel.answers.sweep import run_study as run_study
    from mmmodel.answers.uncertainty import safe_reserve_over_box as safe_reserve_over_box
    from mmmodel.answers.uncertainty import sobol_indices as sobol_indices
    from mmmodel.answers.uncertainty import verdict_over_box as verdict_over_box
    from mmmodel.host import survey as survey
    from mmmodel.host.hang import HangReport as HangReport
    from mmmodel.host.hang import explain_hang as explain_hang
    from mmmodel.host.survey import Survey as Survey
    from mmmodel.linux.host import Host as Host
    from mmmodel.linux.host import load_host as load_host
    from mmmodel.linux.text import HostError as HostError
    from mmmodel.model.catalogue import load_stack as load_stack
    from mmmodel.model.catalogue import stack_names as stack_names
    from mmmodel.model.joint import joint as joint
    from mmmodel.model.machine import Memory as Memory
    from mmmodel.model.machine import memory_of as memory_of
    from mmmodel.model.stack import QuestionError as QuestionError
    from mmmodel.model.stack import Request as Request
    from mmmodel.model.stack import Stack as Stack
    from mmmodel.model.stack import StackError as StackError
    from mmmodel.simulation.estimates import Simulation as Simulation
    from mmmodel.simulation.estimates import simulate as simulate
    from mmmodel.simulation.trace import Trace as Trace
    from mmmodel.simulation.trace import trace as trace

# every public name under the module that has it, which is loaded when one of its names is first used: a table waits for no solver
_PUBLIC = {
    "mmmodel.model.catalogue": ("load_stack", "stack_names"),
    "mmmodel.host.hang": ("HangReport", "explain_hang"),
    "mmmodel.linux.host": ("Host", "load_host"),
    "mmmodel.linux.text": ("HostError",),
    "mmmodel.answers.cases": ("load_case", "load_cases"),
    "mmmodel.answers.machine": ("safe_min_free",),
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
    "mmmodel.model.joint": ("joint",),
    "mmmodel.model.machine": ("Memory", "memory_of"),
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
