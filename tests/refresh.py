"""Execute notebooks in place as they are shipped: `python -m tests.refresh NOTEBOOK...` (make notebooks).

Like `jupyter execute --inplace`, without what differs from run to run: times, and the random names of widgets.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from mmmodel.app.notebooks import kernel_path

WIDGET = "application/vnd.jupyter.widget-view+json"


def refresh(path):
    """Execute and write back. A cell that fails raises, and the file stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", record_timing=False, store_widget_state=False,
        config=Config({"KernelManager": {"transport_encryption": "auto"}}), resources={"metadata": {"path": str(Path(path).resolve().parent)}},
    ).execute()  # fmt: skip
    tidy(notebook)
    nbformat.write(notebook, path)


def tidy(notebook):
    """Drop what a saved notebook cannot use: views of widgets whose kernel is gone, and their states."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = kernel_path()
    for name in sys.argv[1:]:
        print(name, flush=True)
        refresh(name)
