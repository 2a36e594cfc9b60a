"""TensorFlow: MultiWorkerMirroredStrategy finds its workers in TF_CONFIG. Each pod is one.

https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from .gang import Gang

VARIABLE = "TF_CONFIG"
PORT = 29502
# It names every worker in every pod: a thousand of them would be too long for a variable.
MOST_NODES = 128

_OURS = re.compile(rf'"[a-z0-9.-]+-pods:{PORT}"')


def variables(gang: Gang, index: int) -> dict[str, str]:
    """Workers alone: parameter servers and evaluators are not ours to choose."""
    if not gang.plain or gang.nodes > MOST_NODES:
        return {}
    config = {
        "cluster": {"worker": [f"{pod}:{PORT}" for pod in gang.pods]},
        "task": {"type": "worker", "index": index},
    }
    return {VARIABLE: json.dumps(config, separators=(",", ":"))}


def here(value: str, port: Callable[[int], int]) -> str:
    """A port of its own for each worker; what the user has set stays."""
    workers = iter(range(MOST_NODES))
    return _OURS.sub(lambda _: f'"127.0.0.1:{port(PORT + next(workers))}"', value)
