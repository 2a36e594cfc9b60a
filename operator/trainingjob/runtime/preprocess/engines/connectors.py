"""Which remote places Spark's executors read by themselves, and what is to be added for others.

On one machine Spark reads what the driver has brought. What it writes is taken there by
``runtime/storage``, everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainingjob.api.payload import SPARK_MASTER, PreprocessPayload
from trainingjob.api.uris import AZ, GS, S3, Scheme, Uri

from ...base.errors import StageFailure
from . import s3a

_GOOGLES = f"spark.hadoop.fs.{GS.name}.impl"
_MISSING = {
    S3: f"Hadoop's client, whose jars this image does not have in {s3a.folder()}",
    GS: "Google's connector, which an image of your own must have (gcs-connector), with "
    f"{_GOOGLES} in preprocess.sparkConf",
    AZ: "Hadoop's connector, which speaks of accounts where our URIs have none: copy the data to "
    "a claim",
}


def settings(payload: PreprocessPayload) -> Mapping[str, str]:
    """Spark's, by which executors reach where the data lies. Raises StageFailure(ModuleMissing)
    for a place that executors of another machine do not read."""
    inputs = [one.uri for one in (payload.input, *payload.inputs.values())]
    of_splits = payload.split.files.uris.values() if payload.split.files is not None else ()
    # What Spark does not read as it is is written anew beside the output.
    used = {uri: Uri.parse(uri).scheme for uri in (*inputs, *of_splits, payload.output)}
    if not os.environ.get(SPARK_MASTER, "local").startswith("local"):
        for uri, scheme in used.items():
            if scheme in unread(payload.spark_conf):
                raise StageFailure(
                    "ModuleMissing",
                    f"{uri}: engine spark reads this by {_MISSING[scheme]}; or use engine pandas",
                )
    there = S3 in used.values() and s3a.is_there()
    return s3a.settings(payload.spark_conf) if there else {}


def unread(conf: Mapping[str, str]) -> list[Scheme]:
    """The places that Spark does not read by itself here."""
    there = {S3: s3a.is_there(), GS: _GOOGLES in conf, AZ: False}
    return [scheme for scheme, reads in there.items() if not reads]
