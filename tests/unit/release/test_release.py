"""A release: the same wherever it is made, described as the standard says, and told when changed."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from release import __main__ as release
from release import artefacts, rootfs
from release.envelope import ReleaseError

from trainingjob import __version__

ROOT = Path(__file__).parents[3]
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "operator", "charts", "deploy")
EPOCH = 1_700_000_000

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: a library
 Version: 0

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
METADATA = "Metadata-Version: 2.4\nName: Some_Thing\nVersion: 1.2\nLicense-Expression: MIT\n\nText"


def keys(folder: Path, made: Any = None) -> tuple[Path, Path]:
    key = made or Ed25519PrivateKey.generate()
    private, public = folder / "key.pem", folder / "key.pub"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, form))
    return private, public


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return out.getvalue()


def jar(name: str, group: str, version: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        text = f"artifactId={name}\ngroupId={group}\nversion={version}\n"
        archive.writestr(f"META-INF/maven/{group}/{name}/pom.properties", text)
    return out.getvalue()


def image(path: Path) -> Path:
    """As `docker save` has it; the layer above takes two things away."""
    site = "opt/trainingjob/lib/python3.12/site-packages"
    below = {
        "var/lib/dpkg/status": STATUS.encode(),
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
        f"./{site}/some_thing-1.2.dist-info/METADATA": METADATA.encode(),
        f"{site}/old-1.0.dist-info/METADATA": b"Name: old\nVersion: 1.0\n\n",
        "jars/hadoop-aws-3.5.0.jar": jar("hadoop-aws", "org.apache.hadoop", "3.5.0"),
        "jars/plain-1.0.jar": b"no zip",
        "gone/left-2.0.jar": jar("left", "org.example", "2.0"),
    }
    above = {f"{site}/.wh.old-1.0.dist-info": b"", "gone/.wh..wh..opq": b""}
    labels = {"org.opencontainers.image.base.name": "python:3.12@sha256:" + "a" * 64}
    manifest = {
        "Config": "c.json",
        "RepoTags": ["x/trainingjob-spark:1"],
        "Layers": ["1.tar", "2.tar"],
    }
    files = {
        "manifest.json": json.dumps([manifest]).encode(),
        "c.json": json.dumps({"config": {"Labels": labels}}).encode(),
        "1.tar": tar(below),
        "2.tar": tar(above),
    }
    path.write_bytes(tar(files))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A release, and the public key."""
    folder = tmp_path_factory.mktemp("release")
    private, public = keys(folder)
    archive = image(folder / "trainingjob-spark.tar")
    release.make(ROOT, folder / "out", private, __version__, EPOCH, "c" * 40, [archive])
    return folder / "out", public


def test_a_release_is_the_same_to_the_byte_in_another_folder_at_another_time(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    source = tmp_path / "else where"
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    for path in source.rglob("*"):
        path.touch()  # as a fresh checkout has it
        path.chmod(0o700 if path.is_dir() else 0o600)
    other = tmp_path / "out"
    private, _ = keys(tmp_path)
    archive = image(tmp_path / "trainingjob-spark.tar")
    names = release.make(source, other, private, __version__, EPOCH, "c" * 40, [archive])
    assert len(names) == 6
    for name in {*names} - {release.PROVENANCE}:
        assert (other / name).read_bytes() == (made[0] / name).read_bytes(), name


def test_bills_of_materials_are_valid_and_tell_what_is_in_an_image(
    made: tuple[Path, Path],
) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    bills = {path.name: path.read_text() for path in made[0].glob("*.cdx.json")}
    assert sorted(bills) == ["trainingjob-operator-chart.cdx.json", "trainingjob-spark.cdx.json"]
    for name, text in bills.items():
        assert validator.validate_str(text) is None, name
    assert validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "x": 1}')
    found = json.loads(bills["trainingjob-spark.cdx.json"])
    assert [part.get("purl", part["name"]) for part in found["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        "pkg:maven/org.apache.hadoop/hadoop-aws@3.5.0",
        "pkg:pypi/some-thing@1.2",
        "plain",
    ]
    of_chart = json.loads(bills["trainingjob-operator-chart.cdx.json"])
    names = {part["name"].rpartition("/")[2] for part in of_chart["components"]}
    assert {"trainingjob-operator", "trainingjob-spark", "trainingjob-torch"} <= names


def test_provenance_tells_where_it_comes_from(made: tuple[Path, Path]) -> None:
    from release.envelope import opened, public_key

    statement = opened((made[0] / release.PROVENANCE).read_bytes(), public_key(made[1]))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = statement["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {"uri": "git+.", "digest": {"gitCommit": "c" * 40}},
        {
            "name": "base of trainingjob-spark",
            "uri": "python:3.12",
            "digest": {"sha256": "a" * 64},
        },
    ]
    assert {one["name"] for one in statement["subject"]} >= {
        "install.yaml",
        "trainingjob-spark.tar",
    }
    assert release.verify(*made) == []


def test_each_file_that_was_changed_is_told_by_name(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    for path in sorted(out.iterdir()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            (line,) = release.verify(out, made[1])
            assert line.startswith(f"{path.name}: "), line
        path.write_bytes(whole)
    (out / "install.yaml").rename(out / "other.yaml")
    assert release.verify(out, made[1]) == [
        "install.yaml: is missing",
        "other.yaml: is not of this release",
    ]
    _, stranger = keys(tmp_path)
    (line,) = release.verify(made[0], stranger)
    assert "is not signed by the key" in line


def test_the_chart_is_what_helm_would_pack(made: tuple[Path, Path]) -> None:
    with tarfile.open(made[0] / f"trainingjob-operator-{__version__}.tgz") as archive:
        names = archive.getnames()
    assert names[0] == "trainingjob-operator/Chart.yaml"
    root = ROOT / artefacts.CHART
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {name.removeprefix("trainingjob-operator/") for name in names} == there - {".helmignore"}


def test_what_cannot_be_released_is_refused_in_words(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no archive")
    (tmp_path / "other").mkdir()
    wrong, _ = keys(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))
    cases: list[tuple[str, Any]] = [
        ("the code says", lambda: made_with(private, tmp_path / "a", "9.9.9")),
        ("is not empty", lambda: made_with(private, full, __version__)),
        ("is no private key", lambda: made_with(broken, tmp_path / "b", __version__)),
        ("is no Ed25519 key", lambda: made_with(wrong, tmp_path / "b", __version__)),
        ("is no archive of one image", lambda: rootfs.read(broken)),
    ]
    for words, attempt in cases:
        with pytest.raises(ReleaseError, match=words):
            attempt()


def made_with(key: Path, folder: Path, version: str) -> None:
    release.make(ROOT, folder, key, version, EPOCH, "c" * 40, [])
