"""What the operator tells a pod (``TRAININGJOB_STAGE``) and what the pod answers.

The payload is one JSON object in one environment variable, so that a pod needs no access to the
API. The answer is the container's termination message: one JSON object of at most 4096 bytes
(Kubernetes cuts what is longer), copied into status by the operator.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .base import Model
from .v1alpha1.common import Arguments
from .v1alpha1.evaluate import Gate
from .v1alpha1.export import Export
from .v1alpha1.input import Input
from .v1alpha1.job import Task
from .v1alpha1.reported import Count, Digest, Outputs, ScoreValue, StatusModel, Variant
from .v1alpha1.search import Search
from .v1alpha1.split import Split
from .v1alpha1.steps import Step
from .v1alpha1.tokenize import Tokenize
from .v1alpha1.train import (
    BuiltInModel,
    Checkpoint,
    ClassWeights,
    EarlyStopping,
    Optimizer,
    Schedule,
)

# Environment variables. The local backend gives its own answers to the first group, as a kubelet
# does to the downward API: they hold what only the machine knows.
CLAIMS_DIR = "TRAININGJOB_CLAIMS_DIR"  # folder that has every mounted claim as <claim>/
COPIES_DIR = "TRAININGJOB_COPIES_DIR"  # folder for the pod's copies of what is remote
HADOOP_CONF_DIR = "HADOOP_CONF_DIR"  # folder of core-site.xml and hdfs-site.xml
HADOOP_USER_NAME = "HADOOP_USER_NAME"
KRB5_CONFIG = "KRB5_CONFIG"  # krb5.conf, as Kerberos' own library finds it
KEYTAB = "TRAININGJOB_KEYTAB"  # of the principal; empty: there is a ticket
PRINCIPAL = "TRAININGJOB_PRINCIPAL"
RESULT_FILE = "TRAININGJOB_RESULT_FILE"  # the termination message
SPARK_MASTER = "TRAININGJOB_SPARK_MASTER"
POD_IP = "TRAININGJOB_POD_IP"  # where executors find the driver, and ranks the first one
STATUS_URL = "STATUS_URL"  # where to POST a ProgressReport
# The same under the names of Kubeflow Trainer, whose wire format it is: Hugging Face's callback
# reports to us unchanged. The last two are paths of files.
KUBEFLOW_URL = "KUBEFLOW_TRAINER_SERVER_URL"
STATUS_TOKEN = "KUBEFLOW_TRAINER_SERVER_TOKEN"  # noqa: S105 - a name
STATUS_CA = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
STAGE_PAYLOAD = "TRAININGJOB_STAGE"
INPUT_DIR = "TRAININGJOB_INPUT_DIR"
OUTPUT_DIR = "TRAININGJOB_OUTPUT_DIR"
CHECKPOINT_DIR = "TRAININGJOB_CHECKPOINT_DIR"
# Where these two lie, when that is elsewhere.
INPUT_URI = "TRAININGJOB_INPUT_URI"
CHECKPOINT_URI = "TRAININGJOB_CHECKPOINT_URI"
RESUME_FROM = "TRAININGJOB_RESUME_FROM"
SEED = "TRAININGJOB_SEED"
FOLD = "TRAININGJOB_FOLD"  # whose model is trained, from 1; set by the runtime
MODEL_DIR = "TRAININGJOB_MODEL_DIR"  # the model that own code judges; set by the runtime
CODE_DIR = "TRAININGJOB_CODE_DIR"  # the pod's copy of the code; set by the runtime
CODE_FILES = "TRAININGJOB_CODE_FILES"  # where the code is mounted: a ConfigMap, or what git had
# Of the container that fetches from git, and of no other.
GIT_USERNAME = "TRAININGJOB_GIT_USERNAME"
GIT_PASSWORD = "TRAININGJOB_GIT_PASSWORD"  # noqa: S105 - a name
GIT_CA = "TRAININGJOB_GIT_CA"  # certificates, in PEM
SCRIPT_FILE = "TRAININGJOB_SCRIPT_FILE"  # a mounted ConfigMap key, when the script is in one

# What stages before have left, as status has it. No part of the payload: an image of the version
# before would refuse a field that it does not know.
DATASET_DIGEST = "TRAININGJOB_DATASET_DIGEST"
MODEL_DIGEST = "TRAININGJOB_MODEL_DIGEST"

RESULT_LIMIT = 4096
# In one report of progress; status shows some of them.
MOST_METRICS = 128


class JobRef(Model):
    """Which run this is; a rerun has another uid. Artefacts of another uid are not ours."""

    namespace: str
    name: str
    uid: str


class ScriptRef(Model):
    """User code: the text itself, or the path where a ConfigMap key is mounted."""

    inline: str | None = None
    path: str | None = None


class GitRef(Model):
    """A commit, and the folder of its tree that counts."""

    url: str
    commit: str
    path: str | None = None


class CodeRef(Model):
    """User code of several files: exactly one of the first three."""

    inline: dict[str, str] | None = Field(None, description="Text by relative path.")
    path: str | None = Field(None, description="Folder where it is mounted.")
    uri: str | None = Field(None, description="A folder of the storage.")
    git: GitRef | None = Field(None, description="Whence it was fetched to ``path``.")


class PackagesRef(Model):
    """Packages that user code needs: the one or the other, and where their wheels are kept."""

    packages: list[str] | None = Field(None, description="As in requirements.txt.")
    file: str | None = Field(None, description="A file of the code, from working_dir.")
    wheels: str = Field(description="URI of the folder of the wheels of all jobs.")


class OwnFiles(Model):
    """What a stage with own code is told about it. As all fields that a version adds they are told
    only where they are set: a gang may be completed with the image before."""

    script: ScriptRef | None = None
    code: CodeRef | None = None
    working_dir: str | None = Field(None, description="A folder of the code.")
    main: str | None = Field(None, description="Of the code, from working_dir: what Python runs.")
    requirements: PackagesRef | None = None

    @property
    def own_code(self) -> bool:
        """Whether there is any."""
        return (self.script or self.code) is not None


class OwnCode(OwnFiles):
    """Of a stage whose own code is a program."""

    command: Arguments | None = None
    args: Arguments | None = None

    @property
    def own_code(self) -> bool:
        """Whether there is any."""
        return self.command is not None or super().own_code


class SparkOnKubernetes(Model):
    """What a Spark driver needs where Kubernetes is its master; not used on one machine."""

    conf: dict[str, str] = Field(description="Settings over those of the manifest.")
    executor_template: dict[str, Any] = Field(description="Pod template for the executors.")


class CacheRef(Model):
    """Where results of stages are kept, and what a stage's key counts that its payload lacks."""

    records: str = Field(description="URI of the folder of the records.")
    conditions: str = Field(description="Digest of image, variables and devices.")
    decision: str | None = Field(
        None, description="URI of the file by which node 0 of a gang tells whether it restored."
    )


