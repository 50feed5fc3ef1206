"""The event loop, compiled. `plain.py` is its slow twin and says the same in fewer words; `events.py` drives it.

Needs numba; nothing imports this module before a simulation starts. Compiled code is at its best with few flat arrays, which
it is given as pointers; the whole state is two of them, and a copy of a state is a copy of both:

    S   int64: scalars (names below), then the tables of pools, places, stations, classes, requests and the heap
    T   float64: time now, importance, spare …, then the times of the heap
    L   int64: the layout of the program, one row a place, then its amounts;  G float64: retry time and weights of a place
    V   float64 (streams, size): times drawn ahead;  X int64 (streams + 1, 2): next position and limit; last row the choices
    M   float64 (pools + 1, …): time of the last change and the histogram of a pool's use; last row the number waiting
    J   float64 (rows, 5 + pools): the log

An event is a service that ends, a retry or an arrival. What is given back at it may let waiting requests in; `settle` grants
them one after another. Between events no waiting request fits.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

WAITING, SERVED, RETRYING, ABSENT = 0, 1, 2, 3  # phases of a request
RANDOM, FIFO, LAST = 0, 1, 2  # grants
STOPPED, REFILL, DEAD, UNSAFE, GROW, HALTED, ENDLESS, BUDGET, ASK, RISEN, FALLEN = range(11)  # why the loop returns
WAIT, TAKE, START, DONE, LEAVE, LOST, RETRY, ELSEWHERE = range(8)  # kinds of a recorded event

# S: scalars
ACTIVE, EVENTS, SEQUENCE, HEAP, HOLE, ROOM, NEWLY, TOOK, LOW, GUARD, LOGGED = range(11)  # they change
(POOLS, PLACES, STATIONS, CLASSES, SLOTS, GRANT, WATCH_DEAD, WATCH_UNSAFE, MEASURED, OPENS) = range(11, 21)  # they do not
(AT_POOL, AT_PLACE, AT_STATION, AT_CLASS, AT_REQUEST, AT_HEAP, RETRIES) = range(21, 28)  # where the tables begin
AMOUNTS, V_WIDE, M_WIDE, J_WIDE, RECORDED, CHOICE = range(28, 34)  # rows of the other arrays, set by `addresses`
SCALARS = 34
# S: columns of its tables
CAPACITY, FREE, STUCK, WIDTH, POOL = 0, 1, 2, 3, 4
N_WAITING, N_RETRYING, N_SERVED, HEAD, TAIL, LISTED, PLACE_ = 0, 1, 2, 3, 4, 5, 6
SERVERS, SHARED, BUSY, QUEUE, FIRST_QUEUED, LAST_QUEUED, STATION_ = 0, 1, 2, 3, 4, 5, 6
FIRST, OPEN, ARRIVALS, DEPARTED, ARRIVED, REFUSED, CLASS_ = 0, 1, 2, 3, 4, 5, 6
NEXT, WHERE, PHASE, SINCE, SPARE, REQUEST = 0, 1, 2, 3, 4, 5
ORDER, WHAT, ENTRY = 0, 1, 2
# T: scalars, then the heap's times
NOW, IMPORTANCE, TIMES = 0, 1, 4
# L: columns, then the amounts
STATION, STREAM, NEVER, FALLBACK, FOLLOWING, RANK, KIND, TAKES, GIVES, HOLDS, LOSES = range(11)
L_ROW, BLOCKS = 16, 6  # columns of a row; behind the rows (places, blocks, pools)
TAKE_, FLOOR_, GIVE_, HELD_, NEED_WAITING, NEED_SERVED = range(6)
# G: columns
LOSE, WEIGH_WAITING, WEIGH_SERVED, G_WIDE = 0, 1, 2, 3
# M: the last row
WAIT_SINCE, WAIT_INTEGRAL, WAIT_NUMBER = 0, 1, 2


def _jit(function):
    """Compiled once and kept beside the source; where neither that folder nor the user's cache can be written, in memory."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


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


@_jit
def pointers(A):
    """L, G, S, T, V, X, M, J from their addresses.

    Bare pointers cost one register each where an array costs seven words at every call, and reference counts: the loop is ten
    times as fast. The caller keeps the memory and says in S how wide the rows are.
    """
    return _ints(A[0]), _floats(A[1]), _ints(A[2]), _floats(A[3]), _floats(A[4]), _ints(A[5]), _floats(A[6]), _floats(A[7])


