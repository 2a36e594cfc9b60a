"""A served language model: what transformers itself gives, in the form of OpenAI's completions."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from aiohttp.test_utils import TestClient, TestServer
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.logits_process import TopPLogitsWarper

from tests.local.preprocess.both import payload as preprocess_payload
from tests.unit.preprocess import chats
from trainingjob.api.payload import EvaluatePayload, JobRef, ServePayload
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.transformer import Transformer
from trainingjob.runtime import evaluate, preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.evaluate.publication import CARD
from trainingjob.runtime.model import generation, transformer
from trainingjob.runtime.model.folder import Words
from trainingjob.runtime.serve import completions, turns
from trainingjob.runtime.serve.app import App
from trainingjob.runtime.serve.language import Language
from trainingjob.runtime.serve.served import any_model, load

TEXTS = [part for text in topics.values() for part in text.split("\n\n")][:60]
PROMPT = "The value of"
Client = TestClient[Any, Any]


@dataclass
class Made:
    """An accepted language model."""

    folder: Path
    network: Any
    tool: Any

    @property
    def accepted(self) -> Path:
        folder = self.folder / "accepted"
        return folder / json.loads((folder / "metrics.json").read_text())["recent"][0]

    @cached_property
    def served(self) -> Language:
        """As a server loads it; once, since each test has a server."""
        found = any_model(self.payload())
        assert isinstance(found, Language)
        return found

    def payload(self) -> ServePayload:
        return ServePayload(model_uri=f"file://{self.folder}/accepted", name="words")

    def greedy(self, ids: list[int], tokens: int) -> list[int]:
        """By transformers' own."""
        asked = torch.tensor([ids])
        found = self.network.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return found[0, len(ids) :].tolist()


def made(folder: Path, task: dict[str, Any], rows: list[dict[str, Any]]) -> Made:
    source = folder / "rows.json"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preprocess.run(
        preprocess_payload(
            "pandas",
            source,
            folder / "dataset",
            format="json",
            task=task,
            tokenize={"vocabSize": 300, "sequenceLength": 64},
            split={"test": 0.3},
        )
    )
    manifest = DatasetManifest.read(folder / "dataset")
    tokens = manifest.tokens
    assert tokens is not None
    spec = Transformer.model_validate(
        {"architecture": "llama", "layers": 2, "hidden": 32, "heads": 4}
    )
    config = transformer.config_of(spec, tokens)
    network = transformer.build(config)
    # Weights that make some tokens far likelier than others.
    transformer.fill(network, torch.device("cpu"), 3, lambda a, b: a ^ b, lambda _, one: 8 * one)
    files = folder / "dataset"
    template = files / "chat_template.jinja"
    words = Words(files / "tokenizer.json", template if template.is_file() else None)
    (folder / "model").mkdir()
    transformer.save(folder / "model", config, network.named_parameters(), words, tokens)
    evaluate.run(
        EvaluatePayload(
            job=JobRef(namespace="team", name="words", uid="1"),
            attempt=1,
            task=Task.model_validate(task),
            metrics=["perplexity"],
            dataset=f"file://{folder}/dataset",
            model_uri=f"file://{folder}/model",
            output=f"file://{folder}/evaluation",
            accepted=f"file://{folder}/accepted",
            gates=[],
        )
    )
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    return Made(folder, model.eval(), AutoTokenizer.from_pretrained(folder / "model"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    task = {"type": "languageModel", "text": "body"}
    found = made(tmp_path_factory.mktemp("words"), task, [{"body": text} for text in TEXTS])
    yield found
    found.served.close()


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    rows = [{"messages": json.dumps(chat)} for chat in chats.CHATS]
    found = made(tmp_path_factory.mktemp("talk"), chats.TASK, rows)
    yield found
    found.served.close()


async def opened(one: Made) -> tuple[Client, App]:
    app = App(one.payload())
    app.serve(one.served)
    client = TestClient(TestServer(app.application, handler_cancellation=True))
    await client.start_server()
    return client, app


@pytest.fixture
async def client(words: Made) -> AsyncIterator[Client]:
    found, app = await opened(words)
    yield found
    await closed(found, app)


async def closed(client: Client, app: App) -> None:
    """The server; its model stays."""
    await client.close()
    assert app.state.completions is not None
    await app.state.completions.turns.close()


async def ask(client: Client, path: str = "completions", **body: Any) -> tuple[int, Any]:
    answer = await client.post(f"/v1/{path}", json=body)
    return answer.status, await answer.json()


async def streamed(client: Client, path: str = "completions", **body: Any) -> list[Any]:
    answer = await client.post(f"/v1/{path}", json={**body, "stream": True})
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    *events, last = (await answer.text()).strip().split("\n\n")
    assert last == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_the_rows_that_prove_it_have_the_losses_of_transformers(words: Made, talk: Made) -> None:
    for one in (words, talk):
        found = one.served
        texts = found.card.texts
        assert texts is not None
        assert found.prove(1e-4) == len(texts.losses) == 8
        for ids, targets, loss in zip(texts.ids, texts.targets, texts.losses, strict=True):
            labels = torch.tensor([[-100, *targets]])
            its = one.network(torch.tensor([ids]), labels=labels).loss.detach()
            assert loss == pytest.approx(float(its), rel=1e-5)


def test_another_loss_is_no_proof(words: Made) -> None:
    texts = words.served.card.texts
    assert texts is not None

    def of(losses: list[float] | None) -> Language:
        found = copy(words.served)
        its = None if losses is None else texts.model_copy(update={"losses": losses})
        found.card = found.card.model_copy(update={"texts": its})
        return found

    losses = [*texts.losses]
    losses[2] += 0.01
    with pytest.raises(StageFailure, match="1 of 8 rows of the evaluation have another loss now"):
        of(losses).prove(1e-4)
    losses[2] = float("nan")
    with pytest.raises(StageFailure, match="row 3 gives"):
        of(losses).prove(1e-4)
    with pytest.raises(StageFailure, match="has no rows with the losses that were judged"):
        of(None).prove(1e-4)
    assert CARD in {path.name for path in words.accepted.iterdir()}
    with pytest.raises(StageFailure, match="`trainingjob generate` asks it"):
        load(words.payload())


async def test_the_most_likely_tokens_are_those_of_transformers(
    client: Client, words: Made
) -> None:
    ids = [0, *words.tool(PROMPT)["input_ids"]]
    expected = words.greedy(ids, 20)
    status, told = await ask(client, prompt=PROMPT, max_tokens=20, temperature=0, model="words")
    assert status == 200
    (choice,) = told["choices"]
    assert choice["text"] == words.tool.decode(expected, skip_special_tokens=True)
    ended = expected[-1] == 0
    assert choice["finish_reason"] == ("stop" if ended else "length")
    made = len(expected) - ended
    assert told["usage"] == {
        "prompt_tokens": len(ids),
        "completion_tokens": made,
        "total_tokens": len(ids) + made,
    }
    events = await streamed(
        client,
        prompt=PROMPT,
        max_tokens=20,
        temperature=0,
        stream_options={"include_usage": True},
    )
    *pieces, usage = events
    assert "".join(one["choices"][0]["text"] for one in pieces) == choice["text"]
    assert pieces[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], told["usage"])


async def test_the_same_seed_gives_the_same_text_whoever_else_asks(client: Client) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 30, "top_p": 0.9}
    _, alone = await ask(client, seed=5, **asked)
    found = await asyncio.gather(*(ask(client, seed=5 + n % 3, **asked) for n in range(12)))
    texts = [told["choices"][0]["text"] for _, told in found]
    assert set(texts[::3]) == {alone["choices"][0]["text"]}
    assert len({*texts}) == 3


