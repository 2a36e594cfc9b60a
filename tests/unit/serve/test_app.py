"""The Open Inference Protocol over HTTP: what is answered, what is refused, and in which words."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from trainingjob.runtime.serve import protocol
from trainingjob.runtime.serve.served import load

from .build import Made, request
from .infer import COLUMNS, INFER, Client, infer, opened, tensors, with_input


async def test_a_request_with_raw_columns_gets_what_scikit_learn_and_numpy_give(
    client: Client, classes: Made
) -> None:
    rows = classes.rows("test")[:20]
    status, told = await infer(client, request(rows, COLUMNS, id="7"))
    expected = classes.expected(rows)
    assert (status, told["id"], told["model_name"]) == (200, "7", "digits")
    assert told["model_version"] == classes.accepted.name
    prediction, probabilities = told["outputs"]
    assert prediction == {
        "name": "prediction",
        "datatype": "BYTES",
        "shape": [20],
        "data": ["abc"[place] for place in expected.argmax(axis=1)],
    }
    assert (probabilities["shape"], probabilities["datatype"]) == ([20, 3], "FP64")
    np.testing.assert_allclose(np.reshape(probabilities["data"], (20, 3)), expected, atol=1e-5)


async def test_a_regression_gives_values(values: Made) -> None:
    client, app = await opened(values)
    rows = values.rows("test")[:5]
    _, told = await infer(client, request(rows, COLUMNS))
    (prediction,) = told["outputs"]
    np.testing.assert_allclose(prediction["data"], values.expected(rows), rtol=1e-5)
    await client.close()
    await app.close()


async def test_what_can_be_left_out_or_written_in_another_way(
    client: Client, classes: Made
) -> None:
    rows = classes.rows("test")[:2]
    plain = request(rows, COLUMNS)
    _, wanted = await infer(client, plain)
    by_name = {tensor["name"]: tensor for tensor in plain["inputs"]}
    others: dict[str, list[dict[str, Any]]] = {
        "in another order": plain["inputs"][::-1],
        "[n, 1]": [{**one, "shape": [2, 1]} for one in plain["inputs"]],
        "lists of one value": [
            {**one, "shape": [2, 1], "data": [[v] for v in one["data"]]} for one in plain["inputs"]
        ],
        "whole numbers as real ones": [
            *(one for one in plain["inputs"] if one["name"] != "count"),
            {**by_name["count"], "datatype": "FP32", "data": [*map(float, by_name["count"]["data"])]},
        ],
        "and the label, and what is no feature": [
            *plain["inputs"],
            {"name": "note", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
            {"name": "kind", "shape": [2], "datatype": "BYTES", "data": ["a", None]},
        ],
    }  # fmt: skip
    for case, inputs in others.items():
        status, told = await infer(client, {"inputs": inputs})
        assert (status, told) == (200, wanted), case
    _, told = await infer(client, plain | {"outputs": [{"name": "prediction"}]})
    assert told["outputs"] == wanted["outputs"][:1]


# What is wrong, and the words for it.
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "the body is not JSON: Expecting value (line 1, column 1)"),
    "no JSON": (b'{"inputs": [}', "the body is not JSON: Expecting value (line 1, column 13)"),
    "no UTF-8": (b'{"id": "\xff"}', "the body is not UTF-8 (byte 8)"),
    "NaN": (b'{"inputs": NaN}', "NaN is no number there; send null"),
    "brackets": (b"[" * 100_000, "the body has too many brackets in each other"),
    "a number of many digits": (b'{"inputs": ' + b"9" * 5000 + b"}", "the body is not JSON: Exceed"),
    "a list": (b"[]", "the request must be an object, not a list"),
    "no inputs": (b"{}", "inputs must be a list, not null"),
    "another field": (lambda asked: asked | {"input": 1}, 'the request has "input", and may have'),
    "inputs that are empty": (lambda asked: {"inputs": []}, "inputs is empty: send x, Full size"),
    "an input that is none": (tensors(3), "inputs[6] must be an object, not a number"),
    "an input without a name": (tensors({}), "inputs[6] has no name"),
    "an unknown column": (
        with_input("city", name="citty"),
        'inputs[3]: there is no column "citty"; did you mean city? (columns: x, Full size',
    ),
    "a column twice": (lambda a: a | {"inputs": a["inputs"] * 2}, "there is a tensor x before it"),
    "a column that lacks": (
        lambda asked: asked | {"inputs": asked["inputs"][2:]},
        "inputs lacks x, Full size: the model is made of x, Full size, count, city, day, member",
    ),
    "no shape": (with_input("x", shape=None), 'input "x": shape must be a list, not null'),
    "a shape of three": (with_input("x", shape=[1, 1, 1]), "shape must be [n] or [n, 1]"),
    "a wide shape": (with_input("x", shape=[1, 2]), "shape must be [n] or [n, 1], not [1, 2]"),
    "an empty shape": (with_input("x", shape=[]), "shape must be [n] or [n, 1], not []"),
    "a shape of text": (with_input("x", shape=["1"]), 'shape must be [n] or [n, 1], not ["1"]'),
    "no rows": (with_input("x", shape=[0], data=[]), "a request has 1 to 16384 rows"),
    "too many rows": (with_input("x", shape=[10**9]), "a request has 1 to 16384 rows"),
    "other rows": (
        with_input("city", shape=[2], data=["a", "b"]),
        'input "city" has 2 rows, and the inputs before it have 1',
    ),
    "less data": (with_input("x", data=[]), "shape says 1 values, and data has 0"),
    "a datatype": (
        with_input("city", datatype="FP32"),
        'input "city" is a string: its datatype must be BYTES, not "FP32"',
    ),
    "a datatype that is a list": (with_input("x", datatype=[]), "its datatype must be FP64, not []"),
    "no data": (with_input("x", data=3), "data must be a list, not a number"),
    "a text for a number": (with_input("x", data=["1"]), "data[0] is text, and no double"),
    "a boolean for a number": (with_input("x", data=[True]), "data[0] is a boolean, and no double"),
    "an object for a text": (with_input("city", data=[{}]), "data[0] is an object, and no string"),
    "a number for a boolean": (with_input("member", data=[1]), "data[0] is a number, and no boolean"),
    "a list of two": (with_input("x", data=[[1, 2]]), "data must be values, or lists of one value"),
    "half of a whole number": (with_input("count", data=[1.5]), "data[0] is 1.5, and no whole number"),
    "a whole number beyond 64 bits": (
        with_input("count", data=[2**63]),
        'input "count": data has a value that is no bigint',
    ),
    "a number beyond a double": (with_input("x", data=[10**400]), "and no number of 64 bits"),
    "infinity": (with_input("x", data=[1e308 * 10]), "Infinity is no number there"),
    "no date": (with_input("day", data=["31.12.2020"]), '"31.12.2020", and no date as 2026-01-31'),
    "half of a character": (
        with_input("city", data=["\ud800"]),
        "the body has half of a character: \\ud800 without the other one",
    ),
    "half of a character as the id": (lambda asked: asked | {"id": "\udc00"}, "half of a character"),
    "half of a character as a name": (tensors({"name": "a\ud83d"}), "half of a character: \\ud83d"),
    "halves the wrong way around": (
        lambda asked: asked | {"parameters": {"\udc00\ud800": 1}},
        "half of a character: \\udc00",
    ),
    "a null that nothing fills": (with_input("count", data=[None]), "feature count has 1 nulls"),
    "a value beyond float32": (with_input("x", data=[1e300]), "the model makes no number"),
    "an id that is none": (lambda asked: asked | {"id": 3}, "id must be text of at most 256"),
    "an output that there is not": (
        lambda asked: asked | {"outputs": [{"name": "y"}]},
        'outputs[0]: there is prediction and probabilities, and no "y"',
    ),
    "outputs that are none": (lambda asked: asked | {"outputs": 1}, "outputs must be a list"),
}  # fmt: skip


@pytest.mark.parametrize("large", [protocol.LARGE_BODY, -1], ids=["as a whole", "in pieces"])
async def test_a_request_that_is_wrong_is_told_why(
    client: Client, classes: Made, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LARGE_BODY", large)
    asked = request(classes.rows("test")[:1], COLUMNS)
    for case, (change, words) in WRONG.items():
        status, told = await infer(client, change(asked) if callable(change) else change)
        assert (status, words in told["error"]) == (400, True), (case, told)
        assert len(told["error"]) < 500, case
    assert (await infer(client, asked))[0] == 200


async def test_characters_beyond_16_bits_and_backslashes_are_taken(
    client: Client, classes: Made
) -> None:
    for id_ in ("\U0001f600", "\\ud800", "\\\U0001f600"):
        status, told = await infer(client, request(classes.rows("test")[:1], COLUMNS, id=id_))
        assert (status, told["id"]) == (200, id_)


def test_what_is_told_of_a_great_value_takes_no_time(classes: Made) -> None:
    served = load(classes.payload())
    great: dict[str, Any] = {
        "text": "x" * 15 * 2**20,
        "list": [0] * 5_000_000,
        "lists": {"a": [[0] * 5_000_000]},
        "a name of a field": {"b" * 15 * 2**20: 1},
    }
    for case, value in great.items():
        began = time.thread_time()
        told = protocol._short(value)
        assert time.thread_time() - began < 0.2, case
        assert (len(told), told[-1]) == (60, "…")
    began = time.thread_time()
    assert "there is no column" in protocol._unknown(great["text"], served)
    assert time.thread_time() - began < 0.2
    served.close()


async def test_paths_that_there_are_not_are_told_in_words(client: Client) -> None:
    for method, path, status, words in (
        ("GET", "/v2/models/other", 404, "there is no model 'other': this server has digits"),
        ("GET", "/v2/models/digits/versions/1", 404, "there is no version '1' of digits, but "),
        ("GET", INFER, 405, "Method Not Allowed"),
        ("POST", "/v2/nothing", 404, "Not Found"),
        ("POST", "/v2/models/other/infer", 404, "there is no model 'other'"),
    ):
        answer = await client.request(method, path)
        told = await answer.json()
        assert (answer.status, words in told["error"]) == (status, True), (path, told)


async def test_what_the_model_takes_and_gives_is_told(client: Client, classes: Made) -> None:
    told = await (await client.get("/v2/models/digits")).json()
    assert [
        (one["name"], one["datatype"], one["parameters"]["type"]) for one in told["inputs"]
    ] == [
        ("x", "FP64", "double"),
        ("Full size", "FP64", "double"),
        ("count", "INT64", "bigint"),
        ("city", "BYTES", "string"),
        ("day", "BYTES", "date"),
        ("member", "BOOL", "boolean"),
    ]
    assert told["outputs"][1]["parameters"] == {"classes": ["a", "b", "c"]}
    (version,) = told["versions"]
    for path in ("/v2/models/digits/ready", f"/v2/models/digits/versions/{version}/ready"):
        assert (await client.get(path)).status == 200


async def test_until_the_model_has_proved_itself_the_server_lives_and_is_not_ready(
    classes: Made,
) -> None:
    client, app = await opened(classes, serve=False)
    for path, status in (("live", 200), ("ready", 503)):
        assert (await client.get(f"/v2/health/{path}")).status == status
    status, told = await infer(client, request(classes.rows("test")[:1], COLUMNS))
    assert (status, "has not proved itself" in told["error"]) == (503, True)
    app.serve(load(classes.payload()))
    assert (await client.get("/v2/health/ready")).status == 200
    app.state.draining = True
    answer = await client.get("/v2/health/ready")
    assert (answer.status, answer.headers["Connection"]) == (503, "close")
    await client.close()
    await app.close()


async def test_metrics_count_requests_rows_and_batches(client: Client, classes: Made) -> None:
    await infer(client, request(classes.rows("test")[:7], COLUMNS))
    await infer(client, b"{")
    answer = await client.get("/metrics")
    samples = {
        (sample.name, sample.labels.get("code")): (sample.value, sample.labels)
        for family in text_string_to_metric_families(await answer.text())
        for sample in family.samples
    }
    assert samples["trainingjob_serve_rows_total", None][0] == 7
    assert samples["trainingjob_serve_request_seconds_count", "200"][0] == 1
    assert samples["trainingjob_serve_request_seconds_count", "400"][0] == 1
    assert samples["trainingjob_serve_queued_rows", None][0] == 0
    _, labels = samples["trainingjob_serve_model_info", None]
    assert labels == {"name": "digits", "digest": classes.digest}
