"""What is served: the model, its variants, and by what."""

from __future__ import annotations

from ... import uris
from ...base import Rule
from .cel import SPLIT, trained

_RUNTIME = "(has(self.deploy) && has(self.deploy.kserve) && has(self.deploy.kserve.runtime))"
_EXPORTED = (
    "(!has(self.{0}) || !has(self.{0}.variant) || (has(self.train.export) && "
    "(self.{0}.variant == 'onnx' ? has(self.train.export.formats) : "
    "has(self.train.export.quantize))))"
)
_KSERVE_READS = tuple(scheme.start for scheme in uris.OF_KSERVE)

RULES: tuple[Rule, ...] = (
    trained(
        cel=" && ".join(map(_EXPORTED.format, ("deploy", "predict"))),
        message="deploy.variant and predict.variant name what train.export makes: onnx by "
        "formats, int8 by quantize",
        holds=lambda self: (
            {part.variant for part in (self.deploy, self.predict) if part is not None}
            <= {None, *(self.train.export.names if self.train.export is not None else ())}
        ),
    ),
    Rule(
        cel="!has(self.deploy) || !has(self.evaluate) || (!has(self.evaluate.nodes) "
        "|| self.evaluate.nodes == 1) && (!has(self.evaluate.procsPerNode) "
        "|| self.evaluate.procsPerNode == 1)",
        message="deploy serves a language model that one process can judge: leave out "
        "evaluate.nodes and procsPerNode, or serve model/ by vLLM",
        holds=lambda self: (
            self.deploy is None
            or self.evaluate is None
            or (self.evaluate.nodes or 1) * (self.evaluate.procs_per_node or 1) == 1
        ),
    ),
    trained(
        cel="!has(self.train.export) || !has(self.train.export.quantize) || has(self.evaluate)",
        message="train.export.quantize needs evaluate, which judges what is lost",
        holds=lambda self: (
            self.train.export is None
            or self.train.export.quantize is None
            or self.evaluate is not None
        ),
    ),
    trained(
        cel=f"!has(self.train.export) || !has(self.preprocess) || !has({SPLIT}.folds)",
        message="train.export is judged on a test split: without preprocess.split.folds",
        holds=lambda self: (
            self.train.export is None
            or self.preprocess is None
            or self.preprocess.split.folds is None
        ),
    ),
    Rule(
        cel="!has(self.deploy) || (has(self.deploy.keep) && !self.deploy.keep) || "
        "!has(self.storage.pvc) || !has(self.storage.pvc.whenDeleted) || "
        "self.storage.pvc.whenDeleted != 'delete'",
        message="a model that is served when its job is deleted must not be deleted with it: "
        "set deploy.keep to false, or storage.pvc.whenDeleted to keep",
        holds=lambda self: (
            self.deploy is None
            or self.deploy.keep is False
            or self.storage.pvc is None
            or self.storage.pvc.when_deleted != "delete"
        ),
    ),
    trained(
        cel=f"!{_RUNTIME} || self.task.type == 'languageModel'",
        message="deploy.kserve.runtime serves language models: leave it out, and the "
        "operator's server does",
        holds=lambda self: not self.by_runtime or self.task.type == "languageModel",
    ),
    Rule(
        cel=f"!{_RUNTIME} || !has(self.storage.uri) || "
        + " || ".join(f"self.storage.uri.startsWith('{start}')" for start in _KSERVE_READS),
        message="a runtime of KServe reads storage.uri itself: "
        f"{', '.join(_KSERVE_READS[:-1])} or {_KSERVE_READS[-1]}; elsewhere leave out "
        "deploy.kserve.runtime",
        holds=lambda self: (
            not self.by_runtime
            or self.storage.uri is None
            or self.storage.uri.startswith(_KSERVE_READS)
        ),
    ),
)
