"""The event loop, compiled. its slow twin, an oracle of the tests, says the same in fewer words; `events.py` drives it.

Needs numba; nothing imports this module before a simulation starts. Compiled code is at its best with few flat arrays, which
it is given as pointers; the whole state is two of them, and a copy of a state is a copy of both:

    S   int64: scalars (names below), then the tables of pools, places, stations, classes, requests, clocks
        and the tree of the clocks
    T   float64: time now, importance, next arrival …, then the classes' next arrivals
    L   int64: the layout of the program: one row a place, its amounts (places, blocks, pools), its lists of what it moves
    G   float64: retry time and weights of a place
    V   float64 (streams, size): times drawn ahead;  X int64 (streams + 1, 2): next position and limit; last row the choices
    M   float64 (pools + 1, …): time of the last change and the histogram of a pool's use; last row the number waiting
    J   float64 (rows, 5 + pools): the log
    B   int64: room for the questions of deadlock and safety

An event is a service that ends, a retry or an arrival. What is given back at it may let waiting requests in; `settle` grants
them one after another. Between events no waiting request fits.

Requests that stand at one place hold the same and are alike. So they are only counted, unless someone wants to know which is
which: a log, grants in order of arrival, or a queue shared by several places. Then requests are `named`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mmmodel.model.compiled import jit
from mmmodel.simulation.program import UNLIMITED

RANDOM, FIRST_FIT, LAST, FCFS = 0, 1, 2, 3  # grants, in the order of GRANTS
WEIGHTS, BANKER, GREEDY = 1, 2, 3  # what the importance is: a sum of weights, or `closeness`; GREEDY: his order does not decide
LATEST = np.finfo(np.float64).max
AHEAD = 12  # times drawn ahead whose line is fetched: a line has 8
STOPPED, REFILL, DEAD, UNSAFE, GROW, HALTED, ENDLESS, BUDGET, ASK, RISEN, FALLEN = range(11)  # why the loop returns
WAIT, TAKE, START, DONE, LEAVE, LOST, RETRY, ELSEWHERE = range(8)  # kinds of a recorded event

# S: scalars
ACTIVE, EVENTS, SEQUENCE, HOLE, IDLE, ROOM, NEWLY, TOOK, LOW, GUARD, LOGGED, COMING = range(12)  # they change
(POOLS, PLACES, STATIONS, CLASSES, SLOTS, LEAVES, GRANT, WATCH_DEAD, WATCH_UNSAFE) = range(12, 21)  # they do not
(MEASURED, OPENS, NAMED, WEIGHED, REFUSING, MOST, RETRIES, ROWS) = range(21, 29)
(AT_POOL, AT_PLACE, AT_STATION, AT_CLASS, AT_REQUEST, AT_CLOCK, AT_NODE) = range(29, 36)  # where the tables begin
AMOUNTS, LISTS, V_WIDE, M_WIDE, J_WIDE, RECORDED, CHOICE = range(36, 43)  # sizes of the other arrays, set by `addresses`
SCALARS = 43
# S: columns of its tables
CAPACITY, FREE, STUCK, SPOKEN, WIDTH, POOL = 0, 1, 2, 3, 4, 5
N_WAITING, N_RETRYING, N_SERVED, HEAD, TAIL, LISTED, PLACE_ = 0, 1, 2, 3, 4, 5, 6
SERVERS, SHARED, BUSY, QUEUE, FIRST_QUEUED, LAST_QUEUED, STATION_ = 0, 1, 2, 3, 4, 5, 6
FIRST, OPEN, ARRIVALS, PRESENT, ORDERED, DEPARTED, ARRIVED, REFUSED, CLASS_ = 0, 1, 2, 3, 4, 5, 6, 7, 8
NEXT, WHERE, SINCE, SPARE, REQUEST = 0, 1, 2, 3, 4
WHO, WHAT, FROM, UNUSED, CLOCK = 0, 1, 2, 3, 4
BITS, KEY, NODE = 0, 1, 2  # of the clock that wins at a node: its time as bits, and its order * clocks + its number
# T: scalars, then the next arrival of each class
NOW, IMPORTANCE, ARRIVAL, TIMES = 0, 1, 2, 4
# L: columns of a row; behind the rows (places, blocks, pools), behind them the lists
STATION, STREAM, NEVER, FALLBACK, FOLLOWING, ENDS, RANK, KIND, HOLDS, LOSES, TAKES, TAKEN, GIVES, GIVEN = range(14)
L_ROW, BLOCKS, ENTRY = 16, 6, 3
TAKE_, FLOOR_, GIVE_, HELD_, NEED_WAITING, NEED_SERVED = range(6)
# G: columns
LOSE, WEIGH_WAITING, WEIGH_SERVED, G_WIDE = 0, 1, 2, 3
# M: the last row
WAIT_SINCE, WAIT_INTEGRAL, WAIT_NUMBER = 0, 1, 2


def _jit(function=None, *, hot: bool = False):
    """`hot`: always inlined where it is called."""
    options: dict[str, Any] = {"error_model": "numpy", "forceinline": hot}
    return jit(**options) if function is None else jit(function, **options)


@intrinsic
def _ints(context, address):
    """An address as a pointer to int64."""
    return types.CPointer(types.int64)(types.int64), _as_pointer(types.int64)


@intrinsic
def _floats(context, address):
    """An address as a pointer to float64."""
    return types.CPointer(types.float64)(types.int64), _as_pointer(types.float64)


def _as_pointer(kind):
    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.CPointer(kind)))

    return code


@intrinsic
def bits_of(context, time):
    """The bits of a float64: those of times, which are not negative, are ordered as the times are."""

    def code(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), code


@intrinsic
def sooner(context, bits, key, bits_, key_):
    """(bits, key) < (bits_, key_), by one subtraction with carry: no part is negative."""

    def code(context, builder, signature, args):
        wide = ir.IntType(128)
        words = [builder.zext(arg, wide) for arg in args]
        high = [builder.shl(word, wide(64)) for word in words[::2]]
        return builder.icmp_unsigned("<", *(builder.or_(a, b) for a, b in zip(high, words[1::2])))

    return types.boolean(*[types.int64] * 4), code


@intrinsic
def fetch_ahead(context, pointer, at):
    """Asks for the line of pointer[at], which need not exist, before it is needed."""

    def code(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        where = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
        builder.call(fetch, [where, number(0), number(3), number(1)])  # to read, to the nearest cache, data
        return context.get_dummy_value()

    return types.void(pointer, at), code


@intrinsic
def rarely(context, condition):
    """The condition; code that it guards goes out of the way of the rest."""

    def code(context, builder, signature, args):
        bit = ir.IntType(1)
        expect = builder.module.declare_intrinsic("llvm.expect", (bit,), ir.FunctionType(bit, [bit, bit]))
        return builder.call(expect, [args[0], bit(0)])

    return types.boolean(types.boolean), code


@intrinsic
def either(context, condition, yes, no):
    """`yes if condition else no` of integers, without a branch: the condition is told to be unpredictable."""

    def code(context, builder, signature, args):
        chosen = builder.select(*args)
        chosen.set_metadata("unpredictable", builder.module.add_metadata([]))
        return chosen

    return types.int64(types.boolean, types.int64, types.int64), code


class Run(NamedTuple):
    """Where the arrays and tables are, and what does not change while a program runs: all of it in registers or near them.

    Bare pointers cost one register each where an array costs seven words at every call, and reference counts: the loop is ten
    times as fast. Pointers: L D (amounts) A (lists) G, S T V X M J B, and the tables in S and T: P pools, K places, Q stations,
    C classes, R requests, H clocks, N nodes and W the same as floats, I next arrivals.
    """

    L: Any
    D: Any
    A: Any
    G: Any
    S: Any
    T: Any
    V: Any
    X: Any
    M: Any
    J: Any
    B: Any
    P: Any
    K: Any
    Q: Any
    C: Any
    R: Any
    H: Any
    N: Any
    W: Any
    I: Any
    pools: int
    leaves: int
    wide: int
    banked: bool
    watched: bool
    measured: bool
    recorded: bool
    named: bool
    weighed: bool


@_jit(hot=True)
def opened(A):
    """A Run from the addresses of the arrays. The caller keeps the memory."""
    S = _ints(A[2])
    return Run(
        _ints(A[0]),
        _ints(A[0] + 8 * S[AMOUNTS]),
        _ints(A[0] + 8 * S[LISTS]),
        _floats(A[1]),
        S,
        _floats(A[3]),
        _floats(A[4]),
        _ints(A[5]),
        _floats(A[6]),
        _floats(A[7]),
        _ints(A[8]),
        _ints(A[2] + 8 * S[AT_POOL]),
        _ints(A[2] + 8 * S[AT_PLACE]),
        _ints(A[2] + 8 * S[AT_STATION]),
        _ints(A[2] + 8 * S[AT_CLASS]),
        _ints(A[2] + 8 * S[AT_REQUEST]),
        _ints(A[2] + 8 * S[AT_CLOCK]),
        _ints(A[2] + 8 * S[AT_NODE]),
        _floats(A[2] + 8 * S[AT_NODE]),
        _floats(A[3] + 8 * TIMES),
        S[POOLS],
        S[LEAVES],
        S[V_WIDE],
        S[WEIGHED] >= BANKER,
        S[WATCH_DEAD] != 0 or S[WATCH_UNSAFE] != 0,
        S[MEASURED] != 0,
        S[RECORDED] != 0,
        S[NAMED] != 0,
        S[WEIGHED] != 0,
    )


def addresses(*given: np.ndarray) -> np.ndarray:
    """The addresses that `opened` makes a Run of; the sizes of the arrays go into S."""
    _, _, S, _, V, X, M, J, _ = given
    S[AMOUNTS], S[V_WIDE], S[M_WIDE], S[J_WIDE] = S[PLACES] * L_ROW, V.shape[1], M.shape[1], J.shape[1]
    S[LISTS] = S[AMOUNTS] + S[PLACES] * BLOCKS * S[POOLS]
    S[RECORDED], S[CHOICE] = len(J), 2 * (len(X) - 1)
    return np.array([a.__array_interface__["data"][0] for a in given], np.int64)


@_jit(hot=True)
def uniform(X, at):
    """SplitMix64 (Steele, Lea, Flood 2014) with its state in X[at]: 53 bits in [0, 1)."""
    z = np.uint64(X[at]) + np.uint64(0x9E3779B97F4A7C15)
    X[at] = np.int64(z)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 1.1102230246251565e-16


@_jit(hot=True)
def choose(e, total):
    """One of `total`."""
    return np.int64(uniform(e.X, e.S[CHOICE]) * total)


@_jit(hot=True)
def draw(e, stream):
    at = e.X[stream * 2]
    e.X[stream * 2] = at + 1
    if rarely(at + 1 >= e.X[stream * 2 + 1]):
        e.S[LOW] = 1
    fetch_ahead(e.V, stream * e.wide + at + AHEAD)
    return e.V[stream * e.wide + at]


@_jit
def record(e, kind, slot, klass, place):
    at = e.S[LOGGED]
    e.S[LOGGED] = at + 1
    if at < e.S[RECORDED]:
        row = at * e.S[J_WIDE]
        e.J[row], e.J[row + 1], e.J[row + 2], e.J[row + 3], e.J[row + 4] = e.T[NOW], kind, slot, klass, place
        for p in range(e.pools):
            e.J[row + 5 + p] = e.P[POOL * p + FREE]


# ---- what comes next: a tournament of the clocks by (time, order). Node 1 is the winner, node leaves + i the i-th clock -----


@_jit(hot=True)
def set_clock(e, leaf, time):
    """Sets a clock and plays its matches again. No branch depends on who wins, for it would be guessed wrong half of the time."""
    order = e.S[SEQUENCE] + 1
    e.S[SEQUENCE] = order
    at = NODE * (leaf + e.leaves)
    bits, key = bits_of(time), order * e.leaves + leaf
    e.N[at + BITS], e.N[at + KEY] = bits, key
    while at > NODE:
        bits_, key_ = e.N[(at ^ NODE) + BITS], e.N[(at ^ NODE) + KEY]
        lost = sooner(bits_, key_, bits, key)
        bits, key = either(lost, bits_, bits), either(lost, key_, key)
        at = at >> 1 & -NODE
        e.N[at + BITS], e.N[at + KEY] = bits, key


@_jit(hot=True)
def schedule(e, delay, what, stream, slot):
    """`what` is due: the place where a service from `stream` ends, or PLACES + that where a request tries again."""
    leaf = e.S[HOLE]
    if leaf >= 0:  # the clock of this event is free again
        e.S[HOLE] = -1
    else:
        e.S[IDLE] -= 1
        leaf = e.H[CLOCK * e.S[IDLE] + UNUSED]
    if e.named:
        e.H[CLOCK * leaf + WHO] = slot
    e.H[CLOCK * leaf + WHAT], e.H[CLOCK * leaf + FROM] = what, stream
    set_clock(e, leaf, e.T[NOW] + delay * draw(e, stream))


@_jit(hot=True)
def close_hole(e):
    leaf = e.S[HOLE]
    if leaf >= 0:
        e.S[HOLE] = -1
        e.H[CLOCK * e.S[IDLE] + UNUSED] = leaf
        e.S[IDLE] += 1
        set_clock(e, leaf, np.inf)


@_jit(hot=True)
def schedule_arrival(e, klass):
    """The next arrival of a class; T[ARRIVAL] and S[COMING] are the first of all classes'."""
    e.S[SEQUENCE] += 1
    e.C[CLASS_ * klass + ORDERED] = e.S[SEQUENCE]
    e.I[klass] = e.T[NOW] + draw(e, e.C[CLASS_ * klass + ARRIVALS])
    first = 0
    for other in range(1, e.S[CLASSES]):
        time = e.I[other]
        if time < e.I[first] or (time == e.I[first] and e.C[CLASS_ * other + ORDERED] < e.C[CLASS_ * first + ORDERED]):
            first = other
    e.S[COMING], e.T[ARRIVAL] = first, e.I[first]


