"""Stage 1: from raw files to a cleaned, split dataset."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .code import CODE_RULES, FILES, OwnCode
from .input import Input
from .patterns import TABLE
from .resources import Resources
from .split import Split
from .steps import Step
from .tokenize import Tokenize


class Driver(Model):
    """The Spark driver pod, or the one pod of engine `pandas`."""

    resources: Resources | None = Field(None, description="Its resources.")


class Executor(Model):
    """The Spark executor pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.maxInstances) || self.maxInstances >= self.instances",
            message="maxInstances must not be less than instances",
            holds=lambda self: self.max_instances is None or self.max_instances >= self.instances,
        ),
    )

    instances: Annotated[int, Field(ge=1, le=1000)] = Field(2, description="How many.")
    max_instances: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Spark's dynamic allocation: more executors than `instances` while tasks wait "
        "for one, up to so many, and no idle ones. Without it there are always `instances`.",
    )
    resources: Resources | None = Field(None, description="Resources of each.")


# Keys that the operator sets itself, with the reason told in docs/reference.md.
RESERVED_SPARK_CONF = (
    "spark.master",
    "spark.submit.",
    "spark.app.name",
    "spark.driver.host",
    "spark.driver.bindAddress",
    "spark.kubernetes.",
    "spark.authenticate",
    "spark.network.crypto.",
    "spark.executor.instances",
    "spark.dynamicAllocation.enabled",
    "spark.dynamicAllocation.initialExecutors",
    "spark.dynamicAllocation.minExecutors",
    "spark.dynamicAllocation.maxExecutors",
    "spark.ui.",
)


class Preprocess(OwnCode):
    """From raw files to a cleaned, split dataset of parquet files. Own code runs before the steps:
    a Python module with `preprocess(frame, context) -> frame`, frame being the engine's."""

    resumable: ClassVar[tuple[str, ...]] = ("template",)
    rules: ClassVar[tuple[Rule, ...]] = (
        *CODE_RULES,
        Rule(
            cel="self.engine == 'spark' || (!has(self.sparkConf) && !has(self.executor))",
            message="sparkConf and executor apply to engine spark only",
            holds=lambda self: (
                self.engine == "spark" or (self.spark_conf is None and self.executor is None)
            ),
        ),
        Rule(
            cel="!has(self.sparkConf) || self.sparkConf.all(k, "
            + " && ".join(f"!k.startsWith('{key}')" for key in RESERVED_SPARK_CONF)
            + ")",
            message="sparkConf must not set keys that the operator sets: "
            + ", ".join(RESERVED_SPARK_CONF),
            holds=lambda self: (
                not any(key.startswith(RESERVED_SPARK_CONF) for key in self.spark_conf or ())
            ),
        ),
        Rule(
            cel="self.engine != 'spark' || !has(self.template) || !has(self.template.volumes) || "
            "!self.template.volumes.exists(v, has(v.secret))",
            message="secret volumes are not for engine spark, whose driver makes executors itself: "
            "use envFrom, or engine pandas",
            holds=lambda self: (
                self.engine != "spark"
                or self.template is None
                or all(volume.secret is None for volume in self.template.volumes or ())
            ),
        ),
        Rule(
            cel=f"self.input.format != 'raw' || {FILES}",
            message="input.format raw needs a script or code, which reads the files: "
            "preprocess(paths, context)",
            holds=lambda self: self.input.format != "raw" or self.own_code,
        ),
        Rule(
            cel="self.input.format != 'raw' || !has(self.split.files)",
            message="split.files needs a format that is read before the script, not raw: split by "
            "a column that the script makes, with split.column",
            holds=lambda self: self.input.format != "raw" or self.split.files is None,
        ),
        Rule(
            cel="!has(self.inputs) || self.inputs.all(k, k != 'data' && k.size() <= 63 && "
            f"k.matches('{TABLE}') && self.inputs[k].format != 'raw')",
            message="inputs must have names of lower-case letters, digits and '_' that begin with "
            "a letter, not data, which is the input; and no format raw",
            holds=lambda self: all(
                name != "data"
                and len(name) <= 63
                and re.fullmatch(TABLE, name)
                and one.format != "raw"
                for name, one in (self.inputs or {}).items()
            ),
        ),
        Rule(
            cel=f"!has(self.inputs) || {FILES} || "
            "(has(self.steps) && self.steps.exists(s, has(s.join) || has(s.sql)))",
            message="inputs are tables for join and sql steps and the script, and there is none",
            holds=lambda self: (
                self.inputs is None
                or self.own_code
                or any(step.join or step.sql for step in self.steps or ())
            ),
        ),
        Rule(
            cel="!has(self.steps) || self.steps.all(s, !has(s.join) || "
            "(has(self.inputs) && s.join.table in self.inputs))",
            message="a join step must name a table of inputs",
            holds=lambda self: all(
                step.join is None or step.join.table in (self.inputs or {})
                for step in self.steps or ()
            ),
        ),
    )

    engine: Literal["spark", "pandas"] = Field(
        "spark",
        description="`spark` for data of any size, `pandas` for what fits on one machine "
        "(starts ten times faster); the same steps give the same result.",
    )
    input: Input = Field(description="The raw data.")
    inputs: Annotated[dict[str, Input], Field(min_length=1, max_length=16)] | None = Field(
        None,
        description="Further tables by name, for `join` and `sql` steps and the script, which has "
        "them as `context.inputs`. `input` is the table `data`.",
    )
    steps: Annotated[list[Step], Field(max_length=256)] | None = Field(
        None, description="Run in order. From the first fitted step on, splits go separate ways."
    )
    split: Split = Field(default_factory=Split, description="How rows are divided.")
    tokenize: Tokenize | None = Field(
        None, description="languageModel: the texts to tokens, after the steps."
    )
    driver: Driver | None = Field(None, description="The driver pod.")
    executor: Executor | None = Field(None, description="The executor pods (Spark).")
    spark_conf: (
        Annotated[
            dict[str, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=256)
        ]
        | None
    ) = Field(None, description="Spark settings; those the operator sets are refused.")

    @property
    def uris(self) -> list[str]:
        """All data that the stage reads."""
        files = self.split.files
        tables = (one.uri for one in (self.inputs or {}).values())
        given = [self.tokenize.from_] if self.tokenize and self.tokenize.from_ else []
        of_splits = files.uris.values() if files is not None else ()
        return [self.input.uri, *of_splits, *tables, *given]