async def test_a_text_ends_before_a_stop(client: Client) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 40, "seed": 1}
    _, told = await ask(client, **asked)
    whole = told["choices"][0]["text"]
    stop = whole[9:12]
    _, told = await ask(client, stop=["never there", stop], **asked)
    (choice,) = told["choices"]
    assert choice == {**choice, "text": whole[: whole.index(stop)], "finish_reason": "stop"}
    events = await streamed(client, stop=stop, **asked)
    assert "".join(one["choices"][0]["text"] for one in events) == choice["text"]


def test_top_p_draws_from_what_transformers_leaves() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 3
    kept = TopPLogitsWarper(top_p=0.7)(torch.zeros(1, 1), (logits / 0.8)[None])[0]
    possible = {*torch.isfinite(kept).nonzero().flatten().tolist()}
    chance = torch.Generator().manual_seed(0)
    options = generation.Options(1, temperature=0.8, top_p=0.7)
    drawn = [generation._drawn(logits, options, chance) for _ in range(4000)]
    assert {*drawn} == possible
    shares = torch.softmax(kept, 0)
    found = torch.bincount(torch.tensor(drawn), minlength=50) / 4000
    assert float((found - shares).abs().max()) < 0.03


BAD = [
    ({"prompt": 1}, "prompt must be a text, or a list of one text", "prompt"),
    ({"prompt": ["a", "b"]}, "prompt must be a text", "prompt"),
    ({}, "prompt must be a text", "prompt"),
    ({"prompt": "a" * 300_000}, "prompt has 300000 characters, 262144 at most", "prompt"),
    ({"prompt": "a\ud800"}, "prompt has half of a character in it", "prompt"),
    ({"prompt": "x" * 500}, "the model takes at most 64 together with what follows", "prompt"),
    ({"max_tokens": 0}, "max_tokens must be at least 1", "max_tokens"),
    ({"max_tokens": 1000}, "max_tokens is 1000, and at most", "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens must be a whole number", "max_tokens"),
    ({"max_tokens": True}, "max_tokens must be a whole number", "max_tokens"),
    ({"max_tokens": 10**400}, "max_tokens is 10000000000000000", "max_tokens"),
    ({"temperature": 10**400}, "temperature must be from 0 to 2", "temperature"),
    ({"temperature": float("nan")}, "temperature must be a number", "temperature"),
    ({"temperature": float("inf")}, "temperature must be a number", "temperature"),
    ({"temperature": 3}, "temperature must be from 0 to 2", "temperature"),
    ({"temperature": "1"}, "temperature must be a number", "temperature"),
    ({"top_p": -1}, "top_p must be from 0 to 1", "top_p"),
    ({"seed": 2**70}, "seed must be from", "seed"),
    ({"seed": -(10**400)}, "seed must be from", "seed"),
    ({"stop": [""]}, "stop must be a text, or at most 4, of 1 to 256 characters", "stop"),
    ({"stop": ["a"] * 5}, "stop must be a text, or at most 4", "stop"),
    ({"stream": "yes"}, "stream must be true or false", "stream"),
    ({"stream_options": {"other": 1}}, "stream_options has include_usage alone", "stream_options"),
    ({"n": True}, "n is not supported: leave it out", "n"),
    ({"n": 2}, "n is not supported: leave it out", "n"),
    ({"logit_bias": {"1": 2}}, "logit_bias is not supported", "logit_bias"),
    ({"promt": "a"}, "there is no field 'promt'", "promt"),
    ({"model": "gpt-4"}, "there is no model of that name: this server has words", "model"),
]


