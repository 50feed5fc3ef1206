"""Stochastic simulation of stacks, event by event: it shares nothing with the exact engines but the stack.

simulate            throughput, waiting, occupancy, time to deadlock and to unsafe, with intervals
difference          two questions under common random numbers, with the paired interval
trace               the history of one run, as arrays
splitting           rare events: times to deadlock and probabilities down to 1e-12 and beyond
Open                arrivals from outside
"""

from mmmodel.simulation import splitting
from mmmodel.simulation.estimates import Estimate, Occupancy, Simulation, difference, simulate
from mmmodel.simulation.events import EndlessError
from mmmodel.simulation.program import Open
from mmmodel.simulation.trace import Trace, trace

__all__ = [
    "EndlessError",
    "Estimate",
    "Occupancy",
    "Open",
    "Simulation",
    "Trace",
    "difference",
    "simulate",
    "splitting",
    "trace",
]
