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
    """What our own process is made of, and what that is bound to, as pip's constraints: of those it
    has no other version."""
    ours = [line for line in _needs(_DISTRIBUTION) if "extra ==" not in line or _OF_US.search(line)]
    names = {name for line in ours if (name := _name(line)) != _DISTRIBUTION}
    for name in [*names]:
        bound = [line for line in _needs(name) if re.search("==|<", line) and ";" not in line]
        names |= {_name(line) for line in bound}
    found = []
    for name in sorted(names):
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name)}")
    return found


def _needs(name: str) -> list[str]:
    """As a package tells it; nothing of one that is not there."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.requires(name) or []
    return []


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def main() -> int:
    """Make the dataset as the payload in the environment says; 0 when all is done and told."""
    from . import make

    payload = PreprocessPayload.model_validate_json(os.environ[STAGE_PAYLOAD])
    place = os.environ.pop(_PACKAGES)
    return ranks.told(lambda: make(payload, packages=Path(place)), "prepare the data")


if __name__ == "__main__":
    sys.exit(main())
