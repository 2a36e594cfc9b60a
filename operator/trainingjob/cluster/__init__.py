"""The Kubernetes API: what we read, what we write, and what we remember of it. No decisions."""

from .cache import Cache, Key
from .errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    NotFound,
    Refused,
    Unavailable,
)
from .gateway import Gateway
from .resources import EVENTS, JOBS, PODS, SERVICES, Resource, watched
from .session import Api, Credentials, connect

__all__ = [
    "EVENTS",
    "JOBS",
    "PODS",
    "SERVICES",
    "AlreadyExists",
    "Api",
    "Cache",
    "ClusterError",
    "Conflict",
    "Credentials",
    "Gateway",
    "Key",
    "NotFound",
    "Refused",
    "Resource",
    "Unavailable",
    "connect",
    "watched",
]
