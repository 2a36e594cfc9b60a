"""Own code of several files, and the packages that it needs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule, exactly_one_of
from .common import Uri
from .patterns import FILE_PATH, NO_NUL, PACKAGE, Name, keys_match

# Of a file or a folder of the code, relative to it.
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=FILE_PATH)]


class CodeMap(Model):
    """A ConfigMap in the job's namespace, each key a file."""

    name: Name = Field(description="Its name.")


class Code(Model):
    """Files of own code: exactly one of `uri`, `configMap` and `inline`. Each pod has a copy of
    them in its working folder."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("uri", "config_map", "inline"),
        Rule(
            cel="!has(self.uri) || !self.uri.split('/').exists(part, part == '..')",
            message="uri must not contain '..'",
            holds=lambda self: ".." not in (self.uri or "").split("/"),
        ),
        keys_match(
            "inline",
            FILE_PATH,
            "inline must have relative paths as keys, such as train.py or lib/data.py",
        ),
        Rule(
            cel="!has(self.inline) || "
            "!self.inline.exists(k, self.inline.exists(o, o.startsWith(k + '/')))",
            message="inline must not have a file where another one needs a folder",
            holds=lambda self: (
                not any(
                    other.startswith(f"{name}/")
                    for name in self.inline or ()
                    for other in self.inline
                )
            ),
        ),
    )

    uri: Uri | None = Field(None, description=f"A folder: {uris.described()}.")
    config_map: CodeMap | None = Field(None, description="A ConfigMap, each key a file.")
    inline: (
        Annotated[
            dict[str, Annotated[str, StringConstraints(max_length=65536, pattern=NO_NUL)]],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = Field(None, description="Text by relative path: `train.py`, `lib/data.py`.")
    working_dir: FilePath | None = Field(
        None, description="A folder of it in which the code runs; unset: the whole."
    )
    main: FilePath | None = Field(
        None,
        description="Without a command: the file, from `workingDir`, that Python runs; `train.py` "
        "when unset.",
    )


class Requirements(Model):
    """Packages that own code needs beside those of the image: exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("packages", "file"),)

    packages: (
        Annotated[
            list[Annotated[str, StringConstraints(max_length=1024, pattern=PACKAGE)]],
            Field(min_length=1, max_length=200),
        ]
        | None
    ) = Field(None, description="As in requirements.txt: `keras==3.15.1`, with `--hash` if wanted.")
    file: FilePath | None = Field(
        None, description="A file of `code`, such as `requirements.txt`, from its `workingDir`."
    )
