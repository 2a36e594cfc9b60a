"""How Spark's executors read S3: by Hadoop's client, whose jars our image has, as the variables of
the AWS SDKs say, which all stages have.
https://hadoop.apache.org/docs/stable/hadoop-aws/tools/hadoop-aws/index.html
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from ...storage.s3 import endpoint, region

_CLASS_PATHS = ("spark.driver.extraClassPath", "spark.executor.extraClassPath")
_SDK = "software.amazon.awssdk.auth.credentials"
_CONF = {
    "impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    # The variables, a web identity, ~/.aws, the container's or the machine's role, in this order.
    "aws.credentials.provider": f"{_SDK}.DefaultCredentialsProvider",
    # Spark tries a task again; a server that is not there is told within seconds.
    "attempts.maximum": "3",
    "retry.limit": "3",
    "retry.interval": "200ms",
    "connection.establish.timeout": "5s",
    "connection.timeout": "30s",
}


def folder() -> Path:
    """Where this environment has the jars, if it has them."""
    return Path(sys.prefix) / "share" / "trainingjob" / "s3"


def is_there() -> bool:
    """Whether Spark reads S3 by itself here."""
    return any(folder().glob("hadoop-aws-*.jar"))


def settings(given: Mapping[str, str]) -> Mapping[str, str]:
    """Spark's, beside those that are ``given``."""
    conf = _CONF | {"endpoint.region": region()}
    if (at := endpoint()) is not None:
        conf |= {"endpoint": at, "path.style.access": "true"}
    paths = {key: ":".join(filter(None, (given.get(key), f"{folder()}/*"))) for key in _CLASS_PATHS}
    # fs.s3.impl says who reads the scheme; the rest is what that one looks at.
    ours = {
        f"spark.hadoop.fs.{'s3' if key == 'impl' else 's3a'}.{key}": value
        for key, value in conf.items()
    }
    return {key: value for key, value in ours.items() if key not in given} | paths
