"""One hang in every form in which logs and debuggers print it: carriers put something before each line, printers print tasks anew.

The forms are as the tools write them; names, addresses and dates are made up.
"""

import base64
import gzip
import html
import json
import quopri
import re
from pathlib import Path

from mmmodel.linux.sysrq import parse_sysrq

HANGS = Path(__file__).parent / "data" / "hangs"
CONSOLE = (HANGS / "nbd-default-6.1.txt").read_text(encoding="utf-8")
KERNEL = [(float(time), text) for time, text in re.findall(r"^\[ *([0-9.]+)\] ?(.*)$", CONSOLE, re.MULTILINE)]
TASKS = parse_sysrq(CONSOLE).blocked


def lines(form, kernel=KERNEL):
    """The kernel's lines, each as `form(time, text)` writes it."""
    return "".join(f"{form(time, text)}\n" for time, text in kernel)


def stamp(time):
    return f"[{time:12.6f}]"


def clock(time, digits=0):
    return f"07:33:{time:0{3 + digits if digits else 2}.{digits}f}" if digits else f"07:33:{int(time):02d}"


def kmsg(time, text, extra="", before=""):
    return f"{before}6,{400 + int(time * 100)},{int(time * 1e6)},-{extra};{text}"


def export(time, text):
    return f"__REALTIME_TIMESTAMP=1775108019{int(time):06d}\n__MONOTONIC_TIMESTAMP={int(time * 1e6)}\n_TRANSPORT=kernel\nMESSAGE={text}\n"


def verbose(time, text):
    return f"Thu 2026-04-02 {clock(time, 6)} CEST [s=1f;i=2;b=3;m=4;t=5;x=6]\n    _TRANSPORT=kernel\n    PRIORITY=6\n    MESSAGE={text}"


def journal(time, text, **more):
    return json.dumps({"PRIORITY": "6", "MESSAGE": text, "__MONOTONIC_TIMESTAMP": str(int(time * 1e6)), **more})


def pretty(time, text):
    fields = {"PRIORITY": "6", "MESSAGE": text, "__MONOTONIC_TIMESTAMP": str(int(time * 1e6))}
    return "{\n" + ",\n".join(f"\t{json.dumps(key)} : {json.dumps(value)}" for key, value in fields.items()) + "\n}"


def docker(time, text):
    return json.dumps({"log": f"{stamp(time)} {text}\n", "stream": "stdout", "time": f"2026-04-02T{clock(time, 6)}789Z"})


def mail(encoding, body):
    return f"From: someone\nSubject: it hangs\nContent-Transfer-Encoding: {encoding}\n\n{body}\n--\nregards\n"


