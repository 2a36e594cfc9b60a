"""``accepted/metrics.json``: the record of the last model of this name that passed all gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trainingjob.api.base import Model
from trainingjob.api.payload import Baseline

from .. import storage
from ..base.errors import StageFailure, storage_errors

RECORD = "metrics.json"
# How the folder of one is called, and never a path that leads out of accepted/.
FOLDER = r"^[0-9a-f]{12}-[0-9a-f]{8}$"
# How many accepted models stay, besides those that are in use.
KEPT = 3


class AcceptedModel(Model):
    """The file's content."""

    version: Literal[1] = 1
    uid: str = Field(description="Of the job that made it.")
    metrics: dict[str, float] = Field(description="All that were computed.")
    baseline: Baseline | None = Field(None, description="What it was compared with itself.")
    dataset_digest: str
    model_digest: str
    recent: list[Annotated[str, StringConstraints(pattern=FOLDER)]] | None = Field(
        None,
        max_length=KEPT,
        description="Folders of the last models that were accepted, the newest first.",
    )


def read(folder: str) -> AcceptedModel | None:
    """The record in the folder of this URI; None while there is none.

    Raises StageFailure: BaselineInvalid, and those of the storage.
    """
    uri = f"{folder}/{RECORD}"
    with storage_errors("read the record of the last accepted model"):
        try:
            return AcceptedModel.model_validate_json(storage.read(uri))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StageFailure(
                "BaselineInvalid",
                f"{uri}, the record of the last accepted model, is damaged or of another version",
            ) from error
