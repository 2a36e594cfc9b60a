"""No success without a model, no second training for a missing one, and what can be known before
training is told before it: real scripts, as people bring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from .harness import Outcome, base, rows, run, write_csv, write_job

MODEL = "torch.nn.Linear(2, 2).state_dict()"
OUT = "import os, pathlib\nout = pathlib.Path(os.environ['TRAININGJOB_OUTPUT_DIR'])\n"
PREDICT = """
import pandas as pd
test = pd.read_parquet(os.environ["TRAININGJOB_INPUT_DIR"] + "/test")
pd.DataFrame({"y_true": test.label, "y_pred": test.label}).to_parquet(out / "predictions.parquet")
"""


def job(source: str, **train: Any) -> dict[str, Any]:
    """Own code on a folder of anything, without an evaluation."""
    manifest = base()
    spec = manifest["spec"]
    del spec["preprocess"], spec["evaluate"]
    spec["train"] = {"dataset": {"uri": "pvc://data"}, "script": {"inline": source}, **train}
    return manifest


def judged(source: str) -> dict[str, Any]:
    """Own code between our preprocess and our evaluation."""
    manifest = base()
    manifest["spec"]["train"] = {"script": {"inline": source}}
    return manifest


def outcome(folder: Path, manifest: dict[str, Any]) -> Outcome:
    write_csv(folder / "data" / "in.csv", rows())
    return run(folder, write_job(folder, manifest))


def failed(folder: Path, manifest: dict[str, Any]) -> str:
    """The message of a job that fails in its first attempt to train."""
    done = outcome(folder, manifest)
    status = done.status
    assert status["phase"] == "Failed", done.stderr
    assert status["lastFailure"]["attempt"] == 1, "not tried again in vain"
    assert status["lastFailure"]["stage"] == "train"
    return f"{status['reason']}: {status['message']}"


def kept(folder: Path) -> Path:
    return folder / ".trainingjob/claims/runs/default/small/left-behind/attempt-1"


# source -> words of the message, what is kept
ELSEWHERE = {
    "where it stands": (
        f"import torch\ntorch.save({MODEL}, 'model.pt')\n",
        ["model.pt (", " in the working folder; kept in "],
        ["model.pt"],
    ),
    "in a folder where it stands": (
        "import os\nos.makedirs('out/final')\nopen('out/final/model.safetensors', 'w').write('x')\n"
        "open('out/trainer_state.json', 'w').write('{}' * 50)\n",
        ["it wrote out/final/model.safetensors (1 B) and out/trainer_state.json (100 B) in the"],
        ["out/final/model.safetensors", "out/trainer_state.json"],
    ),
    "into the folder for checkpoints": (
        "import os\nfolder = os.environ['TRAININGJOB_CHECKPOINT_DIR']\n"
        "open(folder + '/last.ckpt', 'w').write('x')\n",
        ["last.ckpt (1 B) in $TRAININGJOB_CHECKPOINT_DIR; save the model to"],
        None,
    ),
    "beside the output folder, for want of a slash": (
        "import os\nopen(os.environ['TRAININGJOB_OUTPUT_DIR'] + 'best.pt', 'w').write('x')\n",
        ["modelbest.pt (1 B) in "],
        None,
    ),
    "behind a link": (
        OUT + "open('model.pt', 'w').write('x')\n(out / 'model.pt').symlink_to(os.path.abspath"
        "('model.pt'))\n",
        ["(model.pt is a link out of it: copy the file itself); it wrote model.pt (1 B)"],
        ["model.pt"],
    ),
    "nowhere": ("print('trained')\n", ["; nor did it write anything elsewhere; save the"], None),
}


@pytest.mark.parametrize(("source", "words", "files"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_model_that_was_saved_elsewhere_is_named_and_kept(tmp_path, source, words, files):
    message = failed(tmp_path, job(source))
    assert message.startswith("ModelMissing: the training code ended well and left nothing in ")
    for text in words:
        assert text in message
    if files is None:
        assert not kept(tmp_path).exists()
        return
    found = sorted(
        path.relative_to(kept(tmp_path)).as_posix()
        for path in kept(tmp_path).rglob("*")
        if path.is_file()
    )
    assert found == files
    if files == ["model.pt"] and "torch" in source:
        assert torch.load(kept(tmp_path) / "model.pt", weights_only=True).keys() == {
            "weight",
            "bias",
        }


def test_a_command_that_saves_where_it_stands(tmp_path):
    manifest = job("")
    manifest["spec"]["train"] = {
        "dataset": {"uri": "pvc://data"},
        "command": ["sh", "-c", "echo weights > model.bin"],
    }
    assert "model.bin (8 B) in the working folder; kept in" in failed(tmp_path, manifest)
    assert (kept(tmp_path) / "model.bin").read_text() == "weights\n"


def test_code_that_means_to_leave_only_figures_succeeds(tmp_path):
    source = OUT + "(out / 'metrics.json').write_text('{}')\nopen('best.pt', 'w').write('x')\n"
    done = outcome(tmp_path, job(source))
    assert done.status["phase"] == "Succeeded", done.stderr
    (warning,) = done.status["stages"][0]["outputs"]["warnings"]
    assert warning["reason"] == "ModelElsewhere"
    assert warning["message"].startswith(
        "metrics.json (2 B) is all that the training code left as its model; it wrote best.pt (1 B)"
    )
    assert (kept(tmp_path) / "best.pt").read_text() == "x", "should it have been the model"


def test_weights_that_cannot_be_judged_are_told_with_what_to_leave_instead(tmp_path):
    source = OUT + f"import torch\ntorch.save({MODEL}, out / 'model.pt')\n"
    message = failed(tmp_path, judged(source))
    assert message.startswith("ModelMissing: model.pt (")
    assert "cannot be judged: it is read by unpickling, which could run any code; " in message
    assert "write torch.onnx.export(model, (x,)" in message
    assert "for evaluate, leave model.onnx or predictions.parquet there" in message
    model = tmp_path / ".trainingjob/claims/runs/default/small/model/model.pt"
    assert torch.load(model, weights_only=True), "it stays where it was saved"


HUGGING_FACE = """
from transformers import BertConfig, BertForSequenceClassification
config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                    intermediate_size=8, max_position_embeddings=4)
BertForSequenceClassification(config).save_pretrained(out)
"""


def test_a_hugging_face_model_is_not_taken_for_ours(tmp_path):
    """transformers' own save_pretrained has our names: config.json and model.safetensors."""
    done = outcome(tmp_path, judged(OUT + HUGGING_FACE + PREDICT))
    assert done.status["phase"] == "Succeeded", done.status["message"]
    assert done.metrics() == {"accuracy": 1.0}
    stored = tmp_path / ".trainingjob/claims/runs/default/small"
    assert {"config.json", "model.safetensors"} <= {p.name for p in (stored / "model").iterdir()}
    report = json.loads((stored / "evaluation/metrics.json").read_text())
    assert report["source"] == "predictions"


