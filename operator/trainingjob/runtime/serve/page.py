"""The model's card: what it is, how it was judged, and a form to try one row.

Plain HTML without scripts, and nothing from elsewhere; whatever comes from data is escaped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from typing import Any

import pyarrow as pa

from trainingjob.api import gates

from ..preprocess.fitted.columns import ARROW, Columns
from . import protocol
from .language import Language
from .served import Answers, BadRow, Served

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# A form with more fields is none that anybody fills.
_MOST_FIELDS = 200
_MOST_CLASSES = 50

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #ddd;vertical-align:top}
td{overflow-wrap:anywhere}
code{background:#f4f4f4;padding:.1rem .3rem;overflow-wrap:anywhere}
form{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:.6rem}
label{display:block}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.3rem}
.answer{background:#eef6ee;padding:.6rem 1rem}.error{background:#fbecec;padding:.6rem 1rem}
"""


async def written(
    name: str,
    served: Served,
    given: Mapping[str, str],
    ask: Callable[[Columns], Awaitable[Answers]],
) -> str:
    """The page; with values ``given`` for columns, also what the model makes of them."""
    return _page(
        name,
        [
            *_card(name, served, served.card.task.label),
            *_variant(served),
            await _form(served, given, ask),
            "<h2>Requests</h2>"
            f"<p><code>POST /v2/models/{_text(name)}/infer</code>, the Open Inference Protocol; "
            f'<a href="/v2/models/{_text(name)}">the model\'s inputs</a>, '
            '<a href="/metrics">metrics</a></p>',
        ],
    )


def of_language(name: str, model: Language) -> str:
    """The page of a language model, which has no form."""
    paths = ["completions", *(["chat/completions"] if model.writer.answers else [])]
    shown = " and ".join(f"<code>POST /v1/{path}</code>" for path in paths)
    about = f"<p>{shown}, as OpenAI has them; "
    return _page(
        name,
        [
            *_card(name, model, model.card.task.label),
            f'<h2>Requests</h2>{about}<a href="/metrics">metrics</a></p>',
        ],
    )


def _card(name: str, model: Served | Language, label: str) -> list[str]:
    card = model.card
    report = card.report
    passed = gates.judge(report.metrics, card.gates, {}) if card.gates else []
    return [
        f"<h1>{_text(name)}</h1>",
        _table(
            "Model",
            [
                ("version", model.version),
                ("digest", card.model_digest),
                ("dataset", report.dataset_digest),
                ("job", f"{card.job.namespace}/{card.job.name}, run {card.job.uid}"),
                ("task", f"{card.task.type} of {label}"),
                ("judged on", f"{report.samples} rows"),
            ],
        ),
        _table("Metrics", [(n, f"{value:.6g}") for n, value in sorted(report.metrics.items())]),
        _table("Gates", [_gate(gate) for gate in card.gates]) if passed else "",
    ]


def _variant(served: Served) -> list[str]:
    """Of the form in which the model is served, what that was judged by itself."""
    return [
        _table(
            f"Variant {one.name}",
            [
                ("size", f"{one.bytes} bytes"),
                *((metric.name, f"{metric.value:.6g}") for metric in one.metrics or ()),
            ],
        )
        for one in served.card.report.variants or ()
        if one.name == served.variant
    ]


def _page(name: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(name)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _text(value: Any) -> str:
    return escape(str(value), quote=True)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th>{_text(head)}</th><td>{_text(value)}</td></tr>" for head, value in rows
    )
    return f"<h2>{_text(title)}</h2><table>{cells}</table>"


def _gate(gate: Any) -> tuple[str, str]:
    told = gate.to_dict()
    metric = told.pop("metric")
    return metric, ", ".join(f"{name} {value}" for name, value in told.items())


async def _form(
    served: Served, given: Mapping[str, str], ask: Callable[[Columns], Awaitable[Answers]]
) -> str:
    if len(served.inputs) > _MOST_FIELDS:
        return f"<h2>Try a row</h2><p>A row has {len(served.inputs)} columns.</p>"
    shown = dict(given) or _example(served)
    fields = "".join(
        f"<label>{_text(name)} <small>{_text(kind)}</small>"
        f'<input name="{_text(name)}" value="{_text(shown.get(name, ""))}"></label>'
        for name, kind in served.inputs.items()
    )
    answer = await _answer(served, given, ask) if given else ""
    return (
        f'<h2>Try a row</h2>{answer}<form method="get" action="/">{fields}'
        "<button>Predict</button></form><p><small>An empty field is null.</small></p>"
    )


def _example(served: Served) -> dict[str, str]:
    """A row of the self-test."""
    raw = served.card.dataset.raw
    if raw is None or not raw.rows:
        return {}
    return {
        name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in zip(raw.needed, raw.rows[0], strict=True)
    }


async def _answer(
    served: Served, given: Mapping[str, str], ask: Callable[[Columns], Awaitable[Answers]]
) -> str:
    try:
        columns = {
            name: _column(name, kind, given.get(name, "")) for name, kind in served.inputs.items()
        }
        answers = await ask(columns)
    except (protocol.BadRequest, BadRow) as error:
        return f'<p class="error">{_text(error)}</p>'
    (value,) = protocol.values_of(answers, served)
    label = served.card.task.label
    shown = f"{value:.6g}" if isinstance(value, float) else value
    told = f'<p class="answer">{_text(label)}: <strong>{_text(shown)}</strong></p>'
    if answers.scores is None or served.classes is None:
        return told
    scores = sorted(zip(answers.scores[0].tolist(), served.classes, strict=True), key=_first)[::-1]
    rows = [(str(name), f"{score:.4f}") for score, name in scores[:_MOST_CLASSES]]
    return told + _table("Probabilities", rows)


def _first(pair: tuple[float, Any]) -> float:
    return pair[0]


def _column(name: str, kind: Any, text: str) -> pa.Array:
    """One value of a form's field."""
    value: Any = text.strip() if kind != "string" else text
    if value == "":
        return pa.array([None], type=ARROW[kind])
    try:
        if kind in ("bigint", "double"):
            value = int(value) if kind == "bigint" else float(value)
        elif kind == "boolean":
            value = {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        raise protocol.BadRequest(f"{name}: {value[:60]} is no {kind}") from None
    return protocol.column_of([value], kind, name)
