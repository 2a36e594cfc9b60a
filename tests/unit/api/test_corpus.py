"""Each file of tests/corpus is a test; together they touch every field of the spec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.api.corpus import BAD, GOOD, each_bad, each_good
from trainingjob.api.errors import check_manifest
from trainingjob.api.v1alpha1 import Input, Spec, TrainingJob
from trainingjob.api.v1alpha1.common import PodTemplate, Resources
from trainingjob.api.walk import child_type, fields_of, is_model, plain_type


@each_good
def test_a_good_manifest_is_accepted(name: str) -> None:
    job, problems = check_manifest(GOOD[name])

    assert problems == []
    assert job is not None


@each_bad
def test_a_bad_manifest_is_refused_for_its_one_fault(name: str) -> None:
    job, problems = check_manifest(BAD[name].obj)

    assert job is None
    assert [problem.field for problem in problems] == [BAD[name].field]
    assert BAD[name].error in problems[0].message


@each_good
def test_writing_and_reading_a_job_changes_nothing(name: str) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None

    again = TrainingJob.from_dict(job.to_dict())

    assert again == job
    assert again.to_dict() == job.to_dict()


def test_the_corpus_is_as_large_as_it_was_meant_to_be() -> None:
    assert len(GOOD) >= 30
    assert len(BAD) >= 90


# Messages that say the same of every field: no pydantic, no Python, no links.
@pytest.mark.parametrize(
    "jargon", ["Input", "pydantic", "https://errors", "dict", "None", "Value error"]
)
def test_messages_are_free_of_jargon(jargon: str) -> None:
    for name, bad in BAD.items():
        for problem in check_manifest(bad.obj)[1]:
            assert not re.search(rf"\b{jargon}", problem.message), name


def known(model: Any) -> str:
    """A model by name, under that of the one whose fields it has, each as it is there."""
    shared = (one for one in (PodTemplate, Resources, Input) if issubclass(model, one))
    return str(next(shared, model).__name__)


def spec_fields(model: Any = Spec) -> Iterator[tuple[str, str]]:
    """Every (class, field) of the spec."""
    for name in fields_of(model):
        yield known(model), name
        kind = plain_type(child_type(model, name))
        while not is_model(kind) and kind is not None:
            kind = plain_type(child_type(kind, 0))
        if kind is not None:
            yield from spec_fields(kind)


def touched(obj: Any, kind: Any = TrainingJob) -> Iterator[tuple[str, str]]:
    """Every (class, field) that an object sets."""
    if isinstance(obj, dict):
        for name, value in obj.items():
            if name in fields_of(kind):
                yield known(plain_type(kind)), name
            yield from touched(value, child_type(kind, name))
    elif isinstance(obj, list):
        for item in obj:
            yield from touched(item, child_type(kind, 0))


def along(field: str) -> Iterator[tuple[str, str]]:
    """Every (class, field) on a path like spec.train.env[0].name."""
    kind: Any = TrainingJob
    for part in field.split("[spark.")[0].replace("[", ".").replace("]", "").split("."):
        if part in fields_of(kind):
            yield known(plain_type(kind)), part
        kind = child_type(kind, part)


def test_every_field_of_the_spec_is_in_a_good_manifest() -> None:
    seen = {pair for obj in GOOD.values() for pair in touched(obj)}

    assert sorted(set(spec_fields()) - seen) == []


def test_every_field_of_the_spec_is_refused_in_a_bad_manifest() -> None:
    seen = {pair for bad in BAD.values() for pair in along(bad.field)}

    assert sorted(set(spec_fields()) - seen) == []
