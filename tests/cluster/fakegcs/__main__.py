"""Build the emulator of Google's storage: ``python -m tests.cluster.fakegcs``."""

import sys

from ..build import BuildError, build
from .server import TOOLS

try:
    build(TOOLS)
except BuildError as error:
    sys.exit(f"error: {error}")
