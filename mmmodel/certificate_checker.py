"""Checks a certificate by itself: python certificate_checker.py FILE (0 accepted, 1 rejected with the reason, 2 cannot be read).

A certificate holds a system in plain numbers: pools, classes, and the positions at which a request can stand, each with what it holds
there and the ways on. Not checked here: that they are those of some stack, with the services left out that change nothing held.
path                the moves are made one by one; at their end somebody can never go on, whatever the others do
thresholds, cases   no set of requests that fits the pools blocks itself, wherever it comes from: a tree of splits on what is used of a
                    pool (thresholds: of one pool only) or stands at a position; at each leaf a sum of inequalities has no solution >= 0
search              every state is visited again, counted and hashed: the weakest kind, a repetition and no argument
Trusted, beside these lines: (1) in a deadlock some requests of the path hold something and wait, and none of their sure takes fits
beside what they hold, or it needs a line that one of them closes; (2) of exits `closed` none is used, if in no state without their use
all takes before them are refused, since the first use would start from such a state.
"""

import hashlib
import itertools
import json
import sys


class Rejected(Exception):
    """The reason why a certificate shows nothing."""


def demand(true, why):
    if not true:
        raise Rejected(why)


class System:
    def __init__(self, data):
        self.cap, self.fifo = [p["capacity"] for p in data["pools"]], [q for q, p in enumerate(data["pools"]) if p["fifo"]]
        self.classes, self.pos, self.split = data["classes"], data["positions"], set()
        vectors = [v for p in self.pos for v in (p["holds"], *(w[k] for w in p["ways"] for k in ("take", "floor")))]
        numbers = [n for n in (*self.cap, *(c["population"] for c in self.classes)) if n is not None]
        demand(all(len(v) == len(self.cap) for v in vectors), "a vector is not over the pools")
        demand(all(type(n) is int and n >= 0 for n in sum(vectors, numbers)), "an amount is no integer from 0 on")
        self.lines = [{q for q in self.fifo for w in p["ways"] if w["take"][q]} for p in self.pos]
        first, none = [c["first"] for c in self.classes], [0] * len(self.cap)
        self.outside = {at for at in first if at >= 0 and self.pos[at]["ways"] and not self.lines[at]}
        for k, at in enumerate(first):
            demand(at == -1 or (at >= 0 and self.pos[at]["class"] == k and self.pos[at]["holds"] == none), "a class begins oddly")
        for at, p in enumerate(self.pos):
            takes = [w["take"] for w in p["ways"]] or [none]
            for to, take in itertools.zip_longest(self.exits(at, {}), takes, fillvalue=none):
                demand(-1 <= to < len(self.pos) and to not in self.outside, "an exit leads nowhere")
                after = self.pos[to] if to >= 0 else p
                demand(after["class"] == p["class"], "a request changes its class")
                demand(to < 0 or all(b <= a + t for a, t, b in zip(p["holds"], take, after["holds"])), "held but never taken")

    def exits(self, at, left):
        p = self.pos[at]
        return ([w["then"] for w in p["ways"] or [p]] + [p["refused"]] * (p["refused"] is not None))[: left.get(at)]

    def fits(self, way, free):
        return all(not t or free[q] is None or free[q] - t >= way["floor"][q] for q, t in enumerate(way["take"]))

    def free(self, held):
        return [None if c is None else c - sum(n * self.pos[at]["holds"][q] for at, n in held) for q, c in enumerate(self.cap)]

    def step(self, state, action, at, to, behind=0):
        """The state (counts, who stands in lines in order of arrival) after the move of one request."""
        counts, line, p, ahead = list(state[0]), list(state[1]), self.pos[at], set()
        free = self.free([(a, n) for a, n in enumerate(counts) if n])
        if action == "enter" or at in self.outside:
            most = self.classes[p["class"]]["population"]
            inside = sum(n for a, n in enumerate(counts) if n and self.pos[a]["class"] == p["class"])
            demand(behind == 0 and (most is None or inside < most), "nobody more comes in")
        else:
            demand(at >= 0 and 0 <= behind < counts[at] and (self.lines[at] or not behind), "nobody stands there")
            counts[at] -= 1
            if self.lines[at]:
                place = [i for i, a in enumerate(line) if a == at][behind]
                ahead = set().union(*(self.lines[a] for a in line[:place]))
                del line[place]
        opens = [w for w in p["ways"] if self.fits(w, free) and not any(w["take"][q] for q in ahead)]
        sure = [n for n, w in enumerate(opens) if not w["whim"]]
        allowed = {
            "enter": at == to == self.classes[p["class"]]["first"] and at not in self.outside,
            "take": to in [w["then"] for w in opens[: min(sure, default=len(opens)) + 1]],
            "refuse": p["refused"] is not None and p["refused"] == to and not sure,
            "finish": not p["ways"] and not p["never"] and p["then"] == to,
        }
        demand(allowed[action], f"a move that cannot be made: {action} at {at} to {to}")
        if to >= 0:
            counts[to] += 1
            line += [to] if self.lines[to] else []
        return tuple(counts), tuple(line)

    def endless(self, at):
        """Whether who stands there never goes on, though alone."""
        p, room = self.pos[at], self.free([(at, 1)])
        waits = p["ways"] and not self.classes[p["class"]]["passive"] and (p["anew"] or p["refused"] is None)
        return p["never"] or (waits and not any(self.fits(w, room) for w in p["ways"]))

    def mine(self, at):
        return any(self.pos[at]["holds"]) and not self.classes[self.pos[at]["class"]]["passive"]

    def lost(self, state):
        """Whether somebody never goes on: endless, or of the largest set that stays blocked when all others have finished."""
        there = [(at, n, -1) for at, n in enumerate(state[0]) if n and not self.lines[at]]
        there += [(at, 1, place) for place, at in enumerate(state[1])]
        if any(self.endless(at) for at in self.outside.union(x[0] for x in there)):
            return True
        going, left, stuck = False, [x for x in there if self.stays(x[0])], None
        while left != stuck:
            stuck, left = left, []
            free = self.free([x[:2] for x in stuck])
            sure = {x[0] for x in there if any(self.fits(w, free) and not w["whim"] for w in self.pos[x[0]]["ways"])}
            going = going or any(x not in stuck and (x[0] in sure or not self.stays(x[0], False)) for x in there)
            for at, n, place in stuck:
                ahead = set().union(*(self.lines[a] for a, _, before in stuck if -1 < before < place))
                ways = [w for w in self.pos[at]["ways"] if self.fits(w, free) and not any(w["take"][q] for q in ahead)]
                left += [] if any(going or not w["whim"] for w in ways) else [(at, n, place)]
            going = going or len(left) < len(stuck)
        return any(self.mine(at) for at, *_ in stuck)

    def stays(self, at, holding=True):
        """Whether somebody may stand there for ever."""
        p = self.pos[at]
        return p["ways"] and p["refused"] is None and (not holding or any(p["holds"]) or self.lines[at])

    def visit(self, most):
        """(states, hash) of all states, none of them lost; Rejected where they are more than `most`."""
        queue = [((0,) * len(self.pos), ())]
        seen = set(queue)
        for state in queue:
            demand(not self.lost(state), "somebody never goes on in some state")
            for at in range(len(self.pos)):
                moves = {("enter", at), *((a, to) for a in ("take", "finish", "refuse") for to in self.exits(at, {}))}
                for (action, to), behind in itertools.product(moves, range(max(1, state[0][at]) if self.lines[at] else 1)):
                    try:
                        after = self.step(state, action, at, to, behind)
                    except Rejected:
                        continue
                    demand(after in seen or len(seen) < most, "there are more states")
                    queue += [after] if after not in seen else []
                    seen.add(after)
        return len(seen), hashlib.sha256(repr(sorted(seen)).encode()).hexdigest()

    def refute(self, tree, rows, columns, ways, wanted, high, shut):
        """No counts of `columns`, each with its `ways` blocked, satisfy `rows` and have one of each of `wanted`."""
        if "split" in tree:
            (what, n), k = tree["split"], tree["at"]
            demand(type(k) is int and what in ("pool", "position"), "no such split")
            self.split |= {(what, n)}
            over = [p["holds"][n] if what == "pool" else int(at == n) for at, p in enumerate(self.pos)]
            below = {**high, n: min(k, high[n])} if what == "pool" else high
            self.refute(tree["below"], [*rows, ([-v for v in over], -k)], columns, ways, wanted, below, shut)
            return self.refute(tree["above"], [*rows, (over, k + 1)], columns, ways, wanted, high, shut)
        columns = [at for at in columns if self.blocked(ways.get(at, ()), high, shut)]
        for some, before in wanted:
            some = {at for at in some if self.blocked(ways[at], high, before)}
            rows = [*rows, ([int(at in some) for at in range(len(self.pos))], 1)]
        demand(all(type(times) is int and times > 0 for _, times in tree["sum"]), "a factor is not positive")
        total = [sum(times * rows[n][0][at] for n, times in tree["sum"]) for at in columns]
        demand(sum(times * rows[n][1] for n, times in tree["sum"]) > 0 >= max(total, default=0), "a leaf's sum proves nothing")

    def blocked(self, ways, high, shut):
        """Whether no sure way need fit while at most `high` is used of each pool and the lines `shut` are closed."""
        over = lambda w, q, t: self.cap[q] is not None and high[q] + t + w["floor"][q] > self.cap[q]  # noqa: E731
        return all(w["whim"] or any(t and (q in shut or over(w, q, t)) for q, t in enumerate(w["take"])) for w in ways)

    def walk(self, left):
        """The positions that somebody can come to by the first `left` exits of each."""
        found, queue = set(), [c["first"] for c in self.classes]
        while queue:
            at = queue.pop()
            queue += self.exits(at, left) if at >= 0 and at not in found else []
            found |= {at} - {-1}
        return found

    def prove(self, closed, trees):
        """No position is endless, none of the `closed` exits is used, and no set of requests blocks itself."""
        left = {c["position"]: c["left"] for c in closed}
        there = self.walk(left)
        demand(not any(self.endless(at) for at in there), "somebody never goes on")
        high = {q: float("inf") if c is None else c for q, c in enumerate(self.cap)}
        rows = [([-p["holds"][q] for p in self.pos], -c) for q, c in enumerate(self.cap) if c is not None]
        most = [c["population"] for c in self.classes]
        rows += [([-(p["class"] == k) for p in self.pos], -n) for k, n in enumerate(most) if n is not None]
        for c in closed:
            at, ways = c["position"], {c["position"]: self.pos[c["position"]]["ways"][: c["left"]]}
            demand(at in there and c["left"] >= 1 and not self.lines[at], "an exit cannot be closed")
            self.refute(c["proof"], rows, {at, *there - self.outside}, ways, [([at], ())], high, ())
        stay = [at for at in there if self.stays(at) and at not in left]
        ways, mine = {at: self.pos[at]["ways"] for at in stay}, [at for at in stay if self.mine(at)]
        orders = [o for n in range(len(self.fifo) + 1) for o in itertools.permutations(self.fifo, n)]
        demand(len(orders) == len(trees), "an order of closed lines is missing")
        for order, tree in zip(orders, trees):
            lines = [([at for at in stay if q in self.lines[at]], order[:n]) for n, q in enumerate(order)]
            self.refute(tree, rows, stay, ways, [(mine, order), *lines], high, order)


