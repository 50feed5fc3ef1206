"""A run that the tests kill: `python -m tests.sweep.driver FOLDER [WORKERS]`."""

import sys

from mmmodel import sweep
from mmmodel.stack import Request
from mmmodel.study import make_study


def study():
    stack = Request(chunks=[4, 4, 3]).stack
    return make_study(
        {"stack": stack, "depth": list(range(1, 41)), "reserve": [20, 24], "quantities": ["tests.sweep.work:slowly"]}
    )


if __name__ == "__main__":
    print(sweep.run_study(study(), sys.argv[1], workers=int(sys.argv[2]) if len(sys.argv) > 2 else 2, batch=4))
