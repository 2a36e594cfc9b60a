"""Images: built once, from nothing but what they say, and good for what they are for."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys

import pytest

from tests.cluster.build import ROOT
from tests.cluster.node import images as module
from tests.cluster.node import packages, pip
from tests.cluster.node.buildah import Buildah
from tests.cluster.node.images import BUSYBOX, NAMES
from tests.cluster.wait import wait_for

from .pods import Pods
from .traces import mounts, processes

USES = {  # image, what it is for
    "the operator's has the operator": (
        "operator",
        "trainingjob-operator --help >/dev/null && python -c 'import kopf, kubernetes'",
    ),
    "the operator's has no torch, Spark or pandas": (
        "operator",
        'for name in torch pyspark pandas; do ! python -c "import $name" 2>/dev/null || exit; done',
    ),
    "spark's has Java and Spark": ("spark", "java -version && python -c 'import pyspark'"),
    "torch's has torch and scikit-learn": ("torch", "python -c 'import torch, sklearn'"),
}


@pytest.mark.parametrize("case", USES)
def test_an_image_is_good_for_its_stage(case, node, namespace, images):
    name, script = USES[case]
    # The shell's own words in the log, when it fails.
    pods = Pods(node, namespace, seconds=600)
    assert pods.run(script, image=images[name])["exitCode"] == 0, pods.logs()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_this_machine_is_in_an_image(name, node, namespace, images):
    pods = Pods(node, namespace, seconds=600)
    script = (
        'set -e; test ! -s /etc/pip.conf; test -z "$(ls /usr/local/share/ca-certificates)";'
        " ! grep -r 'deb ' /etc/apt/sources.list* 2>/dev/null; id -u"
    )
    assert pods.run(script, image=images[name])["exitCode"] == 0
    assert pods.logs() == "65532\n"


def test_what_is_built_is_not_built_again(node, images, monkeypatch):
    monkeypatch.setattr(Buildah, "__init__", lambda *_: pytest.fail("buildah is asked"))
    assert {name: node.images.ours(name) for name in NAMES} == images


CHANGES = {  # what happens to a file, whether the image can be another one then
    "a line of our code": ("operator/trainingjob/x.py", True),
    "a pin": ("requirements/torch.txt", True),
    "a step": ("images/steps/wheel", True),
    "the Dockerfile": ("images/torch/Dockerfile", True),
    "bytecode": ("operator/trainingjob/__pycache__/x.pyc", False),
    "a test": ("tests/x.py", False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_tag_changes_with_the_content(case, tmp_path):
    name, changes = CHANGES[case]
    for path in [*module.CONTEXT, "images/torch/Dockerfile"]:
        file = tmp_path / path / "file" if "." not in path and path.islower() else tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text", encoding="utf-8")
    folder = tmp_path / "images/torch"
    before = module.content(folder, {}, tmp_path)
    assert module.content(folder, {}, tmp_path) == before
    assert module.content(folder, {"LEAVE_OUT": "triton"}, tmp_path) != before
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("other", encoding="utf-8")
    assert (module.content(folder, {}, tmp_path) != before) == changes


OPTIONS = {  # what `pip config list` says, what pip in a build is told
    "an index of its own": (
        "global.index-url='https://mirror.example/simple'",
        "[global]\nindex-url = https://mirror.example/simple\n\n",
    ),
    "the environment wins, as it does with pip": (
        "global.proxy='a'\n:env:.proxy='b'",
        "[global]\nproxy = b\n\n",
    ),
    "folders of this machine and taste are left out": (
        ":env:.find-links='/opt/wheels'\nglobal.no-color='1'",
        "[global]\n\n",
    ),
    "certificates lie where they are mounted": (
        "global.cert='/home/me/ca.pem'",
        f"[global]\ncert = {pip.BUNDLE}\n\n",
    ),
    "nothing": ("", "[global]\n\n"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_pip_in_a_build_is_told(case):
    listed, expected = OPTIONS[case]
    assert pip.translate(listed) == expected


BUILD = """
import sys
from pathlib import Path
from tests.cluster.node.buildah import Buildah
folder = Path(sys.argv[1])
buildah = Buildah(folder / "buildah")
buildah("bud", *buildah.policy, "--isolation", "chroot", "--tag", "x", folder / "context")
"""


def test_a_build_that_is_killed_leaves_nothing_and_the_next_one_works(tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(packages.BUSYBOX, context / "busybox")
    sleep = f"{secrets.randbelow(10**9) + 10**9}"  # known by its length alone
    slow = f'RUN ["/bin/busybox", "sleep", "{sleep}"]\n'
    (context / "Dockerfile").write_text(BUSYBOX + slow, encoding="utf-8")
    with subprocess.Popen([sys.executable, "-c", BUILD, tmp_path], cwd=ROOT) as build:
        try:
            wait_for("the slow step", lambda: processes(sleep), 60)
        finally:
            build.kill()
    wait_for("the end of its processes", lambda: not processes(sleep, str(tmp_path)))
    assert mounts(str(tmp_path)) == []
    (context / "Dockerfile").write_text(BUSYBOX, encoding="utf-8")
    buildah = Buildah(tmp_path / "buildah")
    buildah("bud", *buildah.policy, "--isolation", "chroot", "--tag", "x", context)
    buildah.end()
    assert buildah("containers", "--quiet") == ""
    assert buildah.has("x:latest")
