"""Near-duplicates by MinHash, against the similarity that it estimates: Jaccard, of Python's sets."""

from __future__ import annotations

import random
import re
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pytest

from tests.unit.preprocess.test_tokens import made, texts_of
from trainingjob.runtime.preprocess.tokens import alike

WORDS = 5
RNG = random.Random(0)
VOCABULARY = sorted({word for text in topics.values() for word in text.split()})


def mutated(text: str, share: float) -> str:
    return " ".join(RNG.choice(VOCABULARY) if RNG.random() < share else w for w in text.split())


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}


def jaccard(one: str, other: str) -> float:
    one_set, other_set = shingles(one), shingles(other)
    return len(one_set & other_set) / len(one_set | other_set)


def share_a_key(one: str, other: str, similarity: float) -> bool:
    bands, rows = alike.banding(similarity)
    found = alike.keys(pa.array([one, other]), bands, rows, WORDS).to_pylist()
    return bool({*found[0]} & {*found[1]})


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str, float]]:
    """Of all similarities."""
    texts = [" ".join(RNG.choices(VOCABULARY, k=RNG.randint(80, 300))) for _ in range(800)]
    found = [(text, mutated(text, RNG.uniform(0, 0.2))) for text in texts]
    return [(one, other, jaccard(one, other)) for one, other in found]


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.9])
def test_pairs_are_found_by_their_similarity(
    pairs: list[tuple[str, str, float]], similarity: float
) -> None:
    """As often as the formula has it: its hashes are as good as random ones. At 0.8 of the pairs
    from 0.9 on 99 % are found, and of those below 0.6 2 % are taken."""
    found = [(exact, share_a_key(one, other, similarity)) for one, other, exact in pairs]
    bands, rows = alike.banding(similarity)
    chances = [1 - (1 - exact**rows) ** bands for exact, _ in found]
    deviation = sum(one * (1 - one) for one in chances) ** 0.5
    assert abs(sum(taken for _, taken in found) - sum(chances)) < 4 * deviation

    def rate(least: float, most: float) -> float:
        those = [taken for exact, taken in found if least <= exact < most]
        assert len(those) >= 30, (least, most)
        return sum(those) / len(those)

    assert rate((1 + similarity) / 2, 1.01) >= 0.95
    assert rate(0.0, similarity - 0.2) <= 0.05


def test_texts_that_have_nothing_in_common_share_no_key() -> None:
    texts = [" ".join(RNG.choices(VOCABULARY, k=60)) for _ in range(3000)]
    found = alike.keys(pa.array(texts), *alike.banding(0.8), WORDS)
    values = found.flatten()
    assert len(values.unique()) == len(values)


@pytest.mark.parametrize(
    "text",
    ["!", "😀", "a", "a b", "日本語の文章です。" * 3, "\x00", "-" * 100_000, "word " * 200_000],
)
def test_any_text_has_keys(text: str) -> None:
    bands, rows = alike.banding(0.8)
    one, other = alike.keys(pa.array([text, text]), bands, rows, WORDS).to_pylist()
    assert one == other
    assert len({*one}) == bands


def test_the_first_of_those_that_are_alike_stays(tmp_path: Path) -> None:
    """Nothing near a text of the test split is in another one."""
    base = [" ".join(RNG.choices(VOCABULARY, k=60)) for _ in range(120)]
    near = [text.replace(" ", "  ") for text in base[:60]]
    manifest, files = made(
        tmp_path,
        [*base, *near],
        split={"test": 0.3, "validation": 0.2},
        tokenize={"vocabSize": 300, "sequenceLength": 16, "nearDuplicates": {}},
    )
    assert sum(one.documents for one in manifest.tokens.splits.values()) == 120
    found: dict[str, set[str]] = {}
    for (split, _), table in files.items():
        texts = texts_of(tmp_path / "out", table.to_pylist())
        found[split] = {" ".join(text.split()) for text in texts}
    assert found["test"] | found["validation"] | found["train"] == {*base}
    assert not found["test"] & (found["validation"] | found["train"])
    assert not found["validation"] & found["train"]


def test_how_many_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(VOCABULARY[:300])
    alone = sorted({word.lower() for word in VOCABULARY if word.isalpha()})[:30]
    texts = [text, text.upper(), text, f"{text} x", "", *alone]
    tokenize = {"vocabSize": 260, "sequenceLength": 16}
    made(tmp_path, texts, tokenize=tokenize | {"nearDuplicates": {"similarity": 0.9, "words": 3}})
    left = "tokenize: 31 texts (without 1 copies, 2 near-duplicates, 1 empty ones)"
    assert left in capsys.readouterr().out
