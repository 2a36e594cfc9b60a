"""The order of rows, and where shares of it end: exactly, for any rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.api.v1alpha1.split import Split
from trainingjob.runtime.preprocess.classes import absent, counts_of
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import HASH, SPLIT_NUMBER, Frame, Layout, Longs
from trainingjob.runtime.preprocess.ranks import END, FIRST, band, places_of
from trainingjob.runtime.preprocess.split import Quota

LONGS = st.integers(FIRST, END)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3) | LONGS), st.integers(0, 2**31 - 1), st.randoms())
def test_every_row_has_a_place_of_its_own_whatever_their_order(hashes, seed, random) -> None:
    shuffled = list(hashes)
    random.shuffle(shuffled)
    found = []
    with DuckdbEngine() as engine:
        for rows in (hashes, shuffled):
            table = engine.table({"n": "bigint", HASH: "bigint"}, [[row, row] for row in rows])
            ordered = engine.ordered(Frame(table, {"n": "bigint"}, (HASH,)), seed)
            assert ordered.layout == Layout(len(rows))
            found.append(sorted(engine.rows(f"SELECT n, {HASH} FROM {ordered.view}")))
    assert found[0] == found[1]
    assert sorted(n for n, _ in found[0]) == sorted(hashes)
    assert len({place for _, place in found[0]}) == len(hashes)


@given(st.integers(0, 10**12), st.floats(0, 0.9), st.floats(0, 0.9))
def test_every_row_is_in_one_split(rows: int, test: float, validation: float) -> None:
    if test + validation > 0.9:
        test, validation = test / 2, validation / 2
    quota = Quota.of(rows, Split(test=test, validation=validation))
    assert quota.test + quota.validation + quota.train == rows
    assert min(quota.test, quota.validation, quota.train) >= 0
    assert abs(quota.test - rows * test) <= 0.5 + 1e-15 * rows


@given(st.integers(1, 10**12), st.floats(0, 1))
def test_a_row_is_looked_for_around_its_share(rows: int, share: float) -> None:
    rank = int(share * rows)
    low, high = band(rank, rows, 5.0)
    if 0 < rank < rows:
        assert FIRST <= low <= rank / rows * 2**64 + FIRST <= high + 2**12
        assert high <= END
        fetched = (high - low) / 2**64 * rows
        assert fetched < 10.1 * np.sqrt(rows) + 41
    else:
        assert low > high


class Holding(DuckdbEngine):
    """One that has the places of all rows at hand, as engine spark has those of few."""

    held: Longs | None = None

    def places(self, frame: Frame) -> Longs | None:
        return self.held


@pytest.mark.parametrize("crowded", [False, True], ids=["even", "crowded"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 3000), share=st.floats(0, 1))
def test_the_place_of_a_rank_is_that_of_the_sorted_rows(
    crowded: bool, seed: int, rows: int, share: float
) -> None:
    """Also where places are nothing like even, as no hash makes them: by more looks."""
    rng = np.random.default_rng(seed)
    found = rng.integers(FIRST, END, rows, dtype=np.int64)
    if crowded:
        found //= 2 ** int(rng.integers(1, 40))
    classes = rng.choice(["a", "b", None], rows).astype(object)
    with Holding() as engine:
        table = pa.table({"y": pa.array(classes, pa.string()), HASH: found})
        frame = Frame(engine._register(table), {"y": "string"}, (HASH,), Layout(rows))
        for by in (None, "y"):
            groups = {None: found} if by is None else {v: found[classes == v] for v in ("a", "b")}
            counts = {value: len(members) for value, members in groups.items()}
            ranks = {v: (int(n * share), n - int(n * share)) for v, n in counts.items()}
            at = places_of(engine, frame, by, counts, ranks)
            engine.held = np.sort(found)
            assert places_of(engine, frame, by, counts, ranks) == at
            engine.held = None
            for value, members in groups.items():
                ordered = [*np.sort(members).tolist(), END]
                for rank, place in zip(ranks[value], at[value], strict=True):
                    assert place == (ordered[rank] if rank else FIRST)


COUNTS = st.dictionaries(
    st.integers(0, 5), st.dictionaries(st.sampled_from([0, 1, 2]), st.integers(1, 9), min_size=1)
)


@given(COUNTS)
def test_a_class_is_absent_where_a_split_has_others_alone(table) -> None:
    rows = [(value, split, n) for value, of in table.items() for split, n in of.items()]
    found = absent(counts_of(rows))
    used = {split for of in table.values() for split in of}
    assert found == sorted(value for value, of in table.items() if used - set(of))
    assert set(SPLIT_NUMBER.values()) >= used
