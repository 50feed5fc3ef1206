"""Every part of the catalogue, alone, on every other one and three deep; and a layer that the catalogue does not know."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

import mmmodel as mm
from mmmodel.answers.lint import RULES, lint
from mmmodel.app.cli import main
from mmmodel.installed import DATA
from mmmodel.model.catalogue import load_stack
from mmmodel.model.parts import Part, PartStep, load_part, part_from, part_names
from mmmodel.model.paths import compose
from mmmodel.model.reading import size_table
from mmmodel.model.stack import StackError
from tests.model.layers import PARTS, down, lies_on, paths

KERNELS = ("6.1", "6.12", "6.18", "6.19")
QUICK = 8  # classes: a stack of so many is judged in a fraction of a second


def outcome(path: str, judged: int = QUICK) -> str:
    """What comes of a path: refused, with a reason; composed; or, with few classes, the word of its verdict."""
    try:
        stack = compose(path).stack
    except StackError as error:
        assert str(error).startswith(f"{path}: ")
        assert "classes of request" in str(error) or " cannot lie under " in str(error), error
        return "refused"
    if len(stack.requests) > judged:
        return "composed"
    return mm.verdict(stack, reserve="64 MiB").word


# ---- what a part says -----------------------------------------------------------------------------------------------------


def steps_of(part: Part) -> list[PartStep]:
    def flat(steps):
        for step in steps:
            yield step
            for branch in step.fork:
                yield from flat(branch)

    return [step for walk in part.walks.values() for step in flat(walk)]


def told(part: Part) -> list[tuple[str, str, str]]:
    """(place, source, assumption) of all that must have one of the two."""
    found = [(f"pools.{name}", pool.source, pool.assumption) for name, pool in part.pools.items()]
    found += [(name, way.source, way.assumption) for name, way in part.ways.items()]
    for step in steps_of(part):
        if step.submitted or step.fork:
            continue
        if step.below is None:
            found.append((step.name, step.source, step.assumption))
        if isinstance(step.serve, dict):
            found.append((f"{step.name}.serve", step.serve.get("source", ""), step.serve.get("assumption", "")))
    for one in (part.request, part.split):
        found += [] if one is None else [(type(one).__name__, one.source, one.assumption)]
    return found


@pytest.mark.parametrize("name", part_names())
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_part_says_what_it_is_and_where_each_number_is_from(name, kernel):
    part = load_part(name, kernel)
    assert part.name == name
    assert part.title
    assert part.description
    assert part.seen or name in {"swap", "direct", "writeback", "disk"}
    for place, source, assumption in told(part):
        assert source or assumption, f"{place} has neither a source nor an assumption"
        assert not source or source in part.sources, f"{place}: {source!r} is not in sources:"
    for size in part.sizes.values():
        assert size.get("source") or size.get("assumption")


@pytest.mark.parametrize("name", part_names())
def test_every_source_of_a_part_is_cited(name):
    variants = [load_part(name, kernel) for kernel in (*KERNELS, "2.6.23", "2.6.25", "6.2")]
    cited = {source for part in variants for _, source, _ in told(part)}
    cited |= {size.get("source") for part in variants for size in part.sizes.values()}
    assert {source for part in variants for source in part.sources} <= cited


def test_there_is_a_part_for_each_layer_that_was_asked_for():
    assert len(PARTS) >= 45
    assert {kind for part in PARTS.values() for kind in part.offers} == {"block", "file", "net", "server"}
    assert {name for name, part in PARTS.items() if not part.offers} == {"swap", "direct", "writeback"}
    assert set(size_table().steps["bvecs"]) == {4, 16, 64, 128, 256}


# ---- on one another ---------------------------------------------------------------------------------------------------------


def test_each_part_alone_is_judged_or_refused_with_a_reason():
    counts = Counter(outcome(path) for path in paths(1))
    assert counts["refused"] == 1  # zswap under direct I/O
    assert counts["composed"] < 20
    assert sum(counts.values()) == 80
    assert min(counts[word] for word in ("SAFE", "UNSAFE")) > 3


def test_a_slice_of_the_pairs_composes_and_is_judged():
    counts = Counter(outcome(path, judged=4) for path in itertools.islice(paths(2), 0, None, 12))
    assert sum(counts.values()) > 90
    assert counts["refused"] < 0.1 * sum(counts.values())
    assert counts["SAFE"] > 20


@pytest.mark.verify
@pytest.mark.timeout(3600)
def test_every_pair_composes_and_is_judged():
    counts = Counter(outcome(path) for path in paths(2))
    print(dict(counts))
    assert sum(counts.values()) > 1000
    assert counts["refused"] < 0.1 * sum(counts.values())


@pytest.mark.verify
@pytest.mark.timeout(3600)
def test_every_triple_composes_and_a_slice_is_judged():
    counts = Counter(outcome(path, judged=QUICK if n % 20 == 0 else 0) for n, path in enumerate(paths(3)))
    print(dict(counts))
    assert sum(counts.values()) > 10_000
    assert counts["SAFE"] + counts["UNSAFE"] + counts["NOT SHOWN SAFE"] > 100


def test_what_does_not_fit_is_refused():
    """Every pair that is not among those that fit is refused, with what could lie there."""
    wrong = [(a, b) for a, b in itertools.product(PARTS, repeat=2) if not lies_on(a, b) and PARTS[a].over and PARTS[b].offers]
    assert len(wrong) > 300
    for upper, lower in wrong[::7]:
        with pytest.raises(StackError, match=f"{upper} does not lie on {lower}, which offers|submits nothing"):
            compose(f"{upper}/{down((lower,))}")


# ---- a layer that the catalogue does not know ---------------------------------------------------------------------------------


def test_a_strangers_layer_is_written_sized_linted_and_simulated(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new-part", "mirrorlog"]) == 0
    assert "python -m mmmodel size swap/./mirrorlog.yaml/nvme" in capsys.readouterr().out
    for path in ("swap/./mirrorlog.yaml/nvme", f"direct/crypt/{tmp_path}/mirrorlog.yaml/nbd/virtio_net"):
        assert main(["stacks", path]) == 0
        shown = capsys.readouterr().out
        assert "mirrorlog: what it is, in a few words" in shown
        assert "assumed: an example" in shown
        assert main(["size", path, "--reserve", "16 MiB", "--depth", "8"]) == 0
        assert f"SAFE: {path}" in capsys.readouterr().out
        assert main(["lint", path]) == 0
        capsys.readouterr()
    stack = load_stack("swap/./mirrorlog.yaml/nvme")
    assert {finding.rule for finding in lint(stack)} <= set(RULES)
    assert stack.pools["throttle"].capacity == 64
    assert mm.simulate(stack.only("write-4k"), 4, "1 MiB", seed=1, horizon="10 ms", replications=4).throughput.mean > 0
    assert mm.joint("swap/./mirrorlog.yaml/nvme", "swap/nbd/nic").pools["bio"].capacity == 2
    assert main(["new-part", "mirrorlog"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["new-part", "crypt"]) == 2
    assert "is a part of the catalogue" in capsys.readouterr().err
    assert main(["size", "mirrorlog.yaml", "--reserve", "16MiB"]) == 2
    assert "is a layer, no stack: name it in a path" in capsys.readouterr().err


def test_a_host_judges_a_strangers_layer(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\noffers: block\nover: [block]\nsteps:\n  - {name: page, take: {reserve: 4096 B}, right: ordinary}\n  - submitted\n  - below\n"
    )
    stack = load_stack(f"swap/{tmp_path}/mine.yaml/disk").only("write-4k")
    verdict = mm.verdict(stack, host="x86-24g")
    assert not verdict.safe
    assert verdict.cycle == ("ordinary memory",)


GOOD = {"name": "mine", "offers": "block", "over": ["block"], "pools": {"tags": 4}, "steps": [{"take": {"tags": 1}}, "below"]}
BAD = [
    ({"offers": None}, "offers: Input should be a valid list"),
    ({"steps": None, "entries": {}}, "steps: is missing: write steps:, or ways:"),
    ({"stpes": []}, "stpes: unknown key (value []); see the file format in the README; did you mean steps?"),
    ({"name": "a/b"}, "name: 'a/b' cannot stand in a path"),
    ({"throttle": "tag"}, "throttle: 'tag' is not a pool of this part; it has tags; did you mean tags?"),
    ({"request": {"largest": 3}}, "request: is for who submits"),
    ({"offers": []}, "request: is missing: a part that offers nothing submits"),
    ({"over": []}, "steps[1]: nothing lies under this part"),
    ({"steps": ["bellow"]}, "steps[0]: 'bellow' is not a step; write below, submitted or a mapping; did you mean below?"),
    ({"steps": [{"take": {"tgs": 1}}]}, "steps[0].take.tgs: unknown pool; the part has reserve, tags; did you mean tags?"),
    ({"steps": [{"take": {"reserve": "fast"}}]}, "steps[0].take.reserve: unknown size 'fast'"),
    ({"steps": [{"take": {"reserve": "pagse * 4096"}}]}, "the nearest are page, pages"),
    ({"steps": [{"take": {"reserve": "pages / 3"}}]}, "'pages / 3' is 0.333333; write a whole number, 0 or more (ceil(...) rounds up)"),
    ({"steps": [{"take": {"reserve": "4 - pages * 8"}}]}, "is -4; write a whole number"),
    ({"steps": [{"serve": {"mean": "3 uss"}}]}, "steps[0].serve.mean: '3 uss': 'uss' is out of place"),
    ({"steps": [{"take": {"tags": 1}, "right": "atomc"}]}, "did you mean atomic?"),
    ({"steps": [{"below": "request", "leg": "cache"}]}, "steps[0].leg: 'cache' is not a leg"),
    ({"over": {"a": "block", "b": "block"}, "steps": ["below"]}, "steps[0].leg: is missing; name one of a, b"),
    ({"pools": {"reserve": 4}}, "pools.reserve: every path has reserve"),
    ({"pools": {"tags": {"unit": "request"}}}, "pools.tags.capacity: is missing"),
    ({"split": {"pages": 0}}, "split.pages: Input should be greater than or equal to 1"),
    ({"variants": [{"steps": []}]}, "variants[0]: has neither before: nor from: a kernel"),
    ({"variants": [{"before": "soon"}]}, "variants[0]: 'soon' is not a kernel's version"),
    ({"variants": {}}, "variants: {} is not a list of mappings"),
    ({"steps": [{"take": {"tags": 1}, "refused": {"steps": [{"take": {"tgs": 1}}]}}]}, "steps[0].refused.steps[0].take.tgs: unknown pool"),
    ({"steps": [{"fork": [[{"take": {"tgs": 1}}], ["below"]]}]}, "steps[0].fork[0][0].take.tgs: unknown pool"),
    ({"sizes": {"x": {}}}, "sizes.x"),
    ({"amounts": {"x": "y"}}, "amounts.x: unknown size 'y'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=range(len(BAD)))
def test_a_wrong_part_gets_a_message_that_says_what_would_be_right(change, message):
    assert part_from(GOOD, source="mine.yaml").name == "mine"
    with pytest.raises(StackError) as caught:
        part_from(GOOD | change, source="mine.yaml")
    assert message in str(caught.value), caught.value
    assert "mine" in str(caught.value)


def test_the_layer_of_the_readme(tmp_path):
    text = (DATA.parent / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(name: my-driver\noffers:.*?)```", text, re.DOTALL)
    (tmp_path / "my-driver.yaml").write_text(example, encoding="utf-8")
    stack = load_stack(f"swap/{tmp_path}/my-driver.yaml/virtio_net")
    assert [step.name for step in stack.requests["write-4k"].steps][2:4] == ["my-driver/tag", "my-driver/submitted"]
    assert mm.verdict(stack.only("write-4k"), depth=8, reserve="1 MiB").safe


def test_a_file_that_is_changed_is_read_again(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "name: mine\noffers: block\nsteps: [{name: page, take: {reserve: SIZE}}]\n"
    for size in (512, 1024):
        file.write_text(text.replace("SIZE", str(size)))
        assert load_stack(f"swap/{file}").requests["write-4k"].steps[-1].take == {"reserve": size}
