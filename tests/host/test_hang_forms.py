"""One hang in every form has one answer; and whatever is lost or mixed, nothing unread becomes an all-clear."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmmodel.host.hang import Degree, Finding, explain_hang
from mmmodel.host.lab.measured import RECORDED, console
from tests.host.hangs import CARRIERS, CONSOLE, FILES, PLAIN, PRINTERS, TASKS, stamp, trace

WHOLE = explain_hang(CONSOLE)
FROM_KERNELS = [
    "5.9",
    "newest",
    "before 5.9",
    "before 4.14",
    "khungtaskd",
    "khungtaskd before 5.9",
    "khungtaskd, header lost",
    "build ids",
]
FROM_KERNELS += ["decode_stacktrace.sh", "powerpc"]
LAB = sorted(path.name.removesuffix(".txt.gz") for path in (RECORDED / "consoles").glob("hang-*.txt.gz"))


def tasks_of(report):
    return {(task.name, task.pid) for group in report.blocked for task in group.tasks}


def answer(report):
    """What must not depend on the form."""
    cycles = [(cycle.name, cycle.sure, cycle.evidence) for cycle in report.cycles]
    return report.finding, report.sure, report.count, report.unread, report.blocked, cycles, report.refused


def test_there_are_enough_forms():
    assert len(CARRIERS) + len(FILES) + len(PRINTERS) >= 80
    assert len(set(CARRIERS.values())) == len(CARRIERS)
    assert len(TASKS) == 4


@pytest.mark.parametrize("name", CARRIERS)
def test_whatever_carries_it(name):
    report = explain_hang(CARRIERS[name])
    assert answer(report) == answer(WHOLE)
    assert report.answered
    assert [floor.floor for floor in report.floors] == [floor.floor for floor in WHOLE.floors]
    assert not [note for note in report.notes if "release" not in note]


@pytest.mark.parametrize("name", FILES)
def test_whatever_it_is_packed_in(name, tmp_path):
    (tmp_path / "kern.log.1").write_bytes(FILES[name])
    assert answer(explain_hang(tmp_path)) == answer(WHOLE)
    assert answer(explain_hang(tmp_path / "kern.log.1")) == answer(WHOLE)


@pytest.mark.parametrize("name", PRINTERS)
def test_whoever_prints_the_tasks(name):
    report = explain_hang(PRINTERS[name])
    assert (report.finding, report.sure, report.unread) == (Finding.HANG, Degree.LIKELY, ())
    assert [cycle.name for cycle in report.cycles] == [cycle.name for cycle in WHOLE.cycles]
    assert [group.waits for group in report.blocked] == [group.waits for group in WHOLE.blocked]
    assert {pid for _, pid in tasks_of(report)} == ({None} if "without its name" in name else {task.pid for task in TASKS})
    assert report.count == len(TASKS)
    assert not [note for note in report.notes if "mixed" in note]
    names = {name for name, _ in tasks_of(report)}
    assert names in ({task.name for task in TASKS}, {""})


@pytest.mark.parametrize("name", PRINTERS)
def test_carriers_and_printers_go_together(name):
    """A debugger's stacks in a mail, an old kernel's in a syslog; behind a prefix that is not known, whatever a kernel prints."""
    plain = explain_hang(PRINTERS[name])
    before = ["> > ", "Dec 28 05:49:26 host kernel: ", "2026-04-02T07:33:39.123456789Z stdout F "]
    before += ["zone-3/rack7!kmsg~ "] if name in FROM_KERNELS else []
    for prefix in before:
        carried = explain_hang("".join(f"{prefix}{line}\n" for line in PRINTERS[name].splitlines()))
        assert answer(carried) == answer(plain), prefix


ENDS = {  # the outermost functions on machines of several kinds, as their stacks end
    "x86": ["do_syscall_64", "entry_SYSCALL_64_after_hwframe"],
    "x86, thread": ["kthread", "ret_from_fork", "ret_from_fork_asm"],
    "x86, 2.6": ["sys_write", "system_call_fastpath"],
    "arm64": ["invoke_syscall", "el0_svc_common.constprop.0", "do_el0_svc", "el0_svc", "el0t_64_sync_handler", "el0t_64_sync"],
    "arm64, 5.10": ["el0_svc_common.constprop.0", "do_el0_svc", "el0_svc", "el0_sync_handler", "el0_sync"],
    "arm64, 4.19": ["el0_svc_common", "el0_svc_handler", "el0_svc"],
    "powerpc": ["system_call_exception", "system_call_vectored_common"],
    "s390": ["__do_syscall", "system_call"],
    "s390, thread": ["kthread", "__ret_from_fork", "ret_from_fork"],
    "riscv": ["do_trap_ecall_u", "handle_exception"],
}


@pytest.mark.parametrize("name", ENDS)
def test_a_stack_ends_where_its_machine_ends_it(name):
    """Not before (a task would be lost in the middle), and the next one is not taken for more of it."""
    log = "".join(trace(f"task{pid}", "mutex_lock", *ENDS[name], pid=pid).replace(" </TASK>\n", "") for pid in (10, 11))
    report = explain_hang(log)
    assert (report.count, report.unread, report.notes) == (2, (), ())
    assert [group.waits for group in report.blocked] == [("mutex_lock", *(symbol.split(".")[0] for symbol in ENDS[name]))]
    assert "mixed" not in str(report)


def test_a_console_that_a_program_writes_to_between_the_kernel_s_lines():
    """A syslog daemon on the same serial line, a few characters at a time: the times tell the kernel's lines apart."""
    kernel, pieces = (
        PLAIN.splitlines(),
        "2026-04-02T07:33:39 host kernel: [ 12.345678] INFO: something else is told here at length. ",
    )
    console = "".join(f"{pieces[16 * n % 80 : 16 * n % 80 + 16]}{line}\n" for n, line in enumerate(kernel))
    assert answer(explain_hang(console)) == answer(WHOLE)


