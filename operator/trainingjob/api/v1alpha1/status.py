"""What the operator tells: bounded, and the same on one machine and in a cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints

from ..stages import Activity, StageName
from .reported import (
    DEVIATION,
    TEST,
    Count,
    Digest,
    Message,
    MetricValue,
    Outputs,
    StatusModel,
    Variant,
    Word,
)

Phase = Literal["Pending", Activity, "Suspended", "Deleting", "Succeeded", "Failed"]
StagePhase = Literal["Pending", "Running", "Succeeded", "Failed"]
ConditionType = Literal[
    "Valid",
    "Suspended",
    "Reconciling",
    "Progressing",
    "Stalled",
    "Complete",
    "Failed",
    "Deployed",
]


def parse_time(value: object) -> object:
    """RFC 3339 text to an aware datetime; anything else is left to pydantic."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes metav1.Time."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str, when_used="json"),
]


class Condition(StatusModel):
    """As metav1.Condition; readable by kstatus."""

    type: ConditionType = Field(description="Which condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Word = Field(description="Why, in one word.")
    message: Message = Field("", description="Why, for people.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int = Field(0, description="Of which generation this was said.")


class PodCounts(StatusModel):
    """Pods of the stage's present attempt."""

    desired: int = Field(0, description="Pods that the stage wants.")
    ready: int = Field(0, description="Running or succeeded.")
    failed: int = Field(0, description="Failed.")
    completed_indexes: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        None,
        description="Of a gang that still works: which of its pods are done, as in `0,2-5`.",
    )


class FailureCounts(StatusModel):
    """Failures so far, against the budgets of policy.retries."""

    infrastructure: int = Field(0, description="Charged to the infrastructure budget.")
    application: int = Field(0, description="Charged to the application budget.")
    disruption: int = Field(0, description="Evictions and interruptions, charged to nobody.")


class Usage(StatusModel):
    """What the pods of the attempts that have ended asked for, times how long they ran."""

    gpu_seconds: int = Field(0, description="GPUs, TPUs and the like, times seconds.")
    failed_gpu_seconds: int = Field(
        0,
        description="Of those, what attempts that failed or were suspended took.",
    )
    lost_gpu_seconds: int = Field(
        0, description="Of those, what came after their last checkpoint that was told: thrown away."
    )
    cpu_seconds: int = Field(0, description="CPUs times seconds.")
    memory_gib_seconds: int = Field(
        0, alias="memoryGiBSeconds", description="Memory in GiB times seconds."
    )
    waiting_seconds: int = Field(
        0, description="From the making of an attempt's pods until the last of them ran."
    )


class StageStatus(StatusModel):
    """One stage."""

    name: StageName = Field(description="Which stage.")
    phase: StagePhase = Field("Pending", description="Where it stands.")
    attempt: int = Field(1, description="Present attempt, from 1. Also an input: never decreases.")
    signer: Annotated[str, StringConstraints(max_length=16)] | None = Field(
        None,
        description="Which of the operator's keys all its pods are signed with: others do not "
        "count. Unset: some are of an operator before, or there is no key.",
    )
    first_attempt: int | None = Field(
        None, description="The attempt that its last rerun began with; unset without one."
    )
    start_time: Time | None = Field(None, description="When its first pod was created.")
    completion_time: Time | None = Field(None, description="When it ended.")
    reason: Word = Field("", description="Why it stands there, in one word.")
    message: Message = Field("", description="The same for people.")
    waiting_since: Time | None = Field(
        None, description="Since when that reason keeps pods from starting."
    )
    cleared_time: Time | None = Field(
        None,
        description="When what held the attempt up was gone (pods before it that were stuck, "
        "scheduling gates): the startup deadline counts from then.",
    )
    retry_time: Time | None = Field(
        None,
        description="While a quota keeps a gang from being whole: when it is tried again; until "
        "then it holds nothing.",
    )
    image: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "", description="The image that ran."
    )
    pods: PodCounts = Field(default_factory=PodCounts, description="Pods of this attempt.")
    executors: PodCounts | None = Field(None, description="Spark executors of this attempt.")
    failures: FailureCounts = Field(default_factory=FailureCounts, description="Failures so far.")
    usage: Usage | None = Field(None, description="What it took.")
    outputs: Outputs | None = Field(None, description="What it left behind.")
    rollback: bool | None = Field(
        None, description="Whether it was asked to serve the model before again. Unset: no."
    )
    cached: bool | None = Field(
        None, description="Whether that was restored from the cache, and not computed. Unset: no."
    )

    @property
    def over(self) -> bool:
        """Whether it has ended. A phase alone, which somebody may have written, is not believed."""
        return self.phase in ("Succeeded", "Failed") and self.completion_time is not None


