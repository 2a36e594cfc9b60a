"""The test split that nobody can read who trains: Parquet's own encryption, by a key of the job's.

The operator gives the key to pods of preprocess and evaluate, over the way by which they report,
and to no others. Each file has a key made of it and of the file's name, to which its content is
bound, too: a file in the place of another one cannot be read.
"""

from __future__ import annotations

import hmac
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from trainingjob.api.payload import STATUS_URL, SealKey

from ..base.errors import StageFailure
from ..base.progress import call
from ..base.text import one_line

if TYPE_CHECKING:
    from .manifest import DatasetManifest

# How much of a file's name is its digest, which is known when it is written.
_DIGEST_CHARS = 8
_TRIES, _PAUSE_SECONDS = 30, 2.0
# Another answer may follow: an operator that starts does not know the pod yet, the pod asks too
# often, tokens cannot be checked now.
_LATER = (403, 429, 503)


@dataclass(frozen=True)
class Seal:
    """The key of a job. It may be pickled."""

    key: bytes = field(repr=False)

    @cached_property
    def id(self) -> str:
        """Tells keys apart, and nothing about them."""
        return hmac.digest(self.key, b"id", "sha256").hex()[:16]

    def encryption(self, name: str) -> Any:
        """For a writer of Parquet: AES-256-GCM of the whole file, its footer included. ``name``:
        the file's, as far as it is known."""
        from pyarrow.parquet.encryption import create_encryption_properties

        return create_encryption_properties(
            self._of(name), aad_prefix=name.encode(), store_aad_prefix=False
        )

    def decryption(self, path: Path) -> Any:
        """For a reader of a file that has its name."""
        from pyarrow.parquet.encryption import create_decryption_properties

        name = path.stem[:-_DIGEST_CHARS]
        return create_decryption_properties(self._of(name), aad_prefix=name.encode())

    def _of(self, name: str) -> bytes:
        return hmac.digest(self.key, f"file/{name}".encode(), "sha256")


def ask() -> Seal:
    """The seal of this pod's job; raises StageFailure(KeyUnavailable)."""
    if STATUS_URL not in os.environ:
        raise _unavailable("no operator hears this pod: install it with its progress port")
    for left in range(_TRIES, 0, -1):
        try:
            return Seal(bytes.fromhex(SealKey.model_validate_json(call()).key))
        except HTTPError as error:
            with error:
                why = f"{error.code}: {one_line(error.read(512).decode(errors='replace'))}"
            if error.code not in _LATER:
                break
        except (OSError, ValueError, HTTPException) as error:
            why = one_line(error)
        if left > 1:
            time.sleep(_PAUSE_SECONDS)
    raise _unavailable(f"the operator does not give it: {why}")


def of(manifest: DatasetManifest, where: str, *, wanted: bool) -> Seal | None:
    """By which the test split of a dataset is read, ``where`` people find it; None of one that lies
    open, which is not ``wanted``. Raises StageFailure(DatasetInvalid, KeyUnavailable)."""
    if manifest.sealed is None:
        if wanted:
            raise StageFailure(
                "DatasetInvalid",
                f"the test split of {where} is not sealed, as evaluate.sealed wants it: it was "
                "written before that was set; run the job again from preprocess",
            )
        return None
    seal = ask()
    if seal.id != manifest.sealed:
        raise StageFailure(
            "DatasetInvalid",
            f"the test split of {where} is sealed by another key: it is another job's, or the "
            "operator has lost its own since; run the job again from preprocess",
        )
    return seal


def _unavailable(why: str) -> StageFailure:
    return StageFailure("KeyUnavailable", f"there is no key to seal the test split by: {why}")