def test_a_hugging_face_model_alone_cannot_be_judged(tmp_path):
    message = failed(tmp_path, judged(OUT + HUGGING_FACE))
    assert message.startswith("ModelMissing: model.safetensors (")
    assert "there is no tokenizer.json beside config.json of BertForSequenceCl" in message
    assert "; write tokenizer.save_pretrained(out), or predictions.parquet" in message


def own_split(folder: Path) -> dict[str, Any]:
    """Folders of parquet files that no preprocess stage has written."""
    for split in ("train", "test"):
        (folder / "data/own" / split).mkdir(parents=True)
        pd.DataFrame({"a": [1, 2], "label": ["a", "b"]}).to_parquet(
            folder / "data/own" / split / "x.parquet"
        )
    manifest = job(OUT + "(out / 'began').write_text('x')\n" + PREDICT)
    manifest["spec"]["train"]["dataset"] = {"uri": "pvc://data/own"}
    return manifest


def test_a_dataset_without_manifest_is_told_before_own_code_trains_for_an_evaluation(tmp_path):
    manifest = own_split(tmp_path)
    manifest["spec"]["evaluate"] = {"metrics": ["accuracy"]}
    message = failed(tmp_path, manifest)
    assert message.startswith("DatasetInvalid: there is no dataset at ")
    assert "it has no manifest.json, which a preprocess stage writes (it has test/, tr" in message
    assert "; evaluate needs it; check train.dataset.uri" in message
    assert not (tmp_path / ".trainingjob/claims/runs/default/small/model").exists(), "not begun"


def test_own_code_may_train_on_any_folder_without_an_evaluation(tmp_path):
    done = outcome(tmp_path, own_split(tmp_path))
    assert done.status["phase"] == "Succeeded", done.stderr


def test_a_subset_of_a_datasets_features_is_learned_and_judged(tmp_path):
    """Prepared by one job, used by another, which wants fewer features."""
    first = outcome(tmp_path, base())
    assert first.code == 0, first.stderr
    manifest = base()
    manifest["metadata"]["name"] = "subset"
    del manifest["spec"]["preprocess"]
    manifest["spec"]["task"]["features"] = ["y"]
    manifest["spec"]["train"]["dataset"] = {"uri": "pvc://runs/default/small/dataset"}
    second = run(tmp_path, write_job(tmp_path, manifest))
    assert second.status["phase"] == "Succeeded", second.status["message"]
    train = second.status["stages"][0]
    assert train["outputs"]["features"] == 1

    manifest["spec"]["task"]["features"] = ["y", "z"]
    wrong = run(tmp_path, write_job(tmp_path, manifest))
    assert wrong.status["reason"] == "ColumnNotFound"
    assert "task.features: the dataset has no feature z (features: x, y)" in wrong.status["message"]


# why it is certain -> source, words
CERTAIN = {
    "a module that is not there": ("import no_such_module\n", "ModuleMissing: "),
    "a name that a module has not": ("from json import nothing\n", "ScriptInvalid: "),
    "an address of the manifest": (
        "import pandas\npandas.read_csv('pvc://data/in.csv')\n",
        "ScriptInvalid: ",
    ),
    "arguments that are not known": (
        "import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n",
        "ArgumentsInvalid: ",
    ),
}


@pytest.mark.parametrize(("source", "reason"), CERTAIN.values(), ids=CERTAIN)
def test_what_fails_for_certain_is_not_tried_again(tmp_path, source, reason):
    assert failed(tmp_path, job(source)).startswith(reason)
