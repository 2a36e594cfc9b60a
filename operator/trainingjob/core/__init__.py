"""The pure core: ``status(obs, now)`` says how things stand, ``plan(obs, now)`` what to do.

No IO, no clock, no environment, no logging. The operator and ``trainingjob run`` drive it alike:
gather an Observation, apply the Plan, write the Status if it changed, and come again when
something changes or ``Plan.requeue_after`` has passed.
"""

from .child import ChildView
from .events import events, forced
from .observation import Observation, Obstacle, Settings
from .plan import Plan, plan
from .pods import PodView
from .rest import Rest, at_rest
from .stage import vanished
from .status import is_over, status, status_of_unreadable

__all__ = [
    "ChildView",
    "Observation",
    "Obstacle",
    "Plan",
    "PodView",
    "Rest",
    "Settings",
    "at_rest",
    "events",
    "forced",
    "is_over",
    "plan",
    "status",
    "status_of_unreadable",
    "vanished",
]