# ---- noise -------------------------------------------------------------------------------------------------------------------


def check(text, tasks=TASKS):
    """The same tasks, or "not read"; never an all-clear."""
    report = explain_hang(f"{text}\n")
    assert report.finding is not Finding.NONE_BLOCKED
    if report.answered:
        assert report.finding in (Finding.HANG, Finding.UNEXPLAINED)
        assert report.count == len(tasks), text
        pids = {pid for _, pid in tasks_of(report)} - {None}  # a debugger's stack without its header is one without a name
        assert pids <= {task.pid for task in tasks}
    str(report)
    return report


@pytest.mark.parametrize("name", PRINTERS)
def test_any_one_line_may_be_lost(name):
    """Of every form every single line, the header among them."""
    lines = PRINTERS[name].splitlines()
    for number in range(len(lines)):
        check("\n".join(lines[:number] + lines[number + 1 :]))


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(PRINTERS)), st.data())
def test_any_one_line_may_be_cut(name, data):
    lines = PRINTERS[name].splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    lines[number] = lines[number][: data.draw(st.integers(0, len(lines[number])))]
    check("\n".join(lines))


OTHERS = [
    "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
    "systemd[1]: Started Session 12 of User root.",
    'audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_load"',
    "RIP: 0033:0x7febdb0a370b",
    "RSP: 002b:00007fff56d9d498 EFLAGS: 00000202 ORIG_RAX: 00000000000000a6",
    " ffff882fd0627c70 0000000000000086 ffff880844fe8fb0 ffff882fd0627fd8",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
    "1 lock held by khungtaskd/31:",
    " #0: ffffffff8a0 (rcu_read_lock){....}-{1:2}, at: debug_show_all_locks+0x55/0x2a0",
    "received 3 packets from 192.0.2.7",
    "\0\0\0\ufffd\x1b[K",
    "",
    "{",
    '{"a": ',
    "> > >",
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FROM_KERNELS), st.integers(0, 2**32))
def test_lines_of_others_stand_between_and_some_are_lost(name, seed):
    """At most one whole task may hide in what is lost here: its header, its "Call Trace:" and its first frames."""
    draw = random.Random(seed)
    lines = PRINTERS[name].splitlines()
    for _ in range(draw.randrange(6)):
        lines.insert(draw.randrange(len(lines)), draw.choice(OTHERS))
    for _ in range(draw.randrange(4)):
        place = draw.randrange(len(lines))
        match draw.randrange(3):
            case 0:
                del lines[place]
            case 1:
                lines[place] = lines[place][: draw.randrange(len(lines[place]) + 1)]
            case 2:
                lines.insert(place, lines[place])
    check("\n".join(lines))


