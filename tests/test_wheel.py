"""The wheel is the product: built, installed into an environment of its own, and used from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = "import site; print(site.getsitepackages()[0])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """(interpreter, empty folder): the wheel unpacked into a new environment, which finds the dependencies in this one's."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    packages = Path(subprocess.run([python, "-c", SITE], capture_output=True, text=True, check=True).stdout.strip())
    zipfile.ZipFile(wheel).extractall(packages)
    here = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(here) + "\n")
    (folder / "empty").mkdir()
    return python, folder / "empty"


def run(elsewhere, *arguments, module="mmmodel"):
    python, folder = elsewhere
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([python, "-m", module, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_data_and_notebooks_are_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = subprocess.run(
        ["git", "ls-files", "data", "notebooks", "mmmodel"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = {name if name.startswith("mmmodel/") else f"mmmodel/{name}" for name in shipped.stdout.split()}
    assert wanted, "git lists nothing"
    assert not wanted - names


def test_it_is_the_installed_one_that_runs(elsewhere):
    python, folder = elsewhere
    done = subprocess.run([python, "-c", "import mmmodel; print(mmmodel.__file__)"], cwd=folder, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(python.parents[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--version",), "mmmodel "),
        (("stacks",), "nbd-tcp"),
        (("size", "nbd-tcp", "--reserve", "574KiB"), "UNSAFE: nbd-tcp"),
        (("size", "nbd-tcp", "--reserve", "host", "--host", "x86-24g"), "host x86-24g"),
        (("survey", "--root", "x86-24g"), "host x86-24g"),
        (("survey", "--root", "debian-6.1-nbd-swap"), "UNSAFE"),
        (("lint", "nbd-tcp"), "throttle"),
        (("run", "09", "-o", "out"), "09-size-my-stack.json"),
        (("html", "-o", "site"), "index.html"),
    ],
    ids=" ".join,
)
def test_commands_from_an_empty_folder(elsewhere, arguments, says):
    done = run(elsewhere, *arguments)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_a_study_from_an_empty_folder(elsewhere):
    (study,) = elsewhere[0].parents[1].rglob("mmmodel/data/studies/nbd-frontier.yaml")
    done = run(elsewhere, "sweep", str(study), "-o", "points")
    assert done.returncode == 0, done.stderr
    assert (elsewhere[1] / "points" / "points.jsonl").stat().st_size


def test_an_empty_catalogue_is_an_error(elsewhere):
    python, folder = elsewhere
    code = "from mmmodel.model import catalogue; from pathlib import Path; catalogue.STACKS = Path('.'); from mmmodel.app.cli import main; raise SystemExit(main(['stacks']))"
    done = subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "holds no stack" in done.stderr
