"""Packages of own code: an environment of its own in each pod, made again without the network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from .gang import Job, fail, succeed

SCRIPT = """
import os, sys
import quaver, torch
assert quaver.VALUE == 8, quaver.VALUE
assert sys.prefix == os.environ["VIRTUAL_ENV"]
assert not torch.__file__.startswith(sys.prefix), "that of the image"
if os.environ["RANK"] == "0":
    open(os.environ["TRAININGJOB_OUTPUT_DIR"] + "/weights", "w").write("x")
"""


def write_wheel(folder: Path, name: str, version: str, text: str, needs: str = "") -> Path:
    """https://packaging.python.org/en/latest/specifications/binary-distribution-format/"""
    info = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
        record.append(f"{path},sha256={digest.decode().rstrip('=')},{len(content)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name_, content in {**files, f"{info}/RECORD": "\n".join(record)}.items():
            wheel.writestr(name_, content)
    return path


def job(folder: Path, requirements: dict[str, Any], links: Path | None, **spec: Any) -> Job:
    """With an index that has what ``links`` has."""
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links or folder / "nowhere")}
    given = {"wheels": f"file://{folder}/wheels", **requirements}
    return Job(folder, {"requirements": given, **spec}, env=env)


def said(folder: Path, how: str) -> bool:
    log = (folder / "log-0.txt").read_text()
    return f"requirements: quaver 1.0, semiquaver 2.0 ({how}, " in log


def test_a_gang_sees_what_it_asks_for_and_the_second_time_without_an_index(tmp_path: Path) -> None:
    write_wheel(tmp_path / "index", "quaver", "1.0", "from semiquaver import VALUE", "semiquaver>1")
    write_wheel(tmp_path / "index", "semiquaver", "1.0", "VALUE = 1")
    write_wheel(tmp_path / "index", "semiquaver", "2.0", "VALUE = 8")
    asked = {"packages": ["quaver==1.0", "torch"]}
    script = {"inline": SCRIPT}
    succeed(job(tmp_path, asked, tmp_path / "index", nodes=2, script=script))
    assert said(tmp_path, "found")
    again = job(tmp_path, asked, None, script=script, command=["torchrun", "train.py"])
    again.uid = "uid-2"
    succeed(again)
    assert said(tmp_path, "kept")


def test_a_file_of_the_code_with_hashes(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "index", "quaver", "1.0", "VALUE = 8")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    files = {
        "app/train.py": SCRIPT,
        "app/requirements.txt": "-r ../base.txt\n",
        "base.txt": f"quaver==1.0 \\\n    --hash=sha256:{digest}\n",
    }
    spec = {"code": {"inline": files}, "workingDir": "app"}
    succeed(job(tmp_path / "a", {"file": "requirements.txt"}, tmp_path / "index", **spec))
    files["base.txt"] = f"quaver==1.0 --hash=sha256:{'0' * 64}\n"
    told = fail(job(tmp_path / "b", {"file": "requirements.txt"}, tmp_path / "index", **spec))
    assert told.reason == "PackagesInvalid"
    assert f"Expected sha256 {'0' * 64} Got {digest}" in told.message


def test_wheels_of_others_in_the_place_of_ours_are_found_anew(tmp_path: Path) -> None:
    """Whoever writes to the storage can say of any wheel that it was kept so, but not its hash."""
    wheel = write_wheel(tmp_path / "index", "quaver", "1.0", "VALUE = 8")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    spec = {"script": {"inline": SCRIPT}}
    asked = {"packages": [f"quaver==1.0 --hash=sha256:{digest}"]}
    succeed(job(tmp_path / "a", asked, tmp_path / "index", **spec))
    theirs = write_wheel(tmp_path / "theirs", "quaver", "1.0", "raise SystemExit('theirs')")
    (place,) = (tmp_path / "a/wheels").glob("*")
    (kept,) = place.glob("*/*.whl")
    told = (place / "wheels.json").read_text()
    changed = hashlib.sha256(theirs.read_bytes()).hexdigest()
    kept.write_bytes(theirs.read_bytes())
    (place / "wheels.json").write_text(told.replace(digest, changed))
    again = job(tmp_path / "a", asked, tmp_path / "index", **spec)
    again.uid = "uid-2"
    succeed(again)
    assert "requirements: quaver 1.0 (found, " in (tmp_path / "a/log-0.txt").read_text()
