"""How often a verdict on a machine stays open: the catalogue, and random paths of it together, on the recorded hosts."""

import random
from collections import Counter

import pytest

import mmmodel as mm
from mmmodel.linux.host import load_host
from mmmodel.model.catalogue import stack_names
from mmmodel.model.stack import QuestionError

HOSTS = ("x86-24g", "debian-6.1-nbd-swap", "debian-6.12-crypt-nbd", "nas-512m")
MOST = 0.02
DEPTHS = (None, None, 16, 64, 256, 2048)


def asked(stack, host, depth=None):
    """The verdict in a word, and `alone` or `joint`; a question that no machine answers is one of its own."""
    try:
        found = mm.verdict(stack, depth, host=load_host(host))
    except QuestionError:
        return "no question of a machine"
    return "undecided" if not found.certain else "safe" if found.safe else "unsafe"


def composed(rng):
    """One to three stacks of the catalogue that go together, each with a depth of its own or its file's; None where they do not."""
    paths = [
        (name, depth) if (depth := rng.choice(DEPTHS)) else name for name in rng.sample(sorted(stack_names()), rng.randint(1, 3))
    ]
    if len(paths) == 1:
        return (*paths[0],) if isinstance(paths[0], tuple) else (paths[0], None)
    try:
        return mm.joint(*paths), None
    except QuestionError:
        return None


def counted(catalogue, paths, seed):
    counts, open_ = Counter(), []
    for name, host in catalogue:
        counts[word := asked(name, host), "catalogue"] += 1
        open_ += [(name, host)] if word == "undecided" else []
    rng = random.Random(seed)
    for _ in range(paths):
        host, made = rng.choice(HOSTS), composed(rng)
        if made is None:
            counts["do not go together", "composed"] += 1
            continue
        counts[word := asked(made[0], host, made[1]), "composed"] += 1
        open_ += [(getattr(made[0], "name", made[0]), host, made[1])] if word == "undecided" else []
    print("\n" + ", ".join(f"{kind} {word}: {count}" for (word, kind), count in sorted(counts.items())), *open_)
    decided = sum(n for (word, _), n in counts.items() if word in ("safe", "unsafe"))
    assert len(open_) <= MOST * (decided + len(open_)), open_
    assert all(any(word == told and n for (told, _), n in counts.items()) for word in ("safe", "unsafe")), counts
    return counts


def test_few_verdicts_stay_open():
    rng = random.Random(3)
    counts = counted([(name, rng.choice(HOSTS)) for name in rng.sample(sorted(stack_names()), 12)], 8, "few")
    assert {kind for word, kind in counts if word in ("safe", "unsafe")} == {"catalogue", "composed"}


@pytest.mark.verify
def test_few_of_all_verdicts_stay_open():
    counted([(name, host) for name in stack_names() for host in HOSTS], 150, "all")