PLAIN = lines(lambda time, text: f"{stamp(time)} {text}")
QUOTED = lines(lambda time, text: f"> {stamp(time)} {text}")
CARRIERS = {  # name: text
    "console": CONSOLE,
    "no times": lines(lambda time, text: text),
    "dmesg": PLAIN,
    "dmesg -T": lines(lambda time, text: f"[Thu Apr  2 {clock(time)} 2026] {text}"),
    "dmesg -T in German": lines(lambda time, text: f"[Do Apr  2 {clock(time)} 2026] {text}"),
    "dmesg --time-format iso": lines(lambda time, text: f"2026-04-02T{clock(time, 6).replace('.', ',')}+02:00 {text}"),
    "dmesg -x": lines(lambda time, text: f"kern  :info  : {stamp(time)} {text}"),
    "dmesg -d": lines(lambda time, text: f"[{time:12.6f} <    0.000012>] {text}"),
    "dmesg -e": lines(lambda time, text: f"[  +0.000012] {text}"),
    "dmesg -r": lines(lambda time, text: f"<6>{stamp(time)} {text}"),
    "dmesg --color": lines(lambda time, text: f"\x1b[32m{stamp(time)} \x1b[0m\x1b[33m{text[:5]}\x1b[0m{text[5:]}"),
    "colours as characters": lines(lambda time, text: f"^[[32m{stamp(time)} ^[[0m{text}"),
    "colours without escape": lines(lambda time, text: f"[32m{stamp(time)} [0m{text}"),
    "syslog": lines(lambda time, text: f"Dec 28 {clock(time)} host kernel: {text}"),
    "syslog with kernel time": lines(lambda time, text: f"Dec  8 {clock(time)} host kernel: {stamp(time)} {text}"),
    "syslog without host": lines(lambda time, text: f"Dec 28 {clock(time)} kernel: {stamp(time)} {text}"),
    "kernel: and time": lines(lambda time, text: f"kernel: [  {time:.1f}] {text}"),
    "OpenWrt": lines(lambda time, text: f"Thu Apr  2 {clock(time)} 2026 kern.warn kernel: {stamp(time)} {text}"),
    "rsyslog ISO": lines(lambda time, text: f"2026-04-02T{clock(time, 6)}+02:00 host kernel: {stamp(time)} {text}"),
    "syslog priority": lines(lambda time, text: f"<4>Dec 28 {clock(time)} host kernel: {text}"),
    "RFC 5424": lines(lambda time, text: f"<6>1 2026-04-02T{clock(time, 3)}Z host kernel - - - {text}"),
    "journalctl short": lines(lambda time, text: f"Apr 02 {clock(time)} host.example kernel: {text}"),
    "journalctl short-precise": lines(lambda time, text: f"Apr 02 {clock(time, 6)} host kernel: {text}"),
    "journalctl short-iso": lines(lambda time, text: f"2026-04-02T{clock(time)}+0200 host kernel: {text}"),
    "journalctl short-full": lines(lambda time, text: f"Thu 2026-04-02 {clock(time)} CEST host kernel: {text}"),
    "journalctl short-monotonic": lines(lambda time, text: f"{stamp(time)} host kernel: {text}"),
    "journalctl short-unix": lines(lambda time, text: f"1775108{int(time):03d}.{int(time % 1 * 1e6):06d} host kernel: {text}"),
    "journalctl verbose": lines(verbose),
    "journalctl json": lines(journal),
    "journalctl json, bytes": lines(lambda time, text: journal(time, list(text.encode()))),
    "journalctl json-pretty": lines(pretty),
    "journalctl json-sse": lines(lambda time, text: f"data: {journal(time, text)}\n"),
    "journalctl json-seq": lines(lambda time, text: f"\x1e{journal(time, text)}"),
    "journalctl export": lines(export),
    "journalctl export, binary": lines(
        lambda time, text: f"_TRANSPORT=kernel\nMESSAGE\n{chr(len(text) % 256)}\0\0\0\0\0\0\0{text}\n"
    ),
    "CRI": lines(lambda time, text: f"2026-04-02T{clock(time, 6)}789Z stderr F {stamp(time)} {text}"),
    "kubectl logs --prefix": lines(lambda time, text: f"[pod/console-0/log] {stamp(time)} {text}"),
    "docker json-file": lines(docker),
    "docker compose": lines(lambda time, text: f"console-1  | {stamp(time)} {text}"),
    "a collector's JSON after its time": lines(
        lambda time, text: f"2026-04-02T{clock(time, 3)}Z {json.dumps({'message': text})}"
    ),
    "netconsole": lines(lambda time, text: f"192.0.2.7:6665: {stamp(time)} {text}"),
    "netconsole extended": lines(kmsg),
    "netconsole with release": lines(lambda time, text: kmsg(time, text, before="6.4.0-1-amd64,")),
    "kmsg with caller": lines(lambda time, text: kmsg(time, text, ",caller=T123")),
    "caller id": lines(lambda time, text: f"{stamp(time)}[  T123] {text}"),
    "caller id of a processor": lines(lambda time, text: f"{stamp(time)} [    C1] {text}"),
    "quoted mail": QUOTED,
    "quoted mail, nested": lines(lambda time, text: f"> > >> Dec 28 {clock(time)} host kernel: {stamp(time)} {text}"),
    "mail, quoted-printable": mail("quoted-printable", quopri.encodestring(QUOTED.encode()).decode()),
    "mail, base64": mail("base64", base64.encodebytes(PLAIN.encode()).decode()),
    "a web page's source": html.escape(QUOTED, quote=False),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR CR LF": PLAIN.replace("\n", "\r\r\n"),
    "ts": lines(lambda time, text: f"Apr 02 {clock(time)} {stamp(time)} {text}"),
    "libvirt console": lines(lambda time, text: f"2026-04-02 {clock(time, 3)}+0000: {stamp(time)} {text}"),
    "logcat": lines(lambda time, text: f"04-02 {clock(time, 3)}     0     0 I kernel  : {stamp(time)} {text}"),
    "a shell on the same line": lines(lambda time, text: f"LAB sample ms={time:.0f} ;{stamp(time)} {text}"),
    "NULs of a crash": PLAIN.replace("\n", "\n\0\0\0"),
    "grep -n": "".join(f"{number}:{line}\n" for number, line in enumerate(PLAIN.splitlines(), 1)),
    "cat -n": "".join(f"{number:6d}\t{line}\n" for number, line in enumerate(PLAIN.splitlines(), 1)),
    "a prefix of a collector's own": lines(lambda time, text: f"zone-3/rack7!kmsg#{int(time)}~ {text}"),
    "a diff": "".join(f"+ {line}\n" for line in PLAIN.splitlines()),
}
FILES = {  # what only a file can be
    "gzip": gzip.compress(PLAIN.encode()),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "Latin 1 in a host's name": lines(lambda time, text: f"Dec 28 {clock(time)} höst kernel: {text}").encode("latin-1"),
}