class PreprocessPayload(OwnFiles):
    """Input of the preprocess stage."""

    stage: Literal["preprocess"] = "preprocess"
    job: JobRef
    attempt: int
    task: Task
    engine: Literal["spark", "pandas"]
    input: Input
    inputs: dict[str, Input] = Field(default_factory=dict, description="Further tables.")
    steps: list[Step] = Field(default_factory=list)
    split: Split
    tokenize: Tokenize | None = None
    pretrained: str | None = Field(
        None, description="URI of the model that the tokens are for, if it has their tokenizer."
    )
    spark_conf: dict[str, str] = Field(default_factory=dict)
    kubernetes: SparkOnKubernetes | None = None
    numeric_features: bool = Field(
        description="A network follows: features must be numbers without nulls."
    )
    sample_weight: str | None = Field(None, description="A column that is no feature.")
    output: str = Field(description="URI of the dataset folder to write.")
    sealed: bool | None = Field(
        None, description="The test split is encrypted. Told where it is set, as to evaluation."
    )
    cache: CacheRef | None = Field(None, description="Unset: not cached.")


class TrainPayload(OwnCode):
    """Input of the train stage; the same for every pod, which knows its NODE_RANK."""

    stage: Literal["train"] = "train"
    job: JobRef
    attempt: int
    task: Task
    nodes: int
    procs_per_node: int
    model: BuiltInModel | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    early_stopping: EarlyStopping | None = None
    epochs: int | None = None
    batch_size: int | None = None
    precision: Literal["auto", "fp32", "bf16"] | None = None
    checkpoint: Checkpoint | None = None
    class_weights: ClassWeights | None = None
    sample_weight: str | None = None
    target_transform: Literal["standardize", "log1p"] | None = None
    gradient_accumulation: int | None = None
    gradient_clip: float | None = None
    tokens: int | None = None
    sharding: Literal["auto", "none", "full", "hybrid"] | None = None
    activation_checkpointing: bool | None = None
    compile: bool | None = None
    ema: float | None = None
    export: Export | None = None
    search: Search | None = None
    seed: int
    stream_dataset: bool | None = Field(
        None, description="The code reads the rows from where they lie."
    )
    needs_model: bool = Field(description="An evaluation follows: the model must be usable.")
    metrics: list[str] | None = Field(
        None, description="Of that evaluation, those that need two classes; known before training."
    )
    threshold: float | None = Field(None, description="Of that evaluation.")
    accepted: str | None = Field(
        None, description="URI of the folder of the last accepted model's record, if compared with."
    )
    dataset: str = Field(description="URI of the dataset folder.")
    checkpoints: str = Field(description="URI of the checkpoints folder.")
    model_uri: str = Field(description="URI of the model folder to write.")
    cache: CacheRef | None = Field(None, description="Unset: not cached.")


