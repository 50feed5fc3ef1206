"""Texts and zones that several tests of mmmodel.linux share."""

from pathlib import Path

import pytest

from mmmodel.linux import Zone, load_host, parse_zoneinfo


def zone(name: str, index: int, managed: int, protection: tuple[int, ...] = (0,) * 5, **more) -> Zone:
    """A zone of which only the size matters."""
    marks = {"min": 0, "low": 0, "high": 0, "free": managed, "spanned": managed, "present": managed} | more
    return Zone(node=0, name=name, index=index, managed=managed, protection=protection, **marks)


@pytest.fixture(scope="session")
def big() -> tuple[Zone, ...]:
    return load_host("x86-24g").zones


@pytest.fixture(scope="session")
def live_zones() -> tuple[Zone, ...]:
    path = Path("/proc/zoneinfo")
    if not path.is_file():
        pytest.skip("no /proc/zoneinfo: this is not Linux")
    return parse_zoneinfo(path.read_text())
