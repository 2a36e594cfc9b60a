"""The resource as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from .. import uris
from ..base import Model, Rule
from ..stages import STAGE_NAMES
from . import sealed
from .code import OWN
from .deploy import AcceptedModel, Deploy
from .evaluate import CLASSIFICATION_METRICS, LANGUAGE_MODEL_METRICS, REGRESSION_METRICS, Evaluate
from .export import VariantName
from .input import Input
from .patterns import DNS_LABEL, JOB_NAME, MANAGER
from .policy import Policy
from .predict import Predict
from .preprocess import Preprocess
from .split import cel_may_have
from .status import Status
from .storage import Storage
from .task import Task as Task
from .train import Train
from .transformer import Pretrained

GROUP = "trainingjob.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "TrainingJob"
PLURAL = "trainingjobs"
# What this operator is called in spec.managedBy.
OPERATOR = f"{GROUP}/operator"

# CEL.
_SPLIT = "self.preprocess.split"
# As Task.label has it.
_LABEL = (
    "(has(self.task.label) ? self.task.label : has(self.task.text) ? self.task.text : "
    "has(self.task.messages) ? self.task.messages : '')"
)
_CEL_FILES = " + ".join(
    f"(has({_SPLIT}.files) && has({_SPLIT}.files.{name}) ? [{_SPLIT}.files.{name}] : [])"
    for name in ("validation", "test")
)
_CEL_PRETRAINED = "(has(self.train.model) && has(self.train.model.pretrained))"
# A model that was accepted before.
_CEL_NAMED = {
    stage: f"(has(self.{stage}) && has(self.{stage}.model))" for stage in ("deploy", "predict")
}
_CEL_PROMOTES = f"({' || '.join(_CEL_NAMED.values())})"
_CEL_EXPORTED = (
    "(!has(self.{0}) || !has(self.{0}.variant) || (has(self.train.export) && "
    "(self.{0}.variant == 'onnx' ? has(self.train.export.formats) : "
    "has(self.train.export.quantize))))"
)
_CEL_RUNTIME = "(has(self.deploy) && has(self.deploy.kserve) && has(self.deploy.kserve.runtime))"
_KSERVE_READS = tuple(scheme.start for scheme in uris.OF_KSERVE)
_CEL_OWN_JUDGE = OWN.replace("self.", "self.evaluate.")
# What preprocess reads.
_CEL_STORAGE = "(has(self.storage.uri) ? [self.storage.uri] : [])"
_CEL_READ = (
    f"[self.preprocess.input.uri] + {_CEL_FILES} + (has(self.preprocess.inputs) ? "
    "self.preprocess.inputs.map(k, self.preprocess.inputs[k].uri) : []) + "
    "(has(self.preprocess.tokenize) && has(self.preprocess.tokenize.from) ? "
    "[self.preprocess.tokenize.from] : [])"
)


def _metrics_of(spec: Spec) -> set[str]:
    evaluate = spec.evaluate
    if evaluate is None:
        return set()
    return {*(evaluate.metrics or ()), *(gate.metric for gate in evaluate.gates or ())}


def _cel_metrics(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        f"(!has(self.evaluate.metrics) || self.evaluate.metrics.all(m, m in [{listed}])) && "
        f"(!has(self.evaluate.gates) || self.evaluate.gates.all(g, g.metric in [{listed}]))"
    )


def _trained(
    *,
    cel: str | None,
    message: str,
    holds: Callable[[Any], bool],
    schema: dict[str, Any] | None = None,
) -> Rule:
    """A rule about jobs that train: one that only deploys has neither train nor task."""
    return Rule(
        cel=cel and f"!has(self.train) || ({cel})",
        message=message,
        holds=lambda self: self.train is None or self.task is None or holds(self),
        schema=schema,
    )


def _judged_by(task: str, metrics: Sequence[str]) -> Rule:
    """Which metrics a type of task has."""
    article = "a " if task == "languageModel" else ""
    return _trained(
        cel=f"!has(self.evaluate) || self.task.type != '{task}' || {_CEL_OWN_JUDGE} || "
        f"({_cel_metrics(metrics)})",
        message=f"{article}{task} is judged by {', '.join(metrics)}; own code (evaluate.script, "
        "code, command) by what it writes",
        holds=lambda self: (
            self.task.type != task or self.judges_itself or _metrics_of(self) <= set(metrics)
        ),
    )


class Spec(Model):
    """What the user wants."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"has(self.train) != {_CEL_PROMOTES}",
            message="train must be set, unless the job only uses an accepted model, which "
            "deploy.model or predict.model names",
            holds=lambda self: (self.train is not None) != (self.promoted is not None),
        ),
        Rule(
            cel="has(self.train) == has(self.task)",
            message="task must be set, unless the job only uses an accepted model",
            holds=lambda self: (self.train is None) == (self.task is None),
        ),
        Rule(
            cel="has(self.train) || (!has(self.preprocess) && !has(self.evaluate))",
            message="a job that only uses an accepted model has neither preprocess nor evaluate",
            holds=lambda self: self.train is not None or (self.preprocess or self.evaluate) is None,
        ),
        Rule(
            cel="has(self.train) || (has(self.storage.uri) && ("
            + " || ".join(
                f"({named} && self.{stage}.model.uri.startsWith(self.storage.uri + '/'))"
                for stage, named in _CEL_NAMED.items()
            )
            + "))",
            message="deploy.model.uri, or predict.model.uri, must be below storage.uri",
            holds=lambda self: (
                self.train is not None
                or (
                    self.storage.uri is not None
                    and self.promoted is not None
                    and self.promoted.uri.startswith(f"{self.storage.uri}/")
                )
            ),
        ),
        Rule(
            cel="!has(self.deploy) || has(self.evaluate) || has(self.deploy.model)",
            message="deploy needs evaluate: only a model that was judged is served",
            holds=lambda self: (
                self.deploy is None or (self.evaluate or self.deploy.model) is not None
            ),
        ),
        Rule(
            cel=f"!has(self.predict) || has(self.evaluate) || {_CEL_PROMOTES}",
            message="predict needs evaluate: only a model that was judged predicts",
            holds=lambda self: (
                self.predict is None or self.evaluate is not None or self.promoted is not None
            ),
        ),
        Rule(
            cel="!has(self.deploy) || !has(self.predict) || !has(self.predict.model)",
            message="predict.model is for a job without deploy: with it, the model that is served "
            "predicts",
            holds=lambda self: (
                self.deploy is None or self.predict is None or self.predict.model is None
            ),
        ),
        _trained(
            cel=" && ".join(map(_CEL_EXPORTED.format, ("deploy", "predict"))),
            message="deploy.variant and predict.variant name what train.export makes: onnx by "
            "formats, int8 by quantize",
            holds=lambda self: (
                {part.variant for part in (self.deploy, self.predict) if part is not None}
                <= {None, *(self.train.export.names if self.train.export is not None else ())}
            ),
        ),
        _trained(
            cel="!has(self.predict) || self.task.type != 'languageModel'",
            message="predict is for classification and regression: a language model predicts no "
            "rows of a table",
            holds=lambda self: self.predict is None or self.task.type != "languageModel",
        ),
        _trained(
            cel="!has(self.preprocess) || !has(self.train.dataset)",
            message="either preprocess or train.dataset must be set, and not both",
            holds=lambda self: self.preprocess is None or self.train.dataset is None,
        ),
        _trained(
            cel="has(self.preprocess) || has(self.train.dataset) || (!has(self.train.model) && "
            f"(!has(self.evaluate) || ({_CEL_OWN_JUDGE} && !has(self.deploy) && "
            "!has(self.predict))) && !has(self.train.streamDataset))",
            message="either preprocess or train.dataset must be set: train.model, "
            "train.streamDataset and evaluate need a dataset, and so do deploy and predict; own "
            "code alone may do without",
            holds=lambda self: (
                self.has_dataset
                or (
                    (self.train.model, self.train.stream_dataset) == (None, None)
                    and (
                        self.evaluate is None
                        or (self.judges_itself and (self.deploy or self.predict) is None)
                    )
                )
            ),
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.stratify) || !{_SPLIT}.stratify "
            "|| self.task.type == 'classification'",
            message="split.stratify needs task.type classification",
            holds=lambda self: (
                self.preprocess is None
                or not self.preprocess.split.stratify
                or self.task.type == "classification"
            ),
        ),
        Rule(
            # What predict reads the operator knows.
            cel=f"!has(self.storage.hdfs) || has(self.predict) || ({_CEL_STORAGE} + "
            f"(has(self.preprocess) ? {_CEL_READ} : []) + "
            "(has(self.train) && has(self.train.dataset) ? [self.train.dataset.uri] : []) + "
            f"(has(self.train) && {_CEL_PRETRAINED} ? [self.train.model.pretrained.uri] : []) + "
            + " + ".join(
                f"(has(self.{stage}) && has(self.{stage}.code) && has(self.{stage}.code.uri) ? "
                f"[self.{stage}.code.uri] : [])"
                for stage in ("preprocess", "train", "evaluate")
            )
            + ")"
            f".exists(u, u.startsWith('{uris.HDFS.start}'))",
            message=f"storage.hdfs needs a uri that begins with {uris.HDFS.start}",
            holds=lambda self: (
                self.storage.hdfs is None
                or any(uri.startswith(uris.HDFS.start) for uri in self.uris)
            ),
        ),
        Rule(
            cel="!has(self.policy) || !has(self.policy.retain) || "
            "!has(self.policy.retain.datasets) || has(self.preprocess)",
            message="policy.retain.datasets needs preprocess: a dataset that was given always "
            "stays",
            holds=lambda self: (
                self.policy.retain is None
                or self.policy.retain.datasets is None
                or self.preprocess is not None
            ),
        ),
        _trained(
            cel=f"!has(self.evaluate) || !has(self.preprocess) || has({_SPLIT}.folds) "
            f"|| {_CEL_OWN_JUDGE} || {cel_may_have('test', _SPLIT)}",
            message="evaluate needs a test split: set preprocess.split.test above 0, or "
            "preprocess.split.files.test",
            holds=lambda self: (
                self.evaluate is None
                or self.preprocess is None
                or self.preprocess.split.folds is not None
                or self.judges_itself
                or self.preprocess.split.may_have("test")
            ),
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.folds) || !has(self.evaluate) || "
            f"!{_CEL_OWN_JUDGE}",
            message="evaluate with own code judges one model: without preprocess.split.folds",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.split.folds is None
                or not self.judges_itself
            ),
        ),
        _trained(
            cel=f"!has(self.train.export) || !has(self.evaluate) || !{_CEL_OWN_JUDGE}",
            message="train.export has its variants judged by metrics of ours: evaluate without own "
            "code",
            holds=lambda self: self.train.export is None or not self.judges_itself,
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.folds) "
            "|| self.task.type != 'languageModel'",
            message="preprocess.split.folds is for classification and regression",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.split.folds is None
                or self.task.type != "languageModel"
            ),
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.folds) || has(self.evaluate)",
            message="preprocess.split.folds needs evaluate, which judges the model of each fold",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.split.folds is None
                or self.evaluate is not None
            ),
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.folds) || has(self.train.script) "
            "|| has(self.train.code) || !(has(self.train.command) && has(self.train.image))",
            message="preprocess.split.folds needs our runtime, which trains the model of each "
            "fold: an image whose command runs as it stands does not have it; set train.script or "
            "train.code",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.split.folds is None
                or (self.train.script or self.train.code) is not None
                or self.train.command is None
                or self.train.image is None
            ),
        ),
        _trained(
            cel="!has(self.train.earlyStopping) || !has(self.preprocess) "
            f"|| {cel_may_have('validation', _SPLIT)}",
            message="train.earlyStopping needs a validation split: "
            "set preprocess.split.validation above 0, or preprocess.split.files.validation",
            holds=lambda self: (
                self.train.early_stopping is None
                or self.preprocess is None
                or self.preprocess.split.may_have("validation")
            ),
        ),
        _trained(
            cel="!has(self.train.search) || !has(self.preprocess) "
            f"|| (!has({_SPLIT}.folds) && {cel_may_have('validation', _SPLIT)})",
            message="train.search compares models by a validation split: set "
            "preprocess.split.validation above 0, or preprocess.split.files.validation, and leave "
            "out preprocess.split.folds",
            holds=lambda self: (
                self.train.search is None
                or self.preprocess is None
                or (
                    self.preprocess.split.folds is None
                    and self.preprocess.split.may_have("validation")
                )
            ),
        ),
        _trained(
            cel="!has(self.preprocess) || ("
            f"(!has({_SPLIT}.by) || !({_LABEL} in {_SPLIT}.by))"
            f" && (!has({_SPLIT}.time) || {_LABEL} != {_SPLIT}.time)"
            f" && (!has({_SPLIT}.column) || {_LABEL} != {_SPLIT}.column))",
            message="rows cannot be divided by the label, the text or the messages: "
            "preprocess.split must name other columns",
            holds=lambda self: (
                self.preprocess is None or self.task.label not in self.preprocess.split.columns
            ),
        ),
        _trained(
            cel=f"!has(self.preprocess) || !has({_SPLIT}.column) || !has(self.task.features) || "
            f"!self.task.features.exists(f, f == {_SPLIT}.column)",
            message="the column of preprocess.split.column is no feature: leave it out of "
            "task.features",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.split.column is None
                or self.preprocess.split.column not in (self.task.features or ())
            ),
        ),
        _trained(
            # A stored job without a task must not keep its status from being written.
            cel="!has(self.preprocess) || !has(self.task) || "
            "has(self.preprocess.tokenize) == (self.task.type == 'languageModel')",
            message="task.type languageModel needs preprocess.tokenize, and the others have none",
            holds=lambda self: (
                self.preprocess is None
                or (self.preprocess.tokenize is not None) == (self.task.type == "languageModel")
            ),
        ),
        _trained(
            cel="!has(self.train.model) || !has(self.task) || "
            "(has(self.train.model.mlp) || has(self.train.model.gradientBoosting)) == "
            "(self.task.type != 'languageModel')",
            message="train.model.transformer and train.model.pretrained learn a languageModel, "
            "train.model.mlp and train.model.gradientBoosting classification and regression",
            holds=lambda self: (
                self.train.model is None
                or self.train.model.of_language == (self.task.type == "languageModel")
            ),
        ),
        _trained(
            cel="!has(self.preprocess) || !has(self.preprocess.tokenize) || ("
            f"{_CEL_PRETRAINED} ? !has(self.preprocess.tokenize.vocabSize) : "
            "has(self.preprocess.tokenize.vocabSize) || has(self.preprocess.tokenize.from))",
            message="preprocess.tokenize needs vocabSize or from; with train.model.pretrained, "
            "whose own tokenizer is taken when from is unset, there is no vocabSize",
            holds=lambda self: (
                self.preprocess is None
                or self.preprocess.tokenize is None
                or (
                    self.preprocess.tokenize.vocab_size is None
                    if self.pretrained is not None
                    else (self.preprocess.tokenize.vocab_size or self.preprocess.tokenize.from_)
                    is not None
                )
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
        _trained(
            cel="!has(self.train.export) || !has(self.train.export.quantize) || has(self.evaluate)",
            message="train.export.quantize needs evaluate, which judges what is lost",
            holds=lambda self: (
                self.train.export is None
                or self.train.export.quantize is None
                or self.evaluate is not None
            ),
        ),
        _trained(
            cel=f"!has(self.train.export) || !has(self.preprocess) || !has({_SPLIT}.folds)",
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
        _trained(
            cel=f"!{_CEL_RUNTIME} || self.task.type == 'languageModel'",
            message="deploy.kserve.runtime serves language models: leave it out, and the "
            "operator's server does",
            holds=lambda self: not self.by_runtime or self.task.type == "languageModel",
        ),
        Rule(
            cel=f"!{_CEL_RUNTIME} || !has(self.storage.uri) || "
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
        _judged_by("languageModel", LANGUAGE_MODEL_METRICS),
        _trained(
            cel=f"!has(self.evaluate) || !has(self.task.messages) || {_CEL_OWN_JUDGE} || "
            "((!has(self.evaluate.metrics) || !('bits_per_byte' in self.evaluate.metrics)) && "
            "(!has(self.evaluate.gates) || "
            "!self.evaluate.gates.exists(g, g.metric == 'bits_per_byte')))",
            message="bits_per_byte needs task.text: of messages, only the answers count",
            holds=lambda self: (
                self.task.messages is None
                or self.judges_itself
                or "bits_per_byte" not in _metrics_of(self)
            ),
        ),
        _trained(
            cel="!has(self.train.sampleWeight) || self.task.type != 'languageModel'",
            message="train.sampleWeight needs task.type classification or regression",
            holds=lambda self: (
                self.train.sample_weight is None or self.task.type != "languageModel"
            ),
        ),
        _trained(
            cel="!has(self.evaluate) || self.task.type == 'languageModel' || "
            "(!has(self.evaluate.nodes) && !has(self.evaluate.procsPerNode))",
            message="evaluate.nodes and procsPerNode need task.type languageModel: other models "
            "are judged by one process",
            holds=lambda self: (
                self.evaluate is None
                or self.task.type == "languageModel"
                or (self.evaluate.nodes or self.evaluate.procs_per_node) is None
            ),
        ),
        _judged_by("classification", CLASSIFICATION_METRICS),
        _judged_by("regression", REGRESSION_METRICS),
        _trained(
            cel="!has(self.evaluate) || !has(self.evaluate.threshold) "
            "|| self.task.type == 'classification'",
            message="evaluate.threshold needs task.type classification",
            holds=lambda self: (
                self.evaluate is None
                or self.evaluate.threshold is None
                or self.task.type == "classification"
            ),
        ),
        _trained(
            cel="!has(self.train.targetTransform) || self.task.type == 'regression'",
            message="train.targetTransform needs task.type regression",
            holds=lambda self: (
                self.train.target_transform is None or self.task.type == "regression"
            ),
        ),
        _trained(
            cel=None,
            message="train.classWeights needs task.type classification",
            holds=lambda self: (
                self.train.class_weights is None or self.task.type == "classification"
            ),
            schema={
                "anyOf": [
                    {
                        "properties": {
                            "task": {"properties": {"type": {"enum": ["classification"]}}}
                        }
                    },
                    {"properties": {"train": {"not": {"required": ["classWeights"]}}}},
                ]
            },
        ),
        _trained(
            cel=f"!has(self.train.sampleWeight) || (self.train.sampleWeight != {_LABEL} && "
            "(!has(self.task.features) || "
            "!self.task.features.exists(f, f == self.train.sampleWeight)))",
            message="train.sampleWeight must be neither the label nor one of the features",
            holds=lambda self: (
                self.train.sample_weight is None
                or self.train.sample_weight not in (self.task.label, *(self.task.features or ()))
            ),
        ),
        *sealed.rules(),
    )

    # Stages that are done are not done again: the result would not be that of the spec.
    immutable: ClassVar[tuple[str, ...]] = (
        "task",
        "storage",
        *STAGE_NAMES,
        "managed_by",
    )

    task: Task | None = Field(
        None,
        description="What is to be predicted; unset where an accepted model is used.",
    )
    storage: Storage = Field(description="Where stages hand over to each other.")
    preprocess: Preprocess | None = Field(
        None,
        description="Stage 1: from raw files to a cleaned, split dataset. Without it the job "
        "starts from `train.dataset`, or own code brings what it learns from.",
    )
    train: Train | None = Field(
        None,
        description="Stage 2: a gang of `nodes` pods trains the model. Unset: the job only deploys "
        "the accepted model that `deploy.model` names, or predicts by that of `predict.model`.",
    )
    evaluate: Evaluate | None = Field(
        None,
        description="Stage 3: judge the model on the test split. Without it the job ends with the "
        "trained model.",
    )
    deploy: Deploy | None = Field(
        None,
        description="Stage 4: serve the model that passed all gates. Without it the job ends with "
        "the verdict.",
    )
    predict: Predict | None = Field(
        None,
        description="Stage 5: predict the rows of files by the model that passed all gates.",
    )
    policy: Policy = Field(
        default_factory=Policy,
        description="Deadlines and retries; it can change while the job runs.",
    )
    # No default: an operator that does not know the field yet would meet it in every job.
    suspend: bool | None = Field(
        None,
        description="Stop the pods of the running stage and make no others, until this is false "
        "again: the stage then goes on from its last checkpoint. Can change while the job runs, "
        "and can be set at creation, as queueing systems do.",
    )
    managed_by: Annotated[str, StringConstraints(max_length=63, pattern=MANAGER)] | None = Field(
        None,
        description="The controller that looks after this job, when it is not this operator: that "
        f"then leaves the job alone, its status included. Unset, or `{OPERATOR}`: this operator.",
    )

    @property
    def uris(self) -> list[str]:
        """All that the job reads and where it writes, but for a claim that is made for it."""
        read = self.preprocess.uris if self.preprocess is not None else []
        given = (self.train.dataset if self.train else None, self.pretrained, self.promoted)
        written = [self.storage.uri] if self.storage.uri is not None else []
        code = [
            uri
            for stage in (self.preprocess, self.train, self.evaluate)
            if stage is not None
            for uri in stage.uris_of_code
        ]
        rows = self.predict.uris if self.predict is not None else []
        return [*written, *read, *(one.uri for one in given if one is not None), *code, *rows]

    @property
    def has_dataset(self) -> bool:
        """Whether there is data of ours; own code may bring all that it reads."""
        given = self.train.dataset if self.train is not None else None
        return self.preprocess is not None or given is not None

    @property
    def given(self) -> Input | None:
        """What rows are read from, where there is one such table."""
        return self.preprocess.input if self.preprocess is not None else None

    @property
    def judges_itself(self) -> bool:
        """Whether own code judges."""
        return self.evaluate is not None and self.evaluate.own_code

    @property
    def judged(self) -> bool:
        """Whether a model is accepted or not."""
        return self.evaluate is not None

    @property
    def pretrained(self) -> Pretrained | None:
        """The model that is trained further."""
        model = self.train.model if self.train is not None else None
        return model.pretrained if model is not None else None

    @property
    def promoted(self) -> AcceptedModel | None:
        """The accepted model of another job that this one deploys, or predicts by, and does nothing
        else."""
        found = (part.model for part in (self.deploy, self.predict) if part is not None)
        return next((model for model in found if model is not None), None)

    @property
    def uses_model(self) -> bool:
        """Whether a model that was accepted must be one that we can run, or a runtime of KServe."""
        return (self.deploy or self.predict) is not None

    @property
    def variant(self) -> VariantName | None:
        """The form in which the model is served; None: as it is."""
        return self.deploy.variant if self.deploy is not None else None

    @property
    def by_runtime(self) -> bool:
        """Whether a runtime of KServe serves the model, and not our server."""
        way = self.deploy.kserve if self.deploy is not None else None
        return way is not None and way.runtime is not None

    @property
    def trained(self) -> tuple[Task, Train]:
        """What is learned, and how. Raises ValueError for a job that only uses a model."""
        if self.task is None or self.train is None:
            raise ValueError("the job does not train")
        return self.task, self.train

    @property
    def tokenizer(self) -> str | None:
        """The URI of a given tokenizer, or of the folder that has it."""
        tokenize = self.preprocess.tokenize if self.preprocess is not None else None
        if tokenize is None or tokenize.vocab_size is not None:
            return None
        return tokenize.from_ or (self.pretrained.uri if self.pretrained is not None else None)


class ObjectMeta(Model):
    """The metadata that we read; the API server owns the rest."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True
    )

    # The value of a label, too.
    name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=JOB_NAME)] = Field(
        description="Name of the job; begins the names of its pods."
    )
    # A folder below the storage, too: it must not lead out of it.
    namespace: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL)] = (
        "default"
    )
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: list[str] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class TrainingJob(Model):
    """From data to a judged model: preprocess, train, evaluate, each in pods of its own."""

    api_version: Literal["trainingjob.dev/v1alpha1"] = Field(description="Version of this API.")
    kind: Literal["TrainingJob"] = Field(description="Kind of this object.")
    metadata: ObjectMeta = Field(description="As in every object of Kubernetes.")
    spec: Spec = Field(
        description="What the user wants. It stays as it was created, but for `policy` and "
        "`suspend`, and for `train.nodes` and each `template` while the job is suspended."
    )
    status: Status = Field(
        default_factory=Status, description="What the operator knows about the job; read only."
    )

    @property
    def ours(self) -> bool:
        """Whether this operator looks after it, and not somebody whom the job names."""
        return self.spec.managed_by in (None, OPERATOR)

    @property
    def deleting(self) -> bool:
        """Whether somebody has deleted it: finalizers may keep it for a while."""
        return self.metadata.deletion_timestamp is not None

    @classmethod
    def from_dict(cls, obj: dict[str, Any]) -> TrainingJob:
        """Parse an object; raises pydantic.ValidationError (see ``api.errors`` for words)."""
        return cls.model_validate(obj, by_alias=True, by_name=False)
