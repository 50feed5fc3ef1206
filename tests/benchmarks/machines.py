"""Verdicts on a machine's memory: the catalogue, four paths together, the least vm.min_free_kbytes; against the times asked for."""

import statistics

import mmmodel as mm
from mmmodel.linux.host import load_host
from mmmodel.model.catalogue import stack_names
from mmmodel.model.stack import QuestionError
from tests.benchmarks.verdicts import best_of, row

HOST = "x86-24g"
FOUR = ("nbd-tcp", "iscsi-tcp", "nvme-tcp", "dm-crypt-nbd")


def main() -> None:
    host = load_host(HOST)
    times = {}
    for name in stack_names():
        stack = mm.load_stack(name)
        try:
            times[name], _ = best_of(lambda stack=stack: mm.verdict(stack, host=host), 3)
        except QuestionError:
            continue  # it takes no memory of a machine
    for name in sorted(times, key=times.__getitem__)[-3:]:
        row(f"verdict of {name} on {HOST}", times[name], 0.1)
    row(f"verdict on {HOST}, median of {len(times)} stacks of the catalogue", statistics.median(times.values()), 0.1)
    four = mm.joint(*FOUR)
    alone = sum(best_of(lambda name=name: mm.verdict(name, host=host), 3)[0] for name in FOUR)
    together, _ = best_of(lambda: mm.verdict(four, host=host), 3)
    row(f"verdict of {' + '.join(FOUR)}", together, 1)
    print(f"{'  against the four by themselves':66} {together / alone:9.2f} times as long")
    for name in ("nbd-tcp", "nbd-swap-virtio"):
        stack = mm.load_stack(name)
        single, _ = best_of(lambda stack=stack: mm.verdict(stack, host=host), 3)
        seconds, least = best_of(lambda stack=stack: mm.safe_min_free(stack, host), 2)
        row(f"least vm.min_free_kbytes of {name}: {least:,} kB", seconds, 2)
        print(f"{'  against one verdict':66} {seconds / single:9.1f} times as long")
