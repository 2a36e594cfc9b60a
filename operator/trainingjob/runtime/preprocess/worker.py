"""The stage in a process of its own, whose Python has the packages that own code asks for:
``python -m trainingjob.runtime.preprocess.worker``."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from trainingjob.api.payload import STAGE_PAYLOAD, PreprocessPayload, StageResult

from ..base.errors import StageFailure
from ..gang import own_code, packages, ranks
from ..gang.node import Node

_PACKAGES = "TRAININGJOB_PACKAGES_DIR"
_DISTRIBUTION = "trainingjob-operator"
_OF_US = re.compile(r"extra == ['\"](data|spark)['\"]")


def run(payload: PreprocessPayload) -> StageResult:
    """Start it, and wait for it. Raises StageFailure."""
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as name:
        folder = Path(name)
        python = own_code.python(payload, 0, folder, kept())
        place = packages.packages_of(python)
        told = payload.model_dump_json(by_alias=True, exclude_none=True)
        node = Node.from_env(1, 1, os.environ).seeing(
            {**python.variables, STAGE_PAYLOAD: told, _PACKAGES: str(place)}
        )
        reports = folder / "reports"
        reports.mkdir()
        # -P: nothing in the working folder may shadow a library.
        command = [str(python.python), "-P", "-m", "trainingjob.runtime.preprocess.worker"]
        try:
            result = ranks.run(node, command, reports, settings={})
        except StageFailure as failure:
            failure.rank = None  # there is but one
            raise
        assert result is not None
        return result


def kept() -> list[str]:
    """What our own process is made of, as pip's constraints: of those it has no other version."""
    found = []
    with suppress(importlib.metadata.PackageNotFoundError):
        for line in importlib.metadata.requires(_DISTRIBUTION) or ():
            name = re.match(r"[A-Za-z0-9._-]+", line)
            if name is None or ("extra ==" in line and not _OF_US.search(line)):
                continue
            with suppress(importlib.metadata.PackageNotFoundError):
                found.append(f"{name[0]}=={importlib.metadata.version(name[0])}")
    return sorted({line for line in found if not line.startswith(_DISTRIBUTION)})


def main() -> int:
    """Make the dataset as the payload in the environment says; 0 when all is done and told."""
    from . import make

    payload = PreprocessPayload.model_validate_json(os.environ[STAGE_PAYLOAD])
    place = os.environ.pop(_PACKAGES)
    return ranks.told(lambda: make(payload, packages=Path(place)), "prepare the data")


if __name__ == "__main__":
    sys.exit(main())
