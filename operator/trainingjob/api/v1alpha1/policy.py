"""What happens when things go wrong."""

from __future__ import annotations

from typing import Annotated

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


class Policy(Model):
    """Deadlines and retries."""

    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = Field(
        None, description="The whole job must end within this time."
    )
    startup_deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        600, description="All pods of a stage must run within this time."
    )
    retries: Retries = Field(default_factory=Retries, description="Retry budgets.")
