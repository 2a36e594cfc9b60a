"""A short form of `make fuzz`: always the same inputs, and those that have been findings once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from .inputs import inputs
from .targets import Target, targets
from .trial import tried

EXAMPLES = 25
SLOW = dict.fromkeys(("tokenizer.json", "tokenizer_config.json", "generation_config.json"), 5)
FOUND = Path(__file__).parent / "found"
NAMES = (
    *("manifests", "payloads", "progress reports", "termination messages"),
    *("validate", "explain", "zip archives", "gzip", "bzip2", "CSV", "JSON", "Parquet"),
    *("npz as CSV", "manifest.json", "config.json of ours", "weights of ours"),
    *("pretrained weights", "pretrained config.json", "tokenizer.json", "model.pt2"),
    *("weights in several files", "models that a config describes"),
    *("tokenizer_config.json", "generation_config.json"),
    *("envelopes of releases", "requests of predictions"),
    *("requests of completions", "requests of answers"),
    *("the outside of model.onnx", "metrics.json of own code", "folders of git"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_all_targets_are_tried(made: dict[str, Target]) -> None:
    assert set(NAMES) == set(made)


@pytest.mark.parametrize("name", NAMES)
def test_good_inputs_are_accepted(name: str, made: dict[str, Target], tmp_path: Path) -> None:
    for number, data in enumerate(made[name].good):
        folder = tmp_path / str(number)
        folder.mkdir()
        if name != "npz as CSV":
            made[name].run(data, folder)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_accepted_or_refused_in_words(name: str, made: dict[str, Target]) -> None:
    target = made[name]

    @settings(
        max_examples=SLOW.get(name, EXAMPLES),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(inputs(target.good))
    def attempt(data: bytes) -> None:
        tried(target, data)

    attempt()


@pytest.mark.parametrize("file", sorted(FOUND.glob("*/*")), ids=lambda file: file.name)
def test_what_was_found_once_stays_mended(file: Path, made: dict[str, Target]) -> None:
    tried(made[file.parent.name], file.read_bytes())