def addresses(*given: np.ndarray) -> np.ndarray:
    """The addresses that `pointers` turns back; the widths of the rows go into S."""
    _, _, S, _, V, X, M, J = given
    S[AMOUNTS], S[V_WIDE], S[M_WIDE], S[J_WIDE] = S[PLACES] * L_ROW, V.shape[1], M.shape[1], J.shape[1]
    S[RECORDED], S[CHOICE] = len(J), 2 * (len(X) - 1)
    return np.array([a.__array_interface__["data"][0] for a in given], np.int64)


@_jit
def uniform(S, X):
    """SplitMix64 (Steele, Lea, Flood 2014): 53 bits in [0, 1)."""
    z = np.uint64(X[S[CHOICE]]) + np.uint64(0x9E3779B97F4A7C15)
    X[S[CHOICE]] = np.int64(z)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * 1.1102230246251565e-16


@_jit
def draw(S, V, X, stream):
    at = X[stream * 2]
    X[stream * 2] = at + 1
    if at + 1 >= X[stream * 2 + 1]:
        S[LOW] = 1
    return V[stream * S[V_WIDE] + at]


@_jit
def record(S, T, J, kind, slot, klass, place):
    at = S[LOGGED]
    S[LOGGED] = at + 1
    if at < S[RECORDED]:
        row = at * S[J_WIDE]
        J[row], J[row + 1], J[row + 2], J[row + 3], J[row + 4] = T[NOW], kind, slot, klass, place
        for p in range(S[POOLS]):
            J[row + 5 + p] = S[S[AT_POOL] + POOL * p + FREE]


# ---- what comes next: a binary heap by (time, number). The entry taken last is a hole at the top that the next one fills ----


@_jit
def put(S, T, at, time, number, what):
    entry = S[AT_HEAP] + ENTRY * at
    S[entry + ORDER], S[entry + WHAT], T[TIMES + at] = number, what, time


@_jit
def earlier(S, T, a, b):
    if T[TIMES + a] != T[TIMES + b]:
        return T[TIMES + a] < T[TIMES + b]
    return S[S[AT_HEAP] + ENTRY * a + ORDER] < S[S[AT_HEAP] + ENTRY * b + ORDER]


@_jit
def move(S, T, source, to):
    entry = S[AT_HEAP] + ENTRY * source
    put(S, T, to, T[TIMES + source], S[entry + ORDER], S[entry + WHAT])


@_jit
def sink(S, T, time, number, what):
    """Puts an entry at the top and lets it sink."""
    size, at = S[HEAP], 0
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        if down + 1 < size and earlier(S, T, down + 1, down):
            down += 1
        below = T[TIMES + down]
        if time < below or (time == below and number < S[S[AT_HEAP] + ENTRY * down + ORDER]):
            break
        move(S, T, down, at)
        at = down
    put(S, T, at, time, number, what)


@_jit
def schedule(S, T, time, what):
    number = S[SEQUENCE] + 1
    S[SEQUENCE] = number
    if S[HOLE]:
        S[HOLE] = 0
        sink(S, T, time, number, what)
        return
    at = S[HEAP]
    S[HEAP] = at + 1
    while at > 0:
        up = (at - 1) >> 1
        if T[TIMES + up] <= time:  # an equal time that is there already has the lower number
            break
        move(S, T, up, at)
        at = up
    put(S, T, at, time, number, what)


@_jit
def close_hole(S, T):
    if S[HOLE]:
        S[HOLE] = 0
        size = S[HEAP] - 1
        S[HEAP] = size
        if size:
            entry = S[AT_HEAP] + ENTRY * size
            sink(S, T, T[TIMES + size], S[entry + ORDER], S[entry + WHAT])


# ---- pools ------------------------------------------------------------------------------------------------------------


@_jit
def amounts(S, k, block):
    """Where in L the amounts of place k over the pools begin."""
    return S[AMOUNTS] + (k * BLOCKS + block) * S[POOLS]


