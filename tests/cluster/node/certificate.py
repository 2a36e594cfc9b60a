"""The certificate with which the API server calls kubelet."""

from __future__ import annotations

from pathlib import Path

from .command import run
from .packages import program


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of a certificate, its own authority, and its key. Its holder may do everything."""
    path, key = folder / f"{name}.crt", folder / f"{name}.key"
    run(
        [
            *(program("openssl"), "req", "-x509", "-batch", "-nodes", "-days", "2"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", f"/O=system:masters/CN={name}", "-keyout", key, "-out", path),
        ]
    )
    return path, key
