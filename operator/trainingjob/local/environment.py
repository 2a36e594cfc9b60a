"""The environment of a pod, as a kubelet makes it, plus what only a node knows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..api.expansion import expand
from ..api.payload import HADOOP_CONF_DIR, KRB5_CONFIG
from ..api.uris import SCHEMES

# As Kerberos' own library has it.
CLIENT_KEYTAB = "KRB5_CLIENT_KTNAME"

# What a pod gets of the caller's environment: what programs need to find themselves, their
# libraries, the GPUs, the way out and to remote data. No other secrets that happen to be exported.
_INHERITED = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TERM"
    "|JAVA_HOME|LD_LIBRARY_PATH|PYTHONPATH|VIRTUAL_ENV|CONDA_PREFIX"
    "|CUDA_.*|NVIDIA_.*|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES"
    "|PIP_.*|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    "|(?i:https?_proxy|all_proxy|no_proxy)"
    + "".join(f"|{scheme.variables}" for scheme in SCHEMES.values() if scheme.variables)
)
# Of these, paths that pods, whose working folder is their own, must find as the caller does.
_PATHS = (HADOOP_CONF_DIR, KRB5_CONFIG, CLIENT_KEYTAB)
_LOOPBACK = "127.0.0.1,localhost"

# By this variable every process of a pod can be told from all others of the machine.
MARKER = "TRAININGJOB_POD_UID"


def declared(env: Sequence[Mapping[str, str]], answers: Mapping[str, str]) -> dict[str, str]:
    """The container's variables in order, each seeing those before it.

    ``answers`` replace the values of variables that the container declares, and are not expanded:
    paths may hold a ``$``.
    """
    variables: dict[str, str] = {}
    for item in env:
        name = item["name"]
        given = answers.get(name)
        variables[name] = expand(item.get("value", ""), variables) if given is None else given
    return variables


def of_node(caller: Mapping[str, str]) -> dict[str, str]:
    """What an image would bring: the caller's basics, with this interpreter first on the PATH."""
    env = {name: value for name, value in caller.items() if _INHERITED.fullmatch(name)}
    env |= {name: own_path(caller, name) for name in _PATHS if env.get(name)}
    path = env.get("PATH", os.defpath)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
    # Logs appear as they are written, and a killed process loses none.
    env["PYTHONUNBUFFERED"] = "1"
    for name in ("no_proxy", "NO_PROXY"):
        # Progress reports and ranks stay on this machine.
        env[name] = ",".join(filter(None, (env.get(name), _LOOPBACK)))
    return env


def own_path(caller: Mapping[str, str], name: str, default: str = "") -> str:
    """A file or a folder that a variable of the caller names, from the root."""
    given = caller.get(name, "").removeprefix("FILE:")
    return str(Path.cwd() / given) if given else default


def of_gang(variables: Mapping[str, str], cpus: int) -> dict[str, str]:
    """Defaults for pods that share one machine as a gang; empty for a pod of one process."""
    try:
        world = int(variables.get("WORLD_SIZE", "1"))
    except ValueError:
        return {}
    if world < 2:
        return {}
    return {
        # Else every process starts a thread per core, and they wait for each other.
        "OMP_NUM_THREADS": str(max(1, cpus // world)),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


def resolve(command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """The container's command line; ``python`` is the interpreter that runs us."""
    words = [expand(word, variables) for word in command]
    if words and words[0] in ("python", "python3"):
        words[0] = sys.executable
    return words
