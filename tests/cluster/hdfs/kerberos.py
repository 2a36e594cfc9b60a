"""The server with a real Kerberos server beside it, and with encryption on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ..process import free_ports
from .server import Hdfs, xml

REALM = "EXAMPLE.COM"
SERVERS = ("hdfs/localhost", "HTTP/localhost")
_KRB5 = """\
[libdefaults]
  default_realm = {realm}
  dns_canonicalize_hostname = false
  qualify_shortname = ""
  rdns = false
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = {address}:{port}
  }}
[domain_realm]
  localhost = {realm}
"""


class SecureHdfs(Hdfs):
    """Principals are ``NAME@EXAMPLE.COM``; ``keytab`` makes them and their keytabs."""

    @cached_property
    def trainer(self) -> Path:
        """The keytab of the principal that tests and the example have."""
        return self.keytab("trainer")

    @property
    def krb5(self) -> Path:
        """Where ``krb5.conf`` lies."""
        return self.folder / "krb5.conf"

    def _java_options(self) -> list[str]:
        return [f"-Djava.security.krb5.conf={self.krb5}"]

    def _prepare(self) -> None:
        (port,) = free_ports(1)
        self.kdc = self.java.org.apache.kerby.kerberos.kerb.server.SimpleKdcServer()
        self.kdc.setKdcHost(self._address)
        self.kdc.setKdcRealm(REALM)
        self.kdc.setAllowUdp(False)
        self.kdc.setKdcTcpPort(port)
        # It leaves a krb5.conf of its own there.
        (self.folder / "kdc").mkdir()
        self.kdc.setWorkDir(self.java.java.io.File(str(self.folder / "kdc")))
        self.kdc.init()
        self.kdc.start()
        # And has told Java of it; it knows no address but its own.
        self.java.java.lang.System.setProperty("java.security.krb5.conf", str(self.krb5))
        self.krb5.write_text(_KRB5.format(realm=REALM, address=self._address, port=port))
        self._keytab = self.keytab(*SERVERS)

    def _configuration(self) -> Any:
        settings = super()._configuration()
        keytab = str(self._keytab)
        for name, value in {
            **_SECURE,
            "dfs.namenode.keytab.file": keytab,
            "dfs.datanode.keytab.file": keytab,
            "dfs.web.authentication.kerberos.keytab": keytab,
            "dfs.web.authentication.kerberos.principal": f"{SERVERS[1]}@{REALM}",
            # Ports below 1024 are root's.
            "ignore.secure.ports.for.testing": "true",
        }.items():
            settings.set(name, value)
        self.java.org.apache.hadoop.security.UserGroupInformation.setConfiguration(settings)
        return settings

    def __exit__(self, *error: object) -> None:
        self.kdc.stop()
        super().__exit__(*error)

    def client(self) -> dict[str, str]:
        """All settings of a client."""
        return _SECURE | self.settings()

    def tokens(self) -> Any:
        """What Spark's driver gets of a NameNode for its executors, as it sends it to them."""
        hadoop = self.java.org.apache.hadoop
        credentials = hadoop.security.Credentials()
        told = hadoop.conf.Configuration()
        for name, value in self.client().items():
            told.set(name, value)
        files = hadoop.fs.FileSystem.newInstance(self.java.java.net.URI(self.service), told)
        files.addDelegationTokens("spark", credentials)
        files.close()
        # Not by Spark's own helper, which would set the server's security to that of its settings.
        data = self.java.java.io.ByteArrayOutputStream()
        credentials.writeTokenStorageToStream(self.java.java.io.DataOutputStream(data))
        return data.toByteArray()

    def conf(self, *others: str) -> dict[str, str]:
        return {
            "core-site.xml": xml(_SECURE),
            "hdfs-site.xml": xml(self.settings(*others)),
            "krb5.conf": self.krb5.read_text(),
        }

    def keytab(self, *names: str) -> Path:
        """Make principals, and one keytab of them."""
        path = self.folder / f"{names[0].replace('/', '-')}.keytab"
        for name in names:
            principal = f"{name}@{REALM}"
            self.kdc.createPrincipal(principal)
            self.kdc.exportPrincipal(principal, self.java.java.io.File(str(path)))
        return path

    def clock_skew(self, seconds: int) -> None:
        """How much clocks may differ; -1: no clock is right."""
        self._set("ALLOWABLE_CLOCKSKEW", seconds)

    @contextmanager
    def tickets_for(self, seconds: int) -> Iterator[None]:
        """Tickets are good for no longer, meanwhile."""
        self._set("MINIMUM_TICKET_LIFETIME", 1)
        self._set("MAXIMUM_TICKET_LIFETIME", seconds)
        yield
        self._set("MAXIMUM_TICKET_LIFETIME", 24 * 3600)

    def ticket(self, principal: str, keytab: Path, cache: Path, *, seconds: int) -> None:
        """What kinit does."""
        file = self.java.java.io.File
        client = self.java.org.apache.kerby.kerberos.kerb.client.KrbClient(file(str(self.folder)))
        client.init()
        with self.tickets_for(seconds):
            ticket = client.requestTgt(principal, file(str(keytab)))
        client.storeTicket(ticket, file(str(cache)))

    def _set(self, name: str, value: int) -> None:
        keys = self.java.org.apache.kerby.kerberos.kerb.server.KdcConfigKey
        self.kdc.getKdcConfig().setInt(getattr(keys, name), value)


# What servers and clients have.
_SECURE = {
    "hadoop.security.authentication": "kerberos",
    "hadoop.security.authorization": "true",
    "hadoop.rpc.protection": "privacy",
    "dfs.data.transfer.protection": "privacy",
    "dfs.encrypt.data.transfer.cipher.suites": "AES/CTR/NoPadding",
    "dfs.block.access.token.enable": "true",
    "dfs.namenode.kerberos.principal": f"{SERVERS[0]}@{REALM}",
    "dfs.datanode.kerberos.principal": f"{SERVERS[0]}@{REALM}",
}
