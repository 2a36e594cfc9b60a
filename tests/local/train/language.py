"""Language models of a few thousand weights, trained by any number of ranks.

``python -m tests.local.train.language SCENARIOS`` runs gangs one after the other, each rank a fork
of this process: transformers is imported once. A scenario is JSON: ``world``, ``train`` (more of
the payload), ``here``, how many ranks a node has, ``folder``, ``stop``, the step in which rank 1 is
asked to stop, ``faults`` as in disturbed.py, and ``after``, the scenario from whose first
checkpoints it goes on, the newer one ``damaged`` or not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from trainingjob.api.payload import TrainPayload
from trainingjob.local.node import free_port

TASK = {"type": "languageModel", "text": "body"}
TOKENIZE = {"vocabSize": 300, "sequenceLength": 16}
MODEL = {"architecture": "llama", "layers": 2, "hidden": 32, "heads": 4, "keyValueHeads": 2}
TEXTS = [part for text in topics.values() for part in text.split("\n\n")][:60]
SETTINGS: dict[str, Any] = {
    "model": {"transformer": MODEL},
    "optimizer": {"adamw": {"learningRate": 0.01, "weightDecay": 0.1}},
    "schedule": {"cosine": {"warmupSteps": 3}},
    "gradientClip": 0.5,
    "batchSize": 50,  # which three ranks do not share evenly
    "epochs": 2,
    "seed": 3,
}
# None is better than the first epoch by that much.
BEST: dict[str, Any] = {
    "earlyStopping": {"patience": 2, "minDelta": 1000},
    "schedule": None,
    "epochs": 9,
}


def make_dataset(folder: Path) -> Path:
    """Three splits, of which training's has a row that is not full."""
    from tests.local.preprocess.both import payload
    from trainingjob.runtime import preprocess

    source = folder / "texts.json"
    source.write_text("".join(json.dumps({"body": text}) + "\n" for text in TEXTS))
    preprocess.run(
        payload(
            "pandas",
            source,
            folder / "dataset",
            format="json",
            task=TASK,
            tokenize=TOKENIZE,
            split={"test": 0.2, "validation": 0.1},
        )
    )
    return folder / "dataset"


def payload_of(dataset: Path, folder: Path, world: int = 1, /, **train: Any) -> TrainPayload:
    """As the operator would build it."""
    fields = {
        "job": {"namespace": "default", "name": "words", "uid": "1"},
        "attempt": 1,
        "task": TASK,
        "nodes": world,
        "procsPerNode": 1,
        "needsModel": True,
        "dataset": f"file://{dataset}",
        "checkpoints": f"file://{folder}/checkpoints",
        "modelUri": f"file://{folder}/model",
        **SETTINGS,
        **train,
    }
    return TrainPayload.model_validate_json(json.dumps(fields))


def environment(rank: int, world: int, port: int, here: int | None = None) -> dict[str, str]:
    """The variables of a rank, of which ``here`` are on a node."""
    here = here or world
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank % here),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "model/history.json").read_text())


def main() -> None:
    """Run the scenarios; what came of each rank is in ``folder/rank-N.json``."""
    import transformers  # noqa: F401

    from trainingjob.runtime.train import worker  # noqa: F401

    for scenario in json.loads(Path(sys.argv[1]).read_text()):
        if "after" in scenario:
            _prepare(scenario)
        port = free_port()
        ranks = [_fork(scenario, rank, port) for rank in range(scenario["world"])]
        for pid in ranks:
            os.waitpid(pid, 0)


def _prepare(scenario: dict[str, Any]) -> None:
    folder = Path(scenario["folder"])
    found = sorted((folder.parent / scenario["after"] / "checkpoints").glob("step-*"))
    for one in found[:2]:
        shutil.copytree(one, folder / "checkpoints" / one.name)
    # What a gang leaves that dies in the middle of a checkpoint.
    (folder / "checkpoints" / found[2].name).mkdir()
    if scenario.get("damaged"):
        part = folder / "checkpoints" / found[1].name / "part-00001-of-00002.safetensors"
        part.write_bytes(part.read_bytes()[:-1] + b"?")


def _fork(scenario: dict[str, Any], rank: int, port: int) -> int:
    if pid := os.fork():
        return pid
    try:
        _rank(scenario, rank, port)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _rank(scenario: dict[str, Any], rank: int, port: int) -> None:
    from trainingjob.runtime.gang import ranks
    from trainingjob.runtime.train import worker
    from trainingjob.runtime.train.loop import Trainer

    world, folder = scenario["world"], Path(scenario["folder"])
    os.environ |= environment(rank, world, port, scenario.get("here"))
    stop, step = scenario.get("stop"), Trainer._step

    def stopping(self: Trainer, *args: Any) -> None:
        if rank == 1 and self.position.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *args)

    Trainer._step = stopping  # type: ignore[method-assign]
    if (faults := scenario.get("faults")) is not None:
        from .disturbed import disturb

        disturb(folder, rank, faults)
    payload = payload_of(Path(scenario["dataset"]), folder, world, **scenario.get("train", {}))
    try:
        result = worker.work(payload)
        found = None if result is None else result.to_dict()
    except BaseException as error:
        failure = ranks.as_failure(error, "train")
        if failure.reason == "InternalError":
            traceback.print_exc()
        found = {"reason": failure.reason, "message": failure.message}
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
