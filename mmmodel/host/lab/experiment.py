"""An experiment as its YAML file says it, and the settings that it comes down to, one for each cell of its grid."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from mmmodel.model.reading import read_yaml
from mmmodel.model.units import parse_bytes, parse_seconds

EXPERIMENTS = Path(__file__).resolve().parent / "experiments"
MIB = 1 << 20
NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
LATER = {
    "sysfs": {},
    "parameters": {},
    "options": {},
    "patch": "",
    "stack": "nbd",
}  # fields that came later than the first recorded runs; with their default, digests stay
VALUE = re.compile(r"[\w.:/+-]+")  # a kernel command line keeps these as they are


class ExperimentError(ValueError):
    """An experiment that cannot be run: the file, the field and what would be right."""


def _mib(value: Any) -> int:
    count = parse_bytes(value, "memory")
    if count % MIB or not count:
        raise ValueError(f"{value!r} is not a whole number of MiB, 1 or more")
    return count // MIB


Mib = Annotated[int, PlainValidator(_mib)]
Seconds = Annotated[float, PlainValidator(lambda value: parse_seconds(value))]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Load(Strict):
    """Anonymous memory dirtied once, shared out over processes."""

    size: Mib = 180
    processes: int = Field(default=8, ge=1, le=64)


class Writes(Strict):
    """Direct writes for a trace: bytes of one, how many in flight, how many in all."""

    bytes: int = Field(default=4096, ge=4096, multiple_of=4096)
    depth: int = Field(default=8, ge=1, le=1024)
    count: int = Field(default=64, ge=1)


class Limits(Strict):
    """A stall is `stall` seconds without progress, a hang `confirm` more; the guest ends itself at `guest`, the host ends it at `host`."""

    stall: Seconds = 10.0
    confirm: Seconds = 4.0
    guest: Seconds = 90.0
    host: Seconds = 240.0

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        if not self.stall + self.confirm < self.guest < self.host:
            raise ValueError("stall + confirm < guest < host must hold, or a verdict cannot come before the end")
        return self


class Settings(Strict):
    """One cell: everything that decides a run, and nothing else."""

    mode: Literal["swap", "trace", "boot", "serve"] = "swap"
    stack: Literal["nbd", "loop", "loop-direct", "fuse", "nvme-tcp", "iscsi", "nfs"] = (
        "nbd"  # loop and fuse: a file on the guest's disk
    )
    kernel: str = "cloud-6.1"
    patch: str = ""  # a driver changed as patches.yaml says
    memory: Mib = 192
    nic: Literal["virtio-net-pci", "e1000", "e1000e"] = "virtio-net-pci"
    nic_options: dict[str, str | int] = Field(default_factory=dict)
    server: Literal["host", "guest", "none"] = "host"
    server_options: list[str] = Field(default_factory=list)
    crypt: bool | str = False
    queue: dict[str, int] = Field(default_factory=dict)
    sysctls: dict[str, str | int] = Field(default_factory=dict)
    sysfs: dict[str, str | int] = Field(
        default_factory=dict
    )  # files below /sys, written before the load: kernel/mm/lru_gen/enabled
    parameters: dict[str, int] = Field(default_factory=dict)  # of modules, written when they are loaded: dm_mod/swap_bios
    options: dict[str, int] = Field(default_factory=dict)  # of modules, given when they are loaded: nbd/nbds_max
    load: Load = Load()
    writes: Writes = Writes()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _fit_for_a_command_line(self) -> Settings:
        words = [
            *self.server_options,
            *(str(value) for value in (*self.sysctls.values(), *self.sysfs.values())),
            *self.sysctls,
            *self.sysfs,
            *self.queue,
            *self.parameters,
            *self.options,
        ]
        if isinstance(self.crypt, str):
            words.append(self.crypt)
        for word in words:
            if not VALUE.fullmatch(word):
                raise ValueError(f"{word!r} has characters that a kernel command line does not keep; a colon stands for a space")
        return self

    @model_validator(mode="after")
    def _the_disk_is_where_the_stack_wants_it(self) -> Settings:
        if self.stack in ("loop", "loop-direct", "fuse") and self.server != "none":
            raise ValueError(
                f"server: {self.server!r} with stack {self.stack!r}: its file is on the guest's disk, write server: none"
            )
        if self.stack in ("iscsi", "nfs") and self.server != "host":
            raise ValueError(
                f"server: {self.server!r} with stack {self.stack!r}: its server runs on the host, write server: host"
            )
        if self.stack == "nvme-tcp" and self.server == "none":
            raise ValueError(
                "server: 'none' with stack 'nvme-tcp': write guest (the same) or host (a second guest stands for it)"
            )
        return self

    @property
    def digest(self) -> str:
        """Twelve hex digits of what the guest is told; limits of the host do not count."""
        told = self.model_dump(mode="json")
        told["limits"].pop("host")
        for later, default in LATER.items():
            if told[later] == default:
                told.pop(later)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    def command_line(self, port: int) -> str:
        """The kernel command line that tells the guest; `port`: of the server on the host."""
        limits, load, writes = self.limits, self.load, self.writes
        driver = {"virtio-net-pci": "virtio_net"}.get(self.nic, self.nic)
        words: dict[str, Any] = {
            "mode": self.mode,
            "stack": self.stack,
            "server": self.server,
            "nic": driver,
            "port": port,
            "mib": 600,
        }
        words |= {"stall": f"{limits.stall:g}", "confirm": f"{limits.confirm:g}", "limit": f"{limits.guest:g}"}
        words |= {"hog": load.size, "hogs": load.processes, "bytes": writes.bytes, "depth": writes.depth, "count": writes.count}
        if self.crypt:
            words["crypt"] = self.crypt if isinstance(self.crypt, str) else "yes"
        for key in ("queue", "sysctls", "sysfs", "parameters", "options"):
            if pairs := getattr(self, key):
                words[key] = ",".join(f"{name}={value}" for name, value in pairs.items())
        if self.server_options:
            words["server_options"] = ",".join(self.server_options)
        told = " ".join(f"lab.{name}={value}" for name, value in words.items())
        return f"console=ttyS0 quiet panic=1 oops=panic nokaslr {told}"


class Experiment(Strict):
    """A named series: settings, how often each is repeated, and what differs: `each` names variants, `vary` spans a grid.

    `each: {control: {server: none}}` lays mappings over the settings; `vary: {sysctls/vm.min_free_kbytes: [1519, 2048]}`
    sets single fields, a slash between their names. With both, every variant meets every point of the grid.
    """

    name: str = Field(pattern=NAME.pattern)
    title: str
    repeats: int = Field(default=4, ge=1, le=1000)
    settings: dict[str, Any] = Field(default_factory=dict)
    each: dict[str, dict[str, Any]] = Field(default_factory=dict)
    vary: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _every_cell_is_possible(self) -> Experiment:
        self.cells()
        return self

    def cells(self) -> list[tuple[str, Settings]]:
        """(label, settings) of every cell, in the file's order."""
        if any(not values for values in self.vary.values()):
            raise ValueError("vary: a list of values is empty")
        made = []
        for variant, over in (self.each or {"": {}}).items():
            for values in itertools.product(*self.vary.values()):
                data = _laid_over(self.settings, over)
                for name, value in zip(self.vary, values):
                    _put(data, name, value)
                varied = (f"{name.rpartition('/')[2]}={value}" for name, value in zip(self.vary, values))
                label = ",".join(part for part in (self.name, variant, *varied) if part)
                made.append((label, Settings.model_validate(data)))
        return made


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings merged, everything else replaced; neither argument is changed."""
    made = json.loads(json.dumps(below))
    for key, value in above.items():
        made[key] = _laid_over(made.get(key) or {}, value) if isinstance(value, dict) else value
    return made


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    """Set `a/b` of nested mappings: the first slash divides, because names of sysctls have dots and those of parameters slashes."""
    first, _, rest = name.partition("/")
    if rest:
        data.setdefault(first, {})[rest] = value
    else:
        data[first] = value


def load_experiment(path: Path) -> Experiment:
    """One experiment from its file. Raises ExperimentError naming file and field."""
    try:
        data = read_yaml(path)
        made = Experiment.model_validate(data)
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ExperimentError(f"{path.name}: {places}") from None
    except ValueError as error:
        raise ExperimentError(str(error)) from None
    if made.name != path.stem:
        raise ExperimentError(f"{path.name}: name: {made.name!r} is not the file's name")
    return made


def experiments(names: list[str] | None = None) -> list[Experiment]:
    """All experiments of the folder, or those named. Raises ExperimentError for a name that is not there."""
    there = {path.stem: path for path in sorted(EXPERIMENTS.glob("*.yaml"))}
    for name in names or ():
        if name not in there:
            raise ExperimentError(f"experiment: {name!r} is not one of {', '.join(there)}")
    return [load_experiment(there[name]) for name in (names or there)]
