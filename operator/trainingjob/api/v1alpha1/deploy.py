"""Stage 4: serve the model that passed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ..base import Model, Rule, exactly_one_of
from .common import ENV_FROM, NO_PARENT, Env, EnvFroms, Image, PodTemplate, Uri
from .export import VariantName
from .patterns import JOB_NAME, SHA256, Name
from .resources import Resources

# Has KServe's storage initializer run in a pod of anybody's server.
_STORAGE_URI = "STORAGE_URI"


class ServerTemplate(PodTemplate):
    """As `train.template`; the operator refuses what is wrong in it."""

    # It would be a tenth of the CRD once more.
    outlined: ClassVar[bool] = True


class ServerResources(Resources):
    """As `train.resources`; the operator refuses what is wrong in it."""

    outlined: ClassVar[bool] = True


class ServerDeployment(Model):
    """A Deployment of our server, with a Service before it."""

    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Number of pods; from two on a PodDisruptionBudget lets one go at a time. "
        "Unset: one, and the number is left to whoever scales the Deployment.",
    )
    image: Image | None = Field(None, description="Container image; the operator's when unset.")
    resources: ServerResources | None = Field(None, description="Resources of each pod.")
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Port of the Service; 8080 when unset."
    )
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: ServerTemplate | None = Field(None, description="Parts of the pods.")


class KServe(Model):
    """An InferenceService, whose pods KServe makes and scales."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.maxReplicas) || (has(self.minReplicas) ? self.minReplicas : 1) "
            "<= self.maxReplicas",
            message="maxReplicas must not be below minReplicas, which is 1 when unset",
            holds=lambda self: (
                self.max_replicas is None or (self.min_replicas or 1) <= self.max_replicas
            ),
        ),
        Rule(
            cel="!has(self.runtime) || !has(self.image)",
            message="image is that of our server: leave it out where runtime serves",
            holds=lambda self: self.runtime is None or self.image is None,
        ),
        Rule(
            cel="!has(self.serviceAccountName) || has(self.runtime)",
            message="serviceAccountName is for a runtime, which reads the model as KServe does",
            holds=lambda self: self.service_account_name is None or self.runtime is not None,
        ),
        Rule(
            cel=f"!has(self.env) || self.env.all(e, e.name != '{_STORAGE_URI}')",
            message=f"env must not have {_STORAGE_URI}, by which KServe downloads what it names",
            holds=lambda self: all(variable.name != _STORAGE_URI for variable in self.env or ()),
        ),
    )

    min_replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Number of pods at least; one when unset."
    )
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Number of pods at most, up to which KServe's autoscaler goes. Unset: always "
        "`minReplicas`.",
    )
    resources: ServerResources | None = Field(None, description="Resources of each pod.")
    runtime: Name | None = Field(
        None,
        description="KServe's serving runtime for language models, as `kserve-huggingfaceserver`: "
        "it serves the model's folder, and does no self-test. Unset: the operator's server, which "
        "proves itself before it gets a request.",
    )
    service_account_name: Name | None = Field(
        None,
        description="Service account whose Secrets give a `runtime` access to a bucket, as "
        "KServe's documentation has it.",
    )
    image: Image | None = Field(
        None, description="Image of the operator's server; the operator's when unset."
    )
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: ServerTemplate | None = Field(None, description="Parts of the pods.")

    @property
    def replicas(self) -> int:
        """Pods at least."""
        return self.min_replicas or 1


class SelfTest(Model):
    """What a server must reproduce before it gets a request."""

    rows: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        None, description="At most so many of the rows that evaluation kept; all when unset."
    )
    tolerance: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Largest difference of an output, relative to the greater of 1 and its size; "
        "1e-4 when unset, of `int8` 1e-2.",
    )


class AcceptedModel(Model):
    """A model that an evaluation has accepted."""

    rules: ClassVar[tuple[Rule, ...]] = (NO_PARENT,)

    uri: Uri = Field(
        description="Its folder, below `accepted/` of the job that made it and below `storage.uri`."
    )
    digest: Annotated[str, StringConstraints(pattern=SHA256, max_length=71)] = Field(
        description="Its `modelDigest`, as `status.evaluation` and its `trainingjob.json` have it."
    )


class Deploy(Model):
    """Serve the accepted model, once it has reproduced what evaluation judged."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("deployment", "kserve"),
        Rule(
            cel="!has(self.kserve) || !has(self.kserve.runtime) || !has(self.variant)",
            message="kserve.runtime serves the model itself: leave out variant, or the runtime",
            holds=lambda self: (
                self.kserve is None or self.kserve.runtime is None or self.variant is None
            ),
        ),
        Rule(
            cel="!has(self.kserve) || !has(self.kserve.runtime) || !has(self.selfTest)",
            message="kserve.runtime does no self-test: leave out selfTest, or the runtime",
            holds=lambda self: (
                self.kserve is None or self.kserve.runtime is None or self.self_test is None
            ),
        ),
    )

    model: AcceptedModel | None = Field(
        None,
        description="The job only deploys this model, which was accepted before. Unset: it deploys "
        "the one that it has trained and judged itself.",
    )
    variant: VariantName | None = Field(
        None,
        description="Serve this form of the model, which `train.export` has made and evaluation "
        "has not refused; the model itself when unset.",
    )
    deployment: ServerDeployment | None = Field(None, description="In a Deployment.")
    kserve: KServe | None = Field(
        None, description="In an InferenceService of KServe, where that is installed."
    )
    name: (
        Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=JOB_NAME)] | None
    ) = Field(
        None,
        description="Name of the Deployment with its Service, or of the InferenceService, and of "
        "the model in requests; the job's when unset. The next job of the same `deploy.name` "
        "replaces its model once this job is gone, and a job of this name always.",
    )
    self_test: SelfTest | None = Field(
        None, description="How much a server must reproduce before it gets a request."
    )
    deadline_seconds: Annotated[int, Field(ge=10, le=86400)] | None = Field(
        None,
        description="Seconds in which all pods must be ready, or the model before is served again "
        "and the job fails with RolloutFailed; 600 when unset.",
    )
    keep: bool | None = Field(
        None,
        description="Whether it is served on when the job is deleted; when unset, it is. False: it "
        "is deleted with the job.",
    )

    @property
    def server(self) -> ServerDeployment | KServe:
        """How it is served: what both ways have in common."""
        found = self.deployment or self.kserve
        if found is None:
            raise AssertionError("one of them is set")
        return found
