"""Bills of materials of images and of the chart: https://cyclonedx.org/docs/1.6/json/."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .rootfs import Contents

Component = dict[str, Any]
# By the chart's names of them; requirements/ has what is pinned for each.
IMAGES = {f"trainingjob-{name}": f"{name}.txt" for name in ("operator", "spark", "torch")}


def of_image(contents: Contents, version: str, epoch: int) -> dict[str, Any]:
    """Of what is in it: Debian's packages, Python's and jars."""
    system = _system(contents)
    found = [*_debian(contents, system), *_python(contents), *_jars(contents)]
    name, _, tag = contents.reference.rpartition(":")
    about: Component = {"type": "container", "name": name or tag, "version": version}
    properties = {**contents.labels, "image id": f"sha256:{contents.id}"}
    about["properties"] = [{"name": key, "value": properties[key]} for key in sorted(properties)]
    return _bill(about, found, epoch)


def of_chart(root: Path, version: str, epoch: int) -> dict[str, Any]:
    """Of the images that it runs: it has no charts within."""
    values = yaml.safe_load((root / "values.yaml").read_text("utf-8"))
    stages = [value or f"trainingjob-{stage}" for stage, value in values["stageImages"].items()]
    found: list[Component] = [
        {"type": "container", "name": name, "version": version}
        for name in (values["image"]["repository"], *stages)
    ]
    return _bill({"type": "application", "name": root.name, "version": version}, found, epoch)


def of_pins(source: Path, image: str, version: str, epoch: int) -> dict[str, Any]:
    """Of the Python packages that are pinned for an image, with the digests of all their files, and
    not of what its base and Debian bring: `of_image` knows that."""
    text = (source / "requirements" / IMAGES[image]).read_text("utf-8")
    about: Component = {"type": "application", "name": f"{image}-python", "version": version}
    about["description"] = f"Python packages pinned for the image {image}, and no others of it"
    return _bill(about, _pins(text), epoch)


def _pins(text: str) -> Iterator[Component]:
    for line in text.replace("\\\n", " ").splitlines():
        said, *hashes = line.split("--hash=sha256:")
        pin = Requirement(said.strip())
        (is_version,) = pin.specifier
        part = _of_pypi(pin.name, is_version.version)
        digests = [{"alg": "SHA-256", "content": digest.strip()} for digest in hashes]
        # Of the package's files, of which one is installed.
        files = {"type": "distribution", "url": part["purl"], "hashes": digests}
        part["externalReferences"] = [files]
        if pin.marker:
            part["scope"] = "optional"
            part["properties"] = [{"name": "marker", "value": str(pin.marker)}]
        yield part


def _bill(about: Component, found: Iterable[Component], epoch: int) -> dict[str, Any]:
    # One of each, and always in the same order.
    parts = {
        part.get("purl") or f"{part['name']} {part.get('version', '')}": part for part in found
    }
    for reference, part in parts.items():
        part["bom-ref"] = reference
    about["bom-ref"] = f"{about['name']}@{about['version']}"
    seed = "\n".join([about["bom-ref"], *sorted(parts)])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat(),
            "component": about,
        },
        "components": [parts[name] for name in sorted(parts)],
        "dependencies": [
            {"ref": about["bom-ref"], "dependsOn": sorted(parts)},
            *({"ref": name} for name in sorted(parts)),
        ],
    }


def _system(contents: Contents) -> dict[str, str]:
    paths = ("etc/os-release", "usr/lib/os-release")
    text = next((contents.texts[path] for path in paths if contents.texts.get(path)), "")
    return {key: value.strip('"') for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)}


def _debian(contents: Contents, system: dict[str, str]) -> Iterator[Component]:
    where, release = system.get("ID", "debian"), system.get("VERSION_ID", "")
    for path, text in contents.texts.items():
        if not path.startswith("var/lib/dpkg/status"):
            continue
        for paragraph in text.split("\n\n"):
            field = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
            # Those that were removed leave their settings.
            if "Package" not in field or not field.get("Status", "ok installed").endswith(
                " installed"
            ):
                continue
            name, version = field["Package"], field.get("Version", "")
            more = {"arch": field.get("Architecture", ""), "distro": f"{where}-{release}"}
            said = "&".join(f"{key}={quote(value)}" for key, value in more.items() if value)
            purl = f"pkg:deb/{quote(where)}/{quote(name)}@{quote(version)}?{said}"
            yield {"type": "library", "name": name, "version": version, "purl": purl}


def _python(contents: Contents) -> Iterator[Component]:
    for path, text in contents.texts.items():
        if not path.endswith(".dist-info/METADATA"):
            continue
        about = HeaderParser().parsestr(text)
        name, version = about["Name"], about["Version"] or ""
        if not name:
            continue  # a file of that name, of no package
        part = _of_pypi(name, version)
        licence = about["License-Expression"] or about["License"] or ""
        if licence and len(licence) < 100 and "\n" not in licence:
            # By name: what packages say is seldom one of SPDX's.
            part["licenses"] = [{"license": {"name": licence}}]
        yield part


def _of_pypi(name: str, version: str) -> Component:
    purl = f"pkg:pypi/{quote(canonicalize_name(name))}@{quote(version)}"
    return {"type": "library", "name": name, "version": version, "purl": purl}


def _jars(contents: Contents) -> Iterator[Component]:
    for group, name, version in chain.from_iterable(contents.jars.values()):
        part: Component = {"type": "library", "name": name}
        if version:
            part["version"] = version
        if group and version:
            part["group"] = group
            part["purl"] = f"pkg:maven/{quote(group)}/{quote(name)}@{quote(version)}"
        yield part
