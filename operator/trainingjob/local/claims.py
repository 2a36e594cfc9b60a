"""Claims as folders: where what lies on a claim lies on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..api.v1alpha1 import TrainingJob
from ..core import Settings, stages
from .errors import Refused

# As a run has them: nothing serves here.
_SETTINGS = Settings(serves=False)


def used_by(job: TrainingJob) -> list[str]:
    """The claims that the job's pods mount, also those that a child makes by its template."""
    found: dict[str, None] = {}
    for stage in stages.of(job):
        others = [child.get("spec", {}) for child in stage.others(job, _SETTINGS)]
        templates = [spec["template"] for spec in others if "template" in spec]
        for pod in (*stage.pods(job, 1, _SETTINGS), *templates):
            found |= dict.fromkeys(mounted_by(pod))
    return list(found)


def mounted_by(pod: Mapping[str, Any]) -> list[str]:
    """The claims that one pod mounts."""
    volumes = pod["spec"].get("volumes") or ()
    sources = (volume.get("persistentVolumeClaim") for volume in volumes)
    return [source["claimName"] for source in sources if source]


def resolve(
    names: Iterable[str], given: Mapping[str, Path], beside: Path, default: Path
) -> dict[str, Path]:
    """A folder for each claim: the one given, else one beside the manifest, else in the work
    folder, where it is made.

    Raises Refused when a given claim is not used or its folder does not exist.
    """
    names = list(names)
    for name, folder in given.items():
        if name not in names:
            known = ", ".join(names) or "none"
            raise Refused(f"--claim {name}: the manifest uses no claim {name} (it uses: {known})")
        if not folder.is_dir():
            raise Refused(f"--claim {name}={folder}: no such folder; create it first")
    found: dict[str, Path] = {}
    for name in names:
        folder = given.get(name) or beside / name
        if not folder.is_dir():
            folder = default / name
            folder.mkdir(parents=True, exist_ok=True)
        found[name] = folder.resolve()
    return found


def link(folder: Path, claims: Mapping[str, Path]) -> None:
    """Make ``folder`` show every claim under its name, as the mounts of a pod do."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in claims.items():
        place = folder / name
        if place.is_symlink() and place.readlink() == target:
            continue
        place.unlink(missing_ok=True)
        place.symlink_to(target, target_is_directory=True)
