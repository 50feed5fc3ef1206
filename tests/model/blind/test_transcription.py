"""The catalogue's numbers against a second transcription."""

from __future__ import annotations

import pytest

from mmmodel.linux.host import load_host
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.machine import memory_of
from mmmodel.model.reading import size_table
from mmmodel.model.schemes import load_scheme
from tests.model.blind.transcription import AMOUNTS, CAPACITIES, FLOORS, OBJECTS, SCHEMED

KERNELS = ("6.1", "6.12", "6.18")


def transcribed() -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {}
    for line in OBJECTS.strip().splitlines():
        *names, first, second, third = line.split()
        for kernel, column in zip(KERNELS, (first, second, third)):
            for name, value in zip(names, column.split("/")):
                sizes.setdefault(name, {})
                if value != "-":
                    sizes[name][kernel] = int(value)
    return sizes


def test_every_size_of_the_shared_table_is_equal_in_both():
    ours = {
        name: {kernel: size.by[kernel] for kernel in KERNELS if kernel in size.by} or dict.fromkeys(KERNELS, size.by.get("all"))
        for name, size in size_table().sizes.items()
    }
    assert ours == transcribed()


@pytest.mark.parametrize(("name", "cls", "total"), AMOUNTS)
def test_what_a_class_takes_of_the_reserve(name, cls, total):
    steps = load_stack(name).requests[cls].steps
    assert sum(step.take.get("reserve", 0) * step.repeat for step in steps) == total


@pytest.mark.parametrize(("name", "pool", "capacity"), CAPACITIES)
def test_what_a_pool_holds(name, pool, capacity):
    assert load_stack(name).pools[pool].capacity == capacity


@pytest.mark.parametrize(("kilobytes", "ordinary", "atomic", "cushion"), FLOORS)
def test_floors_of_the_measured_machine(kilobytes, ordinary, atomic, cushion):
    """The recorded guest has one page of lowmem_reserve more in either floor than the one that the floors were read from."""
    memory = memory_of(load_host("debian-6.1-nbd-swap").with_sysctls({"vm.min_free_kbytes": kilobytes}))
    assert memory.capacity == (ordinary + 1) * 4096
    assert memory.floors["atomic"] == (atomic + 1) * 4096
    assert ordinary - atomic == cushion


@pytest.mark.parametrize(("scheme", "stack", "pool", "capacity"), SCHEMED)
def test_what_a_scheme_makes_of_a_pool(scheme, stack, pool, capacity):
    assert stack in load_scheme(scheme).stacks
    assert load_stack(f"{stack}+{scheme}").pools[pool].capacity == capacity


def test_no_stack_is_left_out():
    # the traced one is made by a program from a recording, not transcribed
    made = {"dm-crypt-swap-before", "writeout-2007", "nbd-virtio-traced"}
    assert {name.split("@")[0] for name, *_ in AMOUNTS + CAPACITIES} | made == set(stack_names())
