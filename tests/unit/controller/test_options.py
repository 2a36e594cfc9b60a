"""The operator's command line."""

from __future__ import annotations

import pytest

from trainingjob.controller.settings import parse


def test_kserve_is_served_only_with_what_serves_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--kserve"])
    assert end.value.code == 2
    assert "--kserve needs --deploy" in capsys.readouterr().err

    found = parse(["--kserve", "--deploy"])
    assert [resource.plural for resource in found.listed] == ["inferenceservices"]
    assert not {*found.listed} & {*found.watched}, "kopf watches what is there at its start alone"
    assert (found.core().deploys, found.core().kserve) == (True, "missing")
    assert (parse([]).listed, parse([]).core().kserve) == ((), "off")
