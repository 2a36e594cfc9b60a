"""What can be set, and why each default has its value."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kopf

from .. import __version__
from ..cluster import Resource
from ..cluster.resources import LISTED, watched
from ..core import Settings


@dataclass(frozen=True)
class Options:
    """The command line."""

    namespaces: tuple[str, ...] = ()  # empty: all
    kubeconfig: Path | None = None  # None: the service account of this pod
    log_format: str = "text"
    log_level: str = "info"
    # Above 1024, for a process without rights; 0 takes a free one.
    http_port: int = 8080
    # Where pods reach the port for reports, https://HOST:PORT; None: they do not report.
    status_url: str | None = None
    # Like http_port.
    status_port: int = 8443
    # NAMESPACE/NAME of the Secret that keeps the certificate's authority.
    status_secret: str | None = None
    # Whether it has the rights to what serves models, and watches that.
    deploy: bool = False
    # And to InferenceServices, which it lists.
    kserve: bool = False
    # Whether Events explain pods that wait: that needs the right to list them.
    pod_events: bool = False
    # Whether gangs are to have PodGroups: that needs the right to make them.
    pod_groups: bool = False
    spark_image: str = f"trainingjob-spark:{__version__}"
    torch_image: str = f"trainingjob-torch:{__version__}"
    # A list of everything finds what a watch has lost. Seldom: it costs the API server as much as
    # a start of the operator does, and watches that break are listed anew at once.
    resync_seconds: float = 300.0

    # Jobs are looked at side by side because each waits for the API server most of the time;
    # eight of them keep two cores of an API server busy.
    workers: int = 8
    # What was not listed for so many intervals is left alone: one list may fail by chance.
    stale_resyncs: int = 3
    # And what cannot be watched, after so long: an API server that is restarted is back by then.
    blind_seconds: float = 30.0
    # A watch that lives shows it at least so often (inactivity_timeout, and the wait for an
    # answer); one that does not for so long is dead, and the operator ends to be started again.
    silent_seconds: float = 180.0
    # What is not watched is listed so often: a rollout takes longer, and a list with nothing in it
    # costs the API server less than a request of any pod.
    list_seconds: float = 5.0
    # While the API server or the CRD is not there yet, nothing is lost by asking seldom.
    connect_seconds: float = 2.0
    # Time for the calls in flight when the operator is to end; and for all the rest, whatever it
    # hangs in. A pod has 30 s in all.
    drain_seconds: float = 10.0
    end_seconds: float = 5.0

    def core(self, status_ca: str = "", signing_key: bytes = b"") -> Settings:
        """What the core needs of it, of the certificate that pods report to, and the key by which
        they are signed."""
        return Settings(
            images={"spark": self.spark_image, "torch": self.torch_image},
            status_url=self.status_url or "",
            status_ca=status_ca,
            deploys=self.deploy,
            kserve="missing" if self.kserve else "off",
            signing_key=signing_key,
            pod_events=self.pod_events,
        )

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Namespaces to serve one by one; None stands for all."""
        return self.namespaces or (None,)

    @property
    def watched(self) -> tuple[Resource, ...]:
        """What is watched."""
        return watched(deploys=self.deploy)

    @property
    def listed(self) -> tuple[Resource, ...]:
        """What is listed every some seconds."""
        return LISTED if self.kserve else ()

    @property
    def stale_seconds(self) -> float:
        """The age of a list beyond which nothing is decided by it."""
        return self.resync_seconds * self.stale_resyncs


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of ``trainingjob-operator``. Exits with 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="trainingjob-operator", description="Drives TrainingJobs on Kubernetes."
    )
    default = Options()
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="serve this namespace only; may be given several times (default: all)",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="how to reach the cluster (default: the service account of this pod)",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default=default.log_format)
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning"), default=default.log_level
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=default.http_port,
        metavar="PORT",
        help="for /healthz, /readyz and /metrics (default: %(default)s)",
    )
    parser.add_argument(
        "--status-url",
        type=_https,
        metavar="URL",
        help="where pods report progress: https://HOST:PORT, by which they reach --status-port "
        "(default: they do not report)",
    )
    parser.add_argument(
        "--status-port",
        type=int,
        default=default.status_port,
        metavar="PORT",
        help="for reports of progress, over TLS (default: %(default)s)",
    )
    parser.add_argument(
        "--status-secret",
        type=_namespaced,
        metavar="NS/NAME",
        help="the Secret that keeps the certificate of that port for the next start (default: none "
        "does, and pods report until the operator ends)",
    )
    parser.add_argument(
        "--pod-events",
        action="store_true",
        help="have Events explain pods that wait, as for a volume; needs the right to list Events",
    )
    parser.add_argument(
        "--pod-groups",
        action="store_true",
        help="have the scheduler place all pods of a gang or none, where the API server has "
        "PodGroups of scheduling.k8s.io; needs the right to make them",
    )
    parser.add_argument(
        "--spark-image",
        default=default.spark_image,
        metavar="IMAGE",
        help="for the preprocess stage, where the manifest names none (default: %(default)s)",
    )
    parser.add_argument(
        "--torch-image",
        default=default.torch_image,
        metavar="IMAGE",
        help="for train and evaluate, where the manifest names none (default: %(default)s)",
    )
    parser.add_argument(
        "--deploy",
        action="store_true",
        help="serve models that passed, where jobs ask for it: needs rights to Deployments",
    )
    parser.add_argument(
        "--kserve",
        action="store_true",
        help="serve them by KServe, too, where jobs ask for that: needs --deploy and rights to "
        "InferenceServices",
    )
    parser.add_argument(
        "--resync-seconds",
        type=_positive,
        default=default.resync_seconds,
        metavar="N",
        help="how often everything is listed, in case a watch has lost something; a namespace is "
        "left alone after three times as long without success (default: %(default)g)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    given = vars(parser.parse_args(arguments))
    found = Options(namespaces=tuple(dict.fromkeys(given.pop("namespace"))), **given)
    if found.kserve and not found.deploy:
        parser.error("--kserve needs --deploy: the Deployments that KServe makes are watched")
    return found


def _https(text: str) -> str:
    url = urlsplit(text)
    if url.scheme != "https" or not url.hostname or url.path.strip("/"):
        raise ValueError(text)
    return text.rstrip("/")


def _namespaced(text: str) -> str:
    namespace, _, name = text.partition("/")
    if not namespace or not name:
        raise ValueError(text)
    return text


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


class _NoDiff(kopf.DiffBaseStorage):
    """kopf compares each object with the one before, for handlers that we do not have, and copies
    it for that: half of the operator's work."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        raise NotImplementedError("nothing is stored without a handler of changes")


def configure_kopf(settings: kopf.OperatorSettings, resources: Iterable[Resource]) -> None:
    """kopf as a bare source of events of these ``resources``: it writes nothing and needs no rights
    beside ours."""
    # No look at CRDs and namespaces: that would need rights over the whole cluster.
    settings.scanning.disabled = True
    # Events are ours, once per transition.
    settings.posting.enabled = False
    # The end is ours, too (ending.py).
    settings.process.ultimate_exiting_timeout = None
    settings.queueing.exit_timeout = 0.1
    settings.peering.standalone = True
    # The server ends a watch after 5 minutes and kopf begins it again where it was: a connection
    # that died unnoticed lives no longer than that. The client waits a little longer.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    # The API server sends a bookmark each minute: silence for longer means a dead connection.
    settings.watching.inactivity_timeout = 70
    settings.watching.connect_timeout = 10
    # Longer than feed.Gate holds a request back, and waits for its answer.
    settings.networking.request_timeout = 90
    settings.networking.connect_timeout = 10
    # kopf falls as a whole when one watch gives up: none does. How often is feed.Gate's business.
    settings.networking.error_backoffs = itertools.repeat(0.1)
    # It lists a single object, for the version to watch from: see Glance.
    settings.watching.chunk_size = 1
    # kopf holds an object, 30 KB as Python has it, until nothing was heard of it for so long.
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = _NoDiff()
    # Our handler takes microseconds: no need to limit how many objects are handled at a time.
    settings.queueing.worker_limit = None
    for resource in resources:
        if resource.selector:
            key = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[key] = resource.selector
