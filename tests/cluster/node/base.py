"""The image below all others: a small Debian with Python and Java, made by debootstrap.

Nothing but Debian's own packages is reached for it, so it can be made wherever apt works.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from .buildah import Buildah, isolated
from .packages import PATH, program

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "libgssapi-krb5-2",
    "openjdk-17-jre-headless",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "tini",
)
# Not needed to run anything, and the addresses of this machine's mirrors are its own affair.
LEFT_OUT = (
    "./dev/*",
    "./etc/apt/sources.list*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)
DOCKERFILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


def key() -> str:
    """Changes with the recipe."""
    recipe = repr((SUITE, PACKAGES, LEFT_OUT, DOCKERFILE))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def base(buildah: Buildah, folder: Path) -> str:
    """The name of the image for buildah; made if it is not there."""
    image = f"trainingjob-base:{key()}"
    if not buildah.has(image):
        print("building the base image: a minute", flush=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="base-") as name:
            _build(buildah, image, Path(name))
    return f"localhost/{image}"


def _build(buildah: Buildah, image: str, folder: Path) -> None:
    root = folder / "root"
    # debootstrap mounts things below its target.
    isolated(
        [
            *(program("debootstrap"), "--variant=minbase", f"--include={','.join(PACKAGES)}"),
            *(SUITE, str(root), *_mirror()),
        ],
        folder / "log",
    )
    context = folder / "context"
    context.mkdir()
    left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    isolated(
        [
            *(program("tar"), "--create", "--numeric-owner", f"--file={context / 'base.tar'}"),
            *(f"--directory={root}", *left_out, "."),
        ],
        folder / "log",
    )
    shutil.rmtree(root)
    (context / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    buildah("bud", *buildah.policy, "--isolation", "chroot", "--tag", image, context)


def _mirror() -> list[str]:
    """Where this machine's apt gets the suite from, if that is known; else debootstrap knows."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}"],
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()[:1]
