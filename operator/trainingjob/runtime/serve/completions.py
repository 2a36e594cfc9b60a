"""``/v1/completions`` and ``/v1/chat/completions`` of a language model, as OpenAI has them."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..base.log import log
from ..base.text import cut, listed, one_line
from ..model.generation import Options, Piece
from .language import MOST_TOKENS, Language
from .turns import Busy, Turns

# Of a prompt, of messages, and of texts to stop at.
_PROMPT_CHARS, _MESSAGES = 2**18, 1024
_STOPS, _STOP_CHARS = 4, 256
_DEFAULT_TOKENS = 16  # OpenAI's, of a completion; of a chat as many as there is room for
_SEND_SECONDS = 30.0
_COMMON = (
    *("model", "max_tokens", "temperature", "top_p", "seed", "stop", "user"),
    *("stream", "stream_options"),
)
# What must be as it is when nothing is said, since nothing else is done.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
}


class BadRequest(Exception):
    """What is wrong with a request, in words; ``name``: of the field."""

    def __init__(self, words: str, name: str | None = None) -> None:
        super().__init__(words)
        self.name = name


@dataclass(frozen=True)
class Asked:
    """A request: the tokens to go on from, and how."""

    chat: bool
    prompt: list[int]
    options: Options
    stops: list[str]
    stream: bool
    usage: bool


def read(body: bytes, name: str, model: Language, *, chat: bool) -> Asked:
    """The request. Raises BadRequest. Takes as long as the tokenizer and the template do."""
    asked = _object(body)
    own = (
        *_COMMON,
        *(("messages", "max_completion_tokens") if chat else ("prompt",)),
    )
    for field, value in asked.items():
        if field in own or value is None:
            continue
        if field not in _NEUTRAL:
            raise BadRequest(f"there is no field {cut(field, 60)!r} ({listed(own)})", field[:60])
        if not any(_is(value, one) for one in _NEUTRAL[field]):
            raise BadRequest(f"{field} is not supported: leave it out", field)
    given = {field: value for field, value in asked.items() if value is not None}
    if given.get("model", name) != name:
        raise BadRequest(f"there is no model of that name: this server has {name}", "model")
    try:
        prompt = _conversation(given, model) if chat else model.writer.text(_prompt(given))
    except ValueError as error:
        what = "messages" if chat else "prompt"
        raise BadRequest(f"{what}: {error}", what) from error
    room = model.limit - len(prompt)
    if room < 1:
        raise BadRequest(
            f"the prompt has {len(prompt)} tokens, and the model takes at most {model.limit} "
            "together with what follows",
            "messages" if chat else "prompt",
        )
    field = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    most = min(room, MOST_TOKENS)
    usual = most if chat else min(most, _DEFAULT_TOKENS)
    tokens = int(_number(given, field, usual, 1, None, whole=True))
    if tokens > most:
        words = f"{field} is {cut(str(tokens), 40)}, and at most {most} are possible here"
        raise BadRequest(words, field)
    stream = _flag(given, "stream")
    more = given.get("stream_options", {})
    if not isinstance(more, dict) or not more.keys() <= {"include_usage"}:
        raise BadRequest("stream_options has include_usage alone", "stream_options")
    seed = int(_number(given, "seed", 0, -(2**63), 2**63 - 1, whole=True))
    options = Options(
        tokens,
        _number(given, "temperature", 1.0, 0, 2),
        _number(given, "top_p", 1.0, 0, 1),
        seed if "seed" in given else None,
    )
    return Asked(chat, prompt, options, _stops(given), stream, _flag(more, "include_usage"))


def _is(value: Any, other: Any) -> bool:
    # For Python, true is 1.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {cut(str(error), 100)}") from error
    if not isinstance(asked, dict):
        raise BadRequest("the body is no JSON object")
    return asked


def _prompt(given: Mapping[str, Any]) -> str:
    text = given.get("prompt")
    if isinstance(text, list) and len(text) == 1:
        (text,) = text
    if not isinstance(text, str):
        raise BadRequest("prompt must be a text, or a list of one text", "prompt")
    return _said(text, "prompt")


def _conversation(given: Mapping[str, Any], model: Language) -> list[int]:
    if not model.writer.answers:
        raise BadRequest("the model has no chat template: ask /v1/completions", "messages")
    messages = given.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= _MESSAGES:
        raise BadRequest(f"messages must be a list of 1 to {_MESSAGES} messages", "messages")
    total = 0
    for place, one in enumerate(messages):
        if not isinstance(one, dict) or {*one} != {"role", "content"}:
            raise BadRequest(f"messages[{place}] must have role and content alone", "messages")
        for key in ("role", "content"):
            if not isinstance(one[key], str):
                raise BadRequest(f"messages[{place}].{key} must be a text", "messages")
            total += len(_said(one[key], f"messages[{place}].{key}"))
    if total > _PROMPT_CHARS:
        raise BadRequest(f"messages have {total} characters, {_PROMPT_CHARS} at most", "messages")
    return model.writer.conversation(messages)


def _said(text: str, field: str) -> str:
    if len(text) > _PROMPT_CHARS:
        raise BadRequest(f"{field} has {len(text)} characters, {_PROMPT_CHARS} at most", field)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"{field} has half of a character in it", field) from error
    return text


def _stops(given: Mapping[str, Any]) -> list[str]:
    stops = given.get("stop", [])
    stops = [stops] if isinstance(stops, str) else stops
    if (
        not isinstance(stops, list)
        or len(stops) > _STOPS
        or not all(isinstance(one, str) and 1 <= len(one) <= _STOP_CHARS for one in stops)
    ):
        raise BadRequest(
            f"stop must be a text, or at most {_STOPS}, of 1 to {_STOP_CHARS} characters", "stop"
        )
    return stops


def _number(
    given: Mapping[str, Any],
    field: str,
    default: float,
    least: float,
    most: float | None,
    *,
    whole: bool = False,
) -> float:
    value = given.get(field, default)
    kinds = int if whole else (int, float)
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if not number or (isinstance(value, float) and not math.isfinite(value)):
        raise BadRequest(f"{field} must be a {'whole ' if whole else ''}number", field)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise BadRequest(f"{field} must be {bounds}", field)
    return value


def _flag(given: Mapping[str, Any], field: str) -> bool:
    value = given.get(field, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{field} must be true or false", field)
    return value


class Completions:
    """The answers of one model, of name ``name``."""

    def __init__(self, name: str, model: Language, waiting: int) -> None:
        self._name, self._model = name, model
        self._waiting, self._reading = waiting, 0
        self.turns = Turns(waiting)

    async def answer(self, request: web.Request, body: bytes, *, chat: bool) -> web.StreamResponse:
        """Raises BadRequest, Busy, ConnectionError when whoever asked has gone."""
        # What is read takes long, too, and is refused before it is.
        if self._reading + self.turns.queued >= self._waiting:
            raise Busy
        self._reading += 1
        try:
            asked = await asyncio.to_thread(read, body, self._name, self._model, chat=chat)
        finally:
            self._reading -= 1
        told = _Told(self._name, asked)
        pieces = self._model.pieces(asked.prompt, asked.options, asked.stops)
        with self.turns.taken(pieces) as taken:
            texts = told.of(taken)
            if asked.stream:
                return await _streamed(request, texts, told)
            return web.json_response(told.whole("".join([text async for text in texts])))

    async def close(self) -> None:
        """Once nobody asks any more."""
        await self.turns.close()
        self._model.close()


async def _streamed(
    request: web.Request, texts: AsyncIterator[str], told: _Told
) -> web.StreamResponse:
    """Events of the server, as they come."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await response.prepare(request)
    try:
        for first in told.first():
            await _write(response, first)
        async for text in texts:
            if text:
                await _write(response, told.piece(text))
        for last in told.last():
            await _write(response, last)
        await _write(response, None)
    except ConnectionError:
        raise
    except Exception as failure:
        # Its status is told already.
        log(f"a completion has failed: {type(failure).__name__}: {one_line(failure)}")
        await _write(response, error(500, "the server has failed on this request"))
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, value: Mapping[str, Any] | None) -> None:
    """Who does not take it is left. Raises ConnectionError."""
    text = "[DONE]" if value is None else json.dumps(value, ensure_ascii=False)
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await response.write(f"data: {text}\n\n".encode(errors="replace"))
    except TimeoutError:
        raise ConnectionResetError("nobody takes the answer") from None