async def test_what_is_refused_and_in_which_words(client: Client) -> None:
    for body, expected, name in BAD:
        asked = {"prompt": "a", **body} if "prompt" in body or body else body
        answer = await client.post("/v1/completions", data=json.dumps(asked).encode())
        error = (await answer.json())["error"]
        assert (answer.status, error["type"]) == (400, "invalid_request_error"), body
        assert expected in error["message"]
        assert error["param"] == name
    for data, expected in ((b"{", "the body is no JSON"), (b"[1]", "the body is no JSON object")):
        answer = await client.post("/v1/completions", data=data)
        assert answer.status == 400
        assert expected in (await answer.json())["error"]["message"]
    for path, status in (("completions", 405), ("models/other", 404)):
        answer = await client.get(f"/v1/{path}")
        error = (await answer.json())["error"]
        assert (answer.status, error["type"]) == (status, "invalid_request_error")
    status, told = await ask(client, "chat/completions", messages=[{"role": "a", "content": "b"}])
    assert (status, told["error"]["param"]) == (400, "messages")
    assert "the model has no chat template: ask /v1/completions" in told["error"]["message"]
    answer = await client.post("/v2/models/words/infer", json={})
    assert answer.status == 404
    assert "ask POST /v1/completions" in (await answer.json())["error"]
    # And it lives.
    status, _ = await ask(client, prompt=PROMPT, n=1, logprobs=None, user="me")
    assert status == 200


ODD = [
    *(None, True, False, 0, -1, 1, 3, 2**70, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "a", "a\ud800", "\0", "x" * 300, [], ["a"], [[]], [None], {}, {"a": 1}, ["a"] * 5),
    *({"include_usage": 1}, [{"role": "user", "content": "a"}], [{"role": 1, "content": []}]),
]
FIELDS = (
    *("prompt", "messages", "model", "max_tokens", "max_completion_tokens", "temperature", "seed"),
    *("top_p", "stop", "stream", "stream_options", "n", "best_of", "logprobs", "echo", "user", "x"),
)


def test_whatever_a_request_has_is_taken_or_refused_in_words(words: Made) -> None:
    drawn, taken = random.Random(1), 0
    for number in range(2000):
        body = {"prompt": "a"} | {
            field: drawn.choice(ODD) for field in drawn.sample(FIELDS, drawn.randint(0, 4))
        }
        text = json.dumps(body)
        if not number % 5:
            place = drawn.randrange(len(text))
            text = text[:place] + drawn.choice('{}[]",:0e\\') + text[place + 1 :]
        try:
            asked = completions.read(text.encode(), "words", words.served, chat=number % 3 == 0)
        except completions.BadRequest as bad:
            assert 5 < len(str(bad)) < 500
            json.dumps(completions.error(400, str(bad), bad.name)).encode()
        else:
            taken += 1
            assert 1 <= asked.options.tokens <= 64 - len(asked.prompt)
            assert 0 <= asked.options.temperature <= 2
            assert 0 <= asked.options.top_p <= 1
    assert taken > 100


