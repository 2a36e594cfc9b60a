"""A stage that no user has: it makes a Deployment of the model that was accepted."""

from __future__ import annotations

from pydantic import Field

from ..base import Model


class Publish(Model):
    """Serve the model."""

    image: str = Field(description="The server's image.")
