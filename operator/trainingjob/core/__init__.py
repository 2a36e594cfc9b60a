"""The pure core: ``fold(obs, now)`` says how things stand and what to do.

No IO, no clock, no environment, no logging. The operator and ``trainingjob run`` drive it alike:
gather an Observation, apply the Plan, write the Status if it changed, and come again when
something changes or ``Plan.requeue_after`` has passed.
"""

from .child import ChildView
from .events import events, forced
from .fold import Fold, fold, plan, status, status_of_unreadable, vanished
from .observation import Blocker, Observation, PodEvent, Settings
from .plan import Plan
from .pods import PodView
from .rest import Rest, at_rest

__all__ = [
    "Blocker",
    "ChildView",
    "Fold",
    "Observation",
    "Plan",
    "PodEvent",
    "PodView",
    "Rest",
    "Settings",
    "at_rest",
    "events",
    "fold",
    "forced",
    "plan",
    "status",
    "status_of_unreadable",
    "vanished",
]
