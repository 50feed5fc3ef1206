"""The compiled parts of multilevel splitting; `splitting.py` says what they are for. Needs numba.

States of the event loop are copied whole (both of its buffers). What belongs to the streams of random numbers stays: a copy
must not see the same times again. So the times that run already are drawn anew where what is left of them has the same law as
the whole (`fresh`: streams of exponential times). Trials that run out of random numbers return REFILL and are resumed; `P` holds where.
"""

from __future__ import annotations

import numpy as np

from mmmodel.simulation import kernel
from mmmodel.simulation.kernel import (
    AMOUNTS,
    BITS,
    CLOCK,
    DEAD,
    FALLEN,
    FROM,
    G_WIDE,
    IMPORTANCE,
    LOSE,
    LOW,
    NODE,
    NOW,
    PLACES,
    REFILL,
    RISEN,
    SCALARS,
    STOPPED,
    WHAT,
    choose,
    draw,
    enter_all,
    opened,
    run,
    set_clock,
)

jit = kernel._jit
LONG = 2**62
# P: progress of a stage
TRIAL, HITS, DEATHS, GOING, PICKED, REGION, BIRTH, DEPTH = range(8)
# Q: floats of a stage
TIME, SINCE_, BEST, SUM, LEFT = range(5)


@jit
def copy_in(S, T, bank_s, bank_t, at):
    """Row `at` of a bank becomes the state; the streams' scalars stay."""
    low = S[LOW]
    for i in range(bank_s.shape[1]):
        if i < AMOUNTS or i >= SCALARS:
            S[i] = bank_s[at, i]
    for i in range(bank_t.shape[1]):
        T[i] = bank_t[at, i]
    S[LOW] = low


@jit
def resume(e, fresh, bank_s, bank_t, at):
    """`copy_in`, and what is left of memoryless times drawn anew."""
    copy_in(e.S, e.T, bank_s, bank_t, at)
    for leaf in range(e.leaves):
        if e.W[NODE * (e.leaves + leaf) + BITS] < np.inf and fresh[e.H[CLOCK * leaf + FROM]]:
            what, stream = e.H[CLOCK * leaf + WHAT], e.H[CLOCK * leaf + FROM]
            scale = e.G[(what - e.S[PLACES]) * G_WIDE + LOSE] if what >= e.S[PLACES] else 1.0
            set_clock(e, leaf, e.T[NOW] + scale * draw(e, stream))


@jit
def copy_out(S, T, bank_s, bank_t, at):
    for i in range(bank_s.shape[1]):
        bank_s[at, i] = S[i]
    for i in range(bank_t.shape[1]):
        bank_t[at, i] = T[i]


@jit
def base(A, P, Q, new_s, new_t, bank_s, bank_t, level):
    """The process itself for Q[LEFT] s, begun anew from the state `new` before anybody has come at each deadlock.

    Counts the crossings of `level` from below and keeps the states there (by reservoir), and the deadlocks from below it.
    """
    e = opened(A)
    S, T = e.S, e.T
    until = T[NOW] + Q[LEFT]
    while True:
        if P[GOING]:  # above the level
            why = run(e, until, LONG, level, np.inf)
            if why == FALLEN:
                P[GOING] = 0
                continue
        else:
            why = run(e, until, LONG, -np.inf, level)
        if why == DEAD:
            P[DEATHS] += 1 - P[GOING]
            P[GOING] = 0
            until -= T[NOW]
            copy_in(S, T, new_s, new_t, 0)
            enter_all(e)
            continue
        Q[LEFT] = until - T[NOW]
        if why != RISEN:
            return why
        P[GOING] = 1
        P[HITS] += 1
        at = P[HITS] - 1
        if at >= len(bank_s):
            at = choose(e, P[HITS])
        if at < len(bank_s):
            copy_out(S, T, bank_s, bank_t, at)


@jit
def stage(A, P, fresh, in_s, in_t, entries, out_s, out_t, trials, low, high):
    """`trials` runs from states of the bank drawn at random, until the importance reaches `high` or falls below `low`."""
    e = opened(A)
    S, T = e.S, e.T
    while P[TRIAL] < trials:
        if not P[GOING]:
            if S[LOW]:
                return REFILL
            resume(e, fresh, in_s, in_t, choose(e, entries))
            P[GOING] = 1
        why = run(e, np.inf, LONG, low, high)
        if why == RISEN:
            copy_out(S, T, out_s, out_t, P[HITS])
            P[HITS] += 1
        elif why == DEAD:
            P[DEATHS] += 1
        elif why != FALLEN:
            return why
        P[GOING] = 0
        P[TRIAL] += 1
    return STOPPED