class Baseline(StatusModel):
    """The last accepted model, as far as gates compare with it."""

    metrics: dict[str, float] = Field(description="By name, those of gates with noWorseThan.")
    dataset_digest: Digest = Field(description="The dataset that it was judged on.")


class SealKey(Model):
    """What the operator answers a GET of a pod that may read the test split."""

    key: str = Field(pattern="^[0-9a-f]{64}$", repr=False)


class EvaluatePayload(OwnCode):
    """Input of the evaluate stage."""

    stage: Literal["evaluate"] = "evaluate"
    job: JobRef
    attempt: int
    task: Task
    metrics: list[str] = Field(
        description="Metrics to report, gates' included; of own code none: those that it writes."
    )
    dataset: str
    model_uri: str
    threshold: float | None = None
    sealed: bool | None = Field(None, description="No other test split is judged by.")
    output: str = Field(description="URI of the evaluation folder to write.")
    gates: list[Gate] = Field(default_factory=list)
    export: Export | None = Field(None, description="Which variants are judged, too.")
    nodes: int | None = Field(None, description="Told where it is set, and so is the next.")
    procs_per_node: int | None = None
    # An operator that does not know it does not send the gates either.
    accepted: str | None = Field(
        None, description="URI of the folder of the last accepted model's record."
    )
    baseline: Baseline | None = Field(
        None, description="As status has it; it goes before the record, which pods can write."
    )
    in_use: list[str] | None = Field(
        None,
        max_length=64,
        description="Folders of accepted models that deployments serve or may go back to, and that "
        "jobs name which are not over: they are kept beside the newest ones.",
    )


class ServePayload(Model):
    """Input of a server of an accepted model, which is ready once the model has shown that it gives
    what evaluation judged. What has a default is told only where it is set."""

    stage: Literal["serve"] = "serve"
    model_uri: str = Field(description="URI of the model's folder, below accepted/.")
    digest: str | None = Field(
        None,
        description="modelDigest of the evaluation that accepted it. Default: model_uri is the "
        "folder of all of them, and the last one is served.",
    )
    variant: str | None = Field(None, description="In which form. Default: the model itself.")
    name: str = Field(description="Of the model in the paths of requests.")
    port: int | None = Field(None, description="Default: 8080.")
    host: str | None = Field(None, description="Default: all addresses.")
    self_test_rows: int | None = Field(None, description="At most so many. Default: all there are.")
    tolerance: float | None = Field(
        None,
        description="Of an output, relative to the greater of 1 and its size. Default: 1e-4, of "
        "int8 1e-2.",
    )
    max_body_bytes: int | None = Field(None, description="Of a request. Default: 16 MiB.")
    max_queued_rows: int | None = Field(
        None, description="That wait: more are answered by 429. Default: 16384."
    )
    prove_only: bool | None = Field(
        None, description="End once it is ready, with a result. Default: no."
    )
    drain_seconds: float | None = Field(
        None, description="After SIGTERM, for requests that were accepted. Default: 20."
    )


