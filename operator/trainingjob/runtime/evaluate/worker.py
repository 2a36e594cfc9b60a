"""One process of a gang that judges a language model, whose weights are divided over all of them:
``python -m trainingjob.runtime.evaluate.worker``."""

from __future__ import annotations

import os

import pyarrow as pa
import torch

from trainingjob.api.payload import STAGE_PAYLOAD, EvaluatePayload, StageResult

from ..gang import ranks
from ..gang.collectives import Gang, pick_device
from ..gang.place import Place
from . import accepted, judge
from .subject import Subject


def work(payload: EvaluatePayload) -> StageResult | None:
    """Judge; rank 0 returns the stage's result."""
    place = Place.from_env(os.environ)
    device = pick_device(place)
    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    # Before the rendezvous: what cannot be judged is told by every rank at once.
    final, baseline = Subject(payload), accepted.baseline_of(payload)
    gang = Gang(place, device)
    result = judge(payload, final, baseline, gang)
    gang.leave()
    return result


def main() -> int:
    """Judge as the payload in the environment says; 0 when all is done and told."""
    payload = EvaluatePayload.model_validate_json(os.environ[STAGE_PAYLOAD])
    return ranks.told(lambda: work(payload), "evaluate the model")


if __name__ == "__main__":
    ranks.end(main())
