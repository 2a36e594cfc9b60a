"""Quantities as Kubernetes reads them, and folders that the operator keeps for itself."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from tests.unit.api.corpus import GOOD
from trainingjob.api.errors import check_manifest
from trainingjob.api.v1alpha1.resources import amount
from trainingjob.api.v1alpha1.volumes import VolumeMount
from trainingjob.core import Settings, stages


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (2, 2),
        ("2", 2),
        ("1.50", Fraction(3, 2)),
        ("500m", Fraction(1, 2)),
        ("1k", 1000),
        ("1Ki", 1024),
        ("3M", 3 * 10**6),
        ("3Mi", 3 * 2**20),
        ("1.5G", 1.5 * 10**9),
        ("1.5Gi", 1.5 * 2**30),
        ("2T", 2 * 10**12),
        ("2Ti", 2 * 2**40),
        ("1P", 10**15),
        ("1Pi", 2**50),
        # Nothing is smaller than a billionth, nothing larger than 64 bits.
        ("0.0000000000001", Fraction(1, 10**9)),
        ("0", 0),
        ("99999999999999999999P", 2**63 - 1),
    ],
)
def test_a_quantity_has_the_value(quantity: str | int, value: Fraction) -> None:
    assert amount(quantity) == value


@pytest.mark.parametrize("name", ["whole-pipeline", "script-config-map", "script-inline"])
def test_nobody_mounts_where_the_operator_does(name: str) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None
    taken = {
        mount["mountPath"]
        for stage in stages.of(job)
        for pod in stage.pods(job, 1, Settings())
        for container in pod["spec"]["containers"]
        for mount in container["volumeMounts"]
    }
    assert taken

    for path in taken:
        with pytest.raises(ValidationError, match="mountPath must not be"):
            VolumeMount(name="mine", mount_path=path)


@pytest.mark.parametrize("path", ["/data", "/tmp/cache", "/devices", "/mnt/claims2", "/etc", "/a/"])
def test_elsewhere_they_may(path: str) -> None:
    assert VolumeMount(name="mine", mount_path=path).mount_path == path
