"""``$(NAME)`` in commands and arguments, as Kubernetes has it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced, ``$$`` made ``$``, what is unknown left as it stands.

    The rules of k8s.io/kubernetes/third_party/forked/golang/expansion.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)
