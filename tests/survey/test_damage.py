"""Damaged hosts: never a traceback, and never a verdict "safe" that rests on a number which does not stand in the tree.

Three trees: of one, all is read and one path is safe, so that a wrong "safe" can be seen; another has every layer that is known; the
third was recorded from a booted machine.
A few dozen cases here; ten thousand under the marker `verify`.
"""

import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mmmodel.linux import Host, HostError
from mmmodel.linux.host import RECORDED
from mmmodel.survey import SAFE, UNSAFE, survey
from mmmodel.survey.stacks import STACK_OF
from tests.linux.conftest import write_tree
from tests.linux.test_fuzz import damage_tree, repair
from tests.survey.test_stacked import ALL
from tests.survey.trees import ATA, READ, disk, fuse, loop, mounted, nbd

CASES = 10_000
PLAIN = READ | nbd(16) | disk("sda", **ATA) | loop("loop0", "/img") | fuse(45) | mounted(("8:16", "/", "ext4", "/dev/sda"), ("0:45", "/f", "fuse.x", "f"))
MANY = (
    ALL
    | disk("ublkb0")
    | disk("sdi", **{"device/transport": "iscsi", "device/queue_depth": "32"})
    | disk("nvme0n1", **{"device/transport": "tcp"})
    | disk("nvme1n1", **{"device/transport": "pcie"})
    | disk("dm-0", **{"dm/name": "c", "dm/uuid": "CRYPT-LUKS2-", "slaves/nvme1n1": ""})
    | disk("dm-1", **{"dm/name": "t", "slaves/sda": ""})
    | disk("dm-2", **{"dm/name": "s", "slaves/sda": ""})
    | {"dmsetup-table": "c: 0 8 crypt aes-xts-plain64 - 0 259:1 0\nt: 0 8 thin 8:1 1\ns: 0 8 snapshot 8:1 8:2 P 32\n"}
    | {"proc/swaps": ALL["proc/swaps"] + "/dev/ublkb0 partition 8 0 1\n/dev/sdi partition 8 0 1\n/dev/nvme0n1 partition 8 0 1\n/dev/dm-0 partition 8 0 1\n"}
    | {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}
)
HOST = RECORDED / "debian-6.12-crypt-nbd"
REAL = {str(path.relative_to(HOST)): path.read_text(encoding="utf-8") for path in sorted(HOST.rglob("*")) if path.is_file()}
TREES = (PLAIN, MANY, REAL)


def numbers(root: Path) -> set[int]:
    """Every number that stands in the tree."""
    text = " ".join(path.read_text(errors="replace") for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {int(word) for word in re.findall(r"[0-9]{1,30}", text)}


def roots(parent: Path) -> list[Path]:
    """The undamaged trees, laid out once."""
    found = [parent / f"tree{number}" for number in range(len(TREES))]
    return [root if root.exists() else write_tree(root, files) for root, files in zip(found, TREES, strict=True)]


def check_damage(parents: list[Path], seed: int, counts: Counter) -> None:
    """A damaged tree is surveyed or refused by name; a path called safe rests on numbers that all stand in the tree."""
    draw = random.Random(seed)
    which = draw.randrange(len(TREES))
    root, whole = parents[which], TREES[which]
    names = damage_tree(root, draw, whole)
    try:
        counts["cases"] += 1
        try:
            answer = survey(str(root), advice=seed % 256 == 0)  # settings take seconds
        except HostError:
            assert "proc/zoneinfo" in names, seed
            counts["refused for their zoneinfo"] += 1
            return
        str(answer)
        json.dumps(answer.as_dict())
        safe = [judgement for path in answer.paths for judgement in path.judgements if judgement.state == SAFE]
        counts["with a path called safe"] += bool(safe)
        there = numbers(root) if safe else set()
        for judgement in safe:
            assert not judgement.conditions
            for fact in judgement.facts:
                assert fact.origin in ("read", "source"), (seed, fact)
                assert fact.origin == "source" or fact.value in there, (seed, fact)
            assert judgement.depth in there, seed
            assert math.isfinite(judgement.safe)
            assert judgement.safe <= answer.reserve_at_least <= answer.reserve == Host.read(root).exclusive_reserve(), seed
            assert judgement.margin >= 0
    finally:
        for name in names:
            repair(root / name, whole[name])


def test_the_undamaged_ones(tmp_path):
    """Else the fuzz would test nothing: one has a safe path, another every stack that there is, the third one that is unsafe."""
    plain, many, real = (survey(str(root), advice=False) for root in roots(tmp_path))
    assert plain.paths[0].state == SAFE
    found = {judgement.stack.name for path in many.paths for judgement in path.judgements}
    missing = set(STACK_OF.values()) - found
    assert missing <= {"dm-crypt-nbd", "dm-crypt-sata", "fuse"}, missing  # fuse-before-6.16 is there
    assert real.paths[0].state == UNSAFE


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damaged_hosts(tmp_path, seed):
    check_damage(roots(tmp_path), seed, Counter())


@pytest.mark.verify
def test_many_damaged_hosts(tmp_path):
    """Made by hypothesis, each from another seed; counted, so that what is said of them can be checked."""
    trees, counts = roots(tmp_path), Counter()

    @settings(max_examples=CASES, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.integers(0, 2**64))
    def damage(seed):
        check_damage(trees, seed, counts)

    damage()
    print(f"\ndamaged hosts: {', '.join(f'{count:,} {what}' for what, count in counts.most_common())}; no traceback, none safe on a number not in it")
    assert counts["cases"] >= CASES
    assert counts["with a path called safe"] >= CASES // 20