@_jit
def fits(L, S, k):
    if L[k * L_ROW + TAKES]:
        pools = S[POOLS]
        for p in range(pools):
            amount = L[amounts(S, k, TAKE_) + p]
            if amount and S[S[AT_POOL] + POOL * p + FREE] - amount < L[amounts(S, k, FLOOR_) + p]:
                return False
    return True


@_jit
def account(S, T, M, p):
    """Books the time that pool p was used as it is."""
    at = S[AT_POOL] + POOL * p
    M[p * S[M_WIDE] + 1 + (S[at + CAPACITY] - S[at + FREE]) // S[at + WIDTH]] += T[NOW] - M[p * S[M_WIDE]]
    M[p * S[M_WIDE]] = T[NOW]


@_jit
def take(L, S, T, M, J, slot, k):
    if L[k * L_ROW + TAKES]:
        for p in range(S[POOLS]):
            amount = L[amounts(S, k, TAKE_) + p]
            if amount:
                if S[MEASURED]:
                    account(S, T, M, p)
                S[S[AT_POOL] + POOL * p + FREE] -= amount
        S[TOOK] = 1
    if S[RECORDED]:
        record(S, T, J, TAKE, slot, L[k * L_ROW + KIND], k)


@_jit
def give(L, S, T, M, k):
    """True if anything is given back."""
    if not L[k * L_ROW + GIVES]:
        return False
    pools = S[POOLS]
    for p in range(pools):
        amount = L[amounts(S, k, GIVE_) + p]
        if amount:
            if S[MEASURED]:
                account(S, T, M, p)
            S[S[AT_POOL] + POOL * p + FREE] += amount
    return True


# ---- waiting ----------------------------------------------------------------------------------------------------------


@_jit
def count_waiting(L, S, T, M, k, change):
    """The integral of the number that waits; requests outside a closed stack's first step do not count."""
    if S[MEASURED]:
        klass = S[AT_CLASS] + CLASS_ * L[k * L_ROW + KIND]
        if S[klass + OPEN] or k != S[klass + FIRST]:
            row = S[POOLS]
            M[row * S[M_WIDE] + WAIT_INTEGRAL] += M[row * S[M_WIDE] + WAIT_NUMBER] * (T[NOW] - M[row * S[M_WIDE] + WAIT_SINCE])
            M[row * S[M_WIDE] + WAIT_NUMBER] += change
            M[row * S[M_WIDE] + WAIT_SINCE] = T[NOW]


@_jit
def join(L, G, S, T, M, J, slot, k):
    """The request waits at place k, behind those that wait there."""
    r, at = S[AT_REQUEST] + REQUEST * slot, S[AT_PLACE] + PLACE_ * k
    S[SEQUENCE] += 1
    S[r + WHERE], S[r + PHASE], S[r + NEXT], S[r + SINCE] = k, WAITING, -1, S[SEQUENCE]
    if S[at + N_WAITING] == 0:
        S[at + HEAD] = slot
        i = S[ACTIVE]
        while i > 0 and S[S[AT_PLACE] + PLACE_ * (i - 1) + LISTED] > k:
            S[S[AT_PLACE] + PLACE_ * i + LISTED] = S[S[AT_PLACE] + PLACE_ * (i - 1) + LISTED]
            i -= 1
        S[S[AT_PLACE] + PLACE_ * i + LISTED] = k
        S[ACTIVE] += 1
    else:
        S[S[AT_REQUEST] + REQUEST * S[at + TAIL] + NEXT] = slot
    S[at + TAIL] = slot
    S[at + N_WAITING] += 1
    T[IMPORTANCE] += G[k * G_WIDE + WEIGH_WAITING]
    if L[k * L_ROW + HOLDS]:
        S[NEWLY] = 1
    count_waiting(L, S, T, M, k, 1)
    if S[RECORDED]:
        record(S, T, J, WAIT, slot, L[k * L_ROW + KIND], k)


@_jit
def unlink(S, first, last, index):
    """Takes the index-th request out of the list whose ends stand at S[first] and S[last]."""
    before, slot = -1, S[first]
    for _ in range(index):
        before, slot = slot, S[S[AT_REQUEST] + REQUEST * slot + NEXT]
    behind = S[S[AT_REQUEST] + REQUEST * slot + NEXT]
    if before < 0:
        S[first] = behind
    else:
        S[S[AT_REQUEST] + REQUEST * before + NEXT] = behind
    if S[last] == slot:
        S[last] = before
    return slot


@_jit
def unjoin(L, G, S, T, M, k, index):
    """Takes the index-th request out of those that wait at k."""
    at = S[AT_PLACE] + PLACE_ * k
    slot = unlink(S, at + HEAD, at + TAIL, index)
    S[at + N_WAITING] -= 1
    T[IMPORTANCE] -= G[k * G_WIDE + WEIGH_WAITING]
    if S[at + N_WAITING] == 0:
        i = 0
        while S[S[AT_PLACE] + PLACE_ * i + LISTED] != k:
            i += 1
        S[ACTIVE] -= 1
        for j in range(i, S[ACTIVE]):
            S[S[AT_PLACE] + PLACE_ * j + LISTED] = S[S[AT_PLACE] + PLACE_ * (j + 1) + LISTED]
    count_waiting(L, S, T, M, k, -1)
    return slot


@_jit
def refuse(L, G, S, T, V, X, M, J):
    """Sends away those that do not wait where they do not fit: to a retry, or to their fallback."""
    i = 0
    while i < S[ACTIVE]:
        k = S[S[AT_PLACE] + PLACE_ * i + LISTED]
        elsewhere = L[k * L_ROW + FALLBACK]
        if (L[k * L_ROW + LOSES] == 0 and elsewhere < 0) or fits(L, S, k):
            i += 1
            continue
        at = S[AT_PLACE] + PLACE_ * k
        while S[at + N_WAITING]:
            slot = unjoin(L, G, S, T, M, k, 0)
            if elsewhere >= 0:
                if S[RECORDED]:
                    record(S, T, J, ELSEWHERE, slot, L[k * L_ROW + KIND], k)
                join(L, G, S, T, M, J, slot, elsewhere)
            else:
                S[S[AT_REQUEST] + REQUEST * slot + PHASE] = RETRYING
                S[at + N_RETRYING] += 1
                T[IMPORTANCE] += G[k * G_WIDE + WEIGH_WAITING]
                count_waiting(L, S, T, M, k, 1)
                schedule(S, T, T[NOW] + G[k * G_WIDE + LOSE] * draw(S, V, X, S[RETRIES]), slot)
                if L[k * L_ROW + HOLDS]:
                    S[NEWLY] = 1
                if S[RECORDED]:
                    record(S, T, J, RETRY, slot, L[k * L_ROW + KIND], k)


@_jit
def pick(L, S, X):
    """The place, and the position there, of the request that is granted next; place -1: none fits."""
    total, best, furthest, oldest = 0, -1, -1, 0
    grant = S[GRANT]
    for i in range(S[ACTIVE]):
        k = S[S[AT_PLACE] + PLACE_ * i + LISTED]
        if not fits(L, S, k):
            continue
        at = S[AT_PLACE] + PLACE_ * k
        if grant == FIFO:
            since = S[S[AT_REQUEST] + REQUEST * S[at + HEAD] + SINCE]
            if best < 0 or since < oldest:
                best, oldest = k, since
        elif grant == LAST and L[k * L_ROW + RANK] > furthest:
            furthest, total, best = L[k * L_ROW + RANK], S[at + N_WAITING], k
        elif grant == RANDOM or L[k * L_ROW + RANK] == furthest:
            total += S[at + N_WAITING]
            best = k
    if grant == FIFO or total <= 1:
        return best, 0
    index = np.int64(uniform(S, X) * total)
    for i in range(S[ACTIVE]):
        k = S[S[AT_PLACE] + PLACE_ * i + LISTED]
        if (grant == RANDOM or L[k * L_ROW + RANK] == furthest) and fits(L, S, k):
            here = S[S[AT_PLACE] + PLACE_ * k + N_WAITING]
            if index < here:
                return k, index
            index -= here
    return best, 0


@_jit
def endless(S):
    """More grants at one instant than requests could need for many rounds: time does not pass."""
    return S[GUARD] > 1000 + 20 * (S[SLOTS] + 1) * (S[PLACES] + 1)


@_jit
def settle(L, G, S, T, V, X, M, J):
    """Grants waiting requests one after another until none fits."""
    while not endless(S):
        refuse(L, G, S, T, V, X, M, J)
        k, index = pick(L, S, X)
        if k < 0:
            return
        S[GUARD] += 1
        slot = unjoin(L, G, S, T, M, k, index)
        take(L, S, T, M, J, slot, k)
        if not begin(L, G, S, T, V, X, J, slot, k):
            give(L, S, T, M, k)
            behind = following(L, S, T, J, slot, k)
            if behind >= 0:
                join(L, G, S, T, M, J, slot, behind)


@_jit
def go(L, G, S, T, V, X, M, J, slot, k, gave):
    """A request comes to place k. Where nobody else can be granted it walks on alone: the same as join and settle, faster."""
    while k >= 0:
        if (gave and S[ACTIVE] > 0) or S[RECORDED] or endless(S) or not fits(L, S, k):
            join(L, G, S, T, M, J, slot, k)
            break
        take(L, S, T, M, J, slot, k)
        if begin(L, G, S, T, V, X, J, slot, k):
            return
        S[GUARD] += 1
        gave = give(L, S, T, M, k) or gave
        k = following(L, S, T, J, slot, k)
    if S[ACTIVE] > 0:
        settle(L, G, S, T, V, X, M, J)


# ---- service ----------------------------------------------------------------------------------------------------------


@_jit
def begin(L, G, S, T, V, X, J, slot, k):
    """The request has taken: it is served, or queues for it (True), or has nothing to be served (False)."""
    station = L[k * L_ROW + STATION]
    if station < 0 and not L[k * L_ROW + NEVER]:
        return False
    r = S[AT_REQUEST] + REQUEST * slot
    S[r + WHERE], S[r + PHASE] = k, SERVED
    S[S[AT_PLACE] + PLACE_ * k + N_SERVED] += 1
    T[IMPORTANCE] += G[k * G_WIDE + WEIGH_SERVED]
    if L[k * L_ROW + NEVER]:
        pools = S[POOLS]
        for p in range(pools):
            S[S[AT_POOL] + POOL * p + STUCK] += L[amounts(S, k, HELD_) + p] + L[amounts(S, k, TAKE_) + p]
        S[NEWLY] = 1
        return True
    q = S[AT_STATION] + STATION_ * station
    if S[q + SERVERS] < 0 or S[q + BUSY] < S[q + SERVERS]:
        S[q + BUSY] += 1
        start(L, S, T, V, X, J, slot, k)
        return True
    S[r + NEXT] = -1
    if S[q + QUEUE] == 0:
        S[q + FIRST_QUEUED] = slot
    else:
        S[S[AT_REQUEST] + REQUEST * S[q + LAST_QUEUED] + NEXT] = slot
    S[q + LAST_QUEUED] = slot
    S[q + QUEUE] += 1
    return True


@_jit
def start(L, S, T, V, X, J, slot, k):
    schedule(S, T, T[NOW] + draw(S, V, X, L[k * L_ROW + STREAM]), slot)
    if S[RECORDED]:
        record(S, T, J, START, slot, L[k * L_ROW + KIND], k)


@_jit
def following(L, S, T, J, slot, k):
    """Where the request goes behind place k; one that leaves a closed class comes in again at its first place. -1: gone."""
    if L[k * L_ROW + FOLLOWING] >= 0:
        return L[k * L_ROW + FOLLOWING]
    klass = S[AT_CLASS] + CLASS_ * L[k * L_ROW + KIND]
    S[klass + DEPARTED] += 1
    if S[RECORDED]:
        record(S, T, J, LEAVE, slot, L[k * L_ROW + KIND], k)
    if S[klass + OPEN]:
        S[S[AT_REQUEST] + REQUEST * slot + PHASE] = ABSENT
        S[S[AT_REQUEST] + REQUEST * S[ROOM] + SPARE] = slot
        S[ROOM] += 1
        return -1
    return S[klass + FIRST]


@_jit
def complete(L, G, S, T, V, X, M, J, slot):
    """A service ends: the server turns to the next in its queue, the request gives back and goes on."""
    k = S[S[AT_REQUEST] + REQUEST * slot + WHERE]
    q = S[AT_STATION] + STATION_ * L[k * L_ROW + STATION]
    S[S[AT_PLACE] + PLACE_ * k + N_SERVED] -= 1
    T[IMPORTANCE] -= G[k * G_WIDE + WEIGH_SERVED]
    if S[q + QUEUE] > 0:
        index = np.int64(uniform(S, X) * S[q + QUEUE]) if S[q + SHARED] and S[q + QUEUE] > 1 else 0
        other = unlink(S, q + FIRST_QUEUED, q + LAST_QUEUED, index)
        S[q + QUEUE] -= 1
        start(L, S, T, V, X, J, other, S[S[AT_REQUEST] + REQUEST * other + WHERE])
    else:
        S[q + BUSY] -= 1
    gave = give(L, S, T, M, k)
    if S[RECORDED]:
        record(S, T, J, DONE, slot, L[k * L_ROW + KIND], k)
    go(L, G, S, T, V, X, M, J, slot, following(L, S, T, J, slot, k), gave)


@_jit
def retry(L, G, S, T, V, X, M, J, slot):
    k = S[S[AT_REQUEST] + REQUEST * slot + WHERE]
    S[S[AT_PLACE] + PLACE_ * k + N_RETRYING] -= 1
    T[IMPORTANCE] -= G[k * G_WIDE + WEIGH_WAITING]
    count_waiting(L, S, T, M, k, -1)
    go(L, G, S, T, V, X, M, J, slot, k, False)


@_jit
def arrive(L, G, S, T, V, X, M, J, klass):
    c = S[AT_CLASS] + CLASS_ * klass
    schedule(S, T, T[NOW] + draw(S, V, X, S[c + ARRIVALS]), -1 - klass)
    S[c + ARRIVED] += 1
    if S[c + OPEN] == 2 and not fits(L, S, S[c + FIRST]):
        S[c + REFUSED] += 1
        if S[RECORDED]:
            record(S, T, J, LOST, -1, klass, S[c + FIRST])
        return
    S[ROOM] -= 1
    slot = S[S[AT_REQUEST] + REQUEST * S[ROOM] + SPARE]
    go(L, G, S, T, V, X, M, J, slot, S[c + FIRST], False)


# ---- deadlock and safety ------------------------------------------------------------------------------------------------


@_jit
def fits_into(L, S, k, block, room, pools):
    """Does place k's take (with its floor) or its need fit into `room`?"""
    for p in range(pools):
        amount = L[amounts(S, k, block) + p]
        if amount and room[p] - amount < (L[amounts(S, k, FLOOR_) + p] if block == TAKE_ else 0):
            return False
    return True


@_jit
def deadlocked(L, S):
    """Greatest set of waiting requests that hold something and cannot take even if all others finish: is it non-empty?

    Others that are served `never` do not finish. Requests of one place stand or fall together.
    """
    count, pools = S[PLACES], S[POOLS]
    inside = np.zeros(count, np.int64)  # requests of the set at each place
    room = np.empty(pools, np.int64)
    for p in range(pools):
        at = S[AT_POOL] + POOL * p
        room[p] = S[at + CAPACITY] - S[at + STUCK]
    members = 0
    for k in range(count):
        if not L[k * L_ROW + HOLDS]:
            continue
        inside[k] = S[S[AT_PLACE] + PLACE_ * k + N_WAITING] + S[S[AT_PLACE] + PLACE_ * k + N_RETRYING]
        members += inside[k]
        for p in range(pools):
            room[p] -= inside[k] * L[amounts(S, k, HELD_) + p]
    changed = members > 0
    while changed:
        changed = False
        for k in range(count):
            if inside[k] and fits_into(L, S, k, TAKE_, room, pools):
                for p in range(pools):
                    room[p] += inside[k] * L[amounts(S, k, HELD_) + p]
                members -= inside[k]
                inside[k] = 0
                changed = True
    return members > 0


@_jit
def all_can_finish(L, S):
    """The banker's test: with admission closed, requests in flight are let finish one at a time, whoever can."""
    count, pools = S[PLACES], S[POOLS]
    room = np.empty(pools, np.int64)
    for p in range(pools):
        room[p] = S[S[AT_POOL] + POOL * p + FREE]
    waiting, served = np.zeros(count, np.int64), np.zeros(count, np.int64)
    todo = 0
    for k in range(count):
        at = S[AT_PLACE] + PLACE_ * k
        served[k] = S[at + N_SERVED]
        if S[S[AT_CLASS] + CLASS_ * L[k * L_ROW + KIND] + FIRST] != k:
            waiting[k] = S[at + N_WAITING] + S[at + N_RETRYING]
        todo += waiting[k] + served[k]
    changed = True
    while changed:
        changed = False
        for k in range(count):
            if waiting[k] and fits_into(L, S, k, NEED_WAITING, room, pools):
                for p in range(pools):
                    room[p] += waiting[k] * L[amounts(S, k, HELD_) + p]
                todo -= waiting[k]
                waiting[k], changed = 0, True
            if served[k] and fits_into(L, S, k, NEED_SERVED, room, pools):
                for p in range(pools):
                    room[p] += served[k] * (L[amounts(S, k, HELD_) + p] + L[amounts(S, k, TAKE_) + p])
                todo -= served[k]
                served[k], changed = 0, True
    return todo == 0


# ---- the loop -----------------------------------------------------------------------------------------------------------


@_jit
def begin_empty(A):
    """Time 0: all requests of closed classes wait for their first step, in order of index; then they are granted."""
    L, G, S, T, V, X, M, J = pointers(A)
    for slot in range(S[SLOTS]):
        r = S[AT_REQUEST] + REQUEST * slot
        if S[r + PHASE] == WAITING:
            join(L, G, S, T, M, J, slot, S[r + WHERE])
    for klass in range(S[CLASSES]):
        c = S[AT_CLASS] + CLASS_ * klass
        if S[c + OPEN]:
            schedule(S, T, draw(S, V, X, S[c + ARRIVALS]), -1 - klass)
    settle(L, G, S, T, V, X, M, J)


@_jit
def watched(L, S):
    """What the state that an event leaves says: DEAD, UNSAFE, ASK, or STOPPED for nothing."""
    found = STOPPED
    if S[WATCH_DEAD] and S[NEWLY] and deadlocked(L, S):
        found = DEAD
    elif S[WATCH_UNSAFE] and S[TOOK] and not all_can_finish(L, S):
        found = UNSAFE if S[WATCH_UNSAFE] == 1 else ASK
    S[NEWLY] = 0
    S[TOOK] = 0
    return found


@_jit
def run(L, G, S, T, V, X, M, J, until, budget, low, high):
    """Events until `until` seconds, `budget` events, importance >= `high` or < `low`; returns why. Resumes where it was."""
    watching = S[WATCH_DEAD] or S[WATCH_UNSAFE]
    while True:
        if S[LOW]:
            return REFILL
        if S[GUARD]:
            if endless(S):
                return ENDLESS
            S[GUARD] = 0
        if watching:
            found = watched(L, S)
            if found != STOPPED:
                return found
        if T[IMPORTANCE] >= high:
            return RISEN
        if T[IMPORTANCE] < low:
            return FALLEN
        if S[EVENTS] >= budget:
            return BUDGET
        if S[HEAP] == 0:
            return HALTED
        if T[TIMES] > until:
            T[NOW] = until
            return STOPPED
        if S[OPENS] and S[ROOM] == 0:
            return GROW
        T[NOW] = T[TIMES]
        S[EVENTS] += 1
        S[HOLE] = 1
        what = S[S[AT_HEAP] + WHAT]
        if what < 0:
            arrive(L, G, S, T, V, X, M, J, -1 - what)
        elif S[S[AT_REQUEST] + REQUEST * what + PHASE] == SERVED:
            complete(L, G, S, T, V, X, M, J, what)
        else:
            retry(L, G, S, T, V, X, M, J, what)
        close_hole(S, T)


@_jit
def advance(A, until, budget):
    """`run` for arrays that are given by address."""
    L, G, S, T, V, X, M, J = pointers(A)
    return run(L, G, S, T, V, X, M, J, until, budget, -np.inf, np.inf)


@_jit
def is_deadlocked(A):
    given = pointers(A)
    return deadlocked(given[0], given[2])
