"""What the survey's notebook shows beside the survey: the runs of the machine that is shipped."""

from __future__ import annotations

from mmmodel.answers import compare
from mmmodel.app.primer import netpath
from mmmodel.app.primer.parameters import Known, Read
from mmmodel.host.lab.measured import recorded_runs, thresholds
from mmmodel.host.survey import Survey
from mmmodel.linux.host import load_host

SHIPPED = "debian-6.1-nbd-swap"  # recorded from a guest of the kind that the kernel lab boots
PARAMETERS: Known = {
    "root": Read(load_host, 'a name in data/hosts, a recorded tree, a copy of /proc/zoneinfo, or "host" for this machine'),
}


def paths_text(answer: Survey) -> str:
    """A line a path: its state and what it rests on; then all of them together."""
    lines = [f"{path.state.upper()}: {path.use} {path.device} ({' on '.join(path.layers)})" for path in answer.paths]
    if answer.together is not None:
        lines.append(f"{answer.together.state.upper()}: all together")
    return "\n".join(lines) or f"no writeout path was found on host {answer.host.name}"


def measured_text(answer: Survey) -> str:
    """How often the guests of the kernel lab hung, if the machine is the recorded one of them: Markdown, empty for any other."""
    if answer.host.name != SHIPPED:
        return ""
    seen = thresholds(recorded_runs())
    values = sorted({at for found in seen.values() for at in found})
    rows = [
        (name, *(f"{found[at].hangs} of {found[at].runs}" if at in found else "–" for at in values))
        for name, found in seen.items()
    ]
    lock = [f"*{j.state}*" for path in answer.paths for j in path.judgements if j.stack.name == netpath.VIRTIO]
    said = [
        "Guests like the machine that is shipped were also run, at several values of `vm.min_free_kbytes` (KiB). So many of the runs of each "
        "series hung (notebook 12 tells what the series differ in, and why it matters):",
        compare.markdown(("runs that hung", *(f"{at:,}" for at in values)), rows),
    ]
    if lock:
        said.append(
            f"They bear on what is said above of the stack `{netpath.VIRTIO}`, which is {' and '.join(lock)} here: the lock in the receive "
            "path of `virtio_net` (notebook 6), where the refill of the receive ring switches receive service off and then waits for memory."
        )
    return "\n\n".join(said)
