"""The lines of a kernel log, whatever carried them: what stands before the kernel's own words is taken off, layer by layer.

    <4>Dec 28 05:49:26 host kernel: [   12.345678][  T123]  schedule+0x5a/0xd0
    priority, syslog date, host and program, kernel time with caller id, then the line itself

Layers come in any order and number (a quoted mail of a syslog, docker's JSON around a serial console), so that one table of
them stands for every combination. What was taken off is counted and told. A prefix that no layer knows is learned from a
line that can be nothing else than a kernel's ("Call Trace:", a task's header): the shape of what stands before it.

Time and memory are linear: a log is read in pieces, every quantifier below is bounded or followed by what it cannot match.
"""

from __future__ import annotations

import binascii
import bz2
import codecs
import gzip
import html
import json
import lzma
import quopri
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from mmmodel.linux.text import HostError

PIECE = 1 << 20  # characters that are read at once
LONGEST = 1 << 16  # characters of a line; the rest of a longer one is a line of its own
LAYERS_AT_MOST = 16  # on one line
SHAPES_AT_MOST = 8  # learned ones
KEPT = 8  # lines before the one that a prefix was learned from, which are read again with it

_WORD = r"[^\W\d]{2,5}\.?"  # a day or a month in the language of who ran dmesg -T
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_ZONE = r"(?:Z|[+-][0-9]{2}:?[0-9]{2}|(?:UTC|GMT|WES?T|CES?T|EES?T|MSK|BST|IST|JST|KST|SGT|HKT|CST|[ECMP][SD]T|A[CEW][SD]T|NZ[SD]T)\b)"
_ISO = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ](?:{_CLOCK}|[0-9]{{2}}:[0-9]{{2}})(?: ?{_ZONE})?"
_BSD = rf"{_MONTH} {{1,2}}[0-9]{{1,2}} (?:[0-9]{{4}} )?{_CLOCK}(?: [0-9]{{4}}\b)?(?: {_ZONE})?"
_CTIME = rf"{_WORD} {_WORD} {{1,2}}[0-9]{{1,2}} {_CLOCK} [0-9]{{4}}"
_PROGRAM = r"(?:kernel|klogd|kern|vmunix|netconsole|journal)(?:\[[0-9]{1,10}\])?"
_END = r"\]?:?(?: |\t|$)"

