"""Tasks and their stacks, as kernels, crash, drgn, gdb and perf print them, from the lines that `logs` makes.

    task:NAME state:D stack:0 pid:7 ppid:2 flags:0x4000      Linux 5.9 and later (`sched_show_task`)
    NAME      D ffff8800deadbeef 0 7 2 0x00004000            before
    PID: 7  TASK: ffff8800deadbeef [D] CPU: 0  COMMAND: "NAME"    crash, drgn-tools
    INFO: task NAME:7 blocked for more than 120 seconds.     khungtaskd; a header and a stack follow

A stack belongs to the header before it, each writer (caller id) for itself. What says that a task is blocked and is not
followed by a stack that can be read is kept as `unread`: nobody may take it for a log without blocked tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from mmmodel.linux.logs import Line, Stamp

_SYMBOL = r"(?P<symbol>[A-Za-z_.$][\w.$]{0,255})"
_HEX = r"(?:0x)?[0-9a-f]{4,16}"
HEADERS: tuple[tuple[str, str, re.Pattern[str]], ...] = (  # who prints it, what every such line holds, the line
    (
        "kernel",
        "state:",
        re.compile(r"task:(?P<name>.{1,64}?)\s+state:(?P<state>[A-Za-z])\S*\s.*?\bpid:\s{0,9}(?P<pid>[0-9]{1,10})\s"),
    ),
    (
        "kernel before 5.9",
        " 0x",
        re.compile(
            r"(?P<name>\S.{0,14}?) +(?P<state>[RSDTtXZPIKWN]) +(?:(?:running task|\S{1,18}) +)?"
            r"[0-9]{1,7} +(?P<pid>[0-9]{1,10}) +[0-9]{1,10} +0x[0-9a-f]{8,16}$"
        ),
    ),
    (
        "crash",
        "TASK: ",
        re.compile(
            r"PID: {1,9}(?P<pid>[0-9]{1,10}) {1,9}TASK: {1,3}[0-9a-f]{8,16} {1,9}(?:\[(?P<state>\w{1,4})\] {0,3})?"
            r"CPU: {1,3}[0-9]{1,5}!? {1,9}COMMAND: {1,3}\"(?P<name>[^\"]{0,64})\""
        ),
    ),
    ("drgn", "stack_trace(", re.compile(r".{0,80}?\bstack_trace\((?P<pid>[0-9]{1,10})\)")),
    (
        "gdb",
        "LWP ",
        re.compile(r"Thread [0-9]{1,6} .{0,60}?LWP (?P<pid>[0-9]{1,10})\)?(?: \"(?P<name>[^\"]{0,64})\")?\){1,2}:?$"),
    ),
    (
        "perf",
        ": ",
        re.compile(
            r"(?P<name>\S.{0,15}?) +(?:[0-9]{1,10}/)?(?P<pid>[0-9]{1,10}) +(?:\[[0-9]{3,4}\] +)?[0-9]{1,10}\.[0-9]{6,9}: +"
            r"(?:[0-9]{1,12} +)?(?P<event>[a-z][\w:-]{2,60}:(?: .*)?)$"
        ),
    ),
)
PROC = re.compile(r".{0,120}?/proc/(?:[0-9]{1,10}/task/)?(?P<pid>[0-9]{1,10})/stack\b:?(?P<rest>.*)")
FRAME = re.compile(  # of a kernel, of /proc/PID/stack, of perf script, of drgn without debugging symbols
    r"(?:#(?P<number>[0-9]{1,3}) +)?(?:=> )?(?:\(?(?P<bracket>\[<?(?:0x)?[0-9a-f]{0,16}>?\])\)? ?){0,2}(?:[0-9a-f]{8,16} )?"
    rf"(?P<unsure>\? ?)?{_SYMBOL}\+0x[0-9a-f]{{0,8}}(?:/(?:0x?)?[0-9a-f]{{0,8}})?"
    r"(?P<rest>(?: \[[^\]]{1,120}\]| \([^()]{0,300}\)){0,4})(?: [\[(][^\])]{0,300})?$"
)
CRASH = re.compile(
    rf"!? ?# ?(?P<number>[0-9]{{1,3}}) +\[{_HEX}\] {_SYMBOL}(?:\+[0-9]{{1,8}})?(?P<rest> \[[\w-]{{1,64}}\])? (?:\([^)]{{0,200}}\) )?at "
)
NUMBERED = re.compile(  # drgn and gdb
    rf"#(?P<number>[0-9]{{1,3}}) +(?:(?P<address>0x[0-9a-f]{{1,16}}) in +)?{_SYMBOL}(?:\+0x[0-9a-f/x]{{1,20}})? ?\((?P<rest>.*)$"
)
ARM = re.compile(
    rf"(?:\[<[0-9a-f]{{1,16}}>\] )?\(?{_SYMBOL}(?P<rest> \[[\w-]{{1,64}}\])?\)? from (?:\[<|[A-Za-z_.][\w.]{{0,255}}\+0x)"
)
DECODED = re.compile(  # scripts/decode_stacktrace.sh
    rf"(?P<unsure>\? ?)?{_SYMBOL} \([\w./+-]{{1,200}}\.(?:[chSs]|rs):[0-9?]{{1,7}}"
    r"[^()]{0,100}(?:\([^()]{0,60}\)[^()]{0,60}){0,4}\)(?P<rest> \[?[\w-]{1,64}.*)?$"
)
MODULE = re.compile(r"[\[(]\[?(\w[\w-]{0,63})(?: [0-9a-f]{1,64})?\]")
WORKQUEUE = re.compile(r"Workqueue:\s{1,9}(?P<queue>\S{1,64})\s{1,9}(?P<work>\S{1,128})")
RUNNING = re.compile(r"CPU: [0-9]{1,5} (?:UID: [0-9]{1,10} )?PID: [0-9]{1,10} Comm: ")
HUNG = re.compile(  # khungtaskd, whole or torn, also where it tells of a lock
    r"INFO: task (?P<name>.{1,64}?):(?P<pid>[0-9]{1,10}) (?:<\w{1,16}> )?(?:is )?blocked\b(?:.{0,40}? for more than (?P<seconds>[0-9]{1,9}) seconds)?"
)
HUNG_NAME = re.compile(r"INFO: task (?P<name>\S{1,64}) blocked for more than (?P<seconds>[0-9]{1,9}) seconds")
OWNER = re.compile(
    r"INFO: task .{1,64}?:(?P<pid>[0-9]{1,10}) (?:<\w{1,16}> )?(?:is )?blocked on an? .{1,24} likely (?:last )?(?:owned|held) by task "
    r"(?P<name>.{1,64}?):(?P<owner>[0-9]{1,10})\b"
)
SAID = ("blocked for more than", "hung_task: blocked tasks", "(disk sleep)")  # that something is blocked, without its name
PS = re.compile(  # crash> ps
    r">? {0,4}(?P<pid>[0-9]{1,10}) +[0-9]{1,10} +[0-9]{1,5} +[0-9a-f]{8,16} +UN +[0-9.]{1,6} +[0-9]{1,12} +[0-9]{1,12} +\[?(?P<name>[^\]]{1,64})"
)
FOREACH = re.compile(r"crash(?:64)?> *(?:foreach +(?:-R +)?(?P<state>[A-Z]{2}) +bt)?")
LOCKUP = re.compile(r"soft lockup|[Hh]ard LOCKUP|detected (?:expedited )?stalls|self-detected stall|BUG: workqueue lockup")
USER = re.compile(
    r"/sysdeps/|\bfrom /\S{0,200}\.so\b|\(/(?![^():]{0,300}(?:vmlinux|\.ko))[^():]{1,300}\)"
)  # of a library or program
BRACKETS = re.compile(r"</?(?:TASK|IRQ|NMI|EOI|EOE|SOFTIRQ|UNKNOWN|#[A-Z]{2,3})>")
STATES = {"UN": "D", "IN": "S", "RU": "R", "ID": "I", "ZO": "Z", "ST": "T", "TR": "t", "DE": "X"}  # crash's
SWITCH = re.compile(r"prev_state=([A-Za-z])|iowait|uninterruptible")  # perf's events that tell a state
_SLEEPS = """
    __schedule schedule __schedule_loop schedule_timeout schedule_preempt_disabled io_schedule io_schedule_timeout
    schedule_hrtimeout_range schedule_hrtimeout_range_clock schedule_hrtimeout schedule_timeout_uninterruptible
    schedule_timeout_interruptible schedule_timeout_killable schedule_timeout_idle __switch_to __switch_to_asm context_switch
    __cond_resched preempt_schedule_common bit_wait bit_wait_io __wait_on_bit __wait_on_bit_lock out_of_line_wait_on_bit
    out_of_line_wait_on_bit_lock wait_on_bit wait_on_bit_io