def check(certificate):
    """(safe, kind) of a certificate that shows it; Rejected otherwise."""
    system, kind = System(certificate["system"]), certificate["kind"]
    if kind == "path":
        state = ((0,) * len(system.pos), ())
        for action, at, to, count, behind in certificate["path"]:
            for _ in range(count):
                state = system.step(state, action, at, to, behind)
        demand(system.lost(state), "at the end of the path everybody can go on")
    elif kind == "search":
        demand(list(system.visit(certificate["states"])) == [certificate["states"], certificate["hash"]], "other states")
    else:
        system.prove(certificate["closed"], certificate["proof"])
        one = len(system.split) <= 1 and not certificate["closed"] and {w for w, _ in system.split} <= {"pool"}
        demand(kind == "cases" or (kind == "thresholds" and one), "a proof of another kind than it says")
    demand(certificate["safe"] is (kind != "path"), "it shows the opposite")
    return certificate["safe"], kind


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            given = json.load(file)
    except (OSError, ValueError, IndexError) as error:
        sys.exit(print(f"cannot be read: {error}", file=sys.stderr) or 2)
    try:
        safe, kind = check(given)
        print(f"accepted: {'safe' if safe else 'unsafe'}, {kind}")
    except (Rejected, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        sys.exit(print(f"rejected: {error if isinstance(error, Rejected) else f'not a certificate ({error!r})'}") or 1)
