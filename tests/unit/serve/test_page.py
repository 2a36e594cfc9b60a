"""The model's card at `/`, as an HTML parser reads it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from .build import Made
from .test_app import Client, opened


class Page(HTMLParser):
    """Its elements, the text of cells and paragraphs, and whatever names another place."""

    VOID = ("meta", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fields: dict[str, str] = {}
        self.links: list[str] = []
        self.texts: list[str] = []
        self.of_class: dict[str, str] = {}
        self._class = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links += [given[name] for name in ("href", "src", "action") if name in given]
        assert not [name for name in given if name.startswith("on")]
        if tag == "input":
            self.fields[given["name"]] = given["value"]
        if tag not in self.VOID:
            self.open.append(tag)
            self._class = given.get("class", self._class if tag == "strong" else "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._class:
            self.of_class[self._class] = self.of_class.get(self._class, "") + data


async def page(client: Client, **given: Any) -> Page:
    answer = await client.get(f"/?{urlencode(given)}")
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return Page(await answer.text())


async def test_the_card_says_what_the_model_is_and_how_it_was_judged(classes: Made) -> None:
    client, app = await opened(classes)
    found = await page(client)
    for text in (classes.digest, classes.manifest.digest, "accuracy", "min 0.01", "team/digits"):
        assert any(text in one for one in found.texts), text
    # Nothing from elsewhere, and nothing that runs.
    assert all(link.startswith("/") and not link.startswith("//") for link in found.links)
    assert not {"script", "img", "iframe", "link", "object"} & {*found.tags}
    # The form begins with a row that was judged.
    assert list(found.fields) == ["x", "Full size", "count", "city", "day", "member"]
    assert found.fields["member"] in ("true", "false")
    await client.close()
    await app.close()


async def test_a_row_of_the_form_is_answered(classes: Made) -> None:
    client, app = await opened(classes)
    row = classes.rows("test")[:1]
    given = {name: row[name].iloc[0] for name in ("x", "Full size", "count", "city", "day")}
    found = await page(client, **given, member=str(row["member"].iloc[0]).lower())
    (expected,) = classes.expected(row)
    assert found.of_class["answer"] == f"kind: {'abc'[expected.argmax()]}"
    assert f"{expected.max():.4f}" in found.texts
    assert found.fields["city"] == row["city"].iloc[0]
    # An empty field is null.
    found = await page(client, **given | {"x": ""}, member="true")
    assert "answer" in found.of_class
    await client.close()
    await app.close()


async def test_what_is_wrong_in_the_form_is_told_and_escaped(classes: Made) -> None:
    client, app = await opened(classes)
    for given, words in (
        ({"x": "<script>alert(1)</script>"}, "x: <script>alert(1)</script> is no double"),
        ({"count": ""}, "feature count has 1 nulls, and needs values"),
        ({"count": "1.5"}, "count: 1.5 is no bigint"),
        ({"day": "tomorrow"}, 'day: data[0] is "tomorrow", and no date as 2026-01-31'),
        ({"member": "perhaps"}, "member: perhaps is no boolean"),
        ({"x": "1e999"}, "x: data has a number that is too large for a double"),
    ):
        plain = {"x": 1, "Full size": 2, "count": 3, "city": '"><b>', "day": "2001-02-03"}
        found = await page(client, **plain | {"member": "true"} | given)
        assert found.of_class["error"] == words
        assert found.fields["city"] == '"><b>'
        assert "script" not in found.tags
    await client.close()
    await app.close()
