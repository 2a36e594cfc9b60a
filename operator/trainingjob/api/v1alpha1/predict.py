"""Stage 5: predict the rows of files by the model that passed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule
from .common import ENV_FROM, Column, Env, EnvFroms, Image, PodTemplate, Uri
from .deploy import AcceptedModel
from .export import VariantName
from .input import Input
from .resources import Resources


class PredictInput(Input):
    """As `preprocess.input`, of format csv, json, parquet or orc; the operator refuses what is
    wrong in it."""

    # Its rules would be a sixtieth of the CRD once more.
    outlined: ClassVar[bool] = True

    format: Literal["csv", "json", "parquet", "orc"] = Field(
        description="`json` means one object a line, or one array of objects."
    )


class PredictTemplate(PodTemplate):
    """As `train.template`; the operator refuses what is wrong in it."""

    outlined: ClassVar[bool] = True


class PredictResources(Resources):
    """As `train.resources`; the operator refuses what is wrong in it."""

    outlined: ClassVar[bool] = True


def _apart(self: Predict) -> bool:
    """Whether no run reads what another one has written: a pattern fits folders, too."""
    if self.output is None:
        return True
    read, written = (uri.rstrip("/").split("/") for uri in (self.input.uri, self.output))
    return not all(fnmatchcase(part, pattern) for pattern, part in zip(read, written, strict=False))


class Predict(Model):
    """Predict the rows of files by the accepted model, and write them as Parquet."""

    resumable: ClassVar[tuple[str, ...]] = ("template",)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.output) || !self.output.split('/').exists(part, part == '..')",
            message="output must not contain '..'",
            holds=lambda self: self.output is None or ".." not in self.output.split("/"),
        ),
        Rule(
            cel=None,  # the operator knows the input
            message="output must not be input.uri, nor one of them a folder of the other: the next "
            "run would read what this one has written",
            holds=_apart,
        ),
        Rule(
            cel="!has(self.output) || !self.output.endsWith('/')",
            message="output is a folder, named without a slash at its end",
            holds=lambda self: self.output is None or not self.output.endswith("/"),
        ),
    )

    model: AcceptedModel | None = Field(
        None,
        description="The job only predicts, by this model, which was accepted before. Unset: by "
        "the one that it has trained and judged itself, or that `deploy.model` names.",
    )
    variant: VariantName | None = Field(
        None,
        description="Predict by this form of the model, as `deploy.variant` has it; by the model "
        "itself when unset.",
    )
    input: PredictInput = Field(description="The rows.")
    output: Uri | None = Field(
        None,
        description="A folder for the predictions; `predictions` in the job's folder when unset. "
        "Those of the run before are replaced once the new ones are whole; other files stay.",
    )
    keep: Annotated[list[Column], Field(max_length=4096)] | None = Field(
        None,
        description="Columns of the input that stand beside the predictions; all when unset, none "
        "when empty.",
    )
    unpredictable: Literal["fail", "null"] | None = Field(
        None,
        description="What becomes of a row of which the model makes nothing, as one with a null "
        "that no step fills. `null`: its prediction is null, `prediction_error` says why, and "
        "status has the number of such rows. `fail` when unset: the stage fails and names the row. "
        "A value that cannot be read as its column's type always fails.",
    )
    image: Image | None = Field(None, description="Container image; the operator's when unset.")
    resources: PredictResources | None = Field(None, description="Resources of the pod.")
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: PredictTemplate | None = Field(None, description="Parts of the pod.")

    @property
    def uris(self) -> list[str]:
        """What it reads beside the model, and where it writes, as far as the manifest says."""
        return [self.input.uri, *([self.output] if self.output is not None else [])]
