"""The resource as a whole."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from ..base import Model, Rule
from ..stages import STAGE_NAMES
from .deploy import AcceptedModel, Deploy
from .evaluate import Evaluate
from .export import VariantName
from .input import Input
from .patterns import DNS_LABEL, JOB_NAME, MANAGER
from .policy import Policy
from .predict import Predict
from .preprocess import Preprocess
from .rules import RULES
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


class Spec(Model):
    """What the user wants."""

    rules: ClassVar[tuple[Rule, ...]] = RULES

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
