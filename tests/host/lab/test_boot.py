"""One boot: the pinned kernel comes up under qemu and its watcher gives a verdict. Skipped where qemu cannot be had."""

from pathlib import Path

import pytest

from mmmodel.host.lab.experiment import Settings
from mmmodel.host.lab.packages import Unavailable
from mmmodel.host.lab.runner import Lab

pytestmark = pytest.mark.verify


def test_a_guest_boots_swaps_to_a_disk_and_lives(tmp_path):
    settings = Settings.model_validate({"server": "none", "load": {"size": "150 MiB", "processes": 2}})
    if (shared := Path("out/lab/packages")).is_dir():  # nothing is fetched twice
        (tmp_path / "packages").symlink_to(shared.resolve())
    lab = Lab(tmp_path)
    try:
        lab.prepare(settings.kernel)
    except Unavailable as reason:
        pytest.skip(str(reason))
    line = lab.run("boot,disk", settings, 1)
    assert line["verdict"] == "survive", line["recognised"]
    assert not line["host_ended"]
    assert line["pages_dirtied"] == 150 * 256 // 2 * 2
    assert lab.done() == {(settings.digest, 1)}