"""
SLEEPS = frozenset(_SLEEPS.split())  # the innermost functions of whoever waits: they say nothing of what for
STARTS = frozenset({"__schedule", "context_switch", "__switch_to"})  # never below another function of the same stack
_IDLE = """
    ep_poll do_epoll_wait poll_schedule_timeout do_poll do_sys_poll do_select do_pselect core_sys_select futex_wait futex_wait_queue
    futex_wait_queue_me futex_do_wait __futex_wait do_futex hrtimer_nanosleep do_nanosleep common_nsleep do_wait do_wait4 kernel_wait4
    pipe_read pipe_wait pipe_wait_readable anon_pipe_read wait_for_more_packets __skb_wait_for_more_packets inet_csk_accept
    inet_csk_wait_for_connect sk_wait_data wait_woken unix_stream_data_wait unix_stream_read_generic unix_accept n_tty_read
    do_sigtimedwait do_signal_stop sigsuspend __x64_sys_pause sys_pause signalfd_dequeue inotify_read eventfd_read timerfd_read
    timerfd_read_iter do_syslog worker_thread kthreadd kthread kswapd_try_to_sleep fuse_dev_do_read nfsd svc_recv rescuer_thread
    io_wq_worker smpboot_thread_fn crash_nmi_callback machine_kexec native_safe_halt default_idle do_idle cpu_startup_entry
