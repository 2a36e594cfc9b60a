"""The pins of the images: those that the tests ran with, and no more than an image needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[3] / "requirements"
IMAGES = ("operator", "spark", "torch")
HEAVY = {"torch", "pyspark", "pandas", "numpy", "pyarrow", "duckdb", "scikit-learn", "triton"}
KOPF = {"kopf", "kubernetes", "aiohttp"}


def pins(name: str) -> dict[str, str]:
    """Of each requirement, with its marker: the hashes."""
    text = (REQUIREMENTS / f"{name}.txt").read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(re.split(r"\s+(?=--hash)", line, maxsplit=1) for line in lines)


def names(image: str) -> set[str]:
    return {re.split("[=; ]", pin)[0] for pin in pins(image)}


def versions(name: str) -> set[str]:
    return {pin.partition(" ;")[0] for pin in pins(name)}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_versions_that_the_tests_run_with(image: str) -> None:
    assert versions(image) <= versions("dev")


@pytest.mark.parametrize("name", [*IMAGES, "images"])
def test_every_pin_has_a_hash_and_no_address(name: str) -> None:
    found = pins(name)
    assert found
    for pin, hashes in found.items():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; .+)?", pin)
        assert re.fullmatch(r"(--hash=sha256:[0-9a-f]{64}\s*)+", hashes)


@pytest.mark.parametrize(
    ("image", "has", "has_not"),
    [
        ("operator", KOPF, HEAVY),
        ("spark", {"pyspark", "pandas", "duckdb"}, {"torch", "triton", "scikit-learn", *KOPF}),
        (
            "torch",
            {"torch", "scikit-learn", "safetensors", "aiohttp"},
            {"pyspark", *KOPF - {"aiohttp"}},
        ),
    ],
)
def test_an_image_has_what_its_pods_run_and_nothing_of_the_others(
    image: str, has: set[str], has_not: set[str]
) -> None:
    assert has <= names(image)
    assert not has_not & names(image)


def test_sources_are_built_with_pinned_tools() -> None:
    assert {"hatchling", "setuptools"} <= names("images")
