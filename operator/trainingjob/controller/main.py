"""The console script ``trainingjob-operator``."""

from __future__ import annotations

import asyncio
import logging
import sys

from .ending import Ending

logger = logging.getLogger(__name__)


def main() -> None:
    """Run the operator.

    Exits with 0 after SIGTERM or SIGINT, however it ends then; with 1 when it cannot go on, and
    says why in one line; with 2 for wrong usage.
    """
    ending = Ending()
    ending.listen()
    # What follows takes a moment to import, and a signal does not wait for it.
    try:
        from ..cluster import ClusterError
        from . import logs, settings
        from .operator import BrokenError, Operator
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; trainingjob-operator[operator] brings what the operator needs")

    options = settings.parse()
    logs.configure(options.log_format, options.log_level)

    async def run() -> None:
        await Operator(options).run(ending)

    try:
        asyncio.run(run())
    except (ClusterError, BrokenError) as error:
        logger.error("%s", error)
        sys.exit(1)
    except OSError as error:
        logger.error("cannot serve: %s", error.strerror or error)
        sys.exit(1)
