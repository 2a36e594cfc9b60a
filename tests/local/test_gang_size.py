"""The number of pods and processes does not change what is learned."""

from __future__ import annotations

import pytest

from .harness import base, rows, run, write_csv, write_job


@pytest.mark.parametrize(("nodes", "processes"), [(1, 1), (3, 1), (1, 2)])
def test_any_gang_learns_the_same(tmp_path, nodes, processes):
    """With rows that neither the batch nor the gang divides; the figures are those of one process,
    up to the order in which floating-point sums are made."""
    write_csv(tmp_path / "data" / "in.csv", rows(211))
    manifest = base()
    manifest["spec"]["train"] = {
        "nodes": nodes,
        "procsPerNode": processes,
        "model": {"mlp": {"hidden": [8], "activation": "tanh"}},
        "epochs": 5,
        "batchSize": 17,
        "seed": 3,
    }
    manifest["spec"]["evaluate"] = {"metrics": ["accuracy", "log_loss"]}
    outcome = run(tmp_path, write_job(tmp_path, manifest))
    outputs = outcome.status["stages"][1]["outputs"]
    found = (outputs["loss"], outputs["validationLoss"], outcome.metrics()["log_loss"])
    assert outputs["steps"] == 5 * 9
    EXPECTED.setdefault("one process", found)
    assert found == pytest.approx(EXPECTED["one process"], rel=1e-4)


# Filled by the first case, which is the gang of one.
EXPECTED: dict[str, tuple[float, ...]] = {}
