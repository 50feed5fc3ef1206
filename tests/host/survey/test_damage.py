"""Damaged hosts: never a traceback, never a verdict "safe" that rests on a number or an address which does not stand in the tree, and never
one without a condition where the server is on the machine itself.

Five trees: of one, all is read and one path is safe, so that a wrong "safe" can be seen; another has every layer that is known; the
third was recorded from a booted machine. Of the fourth, the paths over a network are safe because all servers are on other machines; of
the fifth, every server is on the machine itself, each by another way to tell, and nothing else keeps its path from being safe.
A few dozen cases here; ten thousand under the marker `verify`. Half of the damages to the last two are to servers and daemons alone.
"""

import contextlib
import ipaddress
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mmmodel.host.survey import NOT_SHOWN, SAFE, SAFE_IF, UNSAFE, survey
from mmmodel.host.survey.stacks import STACK_OF
from mmmodel.linux.host import RECORDED, Host
from mmmodel.linux.servers import Place
from mmmodel.linux.text import HostError
from mmmodel.model.machine import HIGHATOMIC, LOWMEM, RINGS, memory_of
from tests.host.survey.test_stacked import ALL
from tests.host.survey.trees import (
    ATA,
    OTHER,
    OTHER6,
    OWN,
    OWN6,
    READ,
    client,
    digits,
    disk,
    fuse,
    iscsi,
    loop,
    mounted,
    nbd,
    nvme,
    swaps,
    tcp,
    unix,
)
from tests.linux.conftest import write_tree
from tests.linux.test_fuzz import damage_tree, repair

CASES = 10_000
PLAIN = (
    READ
    | nbd(16)
    | disk("sda", **ATA)
    | loop("loop0", "/img")
    | fuse(45)
    | mounted(("8:16", "/", "ext4", "/dev/sda"), ("0:45", "/f", "fuse.x", "f"))
)
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
    | {
        "proc/swaps": ALL["proc/swaps"]
        + "/dev/ublkb0 partition 8 0 1\n/dev/sdi partition 8 0 1\n/dev/nvme0n1 partition 8 0 1\n/dev/dm-0 partition 8 0 1\n"
    }
    | {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}
)
HOST = RECORDED / "debian-6.12-crypt-nbd"
REAL = {str(path.relative_to(HOST)): path.read_text(encoding="utf-8") for path in sorted(HOST.rglob("*")) if path.is_file()}
REMOTE = (
    READ
    | nbd(8)
    | nbd(8, "nbd1")
    | nvme("nvme0n1", OTHER, near=OWN, tags="4")
    | nvme("nvme1n1", OTHER6, tags="4")
    | iscsi("sdi", OTHER)
    | {"proc/swaps": swaps("/dev/nbd0", "/dev/nbd1", "/dev/nvme0n1", "/dev/nvme1n1", "/dev/sdi")}
    | {"proc/net/tcp6": tcp((24, OWN6, 50001, OTHER6, 4420), (23, "::", 22))}
)
LOCAL = (
    REMOTE
    | client(700, "nbd0", 9000, comm="rbd-nbd")  # a Unix socket
    | client(701, "nbd1", 7001)  # the loopback, mapped into IPv6
    | nbd(8, "nbd2")  # in a namespace of its own, to the address of this one
    | nvme("nvme0n1", OWN, near=OWN, tags="4")
    | nvme("nvme1n1", OWN6, tags="4")
    | iscsi("sdi", OWN)
    | {name: text for name, text in client(800, "nbd9", 8001, 8002, comm="nbd-server", opens="/dev/fuse").items() if name.startswith("proc")}
    | {"proc/swaps": swaps("/dev/nbd0", "/dev/nbd1", "/dev/nbd2", "/dev/nvme0n1", "/dev/nvme1n1", "/dev/sdi")}
    | {"proc/702/net/tcp": tcp((7002, "10.1.1.2", 40002, OWN, 10809)), "proc/net/unix": unix(9000, 9001)}
    | {
        "proc/net/tcp": tcp((8001, "0.0.0.0", 10809), (0, OWN, 50000, OWN, 4420), (0, OWN, 4420, OWN, 50000), (0, OWN, 50001, OWN, 3260)),
        "proc/net/tcp6": tcp(
            (7001, "::ffff:127.0.0.1", 40001, "::ffff:127.0.0.1", 10809), (8002, "::ffff:127.0.0.1", 10809, "::ffff:127.0.0.1", 40001),
            (0, OWN6, 50001, OWN6, 4420), (0, OWN6, 4420, OWN6, 50001),
        ),
    }
)  # fmt: skip
SERVERS = re.compile(r"proc/(net/(?!netstat|sockstat)|[0-9]+/).*|sys/class/(iscsi|net).*|sys/block/[^/]+/(pid|device/.*)")
TREES = (PLAIN, MANY, REAL, REMOTE, LOCAL)


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
    servers = {name: text for name, text in whole.items() if SERVERS.fullmatch(name)}
    names = damage_tree(root, draw, servers if which >= TREES.index(REMOTE) and draw.random() < 0.5 else whole)
    try:
        counts["cases"] += 1
        try:
            answer = survey(str(root), advice=seed % 256 == 0)  # settings take seconds
        except HostError:
            assert "proc/zoneinfo" in names, seed
            counts["refused for their zoneinfo"] += 1
            return
        if seed % 8 == 0:  # what there is to spare takes many proofs
            str(answer)
            json.dumps(answer.as_dict())
        safe = [judgement for path in answer.paths for judgement in path.judgements if judgement.state == SAFE]
        counts["with a path called safe"] += bool(safe)
        counts["with every server on the machine itself"] += whole is LOCAL
        there = numbers(root) if safe else set()
        check_servers(root, answer, seed)
        assert whole is not LOCAL or not safe, (seed, [judgement.devices for judgement in safe])
        for judgement in safe:
            assert not judgement.conditions
            for fact in judgement.facts:
                assert fact.origin in ("read", "source"), (seed, fact)
                assert fact.origin == "source" or fact.value in there, (seed, fact)
            assert judgement.depth in there, seed
            assert math.isfinite(judgement.safe)
            memory = memory_of(Host.read(root))
            assert answer.memory == memory, seed
            assert set(memory.unknown) <= {HIGHATOMIC, LOWMEM, RINGS}, seed  # pages, of which all that may be are to spare
            assert judgement.spare >= memory.page * sum(memory.limits.values()), seed
    finally:
        for name in names:
            repair(root / name, whole[name])


