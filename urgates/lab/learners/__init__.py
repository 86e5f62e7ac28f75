"""What advances: a learner makes one update of its models and knows how to go on later."""

from pkgutil import resolve_name

from urgates.checks import choice
from urgates.lab.jobs import Job
from urgates.lab.learners.base import Learner

__all__ = ["LEARNERS", "Learner", "learner"]

LEARNERS = {
    "supervised": "urgates.lab.learners.supervised:Stack",
    "actor-critic": "urgates.lab.learners.actor_critic:ActorCritic",
    "streamed": "urgates.lab.learners.streamed:Streamed",
}
"""By the name that a protocol's `learner` gives: where the class is that takes (job, device)."""


def learner(job: Job, device: str = "auto") -> Learner:
    """The models of a job at their start; ValueError for a kind of learner that is not known."""
    return resolve_name(LEARNERS[choice("learner", job.protocol.learner, LEARNERS)])(job, device)