# name: what to tell of it, pattern. The first that fits is taken off, then all are tried again.
LAYERS: dict[str, tuple[str, str]] = {
    "printk": (
        "kernel time",
        r"\[<? {0,12}\+?(?P<printk_at>[0-9]{1,10}\.[0-9]{1,9})(?: {0,2}< {0,12}\+?[0-9.]{1,20} {0,2})?>?\]"
        r"(?: ?\[ {0,8}(?P<printk_by>[TC][0-9]{1,10})\])? ?",
    ),
    "caller": ("caller id", r"\[ {0,8}(?P<caller_by>[TC][0-9]{1,10})\] ?"),
    "kmsg": (
        "kmsg header (netconsole)",
        r"(?:[0-9]{1,2}\.[\w.+~-]{1,64},)?[0-9]{1,3},[0-9]{1,12},(?P<kmsg_at>[0-9]{1,17}),[-c+]"
        r"(?:,caller=(?P<kmsg_by>[TC][0-9]{1,10}))?(?:,[\w.=/:-]{1,80}){0,4};",
    ),
    "rfc5424": (
        "syslog RFC 5424",
        rf"<[0-9]{{1,3}}>1 (?P<rfc5424_at>{_ISO}) (?P<rfc5424_host>\S{{1,255}}) \S{{1,48}} \S{{1,128}} \S{{1,32}} (?:-|\[[^\]]{{0,999}}\]) ?\ufeff?",
    ),
    "priority": ("<N> priority", r"<[0-9]{1,3}>"),
    "iso": ("ISO time", rf"\[?(?:{_WORD},? )?(?P<iso_at>{_ISO}){_END}"),
    "bsd": ("syslog date", rf"\[?(?P<bsd_at>{_BSD}){_END}"),
    "ctime": ("dmesg -T date", rf"\[?(?P<ctime_at>{_CTIME}){_END}"),
    "reltime": ("dmesg -e time", rf"\[{_WORD} ?[0-9]{{1,2}} [0-9]{{2}}:[0-9]{{2}}\] ?"),
    "clock": ("time of day", rf"\[?(?P<clock_at>{_CLOCK}){_END}"),
    "unix": ("Unix time", r"(?P<unix_at>[0-9]{10}\.[0-9]{3,9})(?: |$)"),
    "logcat": ("logcat header", r"[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3} {1,6}[0-9]{1,10} {1,6}[0-9]{1,10} [VDIWEF] [^:]{1,32}: "),
    "cri": ("CRI stream", r"std(?:out|err) [FP] "),
    "facility": (
        "dmesg -x facility",
        r"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local[0-7]) {0,5}:(?:emerg|alert|crit|err|warn|notice|info|debug) {0,4}: ?",
    ),
    "program": ("host and program", rf"(?:(?P<program_host>[\w.:@-]{{1,255}}) )?(?:[\w.]{{1,32}} )?{_PROGRAM}: ?"),
    "process": ("host and process", r"(?P<process_host>[\w.:@-]{1,255}) [\w./@-]{1,64}\[[0-9]{1,10}\]: ?"),
    "quote": ("quoted mail", r"(?: {0,3}[>|] ?(?![0-9]+ +[0-9]))+"),
    "pod": ("pod name", r"\[pod/[^\]\s]{1,250}\] "),
    "compose": ("container name", r"[\w.-]{1,64} {1,32}\| "),
    "address": ("sender's address", r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]{1,5})?:? "),
    "export": ("journal field", r" {0,8}MESSAGE="),
    "record": ("JSON record", r"\x1e|data: (?=\{)"),
}
PREFIX = re.compile("|".join(f"(?P<{name}>{pattern})" for name, (_, pattern) in LAYERS.items()))
DATE = re.compile(rf"({_MONTH}) +([0-9]{{1,2}}) .{{0,5}}([0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})")
DAY = re.compile(rf"(?:([0-9-]{{10}})[T ])?({_CLOCK})")
AT: dict[str, str] = {name: f"{name}_at" for name in LAYERS if f"{name}_at" in PREFIX.groupindex}
BY: dict[str, str] = {name: f"{name}_by" for name in LAYERS if f"{name}_by" in PREFIX.groupindex}
OF: dict[str, str] = {name: f"{name}_host" for name in LAYERS if f"{name}_host" in PREFIX.groupindex}
BARE, JSON = "nothing before them", "JSON"
SEEN_BEFORE = re.compile(r"\[ {0,5}[0-9]{1,7}\.[0-9]{6}\]")  # a kernel's time in the middle of a line: two lines in one
MESSAGES = ("MESSAGE", "log", "message", "msg", "textPayload", "short_message", "_raw")  # of JSON: journald, docker, collectors
JSON_TIMES = {
    "_SOURCE_MONOTONIC_TIMESTAMP": "kmsg",
    "__MONOTONIC_TIMESTAMP": "kmsg",
    "__REALTIME_TIMESTAMP": "kmsg",
    "time": "iso",
}
KERNEL_TIMES = ("printk", "kmsg")
PRETTY = re.compile(r'\s{1,16}("MESSAGE"\s{0,4}:\s{0,4}".*")\s{0,4},?$')  # journalctl -o json-pretty
EXPORT_TIME = re.compile(r" {0,8}__MONOTONIC_TIMESTAMP=([0-9]{1,17})$")
COLOURS = re.compile(  # and what else moves a terminal's cursor; never more than a part of one line
    r"(?:\x1b|\^\[)\[[0-9;?]{0,20}[A-Za-z]|\x1b(?:[()][AB0]|c|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\))|\[(?:[0-9]{1,3};){0,4}[0-9]{0,3}m"
)
EXPORT_LENGTH = re.compile(r"(?m)^[^\0\n]{0,3}\0{4,7}(?=[^\0])")  # before a binary field of journalctl -o export
TRANSFER = re.compile(r"(?i)content-transfer-encoding:\s{1,9}(quoted-printable|base64)\s*$")
BASE64 = re.compile(r"[A-Za-z0-9+/]{4,1000}={0,2}$")
# what can be nothing but a kernel's, wherever in a line it begins
LANDMARK = re.compile(
    r"task:\S.{0,40}?\bstate:[A-Z]|INFO: task .{1,64}?:[0-9]{1,10}\b.{0,20} blocked |Call [Tt]race:\s*$|Mem-Info:\s*$|"
    r"Node [0-9]{1,5} \w{1,16} free:[0-9]|PID: [0-9]{1,10} {1,9}TASK: [0-9a-f]{8}|sysrq: Show |"
    r"(?<!\S)[^\s:]{1,15}(?::[0-9]\w{0,5})?: page allocation failure"
)
MARK = re.compile(r"task|Call |Mem-Info|Node |TASK|sysrq|failure")  # every landmark has one of them
LONGEST_PREFIX = 200
SHAPE = re.compile(r"\w+|\s+|[^\w\s]")
OPENERS: dict[bytes, Callable[[Path], IO[bytes] | gzip.GzipFile]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
CONTROLS = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1b\x08"))
ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Stamp(NamedTuple):
    """When a line was written, as it says so: `kind` is the layer that held `text`."""

    kind: str
    text: str

    @property
    def seconds(self) -> float | None:
        """Seconds from a start that only stamps of one kind share; None where the text is not a time."""
        try:
            if self.kind in ("printk", "unix"):
                return float(self.text)
            if self.kind == "kmsg":
                return int(self.text) / 1e6
            if found := DATE.search(self.text):
                return datetime.strptime(f"2000 {' '.join(found.groups())}", "%Y %b %d %H:%M:%S").timestamp()
            if found := DAY.search(self.text):
                return datetime.fromisoformat(f"{found[1] or '2000-01-01'}T{found[2].replace(',', '.')}").timestamp()
        except (ValueError, OverflowError):
            pass
        return None

    def __str__(self) -> str:
        if self.kind in KERNEL_TIMES:
            return f"{self.text if self.kind == 'printk' else f'{int(self.text) / 1e6:.6f}'} s"
        return self.text


class Line(NamedTuple):
    """One line without what carried it. `source` tells lines of several writers apart: host and caller id, "" if neither is printed."""

    text: str
    stamp: Stamp | None = None
    source: str = ""
    named: bool = False  # whether `source` holds a caller id


@dataclass
class Reading:
    """What a log looked like: how many lines, and what was taken off them. `forms` counts lines by what stood before them."""

    lines: int = 0
    forms: Counter[tuple[str, ...]] = field(default_factory=Counter)
    shapes: dict[str, str] = field(default_factory=dict)  # learned: pattern to the prefix that it was learned from
    colours: int = 0
    entities: int = 0
    long: int = 0
    encodings: set[str] = field(default_factory=set)  # of a mail
    hosts: set[str] = field(default_factory=set)

    def told(self, most: int = 6) -> Iterator[str]:
        """What was read, one sentence a form, the most frequent first."""
        yield f"read {self.lines:,} lines"
        for form, count in self.forms.most_common(most):
            yield f"{count:,} with {' + '.join(LAYERS[name][0] if name in LAYERS else name for name in form) or BARE}"
        if len(self.forms) > most:
            yield f"{sum(count for _, count in self.forms.most_common()[most:]):,} in {len(self.forms) - most} other forms"
        yield from (f"unknown prefix like {example[:60]!r}" for example in self.shapes.values())
        if self.encodings:
            yield f"a mail's {' and '.join(sorted(self.encodings))} undone"
        if self.colours:
            yield f"{self.colours:,} terminal codes taken out"
        if self.entities:
            yield f"{self.entities:,} HTML entities replaced"
        if self.long:
            yield f"{self.long:,} lines longer than {LONGEST:,} characters were cut"


class Normaliser:
    """Lines of text in, lines of a kernel out. One for each file; `reading` may be shared."""

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading if reading is not None else Reading()
        self._shapes: list[re.Pattern[str]] = [re.compile(pattern) for pattern in self.reading.shapes]
        self._before: deque[Line] = deque(maxlen=KEPT)
        self._export: Stamp | None = None

    def lines(self, texts: Iterable[str]) -> Iterator[Line]:
        """The lines of a text that comes in pieces of any length."""
        for raw in self._mail(self._raw(texts)):
            if raw and not raw.isspace():
                self.reading.lines += 1
                yield from self._line(raw, ())

    def _raw(self, texts: Iterable[str]) -> Iterator[str]:
        rest = ""
        for piece in texts:
            for start in range(0, len(piece), PIECE):
                lines = self._clean(rest + piece[start : start + PIECE]).splitlines(keepends=True)
                rest = lines.pop() if lines and lines[-1][-1] not in "\n\r" else ""
                for line in lines:
                    if len(line) <= LONGEST:
                        yield line.rstrip()
                    else:
                        yield from self._cut(line)
                if len(rest) > LONGEST:
                    yield from self._cut(rest)
                    rest = ""
        yield from self._cut(rest)

    def _clean(self, text: str) -> str:
        """Without colours, NULs and HTML entities: looked for in a whole piece, since nearly all have none."""
        if "\0" in text:
            text = EXPORT_LENGTH.sub("", text).replace("\0", "")
        if "\x1b" in text or "^[" in text or "[0m" in text:
            text, found = COLOURS.subn("", text)
            self.reading.colours += found
        if "&lt;" in text or "&gt;" in text:
            self.reading.entities += text.count("&lt;") + text.count("&gt;")
            text = html.unescape(text)
        return text

    def _cut(self, line: str) -> Iterator[str]:
        self.reading.long += len(line) > LONGEST
        yield from (line[start : start + LONGEST].rstrip() for start in range(0, len(line), LONGEST))

    def _mail(self, lines: Iterable[str]) -> Iterator[str]:
        """Undoes the transfer encoding of a mail, from the header that names it to the end of that part."""
        encoding, rest = "", ""
        for line in lines:
            if line[:1] in "Cc" and (found := TRANSFER.match(line)):
                encoding, rest = found[1].lower(), ""
                self.reading.encodings.add(encoding)
            elif not encoding or line.startswith("--"):
                if rest:
                    yield rest
                encoding, rest = "", ""
                yield line
            elif encoding == "quoted-printable":
                rest += line[:-1] if line.endswith("=") else line
                if not line.endswith("=") or len(rest) > LONGEST:
                    yield quopri.decodestring(rest.encode("utf-8", "replace")).decode("utf-8", "replace")
                    rest = ""
            elif BASE64.match(line):
                *whole, rest = (rest + binascii.a2b_base64(line + "===").decode("utf-8", "replace")).split("\n")
                yield from whole
                if len(rest) > LONGEST:
                    yield rest
                    rest = ""
            else:
                yield line
        if rest:
            yield rest

    def _line(self, raw: str, outer: tuple[str, ...], stamp: Stamp | None = None) -> list[Line]:
        if "__MONOTONIC" in raw and (found := EXPORT_TIME.match(raw)):
            self._export = Stamp("kmsg", found[1])
            return []
        if '"MESSAGE"' in raw and (found := PRETTY.match(raw)):
            raw = f"{{{found[1]}}}"
        rest, form, stamp, host, caller = self._peel(raw, outer, stamp)
        if rest[:1] == "{":
            inner, when = self._json(rest)
            if inner is not None:
                whole = [one for one in inner.splitlines() if one and not one.isspace()]
                return [line for one in whole for line in self._line(one, (*form, JSON), when or stamp)]
        if SEEN_BEFORE.search(rest, 1) is None:
            return self._one(rest, form, stamp, host, caller)
        places = [found.start() for found in SEEN_BEFORE.finditer(rest, 1)]
        lines = self._one(rest[: places[0]], form, stamp, host, caller)
        for start, end in zip(places, [*places[1:], len(rest)], strict=True):
            lines += self._one(*self._peel(rest[start:end], outer, None))
        return lines

    def _one(self, text: str, form: tuple[str, ...], stamp: Stamp | None, host: str, caller: str) -> list[Line]:
        self.reading.forms[form] += 1
        if host:
            self.reading.hosts.add(host)
        return self._learned(Line(text.strip(), stamp, f"{host} {caller}" if host or caller else "", bool(caller)))

    def _json(self, text: str) -> tuple[str | None, Stamp | None]:
        """The message of a line of JSON and its time; None where it is not such a line."""
        try:
            data = json.loads(text)
            message = next((data[key] for key in MESSAGES if key in data), None)
            if isinstance(message, list):  # journald, where a message is no UTF-8
                message = bytes(message).decode("utf-8", "replace")
            when = next((Stamp(kind, str(data[key])) for key, kind in JSON_TIMES.items() if key in data), None)
        except (ValueError, TypeError, RecursionError):
            return None, None
        return (self._clean(message), when) if isinstance(message, str) else (None, None)

    def _peel(self, raw: str, form: tuple[str, ...], stamp: Stamp | None) -> tuple[str, tuple[str, ...], Stamp | None, str, str]:
        """What is left of a line without its layers, their names, the time, the host and the caller id."""
        place, host, caller = 0, "", ""
        for _ in range(LAYERS_AT_MOST):
            found = PREFIX.match(raw, place)
            if found is None or found.end() == place:
                break
            name = found.lastgroup or ""
            form = (*form, name)
            if name in AT and (stamp is None or stamp.kind not in KERNEL_TIMES):
                stamp = Stamp(name, found[AT[name]])
            elif name == "export" and self._export is not None:
                stamp = self._export
            caller = (found[BY[name]] if name in BY else None) or caller
            if name in OF and (place or name == "rfc5424"):  # without its date it may be the end of another line
                host = found[OF[name]] or host
            place = found.end()
        return raw[place:], form, stamp, host, caller

    # ---- prefixes that no layer knows ------------------------------------------------------------------------------------------

    def _learned(self, line: Line) -> list[Line]:
        """The line without a prefix that is known by now; with those before it that are read anew where it teaches one."""
        text = line.text
        found = LANDMARK.search(text) if MARK.search(text) else None
        if found is None:
            other = self._strip(line) if self._shapes else line
            if other is line:
                self._before.append(line)
            return [other]
        if not found.start():
            return [line]
        bare = line._replace(text=text[found.start() :])
        if self._strip(line) is not line or len(self._shapes) >= SHAPES_AT_MOST or found.start() > LONGEST_PREFIX:
            return [bare]
        example = text[: found.start()]
        pattern = "".join(_shape(part) for part in SHAPE.findall(example))
        self.reading.shapes[pattern] = example
        self._shapes.append(re.compile(pattern))
        kept, self._before = self._before, deque(maxlen=KEPT)
        return [*(other for one in kept if (other := self._strip(one)) is not one), bare]

    def _strip(self, line: Line) -> Line:
        """Without a learned prefix; the line itself where none is before it."""
        for shape in self._shapes:
            if (found := shape.match(line.text)) and found.end() < len(line.text):
                return line._replace(text=line.text[found.end() :].strip())
        return line


def _shape(part: str) -> str:
    return r"\w+" if part[0].isalnum() or part[0] == "_" else r"\s+" if part.isspace() else re.escape(part)


# ---- files ------------------------------------------------------------------------------------------------------------------


def pieces(path: Path) -> Iterator[str]:
    """The text of a file in pieces, unpacked (gzip, xz, bzip2) and decoded (UTF-8, or what its first bytes say).

    Raises HostError where it cannot be read or is not text.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(6)
        opener = next((opener for magic, opener in OPENERS.items() if begin.startswith(magic)), _plain)
        with opener(path) as stream:
            first = stream.read(PIECE)
            encoding = next((name for mark, name in ENCODINGS.items() if first.startswith(mark)), "utf-8")
            if encoding == "utf-8" and _binary(first[:LONGEST]):
                raise HostError(f"{path.name}: not text (a journal is read with journalctl, a vmcore with crash or drgn)")
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            while first:
                yield decoder.decode(first)
                first = stream.read(PIECE)
            yield decoder.decode(b"", final=True)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise HostError(f"{path.name}: {getattr(error, 'strerror', None) or error}") from None


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _binary(content: bytes) -> bool:
    """Whether more than a tenth of it is neither text nor the NULs that a crash leaves in a log."""
    bare = content.replace(b"\0", b"")
    odd = len(bare) - len(bare.translate(None, CONTROLS)) + bare.decode("utf-8", "replace").count("\ufffd")
    return odd * 10 > len(bare)