async def test_people_and_kubelets_see_a_model(client: Client) -> None:
    for path in ("/v2/health/ready", "/v2/models/words/ready"):
        assert (await client.get(path)).status == 200
    models = await (await client.get("/v1/models")).json()
    assert [one["id"] for one in models["data"]] == ["words"]
    page = await (await client.get("/")).text()
    assert "perplexity" in page
    assert "POST /v1/completions" in page
    await ask(client, prompt=PROMPT)
    text = await (await client.get("/metrics")).text()
    assert 'trainingjob_serve_request_seconds_count{code="200"} 3.0' in text


async def test_before_the_proof_nothing_is_answered(words: Made) -> None:
    app = App(words.payload())
    async with TestClient(TestServer(app.application)) as client:
        for path in ("/v2/health/ready", "/v1/models", "/"):
            assert (await client.get(path)).status == 503
        status, told = await ask(client, prompt="a")
        assert (status, told["error"]["type"]) == (503, "server_error")


class Endless:
    """A model whose texts go on until the test lets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.free = asyncio.Event()
        monkeypatch.setattr(generation.Writer, "tokens", self._tokens)

    def _tokens(self, ids: Any, options: Any) -> Any:
        while not self.free.is_set():
            self.made += 1
            yield 65 + self.made % 20


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def test_more_than_may_wait_are_told_to_come_again_and_who_leaves_is_forgotten(
    words: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(turns, "MOST_WAITING", 1)
    endless = Endless(monkeypatch)
    client, app = await opened(words)
    assert app.state.completions is not None
    its = app.state.completions.turns
    first = await client.post("/v1/completions", json={"prompt": "a", "stream": True})
    assert (await first.content.readline()).startswith(b"data: ")
    second = asyncio.create_task(ask(client, prompt="b"))
    await until(lambda: its.queued == 1)
    answer = await client.post("/v1/completions", json={"prompt": "c"})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert "1 requests wait" in (await answer.json())["error"]["message"]

    second.cancel()
    await until(lambda: its.queued == 0)
    first.close()
    await until(lambda: its._task is not None and its._task.done())
    made = endless.made
    endless.free.set()
    assert (await ask(client, prompt="d"))[0] == 200
    assert endless.made == made
    await closed(client, app)


async def test_more_than_may_wait_are_not_even_read(
    words: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long prompts take the tokenizer's time, whoever gets an answer then."""
    began, ended, read = threading.Event(), threading.Event(), completions.read

    def slowly(*what: Any, **more: Any) -> Any:
        began.set()
        assert ended.wait(10)
        return read(*what, **more)

    monkeypatch.setattr(turns, "MOST_WAITING", 1)
    monkeypatch.setattr(completions, "read", slowly)
    client, app = await opened(words)
    first = asyncio.create_task(ask(client, prompt="a", max_tokens=1))
    await until(began.is_set)
    assert (await ask(client, prompt="b"))[0] == 429
    ended.set()
    assert (await first)[0] == 200
    assert (await ask(client, prompt="c", max_tokens=1))[0] == 200
    await closed(client, app)


async def test_a_failure_in_the_middle_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tokens(self: Any, ids: Any, options: Any) -> Any:
        yield 70
        raise RuntimeError("no memory")

    monkeypatch.setattr(generation.Writer, "tokens", tokens)
    answer = await client.post("/v1/completions", json={"prompt": "a", "stream": True})
    *_, last = (await answer.text()).strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    status, told = await ask(client, prompt="a")
    assert (status, "its log says how" in str(told)) == (500, True)


async def test_a_conversation_is_answered_as_transformers_does(talk: Made) -> None:
    client, app = await opened(talk)
    said = [{"role": "user", "content": "What is a list?"}]
    ids = talk.tool.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
    expected = talk.tool.decode(talk.greedy(ids, 12), skip_special_tokens=True)
    asked: dict[str, Any] = {"messages": said, "max_completion_tokens": 12, "temperature": 0}
    status, told = await ask(client, "chat/completions", **asked)
    assert status == 200
    assert told["object"] == "chat.completion"
    assert told["choices"][0]["message"] == {"role": "assistant", "content": expected}
    events = await streamed(client, "chat/completions", **asked)
    assert [one["object"] for one in events] == ["chat.completion.chunk"] * len(events)
    deltas = [one["choices"][0]["delta"] for one in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(one.get("content", "") for one in deltas) == expected
    for bad in ([], [{"role": "user"}], [{"role": "user", "content": None}], "a"):
        status, told = await ask(client, "chat/completions", messages=bad)
        assert (status, told["error"]["param"]) == (400, "messages")
    await closed(client, app)
