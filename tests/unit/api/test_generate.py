"""The generated files: up to date, complete, and checked by a command that says which is not."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from trainingjob.api.generate import ROOT, generated, main
from trainingjob.api.reference import RETRIED, reference
from trainingjob.api.v1alpha1 import REASONS, FailureClass
from trainingjob.api.v1alpha1.preprocess import RESERVED_SPARK_CONF

PAGE = reference()


@pytest.mark.parametrize("name", generated())
def test_a_committed_file_is_what_the_models_say(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == generated()[name], "run `make generate`"


def test_check_names_the_file_that_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert main([], root=tmp_path) == 0
    assert main(["--check"], root=tmp_path) == 0
    (tmp_path / "docs/reference.md").write_text("old")
    capsys.readouterr()

    assert main(["--check"], root=tmp_path) == 1
    assert capsys.readouterr().out == "docs/reference.md differs: run `make generate`\n"
    assert (tmp_path / "docs/reference.md").read_text() == "old"


def test_an_installed_package_writes_nowhere(tmp_path: Path) -> None:
    assert main([], root=tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_reference_has_a_section_for_each_object_and_each_once() -> None:
    titles = [line for line in PAGE.splitlines() if line.startswith("### ")]

    assert len(titles) == len(set(titles))
    assert {"### Spec", "### Step", "### AdamW", "### Volume", "### Status", "### LastFailure"} < {
        *titles
    }


def test_the_reference_leads_nowhere_that_is_not_there() -> None:
    titles = {line[4:].lower() for line in PAGE.splitlines() if line.startswith("### ")}
    links = {part.split(")")[0] for part in PAGE.split("](#")[1:]}

    assert links <= titles


@pytest.mark.parametrize("reason", REASONS)
def test_the_reference_has_every_reason_with_its_remedy(reason: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{reason}` |")]

    assert REASONS[reason].remedy in row


def test_the_reference_says_what_cannot_change() -> None:
    section = PAGE.split("### Spec\n")[1].split("###")[0]

    assert (
        "`task`, `storage`, `preprocess`, `train`, `evaluate`, `deploy`, `predict` and `managedBy` "
        "cannot change after creation: create another job, or delete this one first." in section
    )


def test_every_class_of_failure_says_whether_it_is_retried() -> None:
    assert list(RETRIED) == list(get_args(FailureClass))


def test_the_reference_has_the_reserved_spark_keys() -> None:
    for key in RESERVED_SPARK_CONF:
        assert f"- `{key}`\n" in PAGE


def test_tables_have_as_many_cells_as_their_heads() -> None:
    width = 0
    for line in PAGE.replace("\\|", "").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        width = width or line.count("|")
        assert line.count("|") == width, line
