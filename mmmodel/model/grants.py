"""Grant policies: which of the waiting requests that fit is granted next, where no pool says so itself.

    random             any of them, with equal chances: what a wake-up of all waiters does
    fifo               the one that has waited longest
    last-step-first    one of those that are furthest along the steps of their class

Verdicts do not depend on the policy; times and throughput do. The compiled engines number the policies in this order.
"""

from typing import Literal, get_args

from mmmodel.model.stack import QuestionError

Grant = Literal["random", "fifo", "last-step-first"]
GRANTS: tuple[Grant, ...] = get_args(Grant)


def check_grant(grant: str) -> int:
    """The number of a grant policy. Raises QuestionError with the names that there are."""
    if grant not in GRANTS:
        raise QuestionError(f"grant: {grant!r} is not a policy; write one of {', '.join(GRANTS)}")
    return GRANTS.index(grant)
