"""What is kept of compiled code is dropped when any compiled source changes, not only the function's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

numba = pytest.importorskip("numba")

from mmmodel.model import compiled  # noqa: E402

INNER = "from toy.model.compiled import jit\n@jit\ndef inner(x):\n    return x + {}\n"
OUTER = "from toy.model.compiled import jit\nfrom toy.inner import inner\n@jit\ndef outer(x):\n    return 10 * inner(x)\n"


def answer(folder: Path) -> tuple[int, int]:
    """(what outer(1) is, how many of its signatures came from what was kept), in a process of its own."""
    code = "from toy.outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    value, hits = done.stdout.split()
    return int(value), int(hits)


def test_a_change_of_another_file_is_seen(tmp_path):
    toy = tmp_path / "toy"
    (toy / "model").mkdir(parents=True)
    for folder in (toy, toy / "model"):
        (folder / "__init__.py").write_text("")
    shutil.copy(compiled.__file__, toy / "model")
    (toy / "inner.py").write_text(INNER.format(1))
    (toy / "outer.py").write_text(OUTER)
    assert answer(tmp_path) == (20, 0)
    assert answer(tmp_path) == (20, 1)
    (toy / "inner.py").write_text(INNER.format(5))
    assert answer(tmp_path) == (60, 0)  # plain numba would answer 20, with what it kept


def test_every_compiled_source_is_counted():
    """No module of the package goes to numba past `jit`."""
    for path in Path(compiled.__file__).parents[1].rglob("*.py"):
        if path.name != "compiled.py":
            text = path.read_text(encoding="utf-8")
            assert "njit" not in text, f"{path.name} compiles on its own"


def test_no_place_for_a_cache(monkeypatch):
    def nowhere(function=None, **options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function")
        return real(function, **options)

    real = numba.njit
    monkeypatch.setattr(numba, "njit", nowhere)

    @compiled.jit
    def double(x):
        return 2 * x

    assert double(3) == 6
