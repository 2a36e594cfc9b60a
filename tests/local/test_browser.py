"""The page of a served model in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import browser
from tests.unit.serve.build import made

from .servers import Server

pytestmark = pytest.mark.nightly


def test_the_page_is_read_and_its_form_filled_in(tmp_path: Path) -> None:
    model = made(tmp_path / "model")
    row = model.rows("test")[:1]
    names = ("x", "Full size", "count", "city", "day")
    good = {name: str(row[name].iloc[0]) for name in names}
    good["member"] = str(row["member"].iloc[0]).lower()
    script = "<script>alert(1)</script>"
    server = Server(model, tmp_path / "server")
    try:
        url = f"http://127.0.0.1:{server.ready()}/"
        told = browser.form(url, [good, {"x": script}, {"x": "", "city": '"><b>東京</b>'}])
    finally:
        server.kill()
    first, (answered, refused, again) = told["first"], told["answers"]
    assert told["faults"] == []
    assert all(one.startswith(url) for one in told["requests"])
    assert (first["styled"], first["wide"]) == (True, 0)
    assert model.digest in first["text"]
    (expected,) = model.expected(row)
    assert answered["answer"] == f"kind: {'abc'[expected.argmax()]}"
    assert f"{expected.max():.4f}" in answered["text"]
    assert answered["fields"] == good
    assert refused["error"] == f"x: {script} is no double"
    assert refused["fields"]["x"] == script
    # An empty field is null, for which there is a step; a city of its own is none of the others.
    assert again["answer"] is not None
    assert again["fields"] == good | {"x": "", "city": '"><b>東京</b>'}
