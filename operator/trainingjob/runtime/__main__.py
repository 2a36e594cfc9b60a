"""Entry point of every stage's container: read the payload, run the stage, tell the outcome."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from importlib import import_module

# The first process of a container does not die of a signal that it has no handler for, and what
# follows takes a moment to import.
signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

# ruff: noqa: E402
from pydantic import TypeAdapter, ValidationError

from trainingjob.api.payload import STAGE_PAYLOAD, Payload, StageResult

from .base.errors import StageFailure, from_os_error, is_of_a_device, is_out_of_memory
from .base.outcome import publish_failure, publish_result
from .base.text import one_line


def main() -> int:
    """Run the stage of $TRAININGJOB_STAGE; 0 when it succeeded, 1 when it failed."""
    # Training has a handler of its own: there is a checkpoint to write.
    signal.signal(signal.SIGTERM, _stopped)
    try:
        result = run_stage()
        if result is not None:
            publish_result(result)
    except StageFailure as failure:
        traceback.print_exc()
        publish_failure(failure)
        return 1
    except OSError as error:
        traceback.print_exc()
        publish_failure(from_os_error(error, "run the stage"))
        return 1
    except ModuleNotFoundError as error:
        # Of ours: what people's code lacks is known where it runs.
        traceback.print_exc()
        message = f"{error}; trainingjob-operator[local] brings what the stages need"
        publish_failure(StageFailure("ModuleMissing", message))
        return 1
    except Exception as error:
        traceback.print_exc()
        publish_failure(_as_failure(error))
        return 1
    return 0


def _as_failure(error: Exception) -> StageFailure:
    if is_out_of_memory(error):
        words = f"the stage ran out of memory: {one_line(error)}"
        return StageFailure("OutOfMemory", words)
    if is_of_a_device(error):
        return StageFailure("DeviceFailed", one_line(error))
    return StageFailure("InternalError", f"{type(error).__name__}: {error}")


def _stopped(number: int, _: object) -> None:
    """At once: whatever is written is written aside, and Spark's executors go with their driver."""
    publish_failure(StageFailure("Disrupted", "stopped by SIGTERM"))
    os._exit(128 + number)


def run_stage() -> StageResult | None:
    """Run the stage that the payload names; None from pods that have nothing to tell."""
    try:
        payload = TypeAdapter(Payload).validate_json(os.environ.get(STAGE_PAYLOAD, ""))
    except ValidationError as error:
        raise StageFailure("InternalError", f"${STAGE_PAYLOAD} is not a payload") from error
    # Each stage imports heavy libraries that the images of the others do not have.
    stage = import_module(f"trainingjob.runtime.{payload.stage}")
    from .cache import held

    return held.through(payload, lambda: stage.run(payload))


if __name__ == "__main__":
    sys.exit(main())
