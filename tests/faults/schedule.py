"""Which faults come, in which order: a function of a seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Fault caused in a running installation while events arrive."""

    WORKER_KILLED = "a worker is killed, and another is started"
    WORKER_FROZEN = "a worker stands still past its session, and goes on"
    WORKER_JOINS = "a worker joins"
    WORKER_LEAVES = "a worker leaves"
    BROKER_FROZEN = "the broker does not answer for some seconds"
    REDIS_KILLED = "Redis is killed, and started with what it kept"
    REDIS_EMPTIED = "Redis is emptied"
    API_KILLED = "the API is killed with what it has answered in its spool, and started again"
    REPEATED = "events and batches of before come again, 1, 2 and 100 times"
    POISON = "records that cannot be used stand between the others"
    LATE = "observations come out of order, and some after their attribution window"
    CONCLUDED = "an experiment is concluded while its observations are on their way"


WEIGHTS = {
    Fault.WORKER_KILLED: 4,
    Fault.WORKER_FROZEN: 1,  # each costs a session
    Fault.WORKER_JOINS: 3,
    Fault.WORKER_LEAVES: 2,
    Fault.BROKER_FROZEN: 2,
    Fault.REDIS_KILLED: 2,
    Fault.REDIS_EMPTIED: 2,
    Fault.API_KILLED: 3,
    Fault.REPEATED: 4,
    Fault.POISON: 3,
    Fault.LATE: 3,
    Fault.CONCLUDED: 1,
}
STEPS = 6
LONGEST_PAUSE_S = 1.5


@dataclass(frozen=True, slots=True)
class Step:
    """One fault, and how long events come in after it before the next one."""

    fault: Fault
    pause_s: float


def schedule(seed: int) -> tuple[Step, ...]:
    """Return the steps of a seed: the same forever."""
    draws = random.Random(seed)
    faults = draws.choices(list(WEIGHTS), list(WEIGHTS.values()), k=STEPS)
    return tuple(Step(fault, draws.uniform(0.0, LONGEST_PAUSE_S)) for fault in faults)