"""
IDLE = frozenset(_IDLE.split())  # where a task may wait for ever without harm; used only where its state is not printed
_BOTTOM = """
    ret_from_fork ret_from_kernel_thread kernel_thread_helper child_rip entry_SYSCALL entry_INT80 system_call sysenter_ ret_fast_syscall
    el0t_64_sync$ el0t_32_sync$ el0_sync$ ret_from_syscall handle_sys$ ret_to_user
"""
BOTTOM = re.compile(f"(?:{'|'.join(_BOTTOM.split())})")  # the outermost functions, by their first letters: a stack ends with them


class Sign(StrEnum):
    """What says that a task is blocked although no stack of it could be read."""

    HUNG = "the kernel says that it is blocked for long"
    HEADER = "its header stands there without a stack"
    TORN = "a header that is torn"
    STACK = "a stack without a header"
    LISTED = "it is listed as uninterruptible"
    SAID = "a line says that tasks are blocked, not which"


@dataclass(frozen=True)
class Unread:
    """A task that a log says is blocked and that could not be read. `name`, `pid`: None where they are not printed."""

    sign: Sign
    name: str | None = None
    pid: int | None = None
    count: int = 1  # how many such signs, where neither is printed

    def __str__(self) -> str:
        who = " ".join(filter(None, (self.name, f"(pid {self.pid})" if self.pid is not None else "")))
        return f"{who}: {self.sign}" if who else f"{self.sign}{f' ({self.count} times)' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Frame:
    """One line of a stack. `sure` is false for the "?" frames, which are left-overs on the stack."""

    symbol: str
    module: str | None
    sure: bool


@dataclass(frozen=True)
class Task:
    """One task with its stack, innermost frame first. Of what is not printed, name is "" and state and pid are None."""

    name: str
    state: str | None  # D: waits uninterruptibly
    pid: int | None
    workqueue: str | None = None
    work: str | None = None  # the function that a kworker runs
    frames: tuple[Frame, ...] = ()
    doubtful: bool = False  # its stack may hold lines of another one, or none of it is sure
    first: Stamp | None = field(default=None, compare=False)  # when it was shown so, first and last
    last: Stamp | None = field(default=None, compare=False)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The functions that are surely on the stack (all where none is), without suffixes like .constprop.0, innermost first."""
        sure = [frame for frame in self.frames if frame.sure] or self.frames
        return tuple(frame.symbol.split(".")[0] for frame in sure)

    @cached_property
    def waits(self) -> tuple[str, ...]:
        """`symbols` from the function on that says what is waited for."""
        symbols = self.symbols
        start = next((n for n, symbol in enumerate(symbols) if symbol not in SLEEPS), len(symbols))
        return symbols[start:] or symbols

    @property
    def blocked(self) -> bool:
        """In state D; where no state is printed, unless it runs or waits where a task may wait for ever."""
        if self.state is not None:
            return self.state == "D"
        waits = self.waits
        return bool(waits) and waits[0] not in IDLE and waits[1:2] != ("kthread",)

    def waits_in(self, *functions: str) -> bool:
        """Whether all `functions` are surely on the stack, in this order from the innermost."""
        rest = iter(self.symbols)
        return all(function in rest for function in functions)


