"""The console script ``trainingjob-operator``."""

from __future__ import annotations

import asyncio
import logging
import sys

from ..cluster import ClusterError
from . import logs, settings
from .operator import Operator

logger = logging.getLogger(__name__)


def main() -> None:
    """Run the operator. Exits with 0 after SIGTERM, 1 when it cannot go on, 2 for wrong usage."""
    options = settings.parse()
    logs.configure(options.log_format, options.log_level)
    try:
        asyncio.run(_run(options))
    except ClusterError as error:
        logger.error("%s", error)
        sys.exit(1)
    except OSError as error:
        logger.error("cannot serve: %s", error.strerror)
        sys.exit(1)


async def _run(options: settings.Options) -> None:
    await Operator(options).run()
