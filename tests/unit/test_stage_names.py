"""No stage's name is spelled outside its room: whoever wants to know about one asks the room."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import trainingjob
from trainingjob.api.payload import Payload
from trainingjob.api.stages import STAGE_NAMES

PACKAGE = Path(trainingjob.__file__).parent
NAMES = "|".join(STAGE_NAMES)
# As a word in quotes, and as a part of a spec.
SPELLED = re.compile(rf"""["']({NAMES})["']|\bspec\.({NAMES})\b""")

# Where a name stands all the same, and why.
EXCEPTIONS = {
    "api/stages.py": "the list",
    "api/payload.py": "what the payloads are told apart by, on the wire",
    "api/crd.py": "paths: a column of kubectl, and where descriptions are shared",
    "api/gates.py": "where gates lie, for the pod and the operator alike",
    "api/v1alpha1/rules/stages.py": "rules of the spec across its parts",
    "api/v1alpha1/rules/storage.py": "rules of the spec across its parts",
    "api/v1alpha1/rules/serving.py": "rules of the spec across its parts",
    "api/v1alpha1/rules/sealed.py": "rules of the spec across its parts",
    "api/v1alpha1/rules/task.py": "rules of the spec across its parts",
    "api/v1alpha1/status.py": "what the condition Deployed is of",
    "core/names.py": "where the dataset lies, which every stage has to know",
    "core/policy/edits.py": "where it stands that preprocess seals the test split",
    "cli/main.py": "the command `trainingjob predict`",
    "cli/text.py": "the name of a split",
}


def spelled(file: Path) -> bool:
    lines = file.read_text(encoding="utf-8").splitlines()
    # Comments and docstrings may give examples, which have them in backquotes.
    code = (re.sub(r"#.*|``.*?``", "", line) for line in lines)
    return any(map(SPELLED.search, code))


def is_own(name: str) -> bool:
    own = [f"core/stages/{stage}/" for stage in STAGE_NAMES]
    own += [f"api/v1alpha1/{stage}.py" for stage in STAGE_NAMES]
    # The runtime has a folder a stage, and "train" is a split there.
    return any(name.startswith(room) for room in own) or name.startswith("runtime/")


def test_a_stages_name_stays_in_its_room() -> None:
    files = {str(file.relative_to(PACKAGE)): file for file in PACKAGE.rglob("*.py")}
    found = {name for name, file in files.items() if not is_own(name) and spelled(file)}
    assert found == {*EXCEPTIONS}


def test_the_runtime_finds_a_stage_by_its_folder() -> None:
    assert not spelled(PACKAGE / "runtime/__main__.py")
    assert not any(spelled(file) for file in (PACKAGE / "runtime/base").rglob("*.py"))
    payloads = get_args(get_args(Payload)[0])
    for stage in (get_args(one.model_fields["stage"].annotation)[0] for one in payloads):
        assert (PACKAGE / "runtime" / stage / "__init__.py").is_file()
