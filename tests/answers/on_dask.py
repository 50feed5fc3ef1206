"""A study on a Dask cluster of this machine: `python -m tests.answers.on_dask FOLDER WORKERS [lose]`; `lose` kills the scheduler midway."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mmmodel.answers import sweep
from tests.answers.driver import study


def main(folder, workers, what=""):
    with tempfile.TemporaryDirectory() as there:
        told = str(Path(there) / "scheduler.json")
        crew = [start("scheduler", "--scheduler-file", told, "--port", "0", "--host", "127.0.0.1", "--no-dashboard")]
        shape = ("--nworkers", workers, "--nthreads", "1", "--death-timeout", "90", "--no-dashboard", "--local-directory", there)
        crew.append(start("worker", "--scheduler-file", told, *shape))
        try:
            run(folder, told, int(workers), crew[0] if what == "lose" else None)
        finally:
            for process in reversed(crew):
                process.terminate()
            for process in crew:
                process.wait()


def start(what, *options):
    command = [sys.executable, "-m", "distributed.cli.dask_" + what, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(folder, told, workers, victim):
    from distributed import Client

    while not Path(told).exists():
        time.sleep(0.05)
    with Client(scheduler_file=told, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=90)
        address = client.scheduler.address
    if victim is not None:
        threading.Thread(target=kill_midway, args=(victim, Path(folder) / "points.jsonl"), daemon=True).start()
    with sweep.dask(address) as (executor, alive):
        print(sweep.run_study(study(), folder, executor, batch=4, alive=alive))


def kill_midway(victim, file):
    """The scheduler, once some points are written."""
    while not file.exists() or file.read_bytes().count(b"\n") < 8:
        time.sleep(0.01)
    victim.kill()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except sweep.SweepError as error:
        sys.exit(f"SweepError: {error}")