def addresses_in(text: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Every address that stands in a text, however it is written: 2:01:db8::9 is 2:1:db8::9."""
    for word in set(re.findall(r"[0-9A-Fa-f.:]{3,45}", text)):
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_address(word)


def check_servers(root: Path, answer, seed: int) -> None:
    """The server of a path called safe is at an address that stands in the tree, and there is none of the machine's own."""
    text = "\n".join(path.read_text(errors="replace") for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    written = set(addresses_in(text))
    for path in answer.paths:
        if path.state == SAFE:
            assert path.servers, seed
            for server in path.servers:
                assert server.place is Place.ELSEWHERE, (seed, path)
                address = ipaddress.ip_address(server.at.split(" ")[0])
                assert address in written or digits(str(address)) in text, (seed, server)
                assert not address.is_loopback, seed
                assert not re.search(rf"-- {re.escape(str(address))}\n +/32 host LOCAL", text), (seed, server)


def test_the_undamaged_ones(tmp_path):
    """Else the fuzz would test nothing: one has a safe path, another every stack that there is, the third one that is unsafe; of two,
    all that can be safe is, or would be but for its server."""
    plain, many, real, remote, local = (survey(str(root), advice=False) for root in roots(tmp_path))
    assert [path.state for path in remote.paths] == [*[SAFE] * 4, SAFE_IF]
    assert [path.state for path in local.paths[:6]] == [NOT_SHOWN] * 6
    assert {tuple(server.place for server in path.servers) for path in local.paths[:6]} == {(Place.HERE,)}
    assert all(judgement.verdict.safe for path in local.paths[:6] for judgement in path.judgements)
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
    print(
        f"\ndamaged hosts: {', '.join(f'{count:,} {what}' for what, count in counts.most_common())}; no traceback, none safe on a number or an address not in it, or with its server on the machine itself"
    )
    assert counts["cases"] >= CASES
    assert counts["with a path called safe"] >= CASES // 20