@dataclass(frozen=True)
class Hung:
    """The kernel's message that a task is blocked, for more than some seconds. None: cut off, or not in this message.

    A thread may have another name than its message says, never another pid.
    """

    name: str
    pid: int | None
    seconds: int | None


@dataclass
class _Stack:
    """A stack that is being read. `head` is None where no header came before it."""

    head: Task | None
    stamp: Stamp | None = None
    runs: bool = False  # of a task that was running: a warning, an oops, a refused allocation
    sampled: bool = False  # by perf: of a task that runs, unless it is in the scheduler
    announced: bool = False  # "Call Trace:" has been seen
    said: bool = False  # the head is from khungtaskd's message, and a header should follow
    frames: list[Frame] = field(default_factory=list)
    ended: bool = False
    numbered: int = -1
    outside: bool = False  # the kernel: /proc/PID/stack, drgn, gdb; such a stack may have no header
    user: bool = False
    doubtful: bool = False


class TaskReader:
    """Collects the tasks of one log, line by line. `finish` once at its end, then read the fields."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[object, ...], Task] = {}
        self._hung: dict[tuple[str, int | None], Hung] = {}
        self.owners: dict[int, tuple[str, int]] = {}  # pid of who waits for a lock: name and pid of its likely owner
        self.asked = False  # a dump of blocked tasks, and none has followed
        self.lockups = 0
        self.mixed = 0  # places where two stacks are mixed or lines are lost
        self._signs: Counter[tuple[Sign, str | None, int | None]] = Counter()
        self._torn = 0  # messages of khungtaskd whose task cannot be read
        self._said = 0
        self._stacks: dict[str, _Stack] = {}
        self._last: dict[str, tuple[object, ...]] = {}  # of each writer the task that ended last
        self._state: str | None = None  # of all tasks of crash's "foreach UN bt"
        self._ends = False  # whether this log ends a stack with </TASK>

    def feed(self, line: Line) -> None:
        """Take one line in."""
        text = line.text
        if not text:
            return
        if "+0x" in text and (found := FRAME.match(text)):
            self._frame(line, found, outside=found["bracket"] == "[<0>]")
        elif text[0] in "#!" and (found := CRASH.match(text) or NUMBERED.match(text)):
            self._frame(line, found, outside=True)
        elif text[0] == "<" and BRACKETS.fullmatch(text):
            if text == "</TASK>":
                self._end(line)
        elif "Call " in text and text.rstrip().lower() == "call trace:":
            self._announced(line)
        elif "Workqueue:" in text and (found := WORKQUEUE.match(text)):
            stack = self._stacks.get(line.source)
            if stack and stack.head:
                stack.head = replace(stack.head, workqueue=found["queue"], work=found["work"].strip("()"))
        elif not self._header(line) and not self._words(line) and not self._other_frame(line):
            stack = self._stacks.get(line.source)
            if stack and stack.outside and not stack.head and stack.numbered < 0 and text[0] != "[":
                self._close(line.source)  # between copies of /proc/PID/stack, which tell no end

    def finish(self) -> None:
        """Close what is open."""
        for source in list(self._stacks):
            self._close(source)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order in which they are shown, each with a stack once; without a stack only if it never has one."""
        known = {(task.pid, task.state) for task in self._tasks.values() if task.frames}
        return tuple(task for task in self._tasks.values() if task.frames or (task.pid, task.state) not in known)

    @property
    def hung(self) -> tuple[Hung, ...]:
        """What khungtaskd says, once of each task."""
        return tuple(self._hung.values())

    @property
    def count(self) -> int:
        """How many tasks and stacks are read so far."""
        return len(self._tasks)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What the log says is blocked and could not be read. A task that is shown in another state as well was blocked all the same."""
        read = {task.pid: task.name for task in self._tasks.values() if task.frames and task.blocked}
        names = {task.name for task in self._tasks.values() if task.frames and task.blocked}
        named: list[tuple[Sign, str | None, int | None]] = [
            (Sign.HUNG, name, pid) for name, pid in self._hung if pid not in read and (pid is not None or name not in names)
        ]
        named += [sign for sign in self._signs if sign[2] is not None and sign[2] not in read]
        found = {(name, pid): Unread(sign, name, pid) for sign, name, pid in reversed(named)}
        unread = [*reversed(found.values()), *(Unread(*sign, count) for sign, count in self._signs.items() if sign[2] is None)]
        meant = {pid for _, pid in self._hung} | {pid for pid, name in read.items() if (name, None) in self._hung}
        if self._torn > len(read.keys() - meant) or (self._said and not read and not unread):
            unread.append(Unread(Sign.SAID))
        return tuple(unread)

    # ---- lines ---------------------------------------------------------------------------------------------------------------

    def _header(self, line: Line) -> bool:
        text = line.text
        for kind, needle, pattern in HEADERS:
            if needle in text and (found := pattern.match(text)):
                words = found.groupdict()
                state = words.get("state")
                if kind == "perf":
                    event = SWITCH.search(words["event"])
                    state = (event[1] or "D") if event else None
                elif kind == "crash":
                    state = state or self._state
                state = state and STATES.get(state, state[0])
                self._begin(
                    line,
                    Task(words.get("name") or "", state, int(words["pid"])),
                    outside=kind not in ("kernel", "kernel before 5.9"),
                )
                self._stacks[line.source].sampled = kind == "perf"
                return True
        if "/stack" in text and "/proc/" in text and (found := PROC.match(text)):
            stack = self._stacks.get(line.source)
            if not (stack and stack.head and stack.head.pid == int(found["pid"]) and stack.outside):
                self._begin(line, Task("", None, int(found["pid"])), outside=True)
            if found["rest"].strip():
                self.feed(line._replace(text=found["rest"].strip()))
            return True
        if text.startswith("task:") and len(text) > 5 and text[5] != " ":
            self._signs[Sign.TORN, None, None] += 1
            self._close(line.source)
            return True
        return False

    def _words(self, line: Line) -> bool:
        """Lines that say something of tasks and are no part of a stack."""
        text = line.text
        if "blocked" in text and (found := HUNG.search(text) or HUNG_NAME.search(text)):
            words = found.groupdict()
            pid, seconds = words.get("pid"), words["seconds"]
            one = Hung(words["name"], int(pid) if pid else None, int(seconds) if seconds else None)
            if seconds or (one.name, one.pid) not in self._hung:
                self._hung[one.name, one.pid] = one
            if pid and seconds:
                self._begin(line, Task(words["name"], "D", int(pid)))
                self._stacks[line.source].said = True
            elif owner := OWNER.search(text):
                self.owners[int(owner["pid"])] = (owner["name"], int(owner["owner"]))
        elif SAID[0] in text:
            self._torn += 1
        elif any(words in text for words in SAID):
            self._said += 1
        elif "Comm: " in text and RUNNING.search(text):
            self._close(line.source)
            self._stacks[line.source] = _Stack(None, line.stamp, runs=True)
        elif " UN " in text and (found := PS.match(text)):
            self._signs[Sign.LISTED, found["name"].strip(), int(found["pid"])] += 1
        elif text.startswith("crash") and (found := FOREACH.match(text)):
            self._close(line.source)
            self._state = found["state"]
        elif "Show Blocked State" in text:
            self.asked = True
        elif ("lock" in text or "stall" in text or "LOCK" in text) and LOCKUP.search(text):
            self.lockups += 1
        else:
            return False
        return True

    def _other_frame(self, line: Line) -> bool:
        """Frames that are rare or so plain that only an open stack makes them one, and the end of an old /proc/PID/stack."""
        text, stack = line.text, self._stacks.get(line.source)
        if " from " in text and (found := ARM.match(text)):
            self._frame(line, found)
        elif stack and text.startswith("[<ffffffffffffffff>]"):
            stack.outside = True
            self._close(line.source)
        elif stack and not stack.ended and " (" in text and (found := DECODED.match(text)):
            self._frame(line, found)
        else:
            return False
        return True

    # ---- stacks --------------------------------------------------------------------------------------------------------------

    def _begin(self, line: Line, head: Task, outside: bool = False) -> None:
        """A header: what is open ends here."""
        stack = self._stacks.get(line.source)
        if stack and stack.head and not (stack.ended or stack.outside or stack.said or outside or line.named):
            lost = self._ends if stack.frames else stack.head.state == "D"
            if lost:
                self._mix(line.source, stack)
        self._close(line.source)
        self.asked = False
        self._stacks[line.source] = _Stack(head, line.stamp, outside=outside)

    def _announced(self, line: Line) -> None:
        """A "Call Trace:", which belongs to the header before it; without one its header is lost."""
        stack = self._stacks.get(line.source)
        if stack is None or stack.frames or stack.ended:
            if stack and stack.head and not (stack.outside or line.named or (self._bottom(stack) and not stack.ended)):
                self._mix(line.source, stack)
            self._close(line.source)
            stack = self._stacks[line.source] = _Stack(None, line.stamp)
        elif stack.announced and not line.named:
            self._mix(line.source, stack)
        stack.announced = True

    def _end(self, line: Line) -> None:
        self._ends = True
        stack = self._stacks.get(line.source)
        if stack is None or stack.ended or (stack.head and not stack.frames):
            self._mix(line.source, stack)
        else:
            stack.ended = True

    def _frame(self, line: Line, found: re.Match[str], outside: bool = False) -> None:
        words = found.groupdict()
        symbol, rest = words["symbol"], words.get("rest") or ""
        unsure = bool(words.get("unsure")) or "unreliable" in rest
        number = int(words["number"]) if words.get("number") else -1
        stack = self._stacks.get(line.source)
        if stack is None:
            stack = self._stacks[line.source] = _Stack(None, line.stamp, outside=outside)
        elif number >= 0 and number <= stack.numbered:
            self._close(line.source)
            stack = self._stacks[line.source] = _Stack(None, line.stamp, outside=True)
        elif (
            not unsure
            and number < 0
            and stack.frames
            and (
                stack.ended
                or (symbol in STARTS and self._begun(stack, symbol) and not stack.runs)
                or (self._bottom(stack) and not BOTTOM.match(symbol))
            )
        ):
            if not line.named and not stack.runs and not outside:
                self._mix(line.source, stack)
            self._close(line.source)
            stack = self._stacks[line.source] = _Stack(None, line.stamp)
        if USER.search(rest) or int(words.get("address") or "f" * 16, 16) < 1 << 47:
            stack.user = True
            return
        stack.numbered = number
        stack.outside |= outside
        module = MODULE.search(rest)
        stack.frames.append(Frame(symbol, module[1] if module and module[1] != "kernel" else None, not unsure))

    @staticmethod
    def _begun(stack: _Stack, symbol: str) -> bool:
        return any(frame.sure and (frame.symbol not in STARTS or frame.symbol == symbol) for frame in stack.frames)

    @staticmethod
    def _bottom(stack: _Stack) -> bool:
        return bool(BOTTOM.match(next((frame.symbol for frame in reversed(stack.frames) if frame.sure), "")))

    def _mix(self, source: str, stack: _Stack | None) -> None:
        """Two stacks are mixed here, or lines between them are lost: neither is sure."""
        self.mixed += 1
        if stack:
            stack.doubtful = True
        if (last := self._last.get(source)) in self._tasks:
            self._tasks[last] = replace(self._tasks[last], doubtful=True)

    def _close(self, source: str) -> None:
        stack = self._stacks.pop(source, None)
        if stack is None or stack.runs:
            return
        frames = () if stack.user and stack.numbered >= 0 else tuple(stack.frames)
        head = stack.head or Task("", None, None)
        doubtful = stack.doubtful or (bool(frames) and not any(frame.sure for frame in frames))
        task = replace(head, frames=frames, doubtful=doubtful, first=stack.stamp, last=stack.stamp)
        if stack.head is None and not stack.outside:
            if task.blocked and SLEEPS & set(task.symbols):
                self._signs[Sign.STACK, None, None] += 1
        elif frames:
            if stack.sampled and task.state is None and not SLEEPS & set(task.symbols):
                task = replace(task, state="R")
            self._keep(source, task)
        elif stack.head and not (stack.user or stack.said):
            if task.state in ("D", None):
                self._signs[Sign.HEADER, head.name or None, head.pid] += 1
            self._keep(source, task)

    def _keep(self, source: str, task: Task) -> None:
        key = self._last[source] = (task.name, task.pid, task.state, task.work, task.symbols)
        before = self._tasks.get(key)
        self._tasks[key] = replace(before, last=task.last, doubtful=before.doubtful and task.doubtful) if before else task