def trace(name, *symbols, work=None, state="D", pid=7):
    """A task as sysrq-w prints it, innermost function first."""
    lines = [f"task:{name} state:{state} stack:0     pid:{pid} ppid:2 flags:0x4000", "Call Trace:", " <TASK>"]
    lines[1:1] = [f"Workqueue: queue {work} [module]"] if work else []
    return "\n".join([*lines, *(f" {symbol}+0x1/0x20" for symbol in ("__schedule", "schedule", *symbols)), " </TASK>", ""])


def shown(states, first=1):
    """A dump of all tasks (sysrq-t) with these states."""
    return "".join(trace(f"task{n}", "do_something", state=state, pid=n) for n, state in enumerate(states, first))


# ---- the tasks as others print them ------------------------------------------------------------------------------------------


def frames(task, form):
    return "".join(form(number, frame) for number, frame in enumerate(task.frames))


def sure(task):
    return [frame for frame in task.frames if frame.sure]


def module(frame, build=""):
    return f" [{frame.module}{build}]" if frame.module else ""


def address(number):
    return f"ffffffff{0x81000000 + 64 * number:08x}"


def kernel(task, header, frame, end=" </TASK>\n"):
    work = f"Workqueue: {task.workqueue} {task.work} [module]\n" if task.work else ""
    return f"{header(task)}\n{work}Call Trace:\n{' <TASK>' + chr(10) if end else ''}{frames(task, frame)}{end}"


def newest(task):
    return f"task:{task.name:<15} state:{task.state} stack:0     pid:{task.pid:<5} tgid:{task.pid:<5} ppid:2      task_flags:0x4208060 flags:0x00080000"


def first_5_9(task):
    return f"task:{task.name:<15} state:{task.state} stack:    0 pid:{task.pid:5d} ppid:{2:6d} flags:0x00004000"


def old(task):
    return f"{task.name:<15.15} {task.state}    0 {task.pid:5d} {2:6d} 0x80000000"


def older(task):
    return f"{task.name:<15.15} {task.state} ffff8880deadbe00     0 {task.pid:5d} {2:6d} 0x00000000"


def hung(task, header):
    message = f"INFO: task {task.name}:{task.pid} blocked for more than 120 seconds.\n      Tainted: G        W  O      6.1.0-1-amd64 #1\n"
    return f'{message}"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.\n{header(task)}'


def plain(number, frame):
    return f" {'' if frame.sure else '? '}{frame.symbol}+0x1/0x20{module(frame)}\n"


def bracketed(number, frame):
    return f" [<{address(number)}>] {'' if frame.sure else '? '}{frame.symbol}+0x1/0x20{module(frame)}\n"


def with_build(number, frame):
    return f" {'' if frame.sure else '? '}{frame.symbol}+0x1/0x20{module(frame, ' 130a3b55f0c0ffee130a3b55f0c0ffee130a3b55')}\n"


def decoded(number, frame):
    return f"{'' if frame.sure else '? '}{frame.symbol} (mm/page_io.c:{100 + number} (discriminator 3)) {frame.module or ''}\n"


def power(number, frame):
    mark = "" if frame.sure else " (unreliable)"
    return f"[c0000000{number:08x}] [c00000000{number:07x}] {frame.symbol}+0x1/0x20{module(frame)}{mark}\n"


def arm(task):
    shown = sure(task)
    lines = [
        f"[<{0x80700000 + n:08x}>] ({a.symbol}{module(a)}) from [<{0x80800000 + n:08x}>] ({b.symbol}+0x50/0xa8{module(b)})\n"
        for n, (a, b) in enumerate(zip(shown, [*shown[1:], shown[-1]], strict=True))
    ]
    return f"{old(task)}\n{f'Workqueue: {task.workqueue} {task.work}' + chr(10) if task.work else ''}{''.join(lines)}"


