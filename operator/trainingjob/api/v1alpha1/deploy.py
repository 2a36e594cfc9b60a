"""Stage 4: serve the model that passed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import ENV_FROM, NO_PARENT, Env, EnvFroms, Image, PodTemplate, Resources, Uri
from .patterns import JOB_NAME, SHA256


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


class SelfTest(Model):
    """What a server must reproduce before it gets a request."""

    rows: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        None, description="At most so many of the rows that evaluation kept; all when unset."
    )
    tolerance: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Largest difference of an output, relative to the greater of 1 and its size; "
        "1e-4 when unset.",
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

    model: AcceptedModel | None = Field(
        None,
        description="The job only deploys this model, which was accepted before. Unset: it deploys "
        "the one that it has trained and judged itself.",
    )
    deployment: ServerDeployment = Field(description="In a Deployment.")
    name: (
        Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=JOB_NAME)] | None
    ) = Field(
        None,
        description="Name of the Deployment, of its Service and of the model in requests; the "
        "job's when unset. The next job of the same `deploy.name` replaces its model once this "
        "job is gone, and a job of this name always.",
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
