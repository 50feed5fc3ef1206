"""Quantities that the tests give to a study: they fail, sleep or kill as the point asks."""

import os
import signal
import time

import numpy as np


def number(stack, depth, reserve, seed):
    """A number that depends on all of a point, its seed too."""
    return float(np.random.default_rng(seed).random()) + depth + reserve


def slowly(stack, depth, reserve, seed):
    time.sleep(0.02)
    return number(stack, depth, reserve, seed)


def fails_at_three(stack, depth, reserve, seed):
    if depth == 3:
        raise MemoryError("3 is too many")
    return depth


def kills_at_three(stack, depth, reserve, seed):
    if depth == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return depth


def fifty_milliseconds(stack, depth, reserve, seed):
    """As much processor time, whatever else the machine does."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return depth


def fifty_milliseconds_asleep(stack, depth, reserve, seed):
    time.sleep(0.05)
    return depth


def nothing(stack, depth, reserve, seed):
    return depth


def values(records):
    """What must be the same whoever computes it: everything but the time that it took."""
    return {r["point"]: (r["inputs"], r["results"], r["seed"], r["versions"]) for r in records}
