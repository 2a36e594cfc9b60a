"""Sets of values that together use every value and every branch of every template."""

from __future__ import annotations

from typing import Any

ONLY_NAMESPACED = {
    "crds": {"install": False},
    "userRoles": {"create": False},
    "admission": {"enabled": False},
}

EVERYTHING: dict[str, Any] = {
    "namespaces": ["team-a", "team-b"],
    "nameOverride": "jobs",
    "image": {
        "repository": "registry.example:5000/ml/trainingjob-operator",
        "digest": "sha256:" + "0" * 64,
        "pullPolicy": "Always",
    },
    "imagePullSecrets": [{"name": "registry"}],
    "stageImages": {"spark": "registry.example/spark:1", "torch": "registry.example/torch:2"},
    "log": {"format": "text", "level": "debug"},
    "deploy": {"enabled": True, "kserve": {"enabled": True}},
    "podGroups": {"enabled": True},
    "crds": {"keep": False},
    "serviceAccount": {"name": "operator", "annotations": {"example.com/identity": "ml"}},
    "spark": {"namespaces": ["team-a"]},
    "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
    "podLabels": {"team": "ml"},
    "podAnnotations": {"example.com/note": "a: b"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "Exists"}]}
                ]
            }
        }
    },
    "priorityClassName": "high",
    "networkPolicy": {
        "egress": True,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "apiServer": {"cidrs": ["192.0.2.0/24", "2001:db8::/32"], "ports": [8443]},
        "dns": [{"ipBlock": {"cidr": "169.254.20.10/32"}}],
    },
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": 0},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True, "labels": {"dashboards": "yes"}},
}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "two-namespaces": {"namespaces": ["team-a", "team-b"], **ONLY_NAMESPACED},
    "everything": EVERYTHING,
    "switched-on-as-it-stands": {
        "image": {"tag": "1.2.3"},
        "spark": {"namespaces": ["team-a"]},
        **{
            part: {"enabled": True}
            for part in (
                "podDisruptionBudget",
                "podMonitor",
                "prometheusRule",
                "dashboard",
            )
        },
    },
    "switched-off": {
        **ONLY_NAMESPACED,
        "namespaces": ["team-a"],
        "serviceAccount": {"create": False},
        "rbac": {"create": False},
        "progress": {"enabled": False},
        "claims": {"create": False},
        "networkPolicy": {"enabled": False},
        "podEvents": {"enabled": False},
        "spark": {"create": False},
        # Null removes a default.
        "resources": None,
        "nodeSelector": None,
    },
}
