"""What text looks like: patterns that mean the same to Rust (pydantic), Go (the API server) and
Python, hence no `\\w`, `\\d` or `\\s`.

As strict as Kubernetes is with pods: what a pod would be refused for, hours after its job began, is
refused in the job. `errors.PATTERNS` has them in words.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints
from pydantic.alias_generators import to_camel

from .. import uris
from ..base import Rule
from ..uris import SUBDOMAIN

_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

SHA256 = r"^sha256:[0-9a-f]{64}$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# RFC 1035: Services are called so.
JOB_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = rf"^{SUBDOMAIN}$"
LABEL_KEY = rf"^({SUBDOMAIN}/)?{_LABEL}$"
LABEL_VALUE = rf"^({_LABEL})?$"
RESOURCE = rf"^(cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*[KMG]i|{SUBDOMAIN}/{_LABEL})$"
MANAGER = rf"^{SUBDOMAIN}/{_LABEL}$"
# Kubernetes' resource.Quantity without the exponent forms, which people do not write.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"
IMAGE = r"^[!-~]+$"
URI, INPUT_URI = uris.PATTERN, uris.INPUT_PATTERN
HADOOP_USER = r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$"
PRINCIPAL = r"^[A-Za-z0-9_][-A-Za-z0-9_.]*(/[-A-Za-z0-9_.]+)?@[A-Za-z0-9][-A-Za-z0-9_.]*$"
TABLE = r"^[a-z][a-z0-9_]*$"
ONE_CHARACTER = r"^[^\x00\r\n]$"
NO_LINE_END = r"^[^\x00\r\n]?$"
# A character, some signs, or the word.
DELIMITER = r"^([^\x00\r\n]|[-,;:|/~^#*+=<>!@$%&_. \t]{2,4}|whitespace)$"
# Spark's letters, as far as they are read alike everywhere; other text in quotes.
DATE_FORMAT = (
    r"^(yyyy|yy|MMMM|MMM|MM|M|dd|d|HH|H|hh|h|mm|m|ss|s|S|a|XXX"
    r"|'[^'\x00-\x1f]+'|[^A-Za-z'\x00-\x1f])+$"
)
TIME_ZONE = r"^[A-Za-z][A-Za-z0-9_+/-]*$"
BALANCED = r"^balanced$"
NO_NUL = r"^[^\x00]*$"  # no process takes one in its arguments or environment
MOUNT_PATH = r"^(/[^\x00-\x20\x7f:/]+)+/?$"
# Relative, without `.`, `..` and blanks: the same on every disk.
FILE_PATH = r"^\.?[A-Za-z0-9_][-A-Za-z0-9_.+@=]*(/\.?[A-Za-z0-9_][-A-Za-z0-9_.+@=]*)*$"
# http is for this machine alone.
GIT_URL = (
    r"^(https://[A-Za-z0-9][-A-Za-z0-9.]*|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?"
    r"(/[-A-Za-z0-9_.~+%]+)+/?$"
)
GIT_COMMIT = r"^[0-9a-f]{40}$"
# A path below train.
TRAIN_FIELD = r"^[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*|\[[0-9]{1,2}\])*$"
# A line of pip's requirements that is no option.
PACKAGE = r"^[A-Za-z0-9][^\x00-\x1f\x7f]*$"
# Of a metric of own code: dice, recall@10, val/mAP@0.5:0.95.
METRIC = r"^[A-Za-z0-9_][A-Za-z0-9_.:@/%+-]*$"
SUB_PATH = r"^([^\x00/][^\x00]*)?$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
CONFIG_MAP_KEY = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"  # it is a file name: never `..`

Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
_LONGEST_KEY = 317  # 253 of the prefix, a slash, 63 of the name
LabelKey = Annotated[str, StringConstraints(max_length=_LONGEST_KEY, pattern=LABEL_KEY)]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=LABEL_VALUE)]


def keys_match(field: str, pattern: str, message: str) -> Rule:
    """A rule: the keys of an optional map match a pattern. Structural schemas cannot say it."""
    name, known = f"self.{to_camel(field)}", re.compile(pattern)
    return Rule(
        cel=f"!has({name}) || {name}.all(k, k.size() <= {_LONGEST_KEY} && k.matches(r'{pattern}'))",
        message=message,
        holds=lambda self: all(
            len(key) <= _LONGEST_KEY and known.fullmatch(key) for key in getattr(self, field) or ()
        ),
    )
