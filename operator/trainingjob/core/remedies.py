"""What to do in a case that the words about it tell from others of the same reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..api.v1alpha1 import REASONS
from ..api.v1alpha1.reasons import ReasonName

_FINALIZER = "wait for who has set it, or take it away: no deletion by force does"
_OF_NODE = "use an image for the processors of that node, or choose nodes by kubernetes.io/arch in "
_OF_NODE += "template.nodeSelector"
# Sign in the message -> remedy; the first that fits.
_CASES: Mapping[ReasonName, Mapping[str, str]] = {
    "ImagePullFailed": {
        r"no match for platform|no matching manifest|specified platform|no child with platform"
        r"|operating system .* cannot be used": _OF_NODE,
        r"x509:": "have the nodes trust the certificate of the registry",
    },
    "InputUnreadable": {
        r"is no model to go on from|^train\.model\.pretrained: ": "name a folder in "
        "train.model.pretrained.uri as save_pretrained leaves it",
    },
    "InputMalformed": {
        r"tokenizer|chat.template": "take the files of a tokenizer as save_pretrained leaves them",
    },
    "TextInvalid": {r"\ba document\b|one document": "or clean the files before"},
    "SettingUnsuitable": {
        r"^train\.model\.pretrained: .*(not trained here|be trained)": "name another model in "
        "train.model.pretrained.uri",
    },
    "CommandNotFound": {
        r"exec format error": f"{_OF_NODE}; a script has to begin with #!",
    },
    "ContainerConfigError": {
        r"argument list too long": "shorten args and env of the stage",
    },
    "ClaimMissing": {
        r"is being deleted": "create the claim anew once it is gone, as when no pod uses it",
        r"bound to non-existent": "its volume is lost: create the claim anew",
    },
    "StartFailed": {
        r"Multi-Attach": "use a claim that is ReadWriteMany, or keep its pods on one node; the "
        "volume of a node that is lost is let go some minutes later",
        r"list of registered CSI drivers": "see to the CSI driver of that node",
    },
    "SchedulingGated": {
        r"kueue": "nothing: Kueue removes it in the job's turn; where that does not come, the "
        "pod's Workload says why, as that there is no LocalQueue of that name",
    },
    "PodStuck": {r"a finalizer keeps it": _FINALIZER},
    "NameConflict": {
        r"of an earlier TrainingJob of this name": "nothing, if it goes by itself in a moment; "
        "else delete it"
    },
    "PodRefused": {
        r"no PriorityClass": "create the PriorityClass, or correct template.priorityClassName",
        r"security context constraint": "have the service account of the pods given a security "
        "context constraint that allows them",
        r"because it is being terminated": "nothing: its namespace is being deleted",
    },
}
# Taints of nodes that are not well, go, or are not ready yet.
_UNFIT = r"node\.kubernetes\.io/|\w*Cluster[Aa]utoscaler|karpenter\.sh/|[\w.]*cloudprovider"
_UNFIT = rf"(?:{_UNFIT}|[^:}}]*not-ready)"
_ROOM = "free resources, ask for less"
# What the scheduler says of nodes -> what would help; `{}` is for the group.
_NODES = (
    (re.compile(r"Insufficient|Too many pods|no nodes available"), _ROOM),
    (
        re.compile(rf"taint(?:\(s\))? \{{((?!{_UNFIT}|node-role\.)[^:}}]+)"),
        "tolerate {} in template.tolerations",
    ),
    (
        re.compile(rf"taint(?:\(s\))? \{{{_UNFIT}|were unschedulable"),
        "see to the nodes that take no pods",
    ),
    (
        re.compile(r"node affinity/selector|node selector"),
        "correct template.nodeSelector and affinity",
    ),
    (
        re.compile(r"volume node affinity conflict|available persistent volumes to bind"),
        "use a volume that these nodes reach, in their zone",
    ),
    (re.compile(r"ReadWriteOncePod"), "wait for the pod that has the claim"),
    (re.compile(r"pod (?:anti-)?affinity"), "correct template.affinity"),
    (re.compile(r"topology spread"), "correct template.topologySpreadConstraints"),
    (
        re.compile(r"resourceclaim|allocate all claims|deviceclass", re.IGNORECASE),
        "see that the claims of template.resourceClaims are there, and devices for them",
    ),
)


def of(reason: ReasonName, message: str) -> str:
    """The remedy of this case; the reason's own where nothing is known that fits better."""
    if reason == "Unschedulable":
        helps = [*_helps(message)]
        found = "" if helps == [_ROOM] else ", or ".join(helps)
    else:
        cases = _CASES.get(reason, {}).items()
        found = next((r for sign, r in cases if re.search(sign, message, re.IGNORECASE)), "")
    return found or REASONS[reason].remedy


def _helps(message: str) -> Iterator[str]:
    for sign, remedy in _NODES:
        if match := sign.search(message):
            yield remedy.format(*match.groups())