# ---- pools ------------------------------------------------------------------------------------------------------------


@_jit(hot=True)
def fits(e, k):
    at = e.L[k * L_ROW + TAKEN]
    for _ in range(e.L[k * L_ROW + TAKES]):
        if e.P[e.A[at] + FREE] - e.A[at + 1] < e.A[at + 2]:
            return False
        at += ENTRY
    return True


@_jit
def account(e, at):
    """Books the time that the pool at P[at] was used as it is."""
    row = at // POOL * e.S[M_WIDE]
    used = e.P[at + CAPACITY] - e.P[at + FREE]
    e.M[row + 1 + (used if e.P[at + WIDTH] == 1 else used // e.P[at + WIDTH])] += e.T[NOW] - e.M[row]
    e.M[row] = e.T[NOW]


@_jit(hot=True)
def take(e, slot, k):
    at, count = e.L[k * L_ROW + TAKEN], e.L[k * L_ROW + TAKES]
    if count:
        for _ in range(count):
            if rarely(e.measured):
                account(e, e.A[at])
            e.P[e.A[at] + FREE] -= e.A[at + 1]
            at += ENTRY
        e.S[TOOK] = 1
    if e.recorded:
        record(e, TAKE, slot, e.L[k * L_ROW + KIND], k)


@_jit(hot=True)
def give(e, k):
    """True if anything is given back."""
    at, count = e.L[k * L_ROW + GIVEN], e.L[k * L_ROW + GIVES]
    for _ in range(count):
        if rarely(e.measured):
            account(e, e.A[at])
        e.P[e.A[at] + FREE] += e.A[at + 1]
        at += ENTRY
    return count > 0


# ---- waiting ----------------------------------------------------------------------------------------------------------


@_jit
def count_waiting(e, k, change):
    """The integral of the number that waits; requests outside a closed stack's first step do not count."""
    klass = CLASS_ * e.L[k * L_ROW + KIND]
    if e.C[klass + OPEN] or k != e.C[klass + FIRST]:
        row = e.pools * e.S[M_WIDE]
        e.M[row + WAIT_INTEGRAL] += e.M[row + WAIT_NUMBER] * (e.T[NOW] - e.M[row + WAIT_SINCE])
        e.M[row + WAIT_NUMBER] += change
        e.M[row + WAIT_SINCE] = e.T[NOW]


@_jit
def hold(e, k, sign):
    """A request that holds something begins (1) or ends (-1) to wait at k: what it holds is spoken for. NEWLY: see `watched`."""
    for p in range(e.pools):
        e.P[POOL * p + SPOKEN] += sign * e.D[(k * BLOCKS + HELD_) * e.pools + p]
    if sign > 0:
        e.S[NEWLY] = k + 1 if e.S[NEWLY] == 0 or e.S[NEWLY] == k + 1 else -1


@_jit(hot=True)
def waits(e, k, sign):
    """A request begins (1) or ends (-1) to wait at k, be it in line or for its next try."""
    if e.weighed:
        e.T[IMPORTANCE] += sign * e.G[k * G_WIDE + WEIGH_WAITING]
    if e.L[k * L_ROW + HOLDS]:
        hold(e, k, sign)
    if e.measured:
        count_waiting(e, k, sign)


@_jit
def append(e, first, last, slot, empty):
    """Puts a request behind the list whose ends stand at S[first] and S[last]."""
    e.R[REQUEST * slot + NEXT] = -1
    if empty:
        e.S[first] = slot
    else:
        e.R[REQUEST * e.S[last] + NEXT] = slot
    e.S[last] = slot


@_jit
def unlink(e, first, last, index):
    """Takes the index-th request out of the list whose ends stand at S[first] and S[last]."""
    before, slot = -1, e.S[first]
    for _ in range(index):
        before, slot = slot, e.R[REQUEST * slot + NEXT]
    behind = e.R[REQUEST * slot + NEXT]
    if before < 0:
        e.S[first] = behind
    else:
        e.R[REQUEST * before + NEXT] = behind
    if e.S[last] == slot:
        e.S[last] = before
    return slot


@_jit
def join(e, slot, k):
    """The request waits at place k, behind those that wait there."""
    at = PLACE_ * k
    if e.named:
        e.S[SEQUENCE] += 1
        e.R[REQUEST * slot + SINCE] = e.S[SEQUENCE]
        append(e, e.S[AT_PLACE] + at + HEAD, e.S[AT_PLACE] + at + TAIL, slot, e.K[at + N_WAITING] == 0)
    if e.K[at + N_WAITING] == 0:
        i = e.S[ACTIVE]
        e.S[ACTIVE] = i + 1
        while i > 0 and e.K[PLACE_ * (i - 1) + LISTED] > k:
            e.K[PLACE_ * i + LISTED] = e.K[PLACE_ * (i - 1) + LISTED]
            i -= 1
        e.K[PLACE_ * i + LISTED] = k
    e.K[at + N_WAITING] += 1
    waits(e, k, 1)
    if e.recorded:
        record(e, WAIT, slot, e.L[k * L_ROW + KIND], k)


@_jit
def unjoin(e, k, index):
    """Takes the index-th request out of those that wait at k."""
    at, slot = PLACE_ * k, 0
    if e.named:
        slot = unlink(e, e.S[AT_PLACE] + at + HEAD, e.S[AT_PLACE] + at + TAIL, index)
    e.K[at + N_WAITING] -= 1
    waits(e, k, -1)
    if e.K[at + N_WAITING] == 0:
        i = 0
        while e.K[PLACE_ * i + LISTED] != k:
            i += 1
        e.S[ACTIVE] -= 1
        for j in range(i, e.S[ACTIVE]):
            e.K[PLACE_ * j + LISTED] = e.K[PLACE_ * (j + 1) + LISTED]
    return slot


@_jit
def refuse(e):
    """Sends away those that do not wait where they do not fit: to a retry, or to their fallback."""
    i = 0
    while i < e.S[ACTIVE]:
        k = e.K[PLACE_ * i + LISTED]
        elsewhere = e.L[k * L_ROW + FALLBACK]
        if (e.L[k * L_ROW + LOSES] == 0 and elsewhere < 0) or fits(e, k):
            i += 1
            continue
        while e.K[PLACE_ * k + N_WAITING]:
            slot = unjoin(e, k, 0)
            if elsewhere >= 0:
                if e.recorded:
                    record(e, ELSEWHERE, slot, e.L[k * L_ROW + KIND], k)
                join(e, slot, elsewhere)
            else:
                e.K[PLACE_ * k + N_RETRYING] += 1
                schedule(e, e.G[k * G_WIDE + LOSE], k + e.S[PLACES], e.S[RETRIES], slot)
                waits(e, k, 1)
                if e.recorded:
                    record(e, RETRY, slot, e.L[k * L_ROW + KIND], k)


@_jit
def first_in_lines(e, heads, room):
    """The place whose first request (B[heads …], -1: there is none) goes next where every pool has a line; place -1: nobody can.

    It fits into B[room …] and nobody who waits longer stands in a line with it: who does not fit closes the lines that it stands in.
    """
    before = -1
    while True:
        best, oldest = -1, 0
        for k in range(e.S[PLACES]):
            if e.B[heads + k] >= 0:
                since = e.R[REQUEST * e.B[heads + k] + SINCE]
                if since > before and (best < 0 or since < oldest):
                    best, oldest = k, since
        if best < 0 or fits_into(e, best, TAKE_, room):
            return best
        for p in range(e.pools):
            if e.D[(best * BLOCKS + TAKE_) * e.pools + p] and e.P[POOL * p + CAPACITY] < UNLIMITED:
                e.B[room + p] = -1
        before = oldest


@_jit
def line_up(e, heads):
    """B[heads …]: the first request that waits at each place, -1 where there is none."""
    for k in range(e.S[PLACES]):
        at = PLACE_ * k
        e.B[heads + k] = e.K[at + HEAD] if e.K[at + N_WAITING] else -1


@_jit
def head_of_lines(e):
    """The place whose first request is granted next where every pool has a line."""
    places = e.S[PLACES]
    line_up(e, places)
    for p in range(e.pools):
        e.B[2 * places + p] = e.P[POOL * p + FREE]
    return first_in_lines(e, places, 2 * places)


@_jit
def pick(e):
    """The place, and the position there, of the request that is granted next; place -1: none fits."""
    total, best, furthest, oldest = 0, -1, -1, 0
    grant = e.S[GRANT]
    if grant == FCFS:
        return head_of_lines(e), 0
    for i in range(e.S[ACTIVE]):
        k = e.K[PLACE_ * i + LISTED]
        if not fits(e, k):
            continue
        if grant == FIRST_FIT:
            since = e.R[REQUEST * e.K[PLACE_ * k + HEAD] + SINCE]
            if best < 0 or since < oldest:
                best, oldest = k, since
        elif grant == LAST and e.L[k * L_ROW + RANK] > furthest:
            furthest, total, best = e.L[k * L_ROW + RANK], e.K[PLACE_ * k + N_WAITING], k
        elif grant == RANDOM or e.L[k * L_ROW + RANK] == furthest:
            total += e.K[PLACE_ * k + N_WAITING]
            best = k
    if grant == FIRST_FIT or total <= 1:
        return best, 0
    index = choose(e, total)
    for i in range(e.S[ACTIVE]):
        k = e.K[PLACE_ * i + LISTED]
        if (grant == RANDOM or e.L[k * L_ROW + RANK] == furthest) and fits(e, k):
            here = e.K[PLACE_ * k + N_WAITING]
            if index < here:
                return k, index
            index -= here
    return best, 0


@_jit(hot=True)
def endless(e):
    """More grants at one instant than requests could need for many rounds: time does not pass."""
    return e.S[GUARD] > e.S[MOST]


@_jit
def settle(e):
    """Grants waiting requests one after another until none fits."""
    while not endless(e):
        if e.S[REFUSING]:
            refuse(e)
        k, index = pick(e)
        if k < 0:
            return
        e.S[GUARD] += 1
        slot = unjoin(e, k, index)
        take(e, slot, k)
        if not begin(e, slot, k):
            give(e, k)
            behind = following(e, slot, k)
            if behind >= 0:
                join(e, slot, behind)


@_jit(hot=True)
def go(e, slot, k, gave):
    """A request comes to place k. Where nobody else can be granted it walks on alone: the same as join and settle, faster."""
    walked = False
    while k >= 0:
        if rarely(((gave or e.S[GRANT] == FCFS) and e.S[ACTIVE] > 0) or e.recorded or (walked and endless(e)) or not fits(e, k)):
            join(e, slot, k)
            break
        take(e, slot, k)
        if begin(e, slot, k):
            return
        walked = True
        e.S[GUARD] += 1
        gave = give(e, k) or gave
        k = following(e, slot, k)
    if rarely(e.S[ACTIVE] > 0):
        settle(e)


# ---- service ----------------------------------------------------------------------------------------------------------


@_jit(hot=True)
def begin(e, slot, k):
    """The request has taken: it is served, or queues for it (True), or has nothing to be served (False)."""
    station = e.L[k * L_ROW + STATION]
    if rarely(station < 0):
        return begin_never(e, k)
    e.K[PLACE_ * k + N_SERVED] += 1
    if e.weighed:
        e.T[IMPORTANCE] += e.G[k * G_WIDE + WEIGH_SERVED]
    q = STATION_ * station
    if e.Q[q + BUSY] < e.Q[q + SERVERS]:
        e.Q[q + BUSY] += 1
        start(e, slot, k)
    else:
        if e.named:
            e.R[REQUEST * slot + WHERE] = k
            q_at = e.S[AT_STATION] + q
            append(e, q_at + FIRST_QUEUED, q_at + LAST_QUEUED, slot, e.Q[q + QUEUE] == 0)
        e.Q[q + QUEUE] += 1
    return True


@_jit
def begin_never(e, k):
    """Where there is no service: nothing to be served (False), or what is taken is consumed (True)."""
    if not e.L[k * L_ROW + NEVER]:
        return False
    e.K[PLACE_ * k + N_SERVED] += 1
    if e.weighed:
        e.T[IMPORTANCE] += e.G[k * G_WIDE + WEIGH_SERVED]
    for p in range(e.pools):
        amounts = k * BLOCKS * e.pools + p
        e.P[POOL * p + STUCK] += e.D[amounts + HELD_ * e.pools] + e.D[amounts + TAKE_ * e.pools]
    e.S[NEWLY] = -1
    return True


@_jit(hot=True)
def start(e, slot, k):
    schedule(e, 1.0, k, e.L[k * L_ROW + STREAM], slot)
    if e.recorded:
        record(e, START, slot, e.L[k * L_ROW + KIND], k)


@_jit(hot=True)
def following(e, slot, k):
    """Where the request goes behind place k, ENDS its class's steps or not: no branch, for nobody can guess. -1: gone."""
    ends, behind = e.L[k * L_ROW + ENDS], e.L[k * L_ROW + FOLLOWING]
    e.C[CLASS_ * e.L[k * L_ROW + KIND] + DEPARTED] += ends
    if e.recorded and ends:
        record(e, LEAVE, slot, e.L[k * L_ROW + KIND], k)
    if behind < 0:
        if e.named:
            e.R[REQUEST * e.S[ROOM] + SPARE] = slot
        e.S[ROOM] += 1
    return behind


@_jit(hot=True)
def complete(e, slot, k, leaf):
    """A service ends: the server turns to the next in its queue, the request gives back. (Where it goes, did it give any.)"""
    q = STATION_ * e.L[k * L_ROW + STATION]
    e.K[PLACE_ * k + N_SERVED] -= 1
    if e.weighed:
        e.T[IMPORTANCE] -= e.G[k * G_WIDE + WEIGH_SERVED]
    queue = e.Q[q + QUEUE]
    if queue > 0:
        other, where, stream = 0, k, e.H[CLOCK * leaf + FROM]
        if e.named:
            q_at = e.S[AT_STATION] + q
            index = choose(e, queue) if e.Q[q + SHARED] and queue > 1 else 0
            other = unlink(e, q_at + FIRST_QUEUED, q_at + LAST_QUEUED, index)
            where = e.R[REQUEST * other + WHERE]
            stream = e.L[where * L_ROW + STREAM]
            e.H[CLOCK * leaf + WHO], e.H[CLOCK * leaf + WHAT], e.H[CLOCK * leaf + FROM] = other, where, stream
        e.Q[q + QUEUE] = queue - 1
        set_clock(e, leaf, e.T[NOW] + draw(e, stream))
        if e.recorded:
            record(e, START, other, e.L[where * L_ROW + KIND], where)
    else:
        e.Q[q + BUSY] -= 1
        e.S[HOLE] = leaf
    gave = give(e, k)
    if e.recorded:
        record(e, DONE, slot, e.L[k * L_ROW + KIND], k)
    return following(e, slot, k), gave


@_jit(hot=True)
def arrive(e, klass):
    """A request of an open class comes: (request, its first place), or place -1 if it is lost."""
    c = CLASS_ * klass
    schedule_arrival(e, klass)
    e.C[c + ARRIVED] += 1
    if e.C[c + OPEN] == 2 and not fits(e, e.C[c + FIRST]):
        e.C[c + REFUSED] += 1
        if e.recorded:
            record(e, LOST, -1, klass, e.C[c + FIRST])
        return -1, -1
    e.S[ROOM] -= 1
    return e.R[REQUEST * e.S[ROOM] + SPARE] if e.named else 0, e.C[c + FIRST]


# ---- deadlock and safety ------------------------------------------------------------------------------------------------


@_jit
def fits_into(e, k, block, room):
    """Does place k's take (with its floor) or its need fit into what B[room …] says is free?"""
    amounts = k * BLOCKS * e.pools
    for p in range(e.pools):
        amount = e.D[amounts + block * e.pools + p]
        if amount and e.B[room + p] - amount < (e.D[amounts + FLOOR_ * e.pools + p] if block == TAKE_ else 0):
            return False
    return True


@_jit
def yields(e, k, number, block, room):
    """`number` requests give back what place k says in `block`."""
    for p in range(e.pools):
        e.B[room + p] += number * e.D[(k * BLOCKS + block) * e.pools + p]


@_jit
def deadlocked(e):
    """Greatest set of waiting requests that hold something and cannot take even if all others finish: is it non-empty?

    Others that are served `never` do not finish. Requests of one place stand or fall together.
    """
    if e.S[GRANT] == FCFS:
        return deadlocked_in_lines(e)
    places = e.S[PLACES]
    members = 0  # B: of the set at each place, then what is free beside them
    for p in range(e.pools):
        at = POOL * p
        e.B[places + p] = e.P[at + CAPACITY] - e.P[at + STUCK] - e.P[at + SPOKEN]
    for k in range(places):
        e.B[k] = e.K[PLACE_ * k + N_WAITING] + e.K[PLACE_ * k + N_RETRYING] if e.L[k * L_ROW + HOLDS] else 0
        members += e.B[k]
    changed = members > 0
    while changed:
        changed = False
        for k in range(places):
            if e.B[k] and fits_into(e, k, TAKE_, places):
                yields(e, k, e.B[k], HELD_, places)
                members -= e.B[k]
                e.B[k] = 0
                changed = True
    return members > 0


@_jit
def deadlocked_in_lines(e):
    """The same where every pool has a line: who stands behind a stuck request is stuck, even if it holds nothing."""
    places = e.S[PLACES]
    room, beside = 2 * places, 2 * places + e.pools
    line_up(e, places)
    for p in range(e.pools):
        at = POOL * p
        e.B[beside + p] = e.P[at + CAPACITY] - e.P[at + STUCK] - e.P[at + SPOKEN]
    while True:
        for p in range(e.pools):
            e.B[room + p] = e.B[beside + p]
        k = first_in_lines(e, places, room)
        if k < 0:
            break
        yields(e, k, 1, HELD_, beside)
        e.B[places + k] = e.R[REQUEST * e.B[places + k] + NEXT]
    holding = 0
    for k in range(places):
        holding += e.B[places + k] >= 0 and e.L[k * L_ROW + HOLDS]
    return holding > 0


@_jit
def can_take_beside(e, k):
    """Could a request at k take if all but those that wait and hold something finished?"""
    at = e.L[k * L_ROW + TAKEN]
    for _ in range(e.L[k * L_ROW + TAKES]):
        pool = e.A[at]
        if e.P[pool + CAPACITY] - e.P[pool + STUCK] - e.P[pool + SPOKEN] - e.A[at + 1] < e.A[at + 2]:
            return False
        at += ENTRY
    return True


@_jit
def all_can_finish(e):
    """The banker's test: with admission closed, requests in flight are let finish one at a time, whoever can."""
    places = e.S[PLACES]
    served, room = places, 2 * places  # B: waiting and served at each place, then what is free
    for p in range(e.pools):
        e.B[room + p] = e.P[POOL * p + FREE]
    todo = 0
    for k in range(places):
        at = PLACE_ * k
        outside = e.C[CLASS_ * e.L[k * L_ROW + KIND] + FIRST] == k
        e.B[k] = 0 if outside else e.K[at + N_WAITING] + e.K[at + N_RETRYING]
        e.B[served + k] = e.K[at + N_SERVED]
        todo += e.B[k] + e.B[served + k]
    changed = True
    while changed:
        changed = False
        for k in range(places):
            if e.B[k] and fits_into(e, k, NEED_WAITING, room):
                yields(e, k, e.B[k], HELD_, room)
                todo -= e.B[k]
                e.B[k], changed = 0, True
            if e.B[served + k] and fits_into(e, k, NEED_SERVED, room):
                yields(e, k, e.B[served + k], HELD_, room)
                yields(e, k, e.B[served + k], TAKE_, room)
                todo -= e.B[served + k]
                e.B[served + k], changed = 0, True
    return todo == 0


@_jit(hot=True)
def left_over(e, k, block, room):
    """The least part of a pool that stays free where B[room …] is and a request at place k gets what it needs."""
    amounts, least = (k * BLOCKS + block) * e.pools, 1.0
    for p in range(e.pools):
        if e.D[amounts + p]:
            least = min(least, (e.B[room + p] - e.D[amounts + p]) / e.P[POOL * p + CAPACITY])
    return least


@_jit
def closeness(e):
    """Minus what the banker has left over at the worst point of his best order; above 0 the requests in flight cannot all finish.

    Whoever leaves over as much as is left over anyway is let finish; where nobody does, the measure is lowered to who leaves
    over most. What has been served for ever is gone. Where his order does not decide, what is held by those that wait is added.
    """
    places = e.S[PLACES]
    served, room = places, 2 * places  # B: as in `all_can_finish`
    for p in range(e.pools):
        e.B[room + p] = e.P[POOL * p + FREE]
    todo = 0
    for k in range(places):
        at = PLACE_ * k
        outside = e.C[CLASS_ * e.L[k * L_ROW + KIND] + FIRST] == k
        e.B[k] = 0 if outside else e.K[at + N_WAITING] + e.K[at + N_RETRYING]
        e.B[served + k] = 0 if e.L[k * L_ROW + NEVER] else e.K[at + N_SERVED]
        todo += e.B[k] + e.B[served + k]
    least = 1.0
    while todo:
        changed, most = False, -np.inf
        for k in range(places):
            if e.B[k]:
                left = left_over(e, k, NEED_WAITING, room)
                most = max(most, left)
                if left >= least:
                    yields(e, k, e.B[k], HELD_, room)
                    todo -= e.B[k]
                    e.B[k], changed = 0, True
            if e.B[served + k]:
                left = left_over(e, k, NEED_SERVED, room)
                most = max(most, left)
                if left >= least:
                    yields(e, k, e.B[served + k], HELD_, room)
                    yields(e, k, e.B[served + k], TAKE_, room)
                    todo -= e.B[served + k]
                    e.B[served + k], changed = 0, True
        if not changed:
            least = most
    if e.S[WEIGHED] == GREEDY:
        for p in range(e.pools):
            least -= e.P[POOL * p + SPOKEN] / e.P[POOL * p + CAPACITY]
    return -least


# ---- the loop -----------------------------------------------------------------------------------------------------------


@_jit
def begin_empty(A):
    """`enter_all` for arrays that are given by address."""
    enter_all(opened(A))


@_jit
def enter_all(e):
    """Time 0: all requests of closed classes wait for their first step, in order of index; then they are granted."""
    slot = 0
    for klass in range(e.S[CLASSES]):
        for _ in range(e.C[CLASS_ * klass + PRESENT]):
            join(e, slot, e.C[CLASS_ * klass + FIRST])
            slot += 1
    for klass in range(e.S[CLASSES]):
        if e.C[CLASS_ * klass + OPEN]:
            schedule_arrival(e, klass)
    settle(e)


@_jit
def watched(e):
    """What the state that an event leaves says: DEAD, UNSAFE, ASK, or STOPPED for nothing.

    Where there was no deadlock before, a new one holds a request that began to wait at this event. NEWLY - 1 is the only place
    where one did, -1 says that there were several: only if it could not take beside the others that wait, or may stand behind one of
    them in a line, is there more to ask.
    """
    if e.S[WATCH_DEAD]:
        newly = e.S[NEWLY]
        if newly and (newly < 0 or e.S[GRANT] == FCFS or not can_take_beside(e, newly - 1)) and deadlocked(e):
            return DEAD
        e.S[NEWLY] = 0
    if e.S[WATCH_UNSAFE]:
        took = e.S[TOOK]
        e.S[TOOK] = 0
        if took and not all_can_finish(e):
            return UNSAFE if e.S[WATCH_UNSAFE] == 1 else ASK
    return STOPPED


@_jit
def run(e, until, budget, low, high):
    """Events until `until` seconds, `budget` events, importance >= `high` or < `low`; returns why. Resumes where it was.

    Compiled twice: most runs are without log, names and weights, and take a seventh less where the tests for them are not there.
    """
    if e.recorded or e.named or e.weighed:
        return loop(e, until, budget, low, high)
    return loop(Run(*e[:-3], False, False, False), until, budget, low, high)


@_jit(hot=True)
def loop(e, until, budget, low, high):
    S, T = e.S, e.T
    places, last = S[PLACES], min(until, LATEST)
    while True:
        if rarely(S[LOW] | S[GUARD] != 0):
            if S[LOW]:
                return REFILL
            if endless(e):
                return ENDLESS
            S[GUARD] = 0
        if rarely(e.watched):
            found = watched(e)
            if found != STOPPED:
                return found
        if e.weighed:
            if e.banked:
                T[IMPORTANCE] = closeness(e)
            if T[IMPORTANCE] >= high:
                return RISEN
            if T[IMPORTANCE] < low:
                return FALLEN
        if rarely(S[EVENTS] >= budget):
            return BUDGET
        key, time, arrival = e.N[NODE + KEY], e.W[NODE + BITS], T[ARRIVAL]
        arrives = arrival < time or (arrival == time and e.C[CLASS_ * S[COMING] + ORDERED] < key // e.leaves and arrival < np.inf)
        if arrives:
            time = arrival
        if rarely(time > last):
            if time == np.inf:
                return HALTED
            T[NOW] = until
            return STOPPED
        if rarely(S[OPENS] != 0 and S[ROOM] == 0):
            return GROW
        T[NOW] = time
        S[EVENTS] += 1
        leaf, gave = key & (e.leaves - 1), False
        slot, what = e.H[CLOCK * leaf + WHO] if e.named else 0, e.H[CLOCK * leaf + WHAT]
        if arrives:
            slot, k = arrive(e, S[COMING])
        elif what < places:
            k, gave = complete(e, slot, what, leaf)
        else:
            S[HOLE], k = leaf, what - places
            e.K[PLACE_ * k + N_RETRYING] -= 1
            waits(e, k, -1)
        go(e, slot, k, gave)
        close_hole(e)


@_jit
def advance(A, until, budget):
    """`run` for arrays that are given by address."""
    return run(opened(A), until, budget, -np.inf, np.inf)


@_jit
def is_deadlocked(A):
    return deadlocked(opened(A))
