"""Grant policies: which of the waiting requests that fit is granted next, where no pool says so itself.

    random             any of them, with equal chances: what a wake-up of all waiters does
    first-fit          the one that has waited longest of those that fit: who does not fit is passed over (first fit in job scheduling)
    last-step-first    one of those that are furthest along the steps of their class
    fcfs               first come, first served: each pool has one line, of which only the head may take, as with `queue: fifo`

Verdicts do not depend on the first three, under which whatever fits may overtake. Under `fcfs` the head of a line blocks those behind it:
what holds then is the verdict on the stack whose pools all say `queue: fifo`. Times and throughput depend on every one. The compiled
engines number the policies in this order.
"""

from typing import Literal, get_args

from mmmodel.model.stack import QuestionError, System, did_you_mean, every_step

Grant = Literal["random", "first-fit", "last-step-first", "fcfs"]
GRANTS: tuple[Grant, ...] = get_args(Grant)
IN_ORDER: tuple[Grant, ...] = ("first-fit", "fcfs")  # those that need to know who has waited longest
OVERTAKING: tuple[Grant, ...] = ("random", "first-fit", "last-step-first")  # whatever fits may overtake


def check_grant(grant: str, system: System | None = None) -> int:
    """The number of a grant policy. Raises QuestionError with the names that there are, and for a system that it is not computed for."""
    if grant == "fifo":
        raise QuestionError(
            "grant: 'fifo' said two things; write 'first-fit' if who does not fit is passed over, or 'fcfs' if the head of a line blocks it"
        )
    if grant not in GRANTS:
        raise QuestionError(f"grant: {grant!r} is not a policy; write one of {', '.join(GRANTS)}{did_you_mean(grant, GRANTS)}")
    if grant == "fcfs" and system is not None:
        for cls in system.classes:
            for step in every_step(cls.steps):
                if step.fallback or step.lose is not None or step.turns:
                    raise QuestionError(
                        f"grant: 'fcfs' is not computed for a stack with a step that may be refused ({cls.name}: {step.name}); "
                        "ask for first-fit, or give the pool queue: fifo and ask for the verdict"
                    )
    return GRANTS.index(grant)