class Progress(StatusModel):
    """How far the running stage is, as its pods report."""

    stage: StageName = Field(description="Which stage.")
    percent: int = Field(0, ge=0, le=100, description="Share done, in percent.")
    fold: int | None = Field(
        None, description="Whose model is trained, from 1; unset for the final one."
    )
    epoch: int | None = Field(None, description="Present epoch, from 1.")
    step: int | None = Field(None, description="Optimizer steps done.")
    total_steps: int | None = Field(None, description="Optimizer steps in all.")
    rows: int | None = Field(None, description="Rows done.")
    total_rows: int | None = Field(None, description="Rows in all, where that is known.")
    eta_seconds: int | None = Field(None, description="Estimated seconds to go.")
    metrics: Annotated[list[MetricValue], Field(max_length=32)] = Field(
        default_factory=list, description="Latest values, e.g. loss."
    )
    updated_time: Time | None = Field(
        None, description="When the pods said so; a report that tells nothing new does not count."
    )


class CheckpointStatus(StatusModel):
    """The last complete checkpoint that was told."""

    step: int = Field(description="Optimizer steps done.")
    uri: Annotated[str, StringConstraints(max_length=1280)] = Field(
        description="The folder of the checkpoints."
    )
    time: Time = Field(description="When it was told.")


class JudgedMetric(StatusModel):
    """A metric and the verdict of its gate."""

    name: Word = Field(description="Name.")
    value: float = Field(description="Value on the test split; with folds, the mean over them.")
    deviation: float | None = Field(None, description=DEVIATION)
    test: float | None = Field(None, description=TEST)
    min: float | None = Field(None, description="The lower bound that the gate applied.")
    max: float | None = Field(None, description="The upper bound that the gate applied.")
    baseline: float | None = Field(
        None, description="Value of the last accepted model, where the gate compares with it."
    )
    passed: bool | None = Field(None, description="The gate's verdict; unset without a gate.")


class Evaluation(StatusModel):
    """The verdict."""

    metrics: Annotated[list[JudgedMetric], Field(max_length=64)] = Field(
        default_factory=list, description="Metrics, those asked for and those with gates."
    )
    variants: Annotated[list[Variant], Field(max_length=4)] | None = Field(
        None, description="Of `train.export`."
    )
    samples: Count = Field(0, description="Rows of the test split, or of all folds.")
    passed: bool = Field(description="Whether all gates passed.")
    model_uri: Annotated[str, StringConstraints(max_length=1280)] = Field(
        "", description="The model that was judged."
    )
    model_digest: Annotated[str, StringConstraints(max_length=128)] = Field(
        "", description="Its sha256."
    )
    dataset_digest: Annotated[str, StringConstraints(max_length=128)] = Field(
        "", description="sha256 of the dataset that it was trained and judged on."
    )


class Accepted(StatusModel):
    """The last model of this job that passed all gates."""

    uri: Annotated[str, StringConstraints(max_length=1280)] = Field(
        description="The folder of its record."
    )
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = Field(
        default_factory=list, description="As it was judged."
    )
    model_digest: Digest = Field("", description="Its sha256.")
    dataset_digest: Digest = Field("", description="sha256 of the dataset that it was judged on.")


class ServedModel(StatusModel):
    """A model that a deployment serves, or has served."""

    model_uri: Annotated[str, StringConstraints(max_length=1280)] = Field(
        description="Where it lies."
    )
    model_digest: Digest = Field(description="Its sha256.")
    variant: Word | None = Field(None, description="In which other form, if in one.")


class Replicas(StatusModel):
    """Pods of a deployment."""

    desired: int = Field(0, description="Pods that are wanted.")
    ready: int = Field(0, description="Those that serve the model.")


class Deployment(StatusModel):
    """What serves the model: as it was when the job ended, however it goes on."""

    phase: Literal["RollingOut", "Ready", "RollingBack", "RolledBack", "Failed"] = Field(
        description="`Ready`: all pods serve the model. `RolledBack`: the model before is served "
        "again. `Failed`: there was none, and nothing is served."
    )
    kind: Word = Field(description="Kind of the object that serves.")
    name: Word = Field(description="Its name.")
    endpoint: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="Where requests go, inside the cluster."
    )
    model_uri: Annotated[str, StringConstraints(max_length=1280)] = Field(
        "", description="The model that it is to serve; of a rollback, that before."
    )
    model_digest: Digest = Field("", description="Its sha256.")
    variant: Word | None = Field(None, description="In which other form, if in one.")
    previous: ServedModel | None = Field(
        None, description="The model that was served before, to which it may go back."
    )
    replicas: Replicas = Field(default_factory=Replicas, description="Its pods.")

    @property
    def words(self) -> str:
        """Which model it is, in which form."""
        return self.model_digest + (f" as {self.variant}" if self.variant else "")


