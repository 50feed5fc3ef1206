"""How others size a reserve for forward progress, as formulas.

    estimate   pages that n objects of a cache need at the worst (Zijlstra 2008)
    tree       Zijlstra's reserve tree: nodes with pages and a limit; the root's pages are the reserve
    budget     what receive buffers may take of it: rx_emergency_get
    others     XNU, FreeBSD, DragonFly, illumos, NetBSD, OpenBSD

Pages are of 4096 bytes unless a parameter says otherwise. Linux's own watermarks are in `mmmodel.linux`.
Sources: mm/reserve.c of Zijlstra's "swap over networked storage" series of 2008 and its predecessor for 2.6.21 (ddsnap.vm.fixes); for
the other systems their own sources and documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

PAGE = 4096
TX_RESERVE_PAGES = -(-2 * 65536 // PAGE)  # a packet of at most 64 KiB, twice: it might need to be bounced
RPC_SLOTS = 128  # RPC_MAX_SLOT_TABLE

# ---- Zijlstra's estimators ------------------------------------------------------------------------------------------


def slub_pages(
    objects: int, per_slab: int, order: int = 0, cpus: int = 1, best_per_slab: int | None = None, best_order: int | None = None
) -> int:
    """kmem_alloc_estimate of SLUB, pages for `objects`: ceil(n / min_objs) << min_order, and a slab a processor where it holds several.

    `per_slab`, `order`: objects and order of the smallest slab; `best_*`: of the preferred one (the smallest where left out).
    """
    _check(objects=(objects, 0), per_slab=(per_slab, 1), order=(order, 0), cpus=(cpus, 1))
    best = per_slab if best_per_slab is None else best_per_slab
    cached = cpus << (order if best_order is None else best_order) if best > 1 else 0
    return (-(-objects // per_slab) << order) + cached


def kmalloc_pages(size: int, caches: int, cpus: int = 1) -> int:
    """kmalloc_estimate_bytes, pages for `size` bytes in objects of any size: 2N + m.

    2N: an object just above a power of two wastes as much again (lim 2^(n+1) / (2^n + 1) = 2); m: one slab a cache and processor.
    """
    _check(size=(size, 0), caches=(caches, 0), cpus=(cpus, 1))
    return -(-2 * size // PAGE) + sum(slub_pages(0, 2, cpus=cpus) for _ in range(caches))


# ---- the reserve tree -----------------------------------------------------------------------------------------------


@dataclass
class Node:
    """A node of the reserve tree: `pages` it adds to the reserve, `limit` in a unit of its own (pages, objects, bytes)."""

    name: str
    pages: int = 0
    limit: int = 0
    children: list[Node] = field(default_factory=list)

    def add(self, *children: Node) -> Node:
        """The node itself, with these below it."""
        self.children += children
        return self

    def total(self) -> tuple[int, int]:
        """Pages and limit with all that is below: both propagate to the ancestors."""
        below = [child.total() for child in self.children]
        return self.pages + sum(pages for pages, _ in below), self.limit + sum(limit for _, limit in below)

    def lines(self, depth: int = 0) -> Iterator[str]:
        """As /proc/reserve_info shows it while nothing is in use: name, kilobytes, usage/limit."""
        pages, limit = self.total()
        yield f"{'  ' * depth}{self.name}  {pages * PAGE // 1024}K 0/{limit}"
        for child in self.children:
            yield from child.lines(depth + 1)


def zijlstra_tree(
    cpus: int = 1, kmalloc_caches: int = 12, ipv4_routes: int = 16384, ipv6_routes: int = 4096, fragments: int = 262144
) -> Node:
    """The tree in the comments of mm/reserve.c (SLUB): 8156K, limits of 544817.

    Inferred, not in the text: 12 rtables and 8 rpc_rqsts a page, 1 processor, 12 kmalloc caches (the loop of July 2008 would give 11).
    """
    rpc = slub_pages(RPC_SLOTS, 8, cpus=cpus)
    sent = TX_RESERVE_PAGES + rpc
    return Node("total network reserve").add(
        Node("network TX reserve").add(Node("protocol TX pages", sent, sent)),
        Node("network RX reserve").add(
            Node("IPv6 route cache", slub_pages(ipv6_routes, 12, cpus=cpus), ipv6_routes),
            Node("IPv4 route cache", slub_pages(ipv4_routes, 12, cpus=cpus), ipv4_routes),
            Node("SKB data reserve").add(
                Node("IPv6 fragment cache", kmalloc_pages(fragments, kmalloc_caches, cpus), fragments),
                Node("IPv4 fragment cache", kmalloc_pages(fragments, kmalloc_caches, cpus), fragments),
            ),
        ),
    )


# ---- the receive budget ---------------------------------------------------------------------------------------------


@dataclass
class ReceiveBudget:
    """rx_emergency_get: receive buffers may take from the reserve while the sum is below twice the bytes of the fragment queues.

    As in 2.6.21 (`leaks=True`), a refusal takes back 1 in place of the size that was added, so that every refused packet leaves
    size - 1 behind, and in the end everything is refused.
    """

    skb_reserve_bytes: int
    leaks: bool = False
    usage: int = 0

    def get(self, size: int) -> bool:
        """Whether a buffer of `size` bytes, rounded up to a power of two, may be taken."""
        size = power_of_two(size)
        self.usage += size
        allowed = self.usage - size < 2 * self.skb_reserve_bytes
        if not allowed:
            self.usage -= 1 if self.leaks else size
        return allowed

    def put(self, size: int) -> None:
        """Give a buffer back that was taken."""
        self.usage -= power_of_two(size)


def conserves(budget: ReceiveBudget, sizes: list[int], rounds: int = 1) -> bool:
    """Whether the budget is back where it began once all that was taken has been given back, in each of `rounds`.

    The check that finds the leak: take `sizes` as long as they are allowed, then give those back.
    """
    for _ in range(rounds):
        before = budget.usage
        taken = [size for size in sizes if budget.get(size)]
        if budget.usage != before + sum(map(power_of_two, taken)):
            return False
        for size in taken:
            budget.put(size)
        if budget.usage != before:
            return False
    return True


def power_of_two(size: int) -> int:
    """The smallest power of two that is at least `size`, which is at least 1."""
    _check(size=(size, 1))
    return 1 << (size - 1).bit_length()


# ---- other systems --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OtherReserve:
    """Bytes that a system sets aside for those who clean memory, how it comes to them, and where that is written."""

    system: str
    size: int
    rule: str
    source: str


def xnu_reserved_pages(n: int, limit: int = 1700, laundry_max: int = 128) -> int:
    """VM_PAGE_FREE_RESERVED(n) = 6 VM_PAGE_LAUNDRY_MAX + n pages, at most `limit` (1700 on macOS, 100 embedded).

    Six pages for each pageout that may be outstanding: a literal K F.
    """
    _check(n=(n, 0), limit=(limit, 1), laundry_max=(laundry_max, 1))
    return min(6 * laundry_max + n, limit)


def freebsd_reserved_pages(
    pages: int, page_size: int = PAGE, maxbsize: int = 65536, pageout_page_count: int = 32
) -> dict[str, int]:
    """FreeBSD's v_interrupt_free_min, v_pageout_free_min, v_free_reserved and v_free_min, in pages, for `pages` of memory.

    The values of MAXBSIZE and vm_pageout_page_count are assumed; the rules are those of its source.
    """
    _check(pages=(pages, 1024), page_size=(page_size, 1), maxbsize=(maxbsize, 1), pageout_page_count=(pageout_page_count, 1))
    pageout = 2 * maxbsize // page_size + 2
    reserved = pageout_page_count + pageout + pages // 768
    return {"interrupt": 2, "pageout": pageout, "reserved": reserved, "min": 4 + (pages - 1024) // 200 + reserved}


def dragonfly_reserved_pages(pages: int) -> dict[str, int]:
    """DragonFly's ladder of halves, in pages: v_free_min = 64 + pages/200; reserved 4/8 of it + 7, pageout 2/8 + 7, interrupt 1/8 + 7."""
    _check(pages=(pages, 1))
    least = 64 + pages // 200
    return {"min": least, "reserved": least * 4 // 8 + 7, "pageout": least * 2 // 8 + 7, "interrupt": least // 8 + 7}


def illumos_reserved_bytes(memory: int) -> dict[str, int]:
    """illumos, in bytes: lotsfree = memory/64 within 16 MiB and 2 GiB, desfree half of it, minfree = throttlefree 3/4 of that,
    pageout_reserve 3/4 of throttlefree (0.44 % of memory in between)."""
    _check(memory=(memory, 1))
    lots = min(max(memory // 64, 16 * 1024**2), 2 * 1024**3)
    desired = lots // 2
    throttle = desired * 3 // 4
    return {
        "lotsfree": lots,
        "desfree": desired,
        "minfree": throttle,
        "throttlefree": throttle,
        "pageout_reserve": throttle * 3 // 4,
    }


BSD_PAGES = {"NetBSD": (1, 5), "OpenBSD": (4, 6)}  # pagedaemon, kernel


def others(memory: int, xnu_n: int = 144) -> list[OtherReserve]:
    """The reserve of each system for a machine with `memory` bytes, in bytes: one table of the same host through every formula.

    `xnu_n` is the n of XNU's rule: a Mac that reports vm_page_free_reserved 912 has 144.
    """
    _check(memory=(memory, 4 * 1024**2))
    pages = memory // PAGE
    free, dragon, sun = freebsd_reserved_pages(pages), dragonfly_reserved_pages(pages), illumos_reserved_bytes(memory)
    rows: list[tuple[str, int, str, str]] = [
        ("Zijlstra 2008", zijlstra_tree().total()[0] * PAGE, "the sum of a tree of estimates", "mm/reserve.c"),
        ("XNU", xnu_reserved_pages(xnu_n) * PAGE, "6 VM_PAGE_LAUNDRY_MAX + n pages", "XNU, source"),
        ("FreeBSD", free["reserved"] * PAGE, "pageout_page_count + pageout_free_min + pages/768", "FreeBSD, source"),
        ("DragonFly", dragon["reserved"] * PAGE, "(64 + pages/200)/2 + 7 pages", "DragonFly, source"),
        ("illumos", sun["pageout_reserve"], "9/16 of 1/128 of memory, within bounds", "illumos, source"),
    ]
    rows += [(name, sum(both) * PAGE, f"{both[0]} + {both[1]} pages", f"{name}, source") for name, both in BSD_PAGES.items()]
    return [OtherReserve(*row) for row in rows]


def _check(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: {value!r} is not a whole number, {least} or more")
