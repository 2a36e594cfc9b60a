"""Alert rules and dashboard: PromQL that parses, over metrics that the operator has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest

from tests.cluster.build import ROOT
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.settings import Options

from .helm import CHART, one, render

ALERTS = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
TARGETS = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    # Grafana puts a duration and a pattern in place of its variables.
    **{
        f"{title} {number}": expr.replace("$__rate_interval", "1m").replace("$namespace", ".*")
        for number, (title, expr) in enumerate(TARGETS)
    },
}


class Queue:
    depth = 0
    oldest_seconds = 0.0


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """What the operator exports: the labels of each series by its name."""
    metrics = Metrics()
    metrics.show(Queue(), lambda: [("Training", 1)], lambda: 0.0, lambda: [("team", True)])
    metrics.reconciled("failed", 0.1)
    metrics.called("GET", "pods", 200, 0.1)
    # A write of a status makes these; the values of their labels do not matter here.
    metrics._finished.labels("Failed", "OutOfMemory").inc()
    metrics._stage_seconds.labels("train", "Failed").observe(1)
    metrics._gpu_seconds.labels("train", "failed").inc()
    for counter in metrics._usage.values():
        counter.labels("train").inc()
    metrics.reported(200)
    found: dict[str, set[str]] = {}
    for line in generate_latest(metrics.registry).decode().splitlines():
        if match := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            labels = set(re.findall(r'(\w+)="', match[2] or ""))
            found.setdefault(match[1], set()).update(labels)
    return found


# What Prometheus itself adds to every series that it scrapes from a pod.
SCRAPED = {"namespace", "pod", "container", "instance", "job", "endpoint"}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_parses_and_asks_for_what_is_exported(
    name: str, exported: dict[str, set[str]]
) -> None:
    text = EXPRESSIONS[name]
    selectors = [*_selectors(promql_parser.parse(text))]
    assert selectors
    for metric, labels in selectors:
        assert metric in exported, metric
        assert labels <= exported[metric] | SCRAPED, (metric, labels)
    grouped = {
        label.strip()
        for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", text)
        for label in names.split(",")
    }
    known = set().union(*(exported[metric] for metric, _ in selectors)) | SCRAPED
    assert grouped <= known


def _selectors(node: Any) -> Iterator[tuple[str, set[str]]]:
    """Each metric with the labels that it is selected by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
    for part in ("vector_selector", "expr", "lhs", "rhs"):
        inner = getattr(node, part, None)
        if inner is not None:
            yield from _selectors(inner)
    for argument in getattr(node, "args", None) or ():
        yield from _selectors(argument)


# --- alerts ------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_look_at(
    rule: dict[str, Any],
) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    for text in rule["annotations"].values():
        assert re.fullmatch(r"\S.*\.", text)


def test_the_operator_is_blind_when_it_says_itself_that_it_is_not_ready() -> None:
    options = Options()
    (rule,) = [rule for rule in RULES if rule["alert"] == "TrainingJobOperatorBlind"]
    limit = options.resync_seconds * options.stale_resyncs
    assert rule["expr"] == f"trainingjob_resync_age_seconds > {limit:.0f}"


def test_the_chart_carries_the_rules_as_they_are() -> None:
    found = one(render({"prometheusRule": {"enabled": True}}), "PrometheusRule")
    assert found["spec"] == ALERTS


# --- the dashboard -----------------------------------------------------------------------------
def test_the_chart_carries_the_dashboard_as_it_is() -> None:
    found = one(render({"dashboard": {"enabled": True}}), "ConfigMap")
    assert json.loads(found["data"]["trainingjob-operator.json"]) == DASHBOARD


def test_panels_have_their_own_numbers_and_places_and_the_chosen_data_source() -> None:
    places: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & places, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"] and panel["description"].endswith(".")


def test_every_variable_of_the_dashboard_is_used_and_known() -> None:
    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == known


def test_every_metric_of_the_operators_page_is_on_the_dashboard() -> None:
    page = Path(ROOT / "docs/operator.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(trainingjob_\w+)", page))
    shown = json.dumps(DASHBOARD)
    assert told
    assert {metric for metric in told if metric not in shown} == set()
