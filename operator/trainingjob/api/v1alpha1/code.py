"""Own code, whatever the stage: its files, the packages that it needs, and what holds of them."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule, exactly_one_of
from .common import (
    ENV_FROM,
    Arguments,
    Env,
    EnvFroms,
    Image,
    PodTemplate,
    Script,
    Uri,
)
from .patterns import FILE_PATH, GIT_COMMIT, GIT_URL, NO_NUL, PACKAGE, Name, keys_match

# Of a file or a folder of the code, relative to it.
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=FILE_PATH)]


class CodeMap(Model):
    """A ConfigMap in the job's namespace, each key a file."""

    name: Name = Field(description="Its name.")


class GitSecret(Model):
    """A Secret in the job's namespace: `password` (a token will do), and if need be `username` and
    `ca.crt`, the authority of the server's certificate."""

    name: Name = Field(description="Its name.")


class Git(Model):
    """A commit of a git repository, by https."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.url.matches(r'{GIT_URL}')",
            message="url must be https://HOST/PATH, without user, password, '?' and '#': "
            "credentials belong into credentialsSecret",
            holds=lambda self: re.fullmatch(GIT_URL, self.url) is not None,
        ),
        Rule(
            cel=f"self.commit.matches(r'{GIT_COMMIT}')",
            message="commit must be the 40 digits of a commit, since branches and tags move: "
            "`git rev-parse HEAD` tells them, or `git ls-remote URL BRANCH`",
            holds=lambda self: re.fullmatch(GIT_COMMIT, self.commit) is not None,
        ),
    )

    url: str = Field(max_length=1024, description="Of the repository: https://HOST/PATH.")
    commit: str = Field(max_length=256, description="Its hash: 40 digits.")
    path: FilePath | None = Field(
        None, description="The folder of the repository that is the code; unset: the whole."
    )
    credentials_secret: GitSecret | None = Field(
        None,
        description="By which it is fetched, before the code's own container begins; own code "
        "does not see it.",
    )


class Code(Model):
    """Files of own code: exactly one of `uri`, `configMap`, `inline` and `git`. Each pod has a copy
    of them in its working folder."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("uri", "config_map", "inline", "git"),
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
    git: Git | None = Field(None, description="A commit of a git repository.")
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


class OwnCode(Model):
    """What a stage may have of own code, and what its pods have of their own."""

    script: Script | None = Field(
        None,
        description="Own code of one file, saved in the working folder under the stage's name: "
        "`preprocess.py`, `train.py` or `evaluate.py`. docs/own-code.md says what it does.",
    )
    code: Code | None = Field(
        None,
        description="Own code of several files, instead of a script; its `main` is the file of "
        "that name when unset.",
    )
    requirements: Requirements | None = Field(
        None,
        description="Packages that own code needs beside those of the image: in an environment of "
        "the job's own, made once and kept on the job's storage.",
    )
    image: Image | None = Field(None, description="Container image; the operator's when unset.")
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: PodTemplate | None = Field(None, description="Parts of the pods.")

    @property
    def own_code(self) -> bool:
        """Whether there is any."""
        return (self.script or self.code) is not None

    @property
    def uris_of_code(self) -> list[str]:
        """The folder that the code lies in, if it lies in one."""
        return [self.code.uri] if self.code is not None and self.code.uri is not None else []


class OwnProgram(OwnCode):
    """Of a stage whose own code is a program."""

    command: Arguments | None = Field(
        None,
        description="Own command, run once in each pod, e.g. `[torchrun, train.py]`; `$(NAME)` is "
        "the value of a variable. When unset, Python runs the script or the code, when training in "
        "each process of the gang.",
    )
    args: Arguments | None = Field(
        None, description="Arguments for the command or the code, with `$(NAME)` likewise."
    )

    @property
    def own_code(self) -> bool:
        """Whether there is any."""
        return self.command is not None or super().own_code


# CEL.
FILES = "(has(self.script) || has(self.code))"
OWN = "(has(self.command) || has(self.script) || has(self.code))"


def _rules(own: str, without: str) -> tuple[Rule, ...]:
    """What holds of the code and the packages of a stage, with ``own`` as CEL for that it has code
    of its own; ``without``: that requirements need it."""
    return (
        Rule(
            cel=f"{own} || !has(self.requirements)",
            message=without,
            holds=lambda self: self.requirements is None or self.own_code,
        ),
        Rule(
            cel="!has(self.requirements) || !has(self.requirements.file) || has(self.code)",
            message="requirements.file is a file of code: set code, or requirements.packages",
            holds=lambda self: (
                self.requirements is None or self.requirements.file is None or self.code is not None
            ),
        ),
        Rule(
            cel="!has(self.script) || !has(self.code)",
            message="script and code are both the code: add the script to the files of code",
            holds=lambda self: self.script is None or self.code is None,
        ),
    )


CODE_RULES = _rules(FILES, "requirements need a script or code: the steps have what they need")
PROGRAM_RULES = (
    *_rules(OWN, "requirements need a command, a script or code: models have what they need"),
    Rule(
        cel="!has(self.command) || !has(self.code) || !has(self.code.main)",
        message="code.main is what runs without a command: name the file in command instead",
        holds=lambda self: self.command is None or self.code is None or self.code.main is None,
    ),
    Rule(
        cel=f"{OWN} || !has(self.args)",
        message="args need a command, a script or code",
        holds=lambda self: self.args is None or self.own_code,
    ),
)
