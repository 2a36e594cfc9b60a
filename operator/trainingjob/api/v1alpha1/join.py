"""The step that joins a table of ``preprocess.inputs`` to the data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import Column, Columns
from .patterns import TABLE

Keys = Annotated[list[Column], Field(min_length=1, max_length=16)]
Table = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=TABLE)]


class Join(Model):
    """Add the columns of a table of `inputs` where keys are equal. Rows of the data that the table
    has several rows for appear once for each."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.tableKeys) || self.tableKeys.size() == self.keys.size()",
            message="tableKeys must have as many columns as keys",
            holds=lambda self: self.table_keys is None or len(self.table_keys) == len(self.keys),
        ),
    )

    table: Table = Field(description="A name of `preprocess.inputs`.")
    keys: Keys = Field(description="Columns of the data whose values are those of the table's.")
    table_keys: Keys | None = Field(
        None, description="Their names in the table, in the same order; the same when unset."
    )
    how: Literal["left", "inner"] | None = Field(
        None,
        description="`left`: rows without a match stay, with nulls; `inner`: they go. "
        "`left` when unset.",
    )
    columns: Columns | None = Field(
        None, description="Columns of the table to add; all but its keys when unset."
    )
    prefix: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        None, description="What the names of the added columns begin with, such as `customer_`."
    )