def numbered(task, form):
    return "".join(form(number, frame) for number, frame in enumerate(sure(task)))


def crash(task):
    head = f'PID: {task.pid}  TASK: ffff8880deadbe00  CPU: 0   COMMAND: "{task.name}"\n'
    return (
        head
        + numbered(task, lambda n, frame: f"{f'#{n}':>3} [ffffc900{n:08x}] {frame.symbol} at {address(n)}{module(frame)}\n")
        + "\n"
    )


def drgn_tools(task):
    head = f'PID: {task.pid:<7d}  TASK: ffff8880deadbe00 [{task.state}] CPU: 0  COMMAND: "{task.name}"\n'
    return head + numbered(
        task, lambda n, frame: f" #{n:2d} [ffffc900{n:08x}] {frame.symbol}{module(frame)} at 0x{address(n)} mm/x.c:{n}:2\n"
    )


def drgn(task):
    return f">>> prog.stack_trace({task.pid})\n" + numbered(
        task, lambda n, frame: f"#{n:<2} {frame.symbol} (mm/page_io.c:{n}:2)\n"
    )


def drgn_symbols(task):
    return f">>> prog.stack_trace({task.pid})\n" + numbered(task, lambda n, frame: f"#{n:<2} {frame.symbol}+0x1/0x20\n")


def gdb(task):
    shown = numbered(task, lambda n, frame: f"#{n}  0x{address(n)} in {frame.symbol} (page=0x0) at mm/page_io.c:{n}\n")
    return f'Thread 3 (LWP {task.pid} "{task.name}"):\n{shown}\n'


def perf(task):
    head = f"{task.name:>16} {task.pid:5d} [000]    12.345678: sched:sched_switch: prev_comm={task.name} prev_pid={task.pid} prev_prio=120"
    kernel_map = "[kernel.kallsyms]"
    shown = numbered(
        task, lambda n, frame: f"\t{address(n)} {frame.symbol}+0x1 ({'[' + frame.module + ']' if frame.module else kernel_map})\n"
    )
    return f"{head} prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120\n{shown}\n"


def proc(task, mark="[<0>]", end=""):
    waits = [frame for frame in sure(task) if frame.symbol.split(".")[0] in task.waits]
    return f"# cat /proc/{task.pid}/stack\n" + "".join(f"{mark} {f.symbol}+0x1/0x20{module(f)}\n" for f in waits) + end


def grepped(task):
    waits = [frame for frame in sure(task) if frame.symbol.split(".")[0] in task.waits]
    return "".join(f"/proc/{task.pid}/stack:[<0>] {f.symbol}+0x1/0x20{module(f)}\n" for f in waits)


def nameless(task):
    return f"{proc(task).partition(chr(10))[2]}----\n"


END = "[<ffffffffffffffff>] 0xffffffffffffffff\n"
PRINTERS = {  # name: text of all tasks
    "5.9": lambda task: kernel(task, first_5_9, plain, end=""),
    "newest": lambda task: kernel(task, newest, plain),
    "before 5.9": lambda task: kernel(task, old, plain, end=""),
    "before 4.14": lambda task: kernel(task, older, bracketed, end=""),
    "khungtaskd": lambda task: kernel(task, lambda task: hung(task, newest), plain),
    "khungtaskd before 5.9": lambda task: kernel(task, lambda task: hung(task, old), bracketed, end=""),
    "khungtaskd, header lost": lambda task: kernel(task, lambda task: hung(task, lambda task: ""), plain),
    "build ids": lambda task: kernel(task, newest, with_build),
    "decode_stacktrace.sh": lambda task: kernel(task, newest, decoded),
    "arm": arm,
    "powerpc": lambda task: kernel(task, first_5_9, power, end=""),
    "crash": crash,
    "crash foreach UN bt": lambda task: "crash> foreach UN bt\n" + crash(task),
    "drgn-tools": drgn_tools,
    "drgn": drgn,
    "drgn without debugging symbols": drgn_symbols,
    "gdb": gdb,
    "perf script": perf,
    "/proc/PID/stack": proc,
    "/proc/PID/stack without its name": nameless,
    "/proc/PID/stack before 4.15": lambda task: proc(task, f"[<{address(7)}>]", END),
    "grep . /proc/*/stack": grepped,
}
for _name, _printer in PRINTERS.items():
    PRINTERS[_name] = "".join(map(_printer, TASKS))
