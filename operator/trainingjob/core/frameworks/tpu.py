"""The hosts of a slice of TPUs, as libtpu finds them, in gangs that ask for ``google.com/tpu``.

https://cloud.google.com/kubernetes-engine/docs/concepts/tpus
"""

from __future__ import annotations

from .gang import Gang

RESOURCE = "google.com/tpu"


def variables(gang: Gang, index: int) -> dict[str, str]:
    """Which host of the slice this is, and where all are. Ports are libtpu's own."""
    if RESOURCE not in gang.accelerators or not gang.pods:
        return {}
    return {"TPU_WORKER_ID": str(index), "TPU_WORKER_HOSTNAMES": ",".join(gang.pods)}
