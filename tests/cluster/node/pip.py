"""What pip on this machine was told about indexes, for pip in a build.

It is mounted as /etc/pip.conf while a step runs and is never part of an image: where packages come
from is the machine's own affair.
"""

from __future__ import annotations

import ast
import configparser
import io
import subprocess
import sys

# The others are about folders of this machine, or about taste.
KEPT = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries", "cert")
# Certificates of this machine are mounted there.
CERTIFICATES = "/etc/ssl/certs"
BUNDLE = f"{CERTIFICATES}/ca-certificates.crt"


def configuration() -> str:
    """A pip.conf."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return translate(done.stdout)


def translate(listed: str) -> str:
    """From what ``pip config list`` says: ``section.option='value'``, weakest first."""
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        option = name.rpartition(".")[2]
        if equals and option in KEPT:
            found[option] = str(ast.literal_eval(value))
    if "cert" in found:
        found["cert"] = BUNDLE
    parser = configparser.RawConfigParser()
    parser["global"] = found
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
