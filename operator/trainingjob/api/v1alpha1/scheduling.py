"""Which nodes the pods may run on: the fields of a pod, as strict as Kubernetes is with them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule, exactly_one_of
from .patterns import DNS_LABEL, LABEL_KEY, LabelKey, LabelValue, Name, keys_match

Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
LabelValues = Annotated[list[LabelValue], Field(min_length=1, max_length=64)]
Weight = Annotated[int, Field(ge=1, le=100)]


class Toleration(Model):
    """A taint that the pod tolerates, as in a pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="a toleration without key needs operator Exists",
            holds=lambda self: self.key is not None or self.operator == "Exists",
        ),
        Rule(
            cel="!has(self.value) || self.value == '' || "
            "!has(self.operator) || self.operator == 'Equal'",
            message="a value belongs to operator Equal",
            holds=lambda self: not self.value or self.operator in (None, "Equal"),
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds needs effect NoExecute",
            holds=lambda self: self.toleration_seconds is None or self.effect == "NoExecute",
        ),
    )

    key: LabelKey | None = Field(None, description="Taint key; every key when unset.")
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="How the key is compared; `Equal` when unset."
    )
    value: LabelValue | None = Field(None, description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Taint effect; every effect when unset."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31536000)] | None = Field(
        None, description="How long a NoExecute taint is tolerated, in seconds."
    )


def _values_fit() -> Rule:
    return Rule(
        cel="has(self.values) == !(self.operator in ['Exists', 'DoesNotExist'])",
        message="values must be set, unless operator is Exists or DoesNotExist, and only then",
        holds=lambda self: (
            (self.values is not None) == (self.operator not in ("Exists", "DoesNotExist"))
        ),
    )


class LabelRequirement(Model):
    """A condition on a label of pods or namespaces."""

    rules: ClassVar[tuple[Rule, ...]] = (_values_fit(),)

    key: LabelKey = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How it is compared with the values."
    )
    values: LabelValues | None = Field(None, description="For In and NotIn.")


class LabelSelector(Model):
    """All of it must hold; an empty selector selects everything."""

    rules: ClassVar[tuple[Rule, ...]] = (
        keys_match("match_labels", LABEL_KEY, "matchLabels must have names of labels as keys"),
    )

    match_labels: Labels | None = Field(None, description="Values by label.")
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=64)] | None = Field(
        None, description="Conditions."
    )


class NodeRequirement(Model):
    """A condition on a label of the node."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _values_fit(),
        Rule(
            cel="!(self.operator in ['Gt', 'Lt']) || !has(self.values) || self.values.size() == 1",
            message="operators Gt and Lt compare with one value",
            holds=lambda self: (
                self.operator not in ("Gt", "Lt") or self.values is None or len(self.values) == 1
            ),
        ),
    )

    key: LabelKey = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How it is compared with the values; Gt and Lt as integers."
    )
    values: LabelValues | None = Field(None, description="For all but Exists and DoesNotExist.")


class NodeName(Model):
    """A condition on the name of the node."""

    key: Literal["metadata.name"] = Field(description="The one field there is.")
    operator: Literal["In", "NotIn"] = Field(description="Whether it must be, or must not be.")
    values: Annotated[list[Name], Field(min_length=1, max_length=1)] = Field(
        description="The node."
    )


class NodeTerm(Model):
    """Conditions that must all hold; without any, no node will do."""

    outlined = True

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=64)] | None = Field(
        None, description="On its labels."
    )
    match_fields: Annotated[list[NodeName], Field(max_length=64)] | None = Field(
        None, description="On its name."
    )


class NodeSelector(Model):
    """Nodes that fit one of the terms."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=16)] = Field(
        description="One of these must hold."
    )


class PreferredNodes(Model):
    """A wish, and how strong it is."""

    weight: Weight = Field(description="Counts for the nodes that fit.")
    preference: NodeTerm = Field(description="What they fit.")


class NodeAffinity(Model):
    """Nodes by their labels."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None, description="Where the pod may run."
    )
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(max_length=16)] | None
    ) = Field(None, description="Where it should rather run.")


class PodTerm(Model):
    """Places where certain pods run."""

    outlined = True

    topology_key: LabelKey = Field(
        description="Label of nodes: those with the same value are one place."
    )
    label_selector: LabelSelector | None = Field(
        None, description="Which pods, by their labels; none when unset."
    )
    namespaces: Annotated[list[Name], Field(max_length=64)] | None = Field(
        None, description="In which namespaces; the job's own when unset."
    )
    namespace_selector: LabelSelector | None = Field(
        None, description="And in which others, by their labels."
    )


class PreferredPods(Model):
    """A wish, and how strong it is."""

    weight: Weight = Field(description="Counts for the places that fit.")
    pod_affinity_term: PodTerm = Field(description="What they fit.")


class PodAffinity(Model):
    """Places by the pods that run there."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodTerm], Field(max_length=16)] | None
    ) = Field(None, description="All of these must hold.")
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredPods], Field(max_length=16)] | None
    ) = Field(None, description="These should.")


class Affinity(Model):
    """As in a pod, without `matchLabelKeys` and `mismatchLabelKeys`."""

    node_affinity: NodeAffinity | None = Field(None, description="To nodes by their labels.")
    pod_affinity: PodAffinity | None = Field(None, description="To where certain pods run.")
    pod_anti_affinity: PodAffinity | None = Field(
        None, description="Away from where certain pods run."
    )


class TopologySpread(Model):
    """As in a pod; without a `labelSelector` it is about the pods of the job's stage."""

    outlined = True
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=None,
            message="minDomains needs whenUnsatisfiable DoNotSchedule",
            holds=lambda self: (
                self.min_domains is None or self.when_unsatisfiable == "DoNotSchedule"
            ),
        ),
    )

    max_skew: Annotated[int, Field(ge=1, le=1000)] = Field(
        description="By how many pods places may differ."
    )
    topology_key: LabelKey = Field(
        description="Label of nodes: those with the same value are one place."
    )
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        description="Whether a pod waits, or the rule is a wish."
    )
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="How many places there must be."
    )
    label_selector: LabelSelector | None = Field(None, description="Which pods count.")


class ResourceClaim(Model):
    """A device that a driver gives out: of a claim that is there, or of one made for each pod."""

    outlined = True
    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("resource_claim_name", "resource_claim_template_name"),
    )

    name: Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)] = Field(
        description="What it is called in the pod."
    )
    resource_claim_name: Name | None = Field(None, description="A ResourceClaim.")
    resource_claim_template_name: Name | None = Field(
        None, description="A ResourceClaimTemplate, by which each pod gets a claim of its own."
    )
    request: Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)] | None = Field(
        None, description="Of its requests the one that the container gets; all when unset."
    )
