"""Why what own code has left cannot be judged, and the line that would write what can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .folder import (
    ADAPTER,
    CONFIG,
    OF_LIBRARIES,
    OF_OWN_CODE,
    PICKLED,
    PREDICTIONS,
    TOKENIZER,
    File,
    architecture,
    files,
    has_weights,
    in_words,
    is_classifier,
    links_out,
)

# Of own code that has the model; ``out`` is $TRAININGJOB_OUTPUT_DIR. docs/own-code.md shows them.
LINES = {
    "PyTorch": 'torch.onnx.export(model, (x,), f"{out}/model.onnx", dynamo=True, dynamic_shapes='
    "({0: torch.export.Dim.DYNAMIC},))",
    "Keras": 'model.export(f"{out}/model.onnx", format="onnx")',
    "TensorFlow": 'tf2onnx.convert.from_keras(model, output_path=f"{out}/model.onnx")',
    "scikit-learn": 'onnx.save(skl2onnx.to_onnx(model, X[:1].astype("float32"), '
    'options={"zipmap": False}), f"{out}/model.onnx")',
    "XGBoost": "onnx.save(onnxmltools.convert_xgboost(model, initial_types="
    '[("x", FloatTensorType([None, X.shape[1]]))]), f"{out}/model.onnx")',
    "LightGBM": "onnx.save(onnxmltools.convert_lightgbm(model, initial_types="
    '[("x", FloatTensorType([None, X.shape[1]]))], zipmap=False), f"{out}/model.onnx")',
    "any other": 'pandas.DataFrame({"y_true": truth, "y_pred": predicted}).to_parquet('
    'f"{out}/predictions.parquet")',
}
_OF_SUFFIX = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".distcp"), "PyTorch"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "scikit-learn"),
    **dict.fromkeys((".keras", ".h5", ".hdf5"), "Keras"),
    **dict.fromkeys((".pb", ".index", ".tflite"), "TensorFlow"),
}
_UNPICKLED = "it is read by unpickling, which could run any code"
_OF_ANOTHER = "a model of another library needs its code to run"
# How the text and JSON of libraries begin, whatever the file is called.
_HEAD_BYTES, _MOST_HEADS = 64, 100


def nothing_to_judge(folder: Path) -> str:
    """The message about a folder in which ``find`` finds nothing."""
    found = files(folder)
    if not found:
        return f"there is no model in {folder}{links_out(folder)}"
    why = _why_not(folder, found)
    return f"{in_words(found)} in {folder} cannot be judged: {why}{links_out(folder)}"


def _why_not(folder: Path, found: Sequence[File]) -> str:
    if architecture(folder) or any(file.path.name == ADAPTER for file in found):
        return _of_hugging_face(folder, found)
    suffixes = {file.path.suffix.lower() for file in found}
    library = _by_head(folder, found) or next(
        (library for suffix, library in _OF_SUFFIX.items() if suffix in suffixes), None
    )
    line = LINES["any other"] if library is None else f"{LINES[library]}, or predictions.parquet"
    if suffixes & {*PICKLED}:
        return f"{_UNPICKLED}; write {line}"
    if library is not None or suffixes & {*OF_LIBRARIES} - {".onnx"}:
        return f"{_OF_ANOTHER}; write {line}"
    if {file.path.name for file in found} & {*OF_OWN_CODE.values(), PREDICTIONS}:
        judged = f"{', '.join(OF_OWN_CODE.values())} or {PREDICTIONS}"
        return f"they have to lie in the folder itself, under the names {judged}"
    return f"it is no model that can be run here; write {line}"


def _of_hugging_face(folder: Path, found: Sequence[File]) -> str:
    """A classifier of texts that is not whole, or another model."""
    name = architecture(folder)
    if name is None or any(file.path.name == ADAPTER for file in found):
        return "it is an adapter; write model.merge_and_unload().save_pretrained(out)"
    if not is_classifier(name):
        line = LINES["any other"]
        return f"{_OF_ANOTHER}, and {name} is no classifier of texts, which is run; write {line}"
    pickled = [f.path.name for f in found if f.path.suffix.lower() in PICKLED]
    if not has_weights(folder):
        why = f"{pickled[0]}: {_UNPICKLED}" if pickled else "there is no model.safetensors"
        return f"{why}; write model.save_pretrained(out), which leaves safetensors"
    return (
        f"there is no {TOKENIZER} beside {CONFIG} of {name}; write tokenizer.save_pretrained(out), "
        f"or {PREDICTIONS}"
    )


def _by_head(folder: Path, found: Sequence[File]) -> str | None:
    """The library whose files begin so: XGBoost's JSON and UBJSON, LightGBM's text."""
    for file in found[:_MOST_HEADS]:
        try:
            with (folder / file.path).open("rb") as opened:
                head = opened.read(_HEAD_BYTES)
        except OSError:
            continue  # the next look at the folder will tell
        if head.startswith(b"{") and b"learner" in head:
            return "XGBoost"
        if head.startswith(b"tree\nversion="):
            return "LightGBM"
    return None
