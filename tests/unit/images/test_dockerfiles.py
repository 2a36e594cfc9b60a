"""The rules that every Dockerfile of ours keeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .dockerfile import Dockerfile

ROOT = Path(__file__).parents[3]
IMAGES = ("operator", "spark", "torch")
TEXTS = {name: (ROOT / f"images/{name}/Dockerfile").read_text("utf-8") for name in IMAGES}
SECRET = re.compile(r"token|password|passwd|secret|credential|api_?key", re.I)
# Something with a dot and a known ending, or with a scheme: an address of a machine.
HOST = re.compile(r"\w+://|\b[\w-]+(\.[\w-]+)*\.(com|org|net|io|dev|local|internal)\b", re.I)
LABELS = {"title", "description", "licenses", "version", "revision", "base.name"}

Rule = Callable[[Dockerfile], bool]


def base_is_an_argument(file: Dockerfile) -> bool:
    first = file.instructions[0]
    return first.name == "ARG" and list(first.pairs) == ["BASE"]


def base_is_public_and_of_one_version(file: Dockerfile) -> bool:
    name, _, tag = file.instructions[0].pairs.get("BASE", "").partition(":")
    return bool(re.search(r"\d", tag)) and "." not in name.partition("/")[0]


def every_stage_is_on_the_base(file: Dockerfile) -> bool:
    known = {"${BASE}"}
    for one in file.all("FROM"):
        if one.words[0] not in known:
            return False
        known |= set(one.words[2:3])
    return True


def user_is_a_number_and_not_root(file: Dockerfile) -> bool:
    # Kubernetes cannot tell whether a name is root: runAsNonRoot refuses it.
    user = file.last("USER")
    return user is not None and bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.value))


def our_code_is_the_last_layer(file: Dockerfile) -> bool:
    last = file.instructions[-1]
    return last.name == "COPY" and last.options == ["--from=wheel"]


def last_stage_only_copies(file: Dockerfile) -> bool:
    # What a RUN leaves depends on the day; what is copied has the dates that we gave it.
    return not any(one.name in ("RUN", "ADD") for one in file.final)


def the_pins_are_a_layer_below_our_code(file: Dockerfile) -> bool:
    copies = [one.words for one in file.final if one.name == "COPY"]
    return copies[0][0] == "--from=requirements"


def signals_reach_the_process(file: Dockerfile) -> bool:
    entrypoint = file.last("ENTRYPOINT")
    commands = [one for one in (entrypoint, file.last("CMD")) if one]
    # A shell between would keep signals for itself.
    return bool(
        entrypoint and entrypoint.words[0] == "tini" and all(one.is_exec for one in commands)
    )


def path_begins_with_our_environment(file: Dockerfile) -> bool:
    entries = file.pairs("ENV").get("PATH", "").split(":")
    return entries[0] == "/opt/trainingjob/bin" and all(re.match("/[a-z]", one) for one in entries)


def nothing_is_written_at_run_time(file: Dockerfile) -> bool:
    # Except in /tmp: the root file system is read-only.
    env, folder = file.pairs("ENV"), file.last("WORKDIR")
    return (
        env.get("PYTHONDONTWRITEBYTECODE") == "1"
        and env.get("HOME") == "/tmp"
        and folder is not None
        and folder.value == "/tmp"
    )


def logs_come_at_once(file: Dockerfile) -> bool:
    return file.pairs("ENV").get("PYTHONUNBUFFERED") == "1"


def labels_are_there(file: Dockerfile) -> bool:
    wanted = {f"org.opencontainers.image.{name}" for name in LABELS}
    return wanted <= file.pairs("LABEL").keys()


def the_base_is_told(file: Dockerfile) -> bool:
    # Without an ARG of its own a stage has nothing for the variable.
    known = [one.value for one in file.final if one.name == "ARG"]
    told = file.pairs("LABEL").get("org.opencontainers.image.base.name")
    return "BASE" in known and told == "${BASE}"


def variables_hold_no_secret(file: Dockerfile) -> bool:
    # They stay in the image's configuration. A secret mount does not.
    kept = [one.value for one in file.instructions if one.name in ("ARG", "ENV", "LABEL")]
    return not any(SECRET.search(value) for value in kept)


def no_host_is_named(file: Dockerfile) -> bool:
    text = file.text.replace("org.opencontainers.image.", "")
    return HOST.search(text) is None


def nothing_is_fetched_by_hand(file: Dockerfile) -> bool:
    runs = {word for one in file.all("RUN") for word in one.words}
    return not file.all("ADD") and not runs & {"curl", "wget", "git", "pip", "apt-get", "apt"}


RULES: list[Rule] = [
    base_is_an_argument,
    base_is_public_and_of_one_version,
    every_stage_is_on_the_base,
    user_is_a_number_and_not_root,
    our_code_is_the_last_layer,
    last_stage_only_copies,
    the_pins_are_a_layer_below_our_code,
    signals_reach_the_process,
    path_begins_with_our_environment,
    nothing_is_written_at_run_time,
    logs_come_at_once,
    labels_are_there,
    the_base_is_told,
    variables_hold_no_secret,
    no_host_is_named,
    nothing_is_fetched_by_hand,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("image", IMAGES)
def test_our_images_keep_the_rule(image: str, rule: Rule) -> None:
    assert rule(Dockerfile(TEXTS[image]))


# What is replaced in a good Dockerfile, by what, and the rule that then is broken.
BROKEN: list[tuple[str, str, Rule]] = [
    ("ARG BASE=", "ARG OTHER=x\nARG BASE=", base_is_an_argument),
    ("python:3.12-slim-bookworm", "python", base_is_public_and_of_one_version),
    ("python:3.12-slim-bookworm", "python:latest", base_is_public_and_of_one_version),
    ("BASE=python:", "BASE=reg.example.com/python:", base_is_public_and_of_one_version),
    ("FROM base AS wheel", "FROM alpine:3 AS wheel", every_stage_is_on_the_base),
    ("USER 65532:65532", "USER trainingjob", user_is_a_number_and_not_root),
    ("USER 65532:65532", "USER 0:65532", user_is_a_number_and_not_root),
    ("USER 65532:65532\n", "", user_is_a_number_and_not_root),
    ("COPY --from=wheel /image /", "LABEL a=b", our_code_is_the_last_layer),
    ("WORKDIR /tmp", "RUN chmod -R a+w /opt\nWORKDIR /tmp", last_stage_only_copies),
    (
        "COPY --from=req",
        "COPY operator /x\nCOPY --from=req",
        the_pins_are_a_layer_below_our_code,
    ),
    ('ENTRYPOINT ["tini", "--", ', "ENTRYPOINT [", signals_reach_the_process),
    ("ENTRYPOINT [", "CMD trainingjob\nENTRYPOINT [", signals_reach_the_process),
    ("PATH=/opt/trainingjob/bin:", "PATH=", path_begins_with_our_environment),
    ("/sbin:/bin ", "/sbin:/bin:$PATH ", path_begins_with_our_environment),
    ("/sbin:/bin ", "/sbin:/bin: ", path_begins_with_our_environment),
    ("HOME=/tmp", "HOME=/home/me", nothing_is_written_at_run_time),
    ("WORKDIR /tmp", "WORKDIR /opt", nothing_is_written_at_run_time),
    ("PYTHONDONTWRITEBYTECODE=1", "A=1", nothing_is_written_at_run_time),
    ("PYTHONUNBUFFERED=1", "A=1", logs_come_at_once),
    ("image.licenses=", "image.license=", labels_are_there),
    ("ARG BASE\n", "", the_base_is_told),
    ('ARG VERSION=""', 'ARG VERSION=""\nARG PIP_PASSWORD', variables_hold_no_secret),
    ("LANG=C.UTF-8", "API_TOKEN=1", variables_hold_no_secret),
    ("COPY LICENSE", "# as at https://docs.example.com\nCOPY LICENSE", no_host_is_named),
    ("RUN sh /tmp/base", "RUN pip config set x mirror.local && sh /tmp/base", no_host_is_named),
    ("RUN sh /tmp/base", "RUN apt-get install -y vim && sh", nothing_is_fetched_by_hand),
    ("COPY LICENSE", "ADD x.tar /\nCOPY LICENSE", nothing_is_fetched_by_hand),
]


@pytest.mark.parametrize(("old", "new", "broken"), BROKEN)
def test_a_dockerfile_that_breaks_the_rule_is_found(old: str, new: str, broken: Rule) -> None:
    good = TEXTS["operator"]
    bad = good.replace(old, new, 1)
    assert bad != good
    assert not broken(Dockerfile(bad))


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for _, _, rule in BROKEN} == set(RULES)


def test_all_images_have_the_same_base_by_default() -> None:
    # Then nodes and builders keep one copy of it.
    assert len({Dockerfile(text).instructions[0].value for text in TEXTS.values()}) == 1


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_is_sent_to_the_builder(image: str) -> None:
    sent = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    file = Dockerfile(TEXTS[image])
    requirements = next(
        one.pairs["REQUIREMENTS"] for one in file.all("ARG") if "REQUIREMENTS" in one.pairs
    )
    sources = [
        word.replace("${REQUIREMENTS}", requirements)
        for one in file.all("COPY")
        if not one.options
        for word in one.words[:-1]
    ]
    assert requirements == f"requirements/{image}.txt"
    for source in sources:
        assert (ROOT / source).exists()
        assert source.partition("/")[0] in sent
