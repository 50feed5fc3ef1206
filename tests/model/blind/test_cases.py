"""Ten cases of the casebook against a second transcription, taken from the texts of their fixes and not from `data/cases`.

For each side of a case: what each pool holds, and what each class takes of it in all (a loop's rounds counted, fallback paths left out).
A number that the text does not give, and the case assumes, is left out here: there is nothing to transcribe.
"""

import pytest

from mmmodel.answers.cases import load_case

# (case, side): {pool: capacity}, {class: {pool: taken}}
TRANSCRIBED = {
    # "if we have mempool of 256 pages, two processes, each wanting 256"; then "allocate the pages under a mutex"
    ("dm-crypt-mempool", "before"): ({"mempool": 256}, {"write-1m": {"mempool": 256}}),
    ("dm-crypt-mempool", "after"): ({"mempool": 256, "lock": 1}, {"write-1m": {"mempool": 256, "lock": 1}}),
    # "file of size > 128 KiB": 32 pages of 4 KiB are there, every page of the bio takes one
    ("ext4-crypto-bounce", "before"): ({"bounce": 128 // 4}, {"write": {"bounce": 128 // 4}}),
    # num_prealloc_bounce_pg = 32, later BIO_MAX_VECS = 256; "allocate all missing elements in one pass"
    ("blk-crypto-fallback", "before"): ({"bounce": 32}, {"write-1m": {"bounce": 256}}),
    ("blk-crypto-fallback", "after"): ({"bounce": 256}, {"write-1m": {"bounce": 256}}),
    # a replayed key that splits a node needs one journal entry more than the one that it came from
    ("bcache-journal", "before"): ({}, {"jset": {"buckets": 1 + 1}}),
    ("bcache-journal", "after"): ({}, {"jset": {"buckets": 1 + 1}}),
    # read lock, cow_count, then a read lock again for what was deferred; snapshot_ctr takes the write lock
    ("dm-snapshot-origins", "before"): ({}, {"write": {"origins": 2, "cow_count": 1}, "create": {"origins": 64}}),
    ("dm-snapshot-origins", "after"): ({}, {"write": {"origins": 2, "cow_count": 1}, "create": {"origins": 64}}),
    # "we depend on the minimum one rpciod thread": run once to send, once more to finish
    ("sunrpc-call-alloc", "before"): ({"rpciod": 1}, {"write": {"rpciod": 2, "buffers": 1}}),
    ("sunrpc-call-alloc", "after"): ({"rpciod": 1}, {"write": {"rpciod": 2, "buffers": 1}}),
    # a write holds its range and needs a turn for the metadata; an offloaded request the other way round
    ("dm-integrity-offload", "before"): (
        {},
        {"write": {"range": 1, "metadata_wq": 1}, "offloaded": {"metadata_wq": 1, "range": 1}},
    ),
    ("dm-integrity-offload", "after"): (
        {},
        {"write": {"range": 1, "metadata_wq": 1}, "offloaded": {"offload_wq": 1, "range": 1}},
    ),
    # "same task waiting for a mutex it already holds"
    ("ublk-partition-scan", "before"): ({"open_mutex": 1}, {"open": {"open_mutex": 2}}),
    ("ublk-partition-scan", "after"): ({"open_mutex": 1}, {"open": {"open_mutex": 1}, "release": {"open_mutex": 1}}),
    # one lock_page(B) and one wait for the writeback of A on either side
    ("memcg-writeback", "before"): (
        {"page_lock": 1, "writeback": 1},
        {"flush": {"writeback": 1, "page_lock": 1}, "fault": {"page_lock": 1, "writeback": 1}},
    ),
    ("memcg-writeback", "after"): (
        {"page_lock": 1, "writeback": 1},
        {"flush": {"writeback": 1, "page_lock": 1}, "fault": {"page_lock": 1, "writeback": 1}},
    ),
    # slabs of 896 B for dm_io with per-bio data and 192 B for a clone, a page for the cipher text; 8 MiB in pages of 4 KiB
    ("dm-crypt-swap-bios", "before"): ({}, {"write": {"reserve": 896 + 192 + 4096}}),
    ("dm-crypt-swap-bios", "after"): ({"throttle": 8 * 1024 // 4}, {"write": {"reserve": 896 + 192 + 4096, "throttle": 1}}),
}


def test_ten_cases_are_transcribed():
    assert len({name for name, _ in TRANSCRIBED}) >= 10


@pytest.mark.parametrize(("name", "side"), TRANSCRIBED)
def test_a_case_is_the_same_in_both(name, side):
    capacities, classes = TRANSCRIBED[name, side]
    stack = load_case(name).stacks[("before", "after").index(side)]
    assert {pool: stack.pools[pool].capacity for pool in capacities} == capacities
    taken: dict[str, dict[str, int]] = {}
    for cls, requests in stack.requests.items():
        for step in requests.steps:
            for pool, amount in step.take.items():
                of = taken.setdefault(cls, {})
                of[pool] = of.get(pool, 0) + amount * step.repeat
    assert taken == classes
