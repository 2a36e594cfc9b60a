"""What happens when things go wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..base import Model

Count = Annotated[int, Field(ge=0, le=1000)]


class Retries(Model):
    """How many failures of each class a stage survives."""

    infrastructure: Count = Field(
        5, description="Lost pods, killed processes, unreachable peers, full disks."
    )
    application: Count = Field(
        1, description="User code that fails, out of memory. Wrong input is never retried."
    )


class ExitCodeRule(Model):
    """What an exit code of your code means."""

    codes: Annotated[
        list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=1, max_length=64)
    ] = Field(description="Exit codes; 128 + N for signal N.")
    action: Literal["ignore", "retry", "fail"] = Field(
        description="ignore: another attempt, charged to nobody; retry: another attempt, charged "
        "to retries.application; fail: the stage fails at once."
    )


class Stall(Model):
    """What happens when training makes no progress: its ranks wait for each other for ever."""

    after_seconds: Annotated[int, Field(ge=10, le=604800)] = Field(
        description="So long nothing new was reported, by pods that all run. Longer than the "
        "first step, a validation, a checkpoint or saving the model takes."
    )
    action: Literal["alert", "restart", "fail"] = Field(
        "alert",
        description="alert: it is told, in the condition Progressing and an Event; restart: "
        "another attempt, from the last checkpoint, charged to retries.infrastructure; fail: the "
        "stage fails at once.",
    )


When = Literal["never", "onFailure", "always"]


class Retain(Model):
    """What of the artefacts stays when the job is over. The model always does, and so does what
    other jobs have written."""

    checkpoints: When | None = Field(
        None,
        description="Those of this job. never: they are removed at its end; onFailure: if it "
        "succeeds. Unset: always.",
    )
    datasets: When | None = Field(
        None,
        description="Likewise the rows that its preprocess has written. Jobs that read them by "
        "`train.dataset` cannot begin afterwards.",
    )


class Policy(Model):
    """Deadlines, retries, and what is left when all is over."""

    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = Field(
        None, description="The whole job must end within this time."
    )
    startup_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        600, description="All pods of a stage must run within this time."
    )
    force_delete_after_seconds: Annotated[int, Field(ge=30, le=86400)] | None = Field(
        None,
        description="So long after the end of its grace period a pod that was deleted and does "
        "not go, as on a node that is dead, is deleted by force: then the next attempt begins. "
        "Where the node is only cut off the pod may still run, and write beside the next attempt: "
        "set it where nodes that do not answer are fenced, or where that can be borne. Unset: "
        "never.",
    )
    stall: Stall | None = Field(
        None,
        description="Watches over the progress that training reports; your own code must report "
        "for it, too. Unset: nobody watches.",
    )
    clean_pods: Literal["never", "onSuccess", "always"] | None = Field(
        None,
        description="Whether pods that have ended are deleted when the job is over: with them go "
        "their logs. Unset: never.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = Field(
        None,
        description="So long after its end the job is deleted, with its pods; artefacts stay, but "
        "for those on a claim that goes with it. Unset: never.",
    )
    retain: Retain | None = Field(
        None,
        description="Which artefacts stay when the job is over. A pod removes the others, and "
        "`status.cleanup` tells how that went; it changes nothing about the verdict. Unset: all.",
    )
    cache: bool | None = Field(
        None,
        description="Whether preprocess and train restore what they have made of the same input "
        "before, in this job or in another of its namespace and storage, and do not make it anew. "
        "Unset: no.",
    )
    retries: Retries = Field(default_factory=Retries, description="Retry budgets.")
    exit_codes: Annotated[list[ExitCodeRule], Field(max_length=16)] | None = Field(
        None,
        description="What exit codes mean; the first rule that names the code holds. Wrong input, "
        "wrong configuration and evictions have their own rules.",
    )
