"""A whole control plane on this machine's loopback, gone when the tests are."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from . import config
from .build import BIN, ROOT, build
from .client import Client, Response
from .context import MARKER, alive, mark, refuse_unknown
from .process import Component, ComponentError, free_ports

CRDS = ROOT / "crds"
PREFIX = "trainingjob-cluster-"
# Ready takes 3 s on a quiet machine.
DEADLINE_SECONDS = 90.0
COMMAND_SECONDS = 120
CHANCES = 5
MASTERS = ("system:masters",)


class CommandFailedError(RuntimeError):
    """kubectl or helm has failed; the message has what it said."""


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager; a context manager.

    ``users``: name -> groups, beside ``admin``. ``fast``: no rate limit that anybody could feel in
    the controllers. ``crd``: install the CRD before the controllers start, because the garbage
    collector looks for new kinds only every 30 seconds. ``flags``: of kube-apiserver, after ours.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, Sequence[str]] | None = None,
        audit: bool = False,
        fast: bool = False,
        crd: bool = False,
        controllers: Sequence[str] = config.CONTROLLERS,
        flags: Sequence[str] = (),
    ) -> None:
        self._users = {"developer": ()} if users is None else users
        self._audit = audit
        self._fast = fast
        self._crd = crd
        self._controllers = controllers
        self._flags = flags
        self._components: list[Component] = []
        self.folder = Path()
        self.server = ""

    # --- start and end -------------------------------------------------------------------------
    def __enter__(self) -> Self:
        build()
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        mark(self.folder, server="")  # ours to sweep, should we be killed before it serves
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill everything and remove the folder."""
        while self._components:
            self._components.pop().stop()
        if client := getattr(self, "_client", None):
            client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        users = {"admin": MASTERS, "controllers": MASTERS, **self._users}
        tokens = {name: secrets.token_hex(16) for name in users}
        for name, text in {
            "service-account.key": config.service_account_key(),
            "tokens.csv": config.token_file(users, tokens),
            "audit-policy.json": json.dumps(config.AUDIT_POLICY),
        }.items():
            self._write(name, text)
        self._start_server(tokens)
        if self._crd:
            self.install_crd()
        self._component(
            "kube-controller-manager",
            config.controller_manager(
                self.folder,
                self._controllers,
                self.kubeconfig("controllers"),
                self.ca_file,
                self._fast,
            ),
        )
        self._await_default_account("default")

    def _start_server(self, tokens: dict[str, str]) -> None:
        for chance in range(CHANCES):
            try:
                return self._try_server(tokens, *free_ports(3))
            except ComponentError:
                # Somebody may have been quicker between our look for free ports and the component.
                taken = any("address already in use" in c.log() for c in self._components)
                if not taken or chance == CHANCES - 1:
                    raise
                while self._components:
                    self._components.pop().stop()
                shutil.rmtree(self.folder / "etcd", ignore_errors=True)
        raise AssertionError("not reached")

    def _try_server(
        self, tokens: dict[str, str], port: int, etcd_port: int, peer_port: int
    ) -> None:
        self._component("etcd", config.etcd(self.folder, etcd_port, peer_port))
        self._apiserver_command = [
            *config.apiserver(self.folder, port, etcd_port, self._audit),
            *self._flags,
        ]
        self._apiserver = self._component("kube-apiserver", self._apiserver_command)
        self.server = f"https://127.0.0.1:{port}"
        self.ca_file = self.folder / "certs/apiserver.crt"
        # The key is written last: where it is, the certificate is whole.
        self._await("the certificate", self.ca_file.with_suffix(".key").exists)
        self._client = Client(port, self.ca_file, tokens)
        mark(self.folder, self.server)
        for name, token in tokens.items():
            self._write_kubeconfig(name, token)
        self._await("/readyz", self._ready)

    def _component(self, name: str, command: Sequence[str | Path]) -> Component:
        component = Component(name, command, self.folder / f"{name}.log")
        self._components.append(component)
        return component

    def _ready(self) -> bool:
        try:
            # Not longer: whoever took our port may accept and say nothing.
            return self.request("GET", "/readyz", timeout=1)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                tails = "\n".join(component.tail() for component in self._components)
                raise ComponentError(f"waited {DEADLINE_SECONDS:.0f} s for {what}\n{tails}")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise, with the end of its log, if a component has died."""
        for component in self._components:
            component.check()

    def stop_apiserver(self) -> None:
        """An outage: the port is closed, the data stays."""
        self._apiserver.stop()
        self._client.forget_connections()

    def start_apiserver(self) -> None:
        """The end of the outage, at the same port; returns when it is ready."""
        self._apiserver.restart(self._apiserver_command)
        self._await("/readyz", self._ready)

    # --- who asks ------------------------------------------------------------------------------
    def kubeconfig(self, user: str = "admin") -> Path:
        """The kubeconfig of a user, or of a service account that has one already."""
        return self.folder / f"kubeconfig-{user.replace(':', '-')}"

    def token(self, user: str = "admin") -> str:
        return self._client.tokens[user]

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token of a service account.

        From then on ``user="system:serviceaccount:NAMESPACE:NAME"`` is known here, too.
        """
        status, answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"spec": {"expirationSeconds": 24 * 3600}},
        )
        _expect(status == 201, answer)
        user = f"system:serviceaccount:{namespace}:{name}"
        self._client.tokens[user] = answer["status"]["token"]
        self._write_kubeconfig(user, answer["status"]["token"])
        return self.kubeconfig(user)

    def _write_kubeconfig(self, user: str, token: str) -> None:
        text = config.kubeconfig(self.server, self.ca_file, user, token)
        self._write(self.kubeconfig(user).name, text)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    # --- asking --------------------------------------------------------------------------------
    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        user: str = "admin",
        content_type: str | None = None,
        timeout: float = 30,
    ) -> Response:
        """One request over HTTP: its status and the decoded answer. See ``Client.request``."""
        return self._client.request(method, path, body, user, content_type, timeout)

    def kubectl(
        self, *args: str | Path, input: str | None = None, user: str = "admin", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self._command("kubectl", args, input, user, check)

    def helm(
        self, *args: str | Path, input: str | None = None, user: str = "admin", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self._command("helm", args, input, user, check)

    def _command(
        self, name: str, args: Sequence[str | Path], input: str | None, user: str, check: bool
    ) -> subprocess.CompletedProcess[str]:
        # Nothing of the person who runs the tests: no own kubeconfig, cache, plugins or proxies.
        environment = {
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
            "HOME": str(self.folder / "home"),
            "KUBECONFIG": str(refuse_unknown(self.kubeconfig(user))),
        }
        done = subprocess.run(
            [BIN / name, *args],
            input=input or "",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if check and done.returncode:
            words = " ".join(map(str, args))
            raise CommandFailedError(f"{name} {words}\n{done.stdout}{done.stderr}")
        return done

    # --- what tests need every day -------------------------------------------------------------
    def namespace(self, labels: Mapping[str, str] | None = None) -> str:
        """A fresh namespace, in which pods can be made at once."""
        name = f"t-{secrets.token_hex(4)}"
        body = {"metadata": {"name": name, "labels": dict(labels or {})}}
        status, answer = self.request("POST", "/api/v1/namespaces", body)
        _expect(status == 201, answer)
        self._await_default_account(name)
        return name

    def _await_default_account(self, namespace: str) -> None:
        self._await_served(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")

    def _await_served(self, path: str) -> None:
        self._await(path, lambda: self.request("GET", path)[0] == 200)

    def install_crd(self) -> None:
        """Apply crds/*.yaml; returns when the API server serves them."""
        for path in sorted(CRDS.glob("*.yaml")):
            crd = yaml.safe_load(path.read_text(encoding="utf-8"))
            address = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
            status, answer = self.request(
                "PATCH",
                f"{address}{crd['metadata']['name']}?fieldManager=tests&force=true",
                crd,
                content_type="application/apply-patch+yaml",
            )
            _expect(status in (200, 201), answer)
            group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
            for version in crd["spec"]["versions"]:
                self._await_served(f"/apis/{group}/{version['name']}/{plural}")

    def audit_events(self) -> list[dict[str, Any]]:
        """Every request so far, oldest first (``audit=True``)."""
        assert self._audit, "a ControlPlane with audit=True"
        try:
            text = (self.folder / "audit.log").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        # The last line may be half written.
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def log(self, component: str) -> str:
        """What a component has said, by its command's name."""
        return next(c for c in self._components if c.name == component).log()


def sweep() -> None:
    """Remove what was left behind by processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            left = (folder / MARKER).exists() and not alive(folder)
        except (KeyError, OSError, ValueError):
            continue  # another user's, or just being made
        if left:
            shutil.rmtree(folder, ignore_errors=True)


def _expect(held: bool, answer: Mapping[str, Any]) -> None:
    if not held:
        raise RuntimeError(f"the API server answered: {answer.get('message', answer)}")
