"""A run that the tests kill: `python -m tests.answers.driver FOLDER [WORKERS]`."""

import sys

from mmmodel.answers import sweep
from mmmodel.answers.study import make_study
from mmmodel.model.stack import Request


def study():
    stack = Request(chunks=[4, 4, 3]).stack
    return make_study(
        {"stack": stack, "depth": list(range(1, 41)), "reserve": [20, 24], "quantities": ["tests.answers.work:slowly"]}
    )


if __name__ == "__main__":
    print(sweep.run_study(study(), sys.argv[1], workers=int(sys.argv[2]) if len(sys.argv) > 2 else 2, batch=4))
