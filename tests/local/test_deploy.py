"""`trainingjob run` of a job with spec.deploy: the model proves itself, or the job fails."""

from __future__ import annotations

from pathlib import Path

from .harness import base, cli, rows, run, write_csv, write_job


def test_a_model_proves_itself_on_one_machine(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    manifest = base()
    manifest["spec"]["deploy"] = {"deployment": {"replicas": 2}, "selfTest": {"rows": 8}}
    first = run(tmp_path, write_job(tmp_path, manifest))
    assert first.code == 0, first.stderr
    assert first.status["message"] == "done; a server of it has reproduced what was judged"
    told = first.status["deployment"]
    assert (told["phase"], told["modelDigest"]) == (
        "Ready",
        first.status["evaluation"]["modelDigest"],
    )
    assert "a server of it has reproduced what was judged" in first.stderr
    log = cli(tmp_path, "logs", "small", "--stage", "deploy").stdout
    assert "8 rows of the evaluation have the same outputs" in log

    # Another job promotes the model, and has no other stage: here KServe's is proven as any other.
    digest = first.status["evaluation"]["modelDigest"]
    folder = told["modelUri"]
    storage = {"uri": manifest["spec"]["storage"]["uri"]}
    deploy = {"kserve": {}, "model": {"uri": folder, "digest": digest}}
    live = manifest | {"metadata": {"name": "live"}, "spec": {"storage": storage, "deploy": deploy}}
    promoted = run(tmp_path, write_job(tmp_path, live))
    assert promoted.code == 0, promoted.stderr
    assert [stage["name"] for stage in promoted.status["stages"]] == ["deploy"]
    assert promoted.status["deployment"]["modelDigest"] == digest
    assert "a server of it has reproduced what was judged" in promoted.stderr
    write_csv(tmp_path / "new.csv", rows(4))
    assert cli(tmp_path, "predict", "live", "new.csv").stdout.startswith('"prediction"')

    (accepted,) = (tmp_path / ".trainingjob/claims/runs/default/small/accepted").glob("[0-9a-f]*/")
    (weights,) = accepted.rglob("*.safetensors")
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-8])
    second = cli(tmp_path, "rerun", "small", "--from", "deploy", "-o", "json")
    assert second.code != 0
    assert second.status["reason"] == "RolloutFailed"
    assert second.status["message"].startswith("ModelCorrupt: ")
    again = cli(tmp_path, "rerun", "live", "--from", "deploy", "-o", "json")
    assert again.status["message"].startswith("ModelCorrupt: ")
