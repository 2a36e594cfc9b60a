"""Spark on pods: the settings that tie a driver's executors to the job, and their template.

The driver runs in client mode in a pod of ours; it makes its executors itself, owned by its pod.
https://spark.apache.org/docs/latest/running-on-kubernetes.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....api import payload as contract
from ....api.uris import HDFS, Uri
from ....api.v1alpha1 import Preprocess, TrainingJob
from ....api.v1alpha1.common import PodTemplate
from ....api.v1alpha1.preprocess import Executor
from ....api.v1alpha1.resources import Resources, amount
from ... import names
from ...children.container import container_security, pod_security
from ...children.environment import literal
from ...children.placing import devices, scheduling
from ...children.volumes import claims_of, reach_hdfs, storage

MASTER = "k8s://https://kubernetes.default.svc:443"
SERVICE_ACCOUNT = "trainingjob-spark"
# Spark's own numbers; fixed, so that a NetworkPolicy can name them.
DRIVER_PORT = 7078
BLOCK_MANAGER_PORT = 7079

# Spark starts no executor with less heap than this (its own limit is 450 MiB).
_LEAST_HEAP_MIB = 512
# Beside the heap: Java's own memory and Python workers. Spark's own share for PySpark is 0.4, for
# work in Java 0.1; ours is in Java but for the user's functions.
_OVERHEAD = 0.2
_LEAST_OVERHEAD_MIB = 384

# Over the user's, who may not set them.
_CONF = {
    "spark.driver.port": str(DRIVER_PORT),
    "spark.driver.blockManager.port": str(BLOCK_MANAGER_PORT),
    "spark.blockManager.port": str(BLOCK_MANAGER_PORT),
    # Executors are asked for at once and not a second later.
    "spark.kubernetes.allocation.batch.delay": "200ms",
    # Work begins with the executors that are there; status tells how many of how many.
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "15s",
    # Whoever is not of this application gets no word; GCM, since CTR is CVE-2025-55039.
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    "spark.network.crypto.cipher": "AES/GCM/NoPadding",
    # A driver that is killed takes its executors along: they are its pod's.
    "spark.kubernetes.executor.deleteOnTermination": "true",
    # A driver makes pods and nothing else, so its account has no other rights. It is told its
    # settings by the driver; claims and Services are the operator's to make.
    "spark.kubernetes.executor.disableConfigMap": "true",
    "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
    "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
    "spark.kubernetes.driver.service.deleteOnTermination": "false",
    # An executor is as well as its own container is: a sidecar's end is not its own.
    "spark.kubernetes.executor.checkAllContainers": "false",
}

# Unless the manifest says otherwise.
_USUAL = {
    # What Spark spills and shuffles lies on disks that others have after us.
    "spark.io.encryption.enabled": "true",
}


def instances(spec: Preprocess) -> int:
    """How many executors."""
    return spec.executor.instances if spec.executor else Executor().instances


def on_kubernetes(
    job: TrainingJob, spec: Preprocess, attempt: int, image: str, uris: Sequence[str]
) -> contract.SparkOnKubernetes:
    """What the driver of this attempt is told about its executors."""
    return contract.SparkOnKubernetes(
        conf=_conf(job, spec, attempt, image), executor_template=_template(job, spec, attempt, uris)
    )


def _conf(job: TrainingJob, spec: Preprocess, attempt: int, image: str) -> dict[str, str]:
    driver = spec.driver.resources if spec.driver else None
    executor = spec.executor.resources if spec.executor else None
    given = spec.spark_conf or {}
    usual = _USUAL | _driver_heap(driver)
    usual = {key: value for key, value in usual.items() if key not in given}
    conf = _CONF | usual | _sizes(executor) | _how_many(spec.executor or Executor())
    conf |= {
        "spark.kubernetes.namespace": job.metadata.namespace,
        "spark.kubernetes.driver.pod.name": names.pod_name(job, "preprocess", attempt, 0),
        # Spark takes no more than 47 characters.
        "spark.kubernetes.executor.podNamePrefix": names.fitted(
            job.metadata.name, f"-{attempt}", 47
        ),
        "spark.kubernetes.container.image": image,
    }
    hdfs = job.spec.storage.hdfs
    if hdfs is not None and hdfs.kerberos is not None:
        # The driver gets a token of each for its executors' Java, which reads; their Python, which
        # writes, has the keytab.
        clusters = [Uri.parse(uri) for uri in (names.storage_uri(job), *spec.uris)]
        found = {f"{HDFS.start}{uri.authority}" for uri in clusters if uri.scheme is HDFS}
        conf["spark.kerberos.access.hadoopFileSystems"] = ",".join(sorted(found))
    for key, value in names.executor_labels(job, "preprocess", attempt).items():
        conf[f"spark.kubernetes.executor.label.{key}"] = value
    return conf


def _template(
    job: TrainingJob, spec: Preprocess, attempt: int, uris: Sequence[str]
) -> dict[str, Any]:
    """What Spark does not know by itself: security, volumes, where executors may run, and by what
    their Python, which writes the dataset, reaches the storage."""
    fragments = spec.template or PodTemplate()
    resources = spec.executor.resources if spec.executor else None
    # By a name that begins so, Spark knows where its shuffle goes; without one it adds a volume
    # that nobody has bounded.
    scratch = "spark-local-dir-tmp"
    volumes, mounts = storage(fragments, claims_of(*uris), resources, scratch=scratch)
    environment: list[dict[str, Any]] = literal(spec.env)
    reach_hdfs(job, uris, environment, volumes, mounts)
    container: dict[str, Any] = {
        "name": names.EXECUTOR_CONTAINER,
        "env": environment,
        "envFrom": [source.to_dict() for source in spec.env_from or ()],
        "volumeMounts": mounts,
        "securityContext": container_security(),
    }
    if resources is not None:
        # CPU and memory are Spark's; a GPU or a disk is asked for here.
        container["resources"] = {
            side: {
                name: amount for name, amount in amounts.items() if name not in ("cpu", "memory")
            }
            for side, amounts in resources.to_dict().items()
        }
    devices(fragments, container)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # Spark adds its own and ours, which are in its settings.
        "metadata": {
            "labels": fragments.labels or {},
            "annotations": {
                **(fragments.annotations or {}),
                names.ANNOTATION_CONTAINER: names.EXECUTOR_CONTAINER,
            },
        },
        "spec": scheduling(fragments, names.executor_labels(job, "preprocess", attempt))
        | {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "containers": [container],
            "volumes": volumes,
        },
    }


def _how_many(spec: Executor) -> dict[str, str]:
    count = str(spec.instances)
    if spec.max_instances is None:
        return {"spark.executor.instances": count, "spark.dynamicAllocation.enabled": "false"}
    return {
        "spark.dynamicAllocation.enabled": "true",
        # Kubernetes has no service that keeps the shuffle files of executors that went: those that
        # hold some stay.
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.initialExecutors": count,
        "spark.dynamicAllocation.minExecutors": count,
        "spark.dynamicAllocation.maxExecutors": str(spec.max_instances),
    }


def _sizes(resources: Resources | None) -> dict[str, str]:
    """An executor's CPU and memory, in Spark's terms: memory is heap and overhead."""
    if resources is None:
        return {}
    sizes: dict[str, str] = {}
    requests, limits = resources.requests or {}, resources.limits or {}
    request = requests.get("cpu", limits.get("cpu"))
    if request is not None:
        sizes["spark.kubernetes.executor.request.cores"] = str(request)
        sizes["spark.executor.cores"] = str(max(1, int(amount(request))))
    if "cpu" in limits:
        sizes["spark.kubernetes.executor.limit.cores"] = str(limits["cpu"])
        sizes["spark.executor.cores"] = str(max(1, int(amount(limits["cpu"]))))
    memory = limits.get("memory", requests.get("memory"))
    if memory is not None:
        heap, overhead = _divided(memory)
        sizes["spark.executor.memory"] = f"{heap}m"
        sizes["spark.executor.memoryOverhead"] = f"{overhead}m"
    return sizes


def _driver_heap(resources: Resources | None) -> dict[str, str]:
    """Most of the pod's memory: Python only gives orders."""
    limits = (resources.limits if resources else None) or {}
    if "memory" not in limits:
        return {}
    heap, _ = _divided(limits["memory"])
    return {"spark.driver.memory": f"{heap}m"}


def _divided(memory: str | int) -> tuple[int, int]:
    """Heap and what is beside it, in MiB."""
    total = int(amount(memory) / 2**20)
    overhead = max(_LEAST_OVERHEAD_MIB, int(total * _OVERHEAD))
    heap = max(_LEAST_HEAP_MIB, total - overhead)
    return heap, max(total - heap, _LEAST_OVERHEAD_MIB // 4)
