"""`evaluate.sealed` end to end: training code that looks for the truth of the test split."""

from __future__ import annotations

import json
from pathlib import Path

from .harness import base, run, write_csv, write_job

ROWS = 240
CODE = """
import json, os, pathlib, struct, urllib.error, urllib.request
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper

out = pathlib.Path(os.environ["TRAININGJOB_OUTPUT_DIR"])
inside = pathlib.Path(os.environ["TRAININGJOB_INPUT_DIR"])
# All of the claim that the pod has, also what other stages have left or hidden.
claim = inside.parents[2]
truth = {i: i + 0.0625 + i * i * 1e-7 for i in range(1000, 1000 + ROWS)}
files = [path for path in claim.rglob("*") if path.is_file()]
known, tables = set(), 0
texts = [path.read_bytes() for path in files]
texts += [json.dumps(dict(os.environ)).encode()]
for path in files:
    try:
        table = pq.read_table(path)
    except Exception:
        continue
    tables += 1
    if "y" in table.column_names:
        known |= {round(value, 9) for value in table["y"].to_pylist()}
for i, value in truth.items():
    if any(struct.pack("<d", value) in text or repr(value).encode() in text for text in texts):
        known.add(round(value, 9))

# The address and the token are its own.
token = pathlib.Path(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).read_text().strip()
request = urllib.request.Request(
    os.environ["STATUS_URL"], headers={"Authorization": f"Bearer {token}"}
)
try:
    urllib.request.urlopen(request, timeout=5)
    answer = 200
except urllib.error.HTTPError as error:
    answer = error.code
(claim / "found.json").write_text(json.dumps({
    "known": len(known), "files": len(files), "tables": tables, "answer": answer,
}))

shape = ["rows", 1]
graph = helper.make_graph(
    [helper.make_node("Add", ["x", "half"], ["y"])],
    "half",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    [helper.make_tensor("half", TensorProto.FLOAT, [1], [0.0625])],
)
opset = helper.make_opsetid("", 17)
onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), out / "model.onnx")
"""


def test_code_that_trains_finds_no_label_of_the_test_split(tmp_path: Path) -> None:
    rows = [{"x": i, "y": repr(i + 0.0625 + i * i * 1e-7)} for i in range(1000, 1000 + ROWS)]
    write_csv(tmp_path / "data/in.csv", rows)
    manifest = base()
    spec = manifest["spec"]
    spec["task"] = {"type": "regression", "label": "y"}
    spec["preprocess"]["split"] = {"test": 0.25, "validation": 0, "seed": 1}
    spec["train"] = {"script": {"inline": CODE.replace("ROWS", str(ROWS))}}
    spec["evaluate"] = {
        "metrics": ["rmse"],
        "gates": [{"metric": "rmse", "max": 0.2}],
        "sealed": True,
    }
    outcome = run(tmp_path, write_job(tmp_path, manifest), "--claim", "data=data")

    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert outcome.metrics()["rmse"] < 0.2
    found = json.loads((tmp_path / ".trainingjob/claims/runs/found.json").read_text())
    counts = outcome.status["stages"][0]["outputs"]["rows"]
    # It finds each label of what it trains on, so it has looked well, and no other.
    assert counts["train"] + counts["test"] == ROWS
    assert (found["known"], found["tables"]) == (counts["train"], 1), found
    assert found["answer"] == 403
