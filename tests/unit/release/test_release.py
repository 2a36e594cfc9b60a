"""A release is the same wherever it is made, described as the standards say, and signed."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
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
from release import artefacts, rootfs, sbom
from release.envelope import ReleaseError, encoded, opened, public_key, sealed

from trainingjob import __version__

ROOT = Path(__file__).parents[3]
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "operator", "charts", "deploy", "requirements")
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


def jar(*libraries: tuple[str, str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for group, name, version in libraries:
            text = f"artifactId={name}\ngroupId={group}\nversion={version}\n"
            archive.writestr(f"META-INF/maven/{group}/{name}/pom.properties", text)
    return out.getvalue()


def image(path: Path, base: str = "python:3.12@sha256:" + "a" * 64) -> Path:
    """As `docker save` has it; the layer above takes two things away."""
    site = "opt/trainingjob/lib/python3.12/site-packages"
    below = {
        "var/lib/dpkg/status": STATUS.encode(),
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
        f"./{site}/some_thing-1.2.dist-info/METADATA": METADATA.encode(),
        f"{site}/old-1.0.dist-info/METADATA": b"Name: old\nVersion: 1.0\n\n",
        f"{site}/old-1.0.dist-info-not/x.jar": jar(("org.example", "within", "1.0")),
        ".hidden/hidden-3.0.jar": b"",
        "jars/hadoop-aws-3.5.0.jar": jar(("org.apache.hadoop", "hadoop-aws", "3.5.0")),
        f"{site}/nameless-1.0.dist-info/METADATA": b"no headers",
        "jars/plain-1.0.jar": b"no zip",
        "gone/left-2.0.jar": jar(("org.example", "left", "2.0")),
    }
    # What stands in the same layer as the mark is not removed, wherever it stands.
    above = {
        f"{site}/.wh.old-1.0.dist-info": b"",
        "gone/new-4.0.jar": b"",
        "gone/.wh..wh..opq": b"",
    }
    labels = {"org.opencontainers.image.base.name": base}
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
    release.make(ROOT, folder / "out", private, EPOCH, "c" * 40, [archive])
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
    names = release.make(source, other, private, EPOCH, "c" * 40, [archive])
    assert names == sorted(path.name for path in made[0].iterdir())
    for name in {*names} - {release.PROVENANCE}:
        assert (other / name).read_bytes() == (made[0] / name).read_bytes(), name


def test_bills_of_materials_are_valid_and_tell_what_is_in_an_image(
    made: tuple[Path, Path],
) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    bills = {path.name: path.read_text() for path in made[0].glob("*.cdx.json")}
    assert len(bills) == 5
    # The others are of the kind of the operator's, and as slow as they are long.
    for name in ("spark", "operator-python", "operator-chart"):
        assert validator.validate_str(bills[f"trainingjob-{name}.cdx.json"]) is None, name
    assert validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "x": 1}')
    found = json.loads(bills["trainingjob-spark.cdx.json"])
    assert [part.get("purl", part["name"]) for part in found["components"]] == [
        "hidden",
        "new",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        "pkg:maven/org.apache.hadoop/hadoop-aws@3.5.0",
        "pkg:maven/org.example/within@1.0",
        "pkg:pypi/some-thing@1.2",
        "plain",
        "x",
    ]
    of_chart = json.loads(bills["trainingjob-operator-chart.cdx.json"])
    names = [part["name"] for part in of_chart["components"]]
    assert names == ["trainingjob-operator", "trainingjob-spark", "trainingjob-torch"]


@pytest.mark.parametrize("name", sbom.IMAGES)
def test_every_pin_and_every_digest_of_an_image_is_in_its_bill(
    name: str, made: tuple[Path, Path]
) -> None:
    pins = (ROOT / "requirements" / sbom.IMAGES[name]).read_text()
    bill = json.loads((made[0] / f"{name}-python.cdx.json").read_text())
    told = sorted(f"{part['name']}=={part['version']}" for part in bill["components"])
    assert told == sorted(re.findall(r"^[\w.-]+==[\w.+]+", pins, re.MULTILINE))
    digests = [
        digest["content"]
        for part in bill["components"]
        for digest in part["externalReferences"][0]["hashes"]
    ]
    assert sorted(digests) == sorted(re.findall("--hash=sha256:([0-9a-f]{64})", pins))


def test_provenance_tells_where_it_comes_from(made: tuple[Path, Path]) -> None:
    statement = opened((made[0] / release.PROVENANCE).read_bytes(), public_key(made[1]))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = statement["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {"uri": "git+.", "digest": {"gitCommit": "c" * 40}},
        {
            "name": "base of trainingjob-spark.tar",
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


def test_what_is_signed_is_as_the_standard_says() -> None:
    # The example of https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    told = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert encoded(b"hello world", "http://example.com/HelloWorld") == told


ENVELOPES = {  # what becomes of an envelope, what is said
    "cut": (lambda one: json.dumps(one)[:-9], "is no envelope with a signature"),
    "a signature that is cut": (
        lambda one: json.dumps(one | {"signatures": [{"sig": one["signatures"][0]["sig"][:40]}]}),
        "is not signed by the key",
    ),
    "no signature": (lambda one: json.dumps(one | {"signatures": []}), "is not signed by the key"),
    "another type": (
        lambda one: json.dumps(one | {"payloadType": "text/plain"}),
        "is not signed by the key",
    ),
    "another payload": (
        lambda one: json.dumps(one | {"payload": base64.b64encode(b"{}").decode()}),
        "is not signed by the key",
    ),
    "no text": (lambda one: "[" * 100_000, "is no envelope with a signature"),
    "a list": (lambda one: "[]", "is no envelope with a signature"),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_an_envelope_that_is_not_whole_is_told(
    case: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    change, words = ENVELOPES[case]
    whole = json.loads((made[0] / release.PROVENANCE).read_text())
    (tmp_path / release.PROVENANCE).write_text(change(whole))
    (line,) = release.verify(tmp_path, made[1])
    assert line.startswith(f"{release.PROVENANCE}: {words}")


def test_another_statement_of_the_same_key_is_no_release(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _, public = keys(tmp_path, key)
    (tmp_path / release.PROVENANCE).write_text(sealed({"predicateType": "x"}, key))
    assert "is no provenance of a release" in release.verify(tmp_path, public)[0]
    (tmp_path / release.PROVENANCE).unlink()
    assert release.verify(tmp_path, public) == [f"{release.PROVENANCE}: is missing"]


def test_openssl_makes_the_keys_and_verifies_the_signature(tmp_path: Path) -> None:
    """As docs/releasing.md says."""
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    release.make(ROOT, tmp_path / "new/out", private, EPOCH, "c" * 40, [])
    assert release.verify(tmp_path / "new/out", public) == []
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    envelope = json.loads((tmp_path / "new/out" / release.PROVENANCE).read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = b"28 application/vnd.in-toto+json"
    (tmp_path / "signed").write_bytes(b"DSSEv1 %b %d %b" % (kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    files = ["-inkey", public, "-in", tmp_path / "signed", "-sigfile", tmp_path / "sig"]
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *files], check=True)


def test_what_cannot_be_released_is_refused_in_words(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    full, new = tmp_path / "full", tmp_path / "new"
    full.mkdir()
    (full / "x").touch()
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no archive")
    cut = tmp_path / "cut.tar"
    parts = {"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', "c": b"{}"}
    cut.write_bytes(tar(parts | {"l": gzip.compress(tar({"x": bytes(10_000)}))[:-20]}))
    odd = tmp_path / "odd.tar"
    odd.write_bytes(tar({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": b"[]"}))
    other = tmp_path / "other"
    for name in ("operator/trainingjob/__init__.py", "charts/trainingjob-operator/Chart.yaml"):
        (other / name).parent.mkdir(parents=True)
        text = (ROOT / name).read_text()
        (other / name).write_text(text.replace(f"version: {__version__}", "version: 9.9.9"))
    moves = image(tmp_path / "moves.tar", "python:3.12")
    wrong, _ = keys(other, ec.generate_private_key(ec.SECP256R1()))
    cases: list[tuple[str, Any]] = [
        ("is not empty: remove it", lambda: made_with(private, full)),
        ("is no private key", lambda: made_with(broken, new)),
        ("is no Ed25519 key: openssl", lambda: made_with(wrong, new)),
        ("names of their own", lambda: made_with(private, new, broken, broken)),
        ("names of their own", lambda: made_with(private, new, tmp_path / "a.zip")),
        ("is no archive of one image", lambda: made_with(private, new, broken)),
        ("is no archive of one image", lambda: rootfs.read(tmp_path)),
        ("is no archive of one image", lambda: rootfs.read(cut)),
        ("is no archive of one image", lambda: rootfs.read(odd)),
        ("stands on python:3.12, which may be another", lambda: made_with(private, new, moves)),
        ("Chart.yaml's version is 9.9.9", lambda: artefacts.version_of(other)),
        ("is no public key", lambda: public_key(private)),
    ]
    for words, attempt in cases:
        with pytest.raises(ReleaseError, match=words):
            attempt()
    assert not (new).exists()


def made_with(key: Path, folder: Path, *images: Path) -> None:
    release.make(ROOT, folder, key, EPOCH, "c" * 40, [*images])
