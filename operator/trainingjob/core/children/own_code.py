"""How pods find the user's code: what their payload says, the ConfigMaps that it lies in, and what
fetches it."""

from __future__ import annotations

from typing import Any

from ...api import payload as contract
from ...api.v1alpha1 import TrainingJob
from ...api.v1alpha1.code import Code, Git, OwnCode, OwnProgram
from ...api.v1alpha1.common import Script
from .. import names
from .pod import Fetched, Mapped, encoded

CODE_DIR = "/etc/trainingjob/code"
GIT_DIR = "/etc/trainingjob/git"
SCRIPT_DIR = "/etc/trainingjob/script"
SCRIPT_NAME = "script.py"


def told(job: TrainingJob, spec: OwnCode) -> dict[str, Any]:
    """The fields of contract.OwnFiles, or of contract.OwnCode where that is what it has."""
    code, asked = spec.code, spec.requirements
    return {
        "script": _script_ref(spec.script),
        "code": _code_ref(code),
        "working_dir": code.working_dir if code is not None else None,
        "main": code.main if code is not None else None,
        "requirements": asked
        and contract.PackagesRef(
            packages=asked.packages, file=asked.file, wheels=names.wheels_uri(job)
        ),
    } | ({"command": spec.command, "args": spec.args} if isinstance(spec, OwnProgram) else {})


def maps(spec: OwnCode) -> tuple[Mapped | None, ...]:
    """The ConfigMaps that it lies in."""
    return _script_map(spec.script), _code_map(spec.code)


def fetched(spec: OwnCode, image: str) -> Fetched | None:
    """What brings code from git, in the operator's own ``image``: the user's does not see the
    credentials either."""
    git = spec.code.git if spec.code is not None else None
    if git is None:
        return None
    payload = contract.CheckoutPayload(git=_git_ref(git))
    secret = git.credentials_secret
    return Fetched(image, GIT_DIR, encoded(payload), secret.name if secret is not None else None)


def _script_map(script: Script | None) -> Mapped | None:
    """The script's ConfigMap, of which its key is mounted."""
    if script is None or script.config_map is None:
        return None
    items = [{"key": script.config_map.key, "path": SCRIPT_NAME}]
    source = {"name": script.config_map.name, "items": items}
    path = f"{SCRIPT_DIR}/{SCRIPT_NAME}"
    return Mapped("trainingjob-script", SCRIPT_DIR, source, contract.SCRIPT_FILE, path)


def _code_map(code: Code | None) -> Mapped | None:
    """The code's ConfigMap, all of it."""
    if code is None or code.config_map is None:
        return None
    source = {"name": code.config_map.name}
    return Mapped("trainingjob-code", CODE_DIR, source, contract.CODE_FILES, CODE_DIR)


def _code_ref(code: Code | None) -> contract.CodeRef | None:
    """How the pod finds the code: as with the script, the kubelet puts a path into the payload."""
    if code is None:
        return None
    mounted = code.config_map is not None or code.git is not None
    return contract.CodeRef(
        inline=code.inline,
        path=f"$({contract.CODE_FILES})" if mounted else None,
        uri=code.uri,
        git=_git_ref(code.git) if code.git is not None else None,
    )


def _git_ref(git: Git) -> contract.GitRef:
    return contract.GitRef(url=git.url, commit=git.commit, path=git.path)


def _script_ref(script: Script | None) -> contract.ScriptRef | None:
    """How the pod finds the script: the kubelet puts its path into the payload."""
    if script is None:
        return None
    if script.inline is not None:
        return contract.ScriptRef(inline=script.inline)
    return contract.ScriptRef(path=f"$({contract.SCRIPT_FILE})")