class PredictPayload(Model):
    """Input of the predict stage. What is optional is told only where it is set."""

    stage: Literal["predict"] = "predict"
    job: JobRef
    attempt: int
    model_uri: str = Field(description="URI of the accepted model's folder.")
    digest: str = Field(description="modelDigest of the evaluation that accepted it.")
    variant: str | None = Field(None, description="In which form. Default: the model itself.")
    input: Input = Field(description="The rows, as the manifest has them.")
    output: str = Field(description="URI of the folder of the predictions.")
    keep: list[str] | None = Field(None, description="Columns beside them. Default: all.")
    unpredictable: Literal["fail", "null"] | None = Field(None, description="Default: fail.")


class CleanupPayload(Model):
    """Input of the pod that removes artefacts when all is over: of these runs of stages alone."""

    stage: Literal["cleanup"] = "cleanup"
    output: str = Field(description="URI of the job's folder.")
    dataset: str | None = Field(None, description="URI of the dataset folder.")
    dataset_run: str = Field("", description="The run that has written it.")
    checkpoints: str | None = Field(None, description="URI of the checkpoints folder.")
    checkpoints_run: str = Field("", description="The run that has written them.")


class CheckoutPayload(Model):
    """Input of the container that fetches own code before a stage's own begins."""

    stage: Literal["checkout"] = "checkout"
    git: GitRef


Payload = Annotated[
    PreprocessPayload
    | TrainPayload
    | EvaluatePayload
    | ServePayload
    | PredictPayload
    | CleanupPayload
    | CheckoutPayload,
    Field(discriminator="stage"),
]


def _small(value: object) -> object:
    return value if isinstance(value, int) and abs(value) < 2**31 else None


# A number that Kubernetes has as an int32; what is none is not worth the error that it comes with.
Small = Annotated[int | None, BeforeValidator(_small)]


class StageError(StatusModel):
    """How a stage failed; ``reason`` is a key of REASONS."""

    reason: str
    message: str
    rank: Small = None
    exit_code: Small = None
    signal: Small = None


class StageResult(StatusModel):
    """What a stage achieved."""

    outputs: Outputs
    metrics: Annotated[list[ScoreValue], Field(max_length=64)] | None = None
    variants: Annotated[list[Variant], Field(max_length=4)] | None = None
    samples: Count | None = None
    dataset_digest: Digest | None = None
    model_digest: Digest | None = None
    baseline: Baseline | None = None
    cached: bool | None = Field(None, description="Restored, not computed.")


class Report(StatusModel):
    """The termination message: a result or an error."""

    result: StageResult | None = None
    error: StageError | None = None


class TrainerMetric(StatusModel):
    """A metric in the progress report; Kubeflow's format has values as text."""

    name: str
    value: str


class TrainerStatus(StatusModel):
    """Progress, in Kubeflow Trainer's wire format. Metrics named ``fold``, ``epoch``,
    ``step``, ``total_steps``, ``rows``, ``total_rows`` and ``checkpoint_step`` fill the fields of
    status."""

    progress_percentage: int | None = None
    estimated_remaining_seconds: int | None = None
    # Checked no further than the first fault: whoever sends it may send a thousand.
    metrics: list[TrainerMetric] = Field(
        default_factory=list, max_length=MOST_METRICS, fail_fast=True
    )
    last_updated_time: str | None = None


class ProgressReport(StatusModel):
    """The body of POST $STATUS_URL."""

    trainer_status: TrainerStatus
