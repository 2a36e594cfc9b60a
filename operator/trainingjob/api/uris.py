"""Where data lies: the one table of schemes, and URIs taken apart and put together.

Nothing else in the product spells a scheme. A further one is a row here, and for one that is remote
a row in ``runtime/storage/remote.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


@dataclass(frozen=True)
class Scheme:
    """A kind of place.

    ``form`` is what people are shown, ``authority`` the pattern of what stands before the path.
    ``remote``: pods work on copies, and bring there what they have written. ``variables``: a
    pattern of environment variables of the caller that a run on one machine passes on, since they
    say how the place is reached.
    """

    name: str
    form: str
    authority: str
    about: str
    remote: bool = False
    variables: str = ""

    @property
    def start(self) -> str:
        """``s3://``"""
        return f"{self.name}://"


CLAIM = Scheme(
    "pvc",
    "pvc://CLAIM/path",
    SUBDOMAIN,
    "for a PersistentVolumeClaim of the job's namespace (on one machine: a folder, see `--claim`)",
)
S3 = Scheme(
    "s3",
    "s3://BUCKET/path",
    r"[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]",
    "(credentials, region and endpoint in the variables of the AWS SDKs, which `envFrom` can "
    "bring)",
    remote=True,
    variables="AWS_.*",
)
GS = Scheme(
    "gs",
    "gs://BUCKET/path",
    r"[a-z0-9][-a-z0-9._]{1,220}[a-z0-9]",
    "(not for Spark's executors)",
    remote=True,
    variables="GOOGLE_.*|STORAGE_EMULATOR_HOST",
)
AZ = Scheme(
    "az",
    "az://CONTAINER/path",
    r"[a-z0-9][-a-z0-9]{1,61}[a-z0-9]",
    "(not for Spark's executors; the account in `AZURE_STORAGE_ACCOUNT_NAME`)",
    remote=True,
    variables="AZURE_.*",
)
HDFS = Scheme(
    "hdfs",
    "hdfs://NAMENODE/path",
    r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?",
    "(a name service, or HOST:PORT; `storage.hdfs` says how it is reached)",
    remote=True,
    variables="HADOOP_CONF_DIR|HADOOP_USER_NAME|KRB5_CONFIG|KRB5CCNAME|KRB5_CLIENT_KTNAME",
)
FILE = Scheme("file", "file:///path", "", "(one machine only)")

SCHEMES = {scheme.name: scheme for scheme in (CLAIM, S3, GS, AZ, HDFS, FILE)}

# Those that KServe reads by the same URIs.
OF_KSERVE = (CLAIM, S3, GS)

# What people write for a URI -> what to do.
INSTEAD = {
    "https://": "nothing is downloaded: fetch the file and put it into a claim",
    "http://": "nothing is downloaded: fetch the file and put it into a claim",
    "ftp://": "nothing is downloaded: fetch the file and put it into a claim",
    f"{HDFS.start}/": "name the name service, or the NameNode and its port: "
    f"{HDFS.start}HOST:PORT/path",
    "webhdfs://": f"write {HDFS.start}, with the port that the NameNode has for clients",
    "viewfs://": f"write {HDFS.start}, with the name service that the path is mounted from",
    "gcs://": f"write {GS.start} for gcs://",
    "abfs": f"write {AZ.start}CONTAINER/path, and the account in AZURE_STORAGE_ACCOUNT_NAME",
    "wasb": f"write {AZ.start}CONTAINER/path, and the account in AZURE_STORAGE_ACCOUNT_NAME",
    "azure://": f"write {AZ.start} for azure://",
    "s3a://": f"write {S3.start} for s3a://",
    "s3n://": f"write {S3.start} for s3n://",
}


def listed(last: str, quote: str = "") -> str:
    """The forms in one line: ``pvc://CLAIM/path, s3://BUCKET/path or file:///path``."""
    *head, tail = (f"{quote}{scheme.form}{quote}" for scheme in SCHEMES.values())
    return f"{', '.join(head)} {last} {tail}"


def described() -> str:
    """The forms, each with what it is for."""
    *head, tail = (f"`{scheme.form}` {scheme.about}" for scheme in SCHEMES.values())
    return f"{', '.join(head)}, or {tail}"


def _pattern(path: str) -> str:
    known = SCHEMES.values()
    places = "|".join(f"{scheme.start}{scheme.authority}" for scheme in known if scheme.authority)
    # What has no authority begins with the slash of its path, which it must have.
    others = "".join(f"|{scheme.start}/{path}" for scheme in known if not scheme.authority)
    return rf"^(({places})(/{path})?{others})$"


# Not `\s`: spaces of other alphabets may well be in the name of a file.
PATTERN = _pattern(r"[^\x00-\x20\x7f]*")
# The same for what is read: files that people bring have blanks in their names, but not at the end.
INPUT_PATTERN = _pattern(r"([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?")


@dataclass(frozen=True)
class Uri:
    """A place, taken apart. ``authority`` is the claim, the bucket or the cluster, and "" for a
    file; ``path`` has no slash before it."""

    scheme: Scheme
    authority: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a scheme that is none of ours."""
        name, mark, rest = text.partition("://")
        if not mark or name not in SCHEMES:
            raise ValueError(f"{text} is none of {listed('and')}")
        authority, _, path = rest.partition("/")
        return cls(SCHEMES[name], authority, path)

    def __str__(self) -> str:
        return f"{self.scheme.start}{self.authority}/{self.path}"

    @property
    def place(self) -> str:
        """Authority and path in one: ``CLAIM/path``, ``/path`` of a file."""
        return f"{self.authority}/{self.path}"

    @property
    def copy(self) -> str:
        """Where a pod has its copy, below the folder that it has for copies."""
        # Hadoop's paths, in which Spark is told of copies, have no colons.
        return f"{self.scheme.name}/{self.authority.replace(':', '+')}/{self.path}"

    @classmethod
    def of_copy(cls, place: str) -> Self:
        """Of what a path below the folder for copies is a copy."""
        name, authority, path = [*place.split("/", 2), ""][:3]
        return cls(SCHEMES[name], authority.replace("+", ":"), path)


def join(base: str, *parts: str) -> str:
    """The URI of something below the folder ``base``."""
    folder = Uri.parse(base)
    path = "/".join(filter(None, (folder.path.rstrip("/"), *parts)))
    return str(replace(folder, path=path))


def is_remote(uri: str) -> bool:
    """Whether pods work on a copy of it."""
    return Uri.parse(uri).scheme.remote