@example("c&#,?*'0}}$,Y\"^[]~c]+>~${*9", False)
@example("\x1b]~", True)
@settings(max_examples=120, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Zl", "Zp", "Cc"], exclude_characters="\x85"), max_size=40), st.booleans())
def test_any_prefix_at_all(prefix, numbered):
    """The same before each line, with a number that counts in it: the same tasks, or it is said that they are not read."""
    text = "".join(f"{prefix}{number if numbered else ''} {line}\n" for number, line in enumerate(PLAIN.splitlines()))
    check(text)


@settings(max_examples=60, deadline=None)
@given(st.text("abcXYZ019 .:;,_-+*/@#$%&!?=~^|()[]<>'\"", min_size=1, max_size=30))
def test_a_prefix_of_plain_characters_is_learned(prefix):
    """Unless it is a kernel's own syntax, every task is read behind it."""
    text = "".join(f"{prefix} {line}\n" for line in PLAIN.splitlines())
    report = check(text)
    assert report.answered or any(mark in prefix for mark in "[]<>|#!{?(")


def test_a_code_that_never_ends_eats_nothing():
    """A terminal's title has an end; without one it is no title, and the line behind it is read."""
    text = "".join(f"\x1b]0;~ {line}\n" for line in PLAIN.splitlines())
    assert answer(explain_hang(text)) == answer(WHOLE)


# ---- two processors ----------------------------------------------------------------------------------------------------------


def two(draw, first, second):
    """The lines of both, each in its order, mixed at random."""
    texts, mixed = [first.splitlines(), second.splitlines()], []
    while texts[0] or texts[1]:
        which = draw.randrange(2) if texts[0] and texts[1] else int(not texts[0])
        mixed.append((which, texts[which].pop(0)))
    return mixed


def dumps():
    """Two dumps of two tasks each, as two processors print them."""
    first = trace("kswapd0", "mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "shrink_node", "kswapd", "kthread", pid=36)
    first += trace("hog", "mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "try_to_free_pages", "do_user", pid=117)
    second = trace("tar", "mutex_lock", "do_unlinkat", "do_syscall", pid=200) + trace(
        "cp", "wbt_wait", "vfs_write", "do_sys", pid=201
    )
    return first, second


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_two_processors_with_caller_ids(seed):
    """Whatever the order of the lines, each task has its own stack."""
    first, second = dumps()
    lines = two(random.Random(seed), first, second)
    mixed = explain_hang("".join(f"{stamp(20 + n / 1e3)}[{f'C{which}':>6}] {text}\n" for n, (which, text) in enumerate(lines)))
    apart = explain_hang(first + second)
    assert {group.stack: group.who for group in mixed.blocked} == {group.stack: group.who for group in apart.blocked}
    assert (mixed.unread, mixed.answered, mixed.sure) == ((), True, apart.sure)
    assert not [note for note in mixed.notes if "mixed" in note]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_two_processors_without_caller_ids(seed):
    """Who is blocked is told all the same, or what is not read; where stacks are mixed that is said, and no cycle is more than possible."""
    first, second = dumps()
    lines = two(random.Random(seed), first, second)
    report = explain_hang("".join(f"{text}\n" for _, text in lines))
    assert report.finding in (Finding.HANG, Finding.UNEXPLAINED)
    assert tasks_of(report) == {("kswapd0", 36), ("hog", 117), ("tar", 200), ("cp", 201)} or report.unread
    switches = sum(a != b for (a, _), (b, _) in zip(lines, lines[1:]))
    if switches > 1 and not any("mixed" in note for note in report.notes):
        stacks = {group.stack for group in report.blocked}
        assert stacks == {group.stack for group in explain_hang(first + second).blocked}


def test_a_mixed_stack_makes_no_sure_cycle():
    """Frames of two tasks under one header would be a cycle that nobody is in."""
    first = trace(
        "kworker/0:2", "schedule_timeout", "mempool_alloc", "bio_alloc_bioset", "__swap_writepage", "try_to_free_pages", work="x"
    )
    second = trace("kworker/0:3", "refill_work", "process_one_work", "kthread", pid=8, work="refill_work").replace("</TASK>", "")
    a, b = first.splitlines(), second.splitlines()
    text = "\n".join([*a[:6], *b, *a[6:], "</TASK>"]) + "\n"
    report = explain_hang(text)
    assert [note for note in report.notes if "stacks are mixed" in note]
    assert report.sure in (None, Degree.POSSIBLE)


# ---- damaged consoles of the lab ----------------------------------------------------------------------------------------------


def mutated(text, draw):
    """A console with one to four damages, as a dying machine or a clumsy hand makes them."""
    for _ in range(draw.randint(1, 4)):
        lines = text.splitlines()
        place, length = draw.randrange(len(lines)), draw.randint(1, 40)
        match draw.randrange(9):
            case 0:
                del lines[place : place + length]
            case 1:
                lines = lines[:place]
            case 2:
                lines = lines[place:]
            case 3:
                lines[place:place] = lines[draw.randrange(len(lines)) :][:length]
            case 4:
                part = lines[place : place + length]
                draw.shuffle(part)
                lines[place : place + length] = part
            case 5:
                lines[place : place + 2] = ["".join(lines[place : place + 2])]
            case 6:
                lines = [draw.choice(["", "\0", "> ", "<6>", "Dec 28 05:49:26 host kernel: "]) + line for line in lines]
            case 7:
                characters = list("\n".join(lines))
                for _ in range(draw.randint(1, 30)):
                    characters[draw.randrange(len(characters))] = draw.choice('\0\n []<>:+0x{}"é\x1b/()?')
                lines = "".join(characters).split("\n")
            case 8:
                lines = [line for line in lines if draw.random() > 0.05]
        text = "\n".join(lines) or "x"
    return text


def check_mutated(seed):
    draw = random.Random(seed)
    report = explain_hang(mutated(console(draw.choice(LAB)), draw) + "\n")
    assert report.finding is not Finding.NONE_BLOCKED, seed
    assert not report.answered or report.blocked, seed
    str(report)
    report.as_dict()


@pytest.mark.parametrize("part", range(4))
def test_damaged_consoles_of_the_lab(part):
    for seed in range(60 * part, 60 * part + 60):
        check_mutated(seed)


@pytest.mark.verify
def test_many_damaged_consoles_of_the_lab():
    for seed in range(20_000):
        check_mutated(seed)
    print("\n20000 damaged consoles: none was taken for one without blocked tasks")


# ---- size --------------------------------------------------------------------------------------------------------------------

TRAPS = [
    "[" * 70_000,
    "> " * 40_000,
    "> > " * 20_000 + "1 2",
    "[   12.345678] " * 6_000,
    "a" * 100_000,
    "INFO: task " * 9_000,
    "task:" + "x state" * 9_000,
    "task:a state:D " + "pid " * 20_000,
    "a.b" * 40_000 + "+0x",
    "#1 " + "(" * 60_000,
    "fn+0x1/0x2" + " [a b]" * 12_000,
    "fn+0x1/0x2" + " (" * 30_000,
    "f (" + "a.c:1 (" * 12_000,
    '{"log":' * 9_000,
    '{"log":"' + "\\u0041" * 9_000,
    "\x1b[" + "1;" * 40_000,
    "\x1b]" + "x" * 70_000,
    "&lt;" * 20_000,
    "Dec 28 05:49:26 " * 5_000,
    "host kernel: " * 7_000,
    "1.2.3.4 " * 9_000,
    "Node 0 DMA free:1kB " + "a:1kB " * 12_000,
    "x: page allocation failure: " * 3_000,
    "Tainted: " + "G " * 40_000,
    "Thread 1 " + "(" * 60_000 + "LWP 1",
    "PID: " + " " * 60_000 + "TASK: ",
    "\0" * 100_000,
    "=\n" * 50_000,
]


@pytest.mark.parametrize("number", range(len(TRAPS)))
def test_no_line_takes_long(number):
    """A hundred thousand characters that begin like what is looked for are read in a blink (a second on a busy machine)."""
    import time

    start = time.process_time()
    explain_hang(f"Content-Transfer-Encoding: quoted-printable\n{TRAPS[number]}\n" if number % 2 else f"{TRAPS[number]}\n")
    assert time.process_time() - start < 1


def test_a_long_log_is_read_in_pieces(tmp_path):
    """Time grows with its length, memory does not; what stands after the first 32 MiB is read as well."""
    import tracemalloc

    noise = f"Dec 28 05:49:26 host kernel: {stamp(1)} {'x' * 60_000}\n"
    with (tmp_path / "kern.log").open("w") as file:
        for _ in range(600):
            file.write(noise)
        file.write(PLAIN)
    assert (tmp_path / "kern.log").stat().st_size > 32 << 20
    tracemalloc.start()
    report = explain_hang(tmp_path / "kern.log")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer(report) == answer(WHOLE)
    assert peak < 24 << 20
