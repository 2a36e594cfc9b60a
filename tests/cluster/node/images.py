"""Images for the node, built once and kept by content: ``python -m tests.cluster.node.images``."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..build import ROOT, BuildError, build
from ..process import ComponentError, free_ports
from . import packages, pip
from .base import base
from .base import key as base_key
from .buildah import Buildah
from .config import REGISTRY
from .errors import NodeError
from .registry import Registry
from .storage import Storage
from .tools import TOOLS

# Ours, by the folder of their Dockerfile below images/.
NAMES = ("operator", "spark", "torch")
# What a Dockerfile of ours may copy: a superset, so that nobody has to keep a list.
CONTEXT = ("LICENSE", "README.md", "pyproject.toml", "images", "operator", "requirements")

# A shell and its tools, 2 MB. PID 1 of every pod is a process of it, too.
BUSYBOX = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
ENTRYPOINT ["/bin/busybox"]
CMD ["sleep", "2147483647"]
"""


# Steps of a build see the network and the certificates of this machine, for pip.
BUD = (
    *("bud", "--layers", "--pull-never", "--isolation", "chroot", "--network", "host"),
    *("--volume", f"{pip.CERTIFICATES}:{pip.CERTIFICATES}:ro"),
)
STAGE = re.compile(r"^FROM .+ AS (\w+)", re.MULTILINE | re.IGNORECASE)


class Images:
    """Builds into a storage and pushes to a registry. What both have already costs nothing."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry

    def busybox(self) -> str:
        """The reference, for pods, of the small image of tests."""
        binary = packages.BUSYBOX
        tag = _digest(BUSYBOX.encode(), binary.read_bytes())
        if not self._registry.has("busybox", tag):
            with tempfile.TemporaryDirectory() as name:
                shutil.copy(binary, name)
                Path(name, "Dockerfile").write_text(BUSYBOX, encoding="utf-8")
                self._build("busybox", tag, Path(name), Path(name, "Dockerfile"), {})
        return reference("busybox", tag)

    def ours(self, name: str, build_args: Mapping[str, str] | None = None) -> str:
        """The reference, for pods, of one of NAMES, from the sources as they are now."""
        return self.build_image(ROOT / "images" / name, name, build_args)

    def build_image(
        self, folder: Path, name: str, build_args: Mapping[str, str] | None = None
    ) -> str:
        """The reference, for pods, of the image of a Dockerfile, built from the repository's root.

        The argument BASE of the Dockerfile is our base image.
        """
        arguments = dict(build_args or {})
        tag = content(folder, arguments)
        if not self._registry.has(name, tag):
            self._build(name, tag, ROOT, folder / "Dockerfile", arguments, on_base=True)
        return reference(name, tag)

    def _build(
        self,
        name: str,
        tag: str,
        context: Path,
        dockerfile: Path,
        arguments: dict[str, str],
        on_base: bool = False,
    ) -> None:
        with self._storage.building():
            if self._registry.has(name, tag):
                return  # somebody else has built it while we waited
            buildah = Buildah(self._storage.buildah)
            buildah.end()
            if on_base:
                arguments = {"BASE": base(buildah, self._storage.folder), **arguments}
                print(f"building the image {name}: minutes the first time", flush=True)
            image = f"{name}-pushed"  # one name: what a killed build has left is replaced
            with _pip_secret() as secret:
                build: list[str | Path] = [*BUD, *buildah.policy, *secret, "--file", dockerfile]
                build += [f"--build-arg={key}={value}" for key, value in arguments.items()]
                buildah(*build, "--tag", image, context)
                buildah(
                    *("push", "--tls-verify=false", "--compression-format", "zstd"),
                    *(*buildah.policy, image),
                    f"docker://{self._registry.address}/{name}:{tag}",
                )
                # The registry has it now. Its stages are kept, so that the next one is quick, but
                # neither a second copy of them nor what they were before: gigabytes.
                buildah("rmi", image)
                for stage in STAGE.findall(dockerfile.read_text(encoding="utf-8")):
                    buildah(*build, "--target", stage, "--tag", f"{name}-{stage}", context)
            buildah("rmi", "--prune")
            self._registry.keep_only(name, tag)


@contextmanager
def _pip_secret() -> Iterator[list[str]]:
    """For `RUN --mount=type=secret,id=pip`."""
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as file:
        file.write(pip.configuration())
        file.flush()
        yield ["--secret", f"id=pip,src={file.name}"]


def reference(name: str, tag: str) -> str:
    return f"{REGISTRY}/{name}:{tag}"


def content(folder: Path, arguments: Mapping[str, str], root: Path = ROOT) -> str:
    """The tag of an image: another one whenever another build may give another image."""
    found = [base_key().encode(), repr(sorted(arguments.items())).encode()]
    for path in [folder / "Dockerfile", *(root / name for name in CONTEXT)]:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                mode = file.stat().st_mode & 0o777
                found += [f"{file.relative_to(root)} {mode:o}".encode(), file.read_bytes()]
    return _digest(*found)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def main() -> int:
    names = sys.argv[1:] or NAMES
    storage = Storage()
    try:
        packages.install()
        build(TOOLS)
        with tempfile.TemporaryDirectory() as folder:
            registry = Registry(storage.registry, Path(folder), "127.0.0.1", free_ports(1)[0])
            try:
                images = Images(storage, registry)
                for name in names:
                    print(images.ours(name), flush=True)
            finally:
                registry.stop()
    except (BuildError, ComponentError, NodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