@jit
def probe(A, P, Q, fresh, in_s, in_t, entries, best, trials, low):
    """Like `stage`, but notes how high each trial comes before it falls below `low`; a deadlock is infinitely high."""
    e = opened(A)
    S, T = e.S, e.T
    while P[TRIAL] < trials:
        if not P[GOING]:
            if S[LOW]:
                return REFILL
            resume(e, fresh, in_s, in_t, choose(e, entries))
            P[GOING] = 1
            Q[BEST] = T[IMPORTANCE]
        why = run(e, np.inf, LONG, low, np.nextafter(Q[BEST], np.inf))
        if why == RISEN:
            Q[BEST] = T[IMPORTANCE]
            continue
        if why != FALLEN and why != DEAD:
            return why
        best[P[TRIAL]] = np.inf if why == DEAD else Q[BEST]
        P[GOING] = 0
        P[TRIAL] += 1
    return STOPPED


@jit
def stay(A, P, Q, fresh, in_s, in_t, entries, trials, low, high):
    """Q[TIME]: total time with importance >= `high` in trials that begin there and end when it falls below `low`."""
    e = opened(A)
    S, T = e.S, e.T
    while P[TRIAL] < trials:
        if not P[GOING]:
            if S[LOW]:
                return REFILL
            resume(e, fresh, in_s, in_t, choose(e, entries))
            P[GOING] = 1
            Q[SINCE_] = T[NOW]
        if P[GOING] == 1:  # above
            why = run(e, np.inf, LONG, high, np.inf)
            if why == FALLEN:
                Q[TIME] += T[NOW] - Q[SINCE_]
                P[GOING] = 2
                continue
            return why
        why = run(e, np.inf, LONG, low, high)
        if why == RISEN:
            P[GOING] = 1
            Q[SINCE_] = T[NOW]
        elif why == FALLEN:
            P[GOING] = 0
            P[TRIAL] += 1
        else:
            return why
    return STOPPED


@jit
def restart(A, P, Q, fresh, in_s, in_t, entries, stack_s, stack_t, regions, births, copies, levels, factors, timed):
    """RESTART from every state of the bank: Q[SUM] is the sum of weights of deadlocks (or of weight times time at the top).

    A run that crosses level r upwards becomes factors[r] runs, of which all but one die when they fall below r; each weighs
    1/factors[r] of what it did. Those that die run first, so that at most one state a level has to be kept: on the stack are
    the states at crossings, with the number of copies still to run and the level below which the run itself dies.
    """
    e = opened(A)
    S, T = e.S, e.T
    top = len(levels) - 1
    while P[TRIAL] < entries:
        if not P[GOING]:
            if S[LOW]:
                return REFILL
            at = P[DEPTH] - 1
            if at < 0:
                resume(e, fresh, in_s, in_t, P[TRIAL])
                P[REGION], P[BIRTH] = 0, 0
            else:
                resume(e, fresh, stack_s, stack_t, at)
                P[REGION] = regions[at]
                P[BIRTH] = regions[at] if copies[at] else births[at]
                if copies[at]:
                    copies[at] -= 1
                else:
                    P[DEPTH] = at
            P[GOING] = 1
            Q[SINCE_] = T[NOW]
        r = P[REGION]
        why = run(e, np.inf, LONG, levels[r], levels[r + 1] if r < top else np.inf)
        if why == REFILL:
            return why
        if timed and r == top:
            Q[SUM] += (T[NOW] - Q[SINCE_]) / weight(factors, r)
        if why == RISEN:
            r += 1
            P[REGION] = r
            Q[SINCE_] = T[NOW]
            if factors[r] > 1:
                at = P[DEPTH]
                copy_out(S, T, stack_s, stack_t, at)
                regions[at], births[at], copies[at] = r, P[BIRTH], factors[r] - 2
                P[BIRTH], P[DEPTH] = r, at + 1
            continue
        if why == FALLEN and r > P[BIRTH]:
            P[REGION] = r - 1
            continue
        if why == DEAD:
            Q[SUM] += 1.0 / weight(factors, r)
        elif why != FALLEN:
            return why
        P[GOING] = 0
        if P[DEPTH] == 0:
            P[TRIAL] += 1
    return STOPPED


@jit
def weight(factors, r):
    product = 1.0
    for i in range(r + 1):
        product *= factors[i]
    return product
