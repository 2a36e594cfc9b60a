"""Chat templates are other people's programs: what they take is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trainingjob.runtime.base import bounded, templates

SAID = [{"role": "user", "content": "x"}]
IN_LOOPS = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[templates.Child]:
    monkeypatch.setattr(templates, "SECONDS", 1)
    child = templates.Child()
    monkeypatch.setattr(templates, "_child", lambda: child)
    yield child
    child.close()


BOMBS = [
    (IN_LOOPS, "it takes longer than 1 s"),
    ("{{ 'a' * 10**9 }}", "it takes more than 512 MiB of memory"),
    ("{{ '%99999999999d' % 1 }}", "it takes more than 512 MiB of memory"),
    ("{{ 7 ** (10 ** 8) }}", "it takes longer than 1 s"),
    ("{{ 'a'|center(4 * 10**7) }}", "it makes 40000000 characters of it"),
    ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "maximum recursion depth exceeded"),
    (f"{{{{ {'(' * 5000}1{')' * 5000} }}}}", "maximum recursion depth exceeded"),
    ("{{ raise_exception('roles\n  alternate') }}", "roles alternate"),
]


def test_what_takes_too_much_is_said_and_the_next_one_is_answered(child: templates.Child) -> None:
    for template, words in BOMBS:
        with pytest.raises(ValueError, match=words):
            templates.render(SAID, template, {})
        text, spans = templates.render(
            SAID, "{{ messages[0].content + eos_token }}", {"eos_token": "!"}
        )
        assert (text, spans) == ("x!", [])


def test_a_template_that_took_too_much_is_not_tried_again(
    child: templates.Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(question: bytes) -> dict[str, Any]:
        asked.append(question)
        raise bounded.TooMuch("a")

    monkeypatch.setattr(child, "_answer", answer)
    for _ in range(3):
        with pytest.raises(ValueError, match="a"):
            templates.render(SAID, IN_LOOPS, {})
    assert len(asked) == 1


def test_spans_of_what_is_generated(child: templates.Child) -> None:
    template = (
        "{% for m in messages %}a{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    assert templates.render(SAID * 2, template, {}, spans=True) == ("axax", [(1, 2), (3, 4)])
