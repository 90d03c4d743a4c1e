"""Where a GELF server listens: `gelf+tcp://host:12201`, or `gelf+tls://` with its name checked."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from moovitamix.errors import SettingsError

DEFAULT_PORT = 12201


class Address(NamedTuple):
    """A server's place.

    Attributes:
        host: Its name, or the number of its interface.
        port: Of its GELF TCP input.
        tls: Whether what is sent is encrypted, to a server that can prove its name.
    """

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """As it is configured."""
        return f"gelf+{'tls' if self.tls else 'tcp'}://{self.host}:{self.port}"

    def connect(self, seconds: float) -> socket.socket:
        """A connection, waited for no longer than so many seconds.

        Raises:
            OSError: When there is none, or the certificate is not that of the host.
        """
        plain = socket.create_connection((self.host, self.port), timeout=seconds)
        if not self.tls:
            return plain
        try:
            # Trusts what the system trusts, or the file that SSL_CERT_FILE names.
            return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def read_address(url: str) -> Address:
    """The address that a URL tells.

    Raises:
        SettingsError: When it is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in {"gelf+tcp", "gelf+tls"} or not host or rest:
        raise SettingsError(
            "MOOVITAMIX_GELF_URL is no address of a GELF input: write gelf+tcp://host:12201, or "
            "gelf+tls://host:12201."
        )
    return Address(host, port or DEFAULT_PORT, parts.scheme == "gelf+tls")
