"""The container that fetches the user's code before the stage's own begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...api import payload as contract
from ...api.v1alpha1.common import EnvVar
from ...api.v1alpha1.resources import Resources
from .. import names
from .container import RUNTIME, container_security
from .environment import literal, named

# Twice the bytes that the code may have: files take whole blocks.
CODE_LIMIT = "512Mi"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
# What a quota or a limit range of a namespace asks of each container.
_OF_EACH = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True)
class Fetched:
    """The user's code, which a container of ``image`` brings to ``folder`` before the stage's own
    begins, by the credentials of ``secret``."""

    image: str
    folder: str
    payload: str
    secret: str | None


def fetching(
    code: Fetched, user_env: Sequence[EnvVar] | None, resources: Resources | None
) -> dict[str, Any]:
    """The container that does, with all that the stage's own may use but for devices: a namespace
    may ask it of each container. Of the user's variables it has those that name a proxy."""
    environment = literal([one for one in user_env or () if one.name.upper() in _PROXIES])
    environment += named(
        {
            contract.RESULT_FILE: "/dev/termination-log",
            contract.CODE_FILES: code.folder,
        }
    )
    if code.secret is not None:
        environment += [
            _secret(contract.GIT_USERNAME, code.secret, "username", optional=True),
            _secret(contract.GIT_PASSWORD, code.secret, "password", optional=False),
            _secret(contract.GIT_CA, code.secret, "ca.crt", optional=True),
        ]
    environment.append({"name": contract.STAGE_PAYLOAD, "value": code.payload})
    container: dict[str, Any] = {
        "name": names.CODE_CONTAINER,
        "image": code.image,
        "command": [*RUNTIME],
        "env": environment,
        "volumeMounts": [
            {"name": names.CODE_VOLUME, "mountPath": code.folder},
            {"name": names.SCRATCH_VOLUME, "mountPath": "/tmp"},  # noqa: S108
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }
    if resources is not None:
        container["resources"] = {
            side: kept
            for side, amounts in resources.to_dict().items()
            if (kept := {k: v for k, v in amounts.items() if k in _OF_EACH})
        }
    return container


def _secret(variable: str, secret: str, key: str, *, optional: bool) -> dict[str, Any]:
    ref: dict[str, Any] = {"name": secret, "key": key}
    if optional:
        ref["optional"] = True
    return {"name": variable, "valueFrom": {"secretKeyRef": ref}}
