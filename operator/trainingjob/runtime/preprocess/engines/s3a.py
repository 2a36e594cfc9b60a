"""How Spark's executors read S3: by Hadoop's client, whose jars our image has, as the variables of
the AWS SDKs say, which all stages have.
https://hadoop.apache.org/docs/stable/hadoop-aws/tools/hadoop-aws/index.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from trainingjob.api.payload import SPARK_MASTER, PreprocessPayload
from trainingjob.api.uris import S3, Uri

from ...base.errors import StageFailure
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


def settings(payload: PreprocessPayload) -> Mapping[str, str]:
    """Spark's, where some of the data lies in S3. Without the jars Spark on this machine reads what
    the driver has brought. Raises StageFailure(ModuleMissing) for executors of another one."""
    inputs = [one.uri for one in (payload.input, *payload.inputs.values())]
    of_splits = payload.split.files.uris.values() if payload.split.files is not None else ()
    uris = (payload.output, *inputs, *of_splits)
    if not any(Uri.parse(uri).scheme is S3 for uri in uris):
        return {}
    if not is_there():
        if os.environ.get(SPARK_MASTER, "local").startswith("local"):
            return {}
        raise StageFailure(
            "ModuleMissing",
            f"engine spark reads S3 by Hadoop's client, whose jars this image does not have in "
            f"{folder()}",
        )
    conf = _CONF | {"endpoint.region": region()}
    if (at := endpoint()) is not None:
        conf |= {"endpoint": at, "path.style.access": "true"}
    given = payload.spark_conf
    paths = {key: ":".join(filter(None, (given.get(key), f"{folder()}/*"))) for key in _CLASS_PATHS}
    # fs.s3.impl says who reads the scheme; the rest is what that one looks at.
    ours = {
        f"spark.hadoop.fs.{'s3' if key == 'impl' else 's3a'}.{key}": value
        for key, value in conf.items()
    }
    return {key: value for key, value in ours.items() if key not in given} | paths
