"""`evaluate.sealed`: what a job needs so that no pod that trains can read the test split."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import uris
from ...base import Rule
from .cel import OWN_JUDGE

if TYPE_CHECKING:
    from ..job import Spec

_SEALED = "has(self.evaluate) && has(self.evaluate.sealed) && self.evaluate.sealed"
# The claim that is made for a job, whose name no rule about spec knows.
_MADE = "-storage"


def rules() -> tuple[Rule, ...]:
    """Of the spec."""

    def rule(cel: str | None, message: str, holds: Callable[[Spec], bool]) -> Rule:
        return Rule(
            cel=cel and f"!({_SEALED}) || ({cel})",
            message=message,
            holds=lambda self: self.evaluate is None or not self.evaluate.sealed or holds(self),
        )

    return (
        rule(
            "has(self.preprocess)",
            "evaluate.sealed needs preprocess, which seals the test split: a dataset that is given "
            "lies open",
            lambda self: self.preprocess is not None,
        ),
        rule(
            "!has(self.task) || self.task.type != 'languageModel'",
            "evaluate.sealed is for classification and regression",
            lambda self: self.task is None or self.task.type != "languageModel",
        ),
        rule(
            "!has(self.preprocess) || !has(self.preprocess.split.folds)",
            "evaluate.sealed seals the test split, and folds are judged on rows that others "
            "train on: leave out preprocess.split.folds",
            lambda self: self.preprocess is None or self.preprocess.split.folds is None,
        ),
        rule(
            f"!{OWN_JUDGE}",
            "evaluate.sealed keeps the labels from own code, which could not judge without them: "
            "leave it out, or the script, the code and the command of evaluate",
            lambda self: self.evaluate is None or not self.evaluate.own_code,
        ),
        rule(
            "!has(self.policy) || !has(self.policy.cache) || !self.policy.cache",
            "evaluate.sealed keeps the test split to one job: leave out policy.cache",
            lambda self: not self.policy.cache,
        ),
        rule(
            None,  # of parts of texts CEL does not know the length, and takes it for endless
            "evaluate.sealed needs what preprocess reads on another claim, or in another bucket, "
            "than those that training has: storage, train.model.pretrained, train.code and the "
            "volumes of train.template",
            _apart,
        ),
    )


def _apart(spec: Spec) -> bool:
    """Whether nothing that preprocess reads lies where training reads or writes."""
    if spec.preprocess is None or spec.train is None:
        return True
    trains = [spec.storage.uri] if spec.storage.uri is not None else []
    trains += [spec.pretrained.uri] if spec.pretrained is not None else []
    trains += spec.train.uris_of_code
    volumes = (spec.train.template.volumes if spec.train.template else None) or ()
    claims = [one.persistent_volume_claim for one in volumes]
    trains += [f"{uris.CLAIM.start}{one.claim_name}" for one in claims if one is not None]
    places = {_place(uri) for uri in trains}
    return not any(
        _place(uri) in places or (spec.storage.pvc is not None and _may_be_made(uri))
        for uri in spec.preprocess.uris
    )


def _place(uri: str) -> tuple[str, str]:
    scheme, _, authority, *_ = uri.split("/")
    # A cluster has several names: of its service, of each NameNode, with and without a port.
    return scheme, "" if uri.startswith(uris.HDFS.start) else authority.lower()


def _may_be_made(uri: str) -> bool:
    return uri.startswith(uris.CLAIM.start) and _place(uri)[1].endswith(_MADE)
