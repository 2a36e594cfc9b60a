"""The binaries of a node; a module of their own, because `make test` needs none of them."""

from pathlib import Path

from ..build import CACHE, Module

TOOLS = Module(Path(__file__).parent, CACHE / ".built-node")
