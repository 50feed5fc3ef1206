"""What is installed: the version, and where data and notebooks are (beside the package in a source tree, inside it in a wheel)."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `data` or `notebooks` that came with this package. Raises FileNotFoundError where the installation lacks it."""
    for place in (PACKAGE / name, PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{name}: neither inside {PACKAGE} nor beside it; install the wheel, or work in a source tree")


DATA = folder("data")
NOTEBOOKS = folder("notebooks")


def version() -> str:
    """The version that is installed. Its reader is slow to import, so that it is asked for only when it is shown."""
    from importlib import metadata

    try:
        return metadata.version("mmmodel")
    except metadata.PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
        return "0+unknown"
