"""What the processes of a pod are told by variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...api import payload as contract
from ...api.base import Plain
from ...api.uris import CLAIM, Uri
from ...api.v1alpha1 import TrainingJob
from ...api.v1alpha1.common import EnvVar
from ...api.v1alpha1.resources import Resources, amount
from .. import names

# OpenMP reads it, and so do torch, numpy and ours.
_THREADS = "OMP_NUM_THREADS"


def own_address() -> dict[str, Any]:
    """A variable with the pod's address, which it has once it is on a node."""
    return {"name": contract.POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def threads_of(resources: Resources | None, processes: int = 1) -> int | None:
    """Threads a process, of the CPUs that the pod asks for; None when it asks for none."""
    if resources is None:
        return None
    cpu = (resources.requests or {}).get("cpu", (resources.limits or {}).get("cpu"))
    if cpu is None:
        return None
    return max(1, int(amount(cpu)) // processes)


def named(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """As a container has them."""
    return [{"name": name, "value": value} for name, value in variables.items()]


def threads(
    resources: Resources | None, env: Sequence[EnvVar] | None, processes: int = 1
) -> dict[str, str]:
    """The variable that says so to libraries; none where the user gives it, or nobody asks for
    CPUs."""
    count = threads_of(resources, processes)
    given = any(variable.name == _THREADS for variable in env or ())
    return {} if given or count is None else {_THREADS: str(count)}


def mounted(uri: str) -> str:
    """The path of a URI as plain environment variables tell it; the kubelet expands it."""
    found = Uri.parse(uri)
    if found.scheme.remote:
        return f"$({contract.COPIES_DIR})/{escape(found.copy)}"
    if found.scheme is CLAIM:
        return f"$({contract.CLAIMS_DIR})/{escape(found.place)}"
    return escape(found.place)


def handed_over(job: TrainingJob) -> dict[str, str]:
    """What the stages before have left, by its digest, as variables; what nobody has told is not
    among them."""
    places = {
        contract.DATASET_DIGEST: names.dataset_uri(job),
        contract.MODEL_DIGEST: names.model_uri(job),
    }
    left = {
        one.outputs.uri: one.outputs.digest
        for one in job.status.stages
        if one.phase == "Succeeded" and one.outputs is not None
    }
    return {name: digest for name, uri in places.items() if (digest := left.get(uri))}


def escape(text: str) -> str:
    """Text that survives the kubelet's expansion of ``$(NAME)`` as it stands."""
    return text.replace("$", "$$")


def literal(env: Sequence[EnvVar] | None) -> list[dict[str, Any]]:
    """The user's variables as they stand: values that name each other thousands of times would
    take all memory of the kubelet, which puts them together."""
    return [{**variable.to_dict(), "value": escape(variable.value)} for variable in env or ()]


def encoded(payload: Plain) -> str:
    """What an attempt's pods are told, as the variable of one has it."""
    text = escape(json.dumps(payload.to_dict(), ensure_ascii=False, separators=(",", ":")))
    for field, name in (("script", contract.SCRIPT_FILE), ("code", contract.CODE_FILES)):
        # The reference that is meant. Else such a name may be anybody's, of any length.
        if getattr(getattr(payload, field, None), "path", None) == f"$({name})":
            text = text.replace(f"$$({name})", f"$({name})")
    return text