class LastFailure(StatusModel):
    """The newest failure: who failed first, and why."""

    stage: StageName = Field(description="Stage.")
    attempt: int = Field(description="Attempt.")
    failure_class: Word = Field(alias="class", description="Failure class; decides about retries.")
    reason: Word = Field(description="In one word.")
    message: Message = Field(description="What happened, and what to do.")
    rank: int | None = Field(None, description="Rank of the process that failed first.")
    pod: Annotated[str, StringConstraints(max_length=253)] = Field("", description="Its pod.")
    node: Annotated[str, StringConstraints(max_length=253)] = Field("", description="Its node.")
    exit_code: int | None = Field(None, description="Its exit code.")
    signal: int | None = Field(None, description="The signal that killed it.")
    log_tail: Message = Field("", description="Last lines of its log, at most 2 KiB.")
    time: Time = Field(description="When it failed.")


Removable = Literal["checkpoints", "datasets"]


class Cleanup(StatusModel):
    """What `policy.retain` lets go when the job is over."""

    phase: Literal["Running", "Succeeded", "Failed"] = Field(description="How it goes.")
    kinds: Annotated[list[Removable], Field(max_length=2)] = Field(
        description="What is removed, of that which the job has written."
    )
    removed: Annotated[list[Removable], Field(max_length=2)] | None = Field(
        None, description="What may be gone, in whole or in part, by this or an earlier removal."
    )
    message: Message = Field(
        "", description="What was left and why, or what is in the way, and what to do."
    )
    stage: StageName = Field(description="Its pods are named as further attempts of this stage.")
    attempt: int = Field(description="The present one. Also an input: never decreases.")
    failures: int = Field(0, description="How often it failed.")
    start_time: Time = Field(description="When it began.")
    next_time: Time | None = Field(None, description="When it is tried again.")

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase != "Running"


class Attempt(StatusModel):
    """An attempt that did not succeed, kept when its pods are gone."""

    stage: StageName = Field(description="Stage.")
    attempt: int = Field(description="Attempt.")
    failure_class: Word = Field("", alias="class", description="Failure class.")
    reason: Word = Field(description="Why it ended, in one word.")
    message: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="The same for people."
    )
    pod: Annotated[str, StringConstraints(max_length=253)] = Field(
        "", description="The pod that failed first."
    )
    node: Annotated[str, StringConstraints(max_length=253)] = Field("", description="Its node.")
    start_time: Time | None = Field(None, description="When its first container started.")
    completion_time: Time = Field(description="When it ended.")


class Status(StatusModel):
    """What the operator knows about the job."""

    observed_generation: int = Field(0, description="The generation that this status is about.")
    phase: Phase = Field("Pending", description="A summary for `kubectl get`, never an input.")
    reason: Word = Field("", description="Why the job stands where it stands, in one word.")
    message: Message = Field("", description="What is going on or went wrong, and what to do.")
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list,
        description="Valid, Suspended, Reconciling, Stalled, Complete, Failed; Progressing while "
        "policy.stall watches over training; Deployed where there is spec.deploy.",
    )
    start_time: Time | None = Field(None, description="When the job was first acted on.")
    completion_time: Time | None = Field(None, description="When it ended.")
    stages: Annotated[list[StageStatus], Field(max_length=8)] = Field(
        default_factory=list, description="The stages in order."
    )
    progress: Progress | None = Field(None, description="How far the running stage is.")
    checkpoint: CheckpointStatus | None = Field(
        None, description="From where training would go on."
    )
    evaluation: Evaluation | None = Field(None, description="The verdict.")
    accepted: Accepted | None = Field(
        None, description="What gates with noWorseThan hold the next run of this job to."
    )
    deployment: Deployment | None = Field(None, description="What serves the model.")
    last_failure: LastFailure | None = Field(None, description="The newest failure.")
    history: Annotated[list[Attempt], Field(max_length=20)] = Field(
        default_factory=list,
        description="Attempts that failed or were suspended, the oldest first: the last 20.",
    )
    rerun: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None,
        description="The value of the annotation `trainingjob.dev/rerun` that was last dealt with.",
    )
    rerun_time: Time | None = Field(None, description="When the job was last run again.")
    cleanup: Cleanup | None = Field(
        None, description="What was removed at the job's end; unset where nothing is to be."
    )

    @property
    def over(self) -> bool:
        """Whether the job has ended, as its stages have it, too."""
        ended = [stage for stage in self.stages if stage.over]
        if self.phase == "Failed":
            return any(stage.phase == "Failed" for stage in ended)
        return self.phase == "Succeeded" and bool(ended) and ended == self.stages