class _Told:
    """An answer, whole or in pieces."""

    def __init__(self, name: str, asked: Asked) -> None:
        self.asked, self._tokens, self._reason = asked, 0, "stop"
        what = "chat.completion" if asked.chat else "text_completion"
        self._object = what + (".chunk" if asked.chat and asked.stream else "")
        self._head = {
            "id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": self._object,
            "created": int(time.time()),
            "model": name,
        }

    async def of(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[str]:
        """Their texts."""
        async for text, self._tokens, reason in pieces:
            self._reason = reason or self._reason
            yield text

    def _with(self, choice: dict[str, Any] | None, reason: str | None = None) -> dict[str, Any]:
        rest = {"index": 0, "logprobs": None, "finish_reason": reason}
        return {**self._head, "choices": [] if choice is None else [{**rest, **choice}]}

    def whole(self, text: str) -> dict[str, Any]:
        """All of it."""
        said = {"role": "assistant", "content": text}
        choice = {"message": said} if self.asked.chat else {"text": text}
        return {**self._with(choice, self._reason), "usage": self._usage()}

    def first(self) -> list[dict[str, Any]]:
        """What comes before the text."""
        said = {"delta": {"role": "assistant", "content": ""}}
        return [self._with(said)] if self.asked.chat else []

    def piece(self, text: str) -> dict[str, Any]:
        """Some of the text."""
        return self._with({"delta": {"content": text}} if self.asked.chat else {"text": text})

    def last(self) -> list[dict[str, Any]]:
        """What comes behind it."""
        end = self._with({"delta": {}} if self.asked.chat else {"text": ""}, self._reason)
        usage = {**self._with(None), "usage": self._usage()}
        return [end, usage] if self.asked.usage else [end]

    def _usage(self) -> dict[str, int]:
        prompt = len(self.asked.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._tokens,
            "total_tokens": prompt + self._tokens,
        }


def error(status: int, words: str, name: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": words, "type": kind, "param": name, "code": None}}
