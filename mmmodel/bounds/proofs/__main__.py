"""`make proofs`: compile the proofs and print the axioms that they use."""

import sys

from mmmodel.bounds import proofs


def main() -> int:
    if reason := proofs.missing():
        print(reason)
        return 0
    try:
        found = proofs.axioms()
    except RuntimeError as failed:
        print(failed, file=sys.stderr)
        return 1
    for file, name in proofs.theorems():
        print(f"{file + '.v':13} {name:26} axioms: {'none' if found[name] == proofs.CLOSED else found[name]}")
    return 0 if set(found.values()) == {proofs.CLOSED} else 1


if __name__ == "__main__":
    sys.exit(main())
