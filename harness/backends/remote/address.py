"""Where a server is, and where requests with a key may go: only there.

A base URL is the user's own, and still refused where it cannot be meant: a cloud's metadata address, a user name in it,
a key over a connection that anyone on the way can read.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from harness.core.errors import HarnessError
from harness.data.display import quote

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
# Where clouds tell a machine its own credentials; the first is link-local and refused with its network.
_METADATA_V6 = ipaddress.ip_address("fd00:ec2::254")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Server:
    """A server's origin and the path in front of its endpoints."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The base URL in one spelling, for the same server always the same."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is named as one on this machine."""
        literal = _literal(self.host)
        return self.host == "localhost" if literal is None else literal.is_loopback


def server_of(base_url: str | None) -> Server:
    """The server that `backend.base_url` names; E-OPTION for what is no such URL, E-SECRET for one with a secret."""
    if base_url is None:
        raise _wrong("backend=openai needs the server's address")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as err:
        raise _wrong("backend.base_url is not a URL") from err
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _secret("backend.base_url holds a user name or password")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise _secret("backend.base_url has more than a path behind the server's name")
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
        raise _wrong(f"backend.base_url {quote(base_url)} is no http or https address")
    literal = _literal(host)
    if literal is not None:
        require_allowed(literal, host)
    return Server(parts.scheme, host, _PORTS[parts.scheme] if port is None else port, parts.path.rstrip("/"))


def require_private(server: Server) -> None:
    """E-SECRET unless a key may travel to this server: encrypted, or on this machine."""
    if server.scheme == "http" and not server.is_loopback:
        raise HarnessError(
            f"a key would travel to {quote(server.url)} for everybody on the way to read",
            fix="use https, or unset the key's variable if the server needs none",
            code="E-SECRET",
        )


def require_allowed(address: Address, host: str) -> None:
    """E-ADDRESS for an address that no model is served at: this network's own, or a cloud's metadata."""
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_link_local or plain.is_unspecified or plain.is_multicast or plain == _METADATA_V6:
        raise HarnessError(
            f"{quote(host)} is the address {plain}, where no model server may be asked",
            fix="backend.base_url=http://localhost:8000/v1, or the name of the server",
            code="E-ADDRESS",
        )


def allowed(addresses: Iterable[str], server: Server) -> list[str]:
    """What a name was resolved to, each once; E-ADDRESS if any of it is forbidden or `localhost` is elsewhere."""
    # Servers on this machine listen on one of its two addresses, and not every machine has both by that name.
    own = ("127.0.0.1", "::1") if server.host == "localhost" else ()
    found = list(dict.fromkeys(address.partition("%")[0] for address in (*addresses, *own)))
    for address in found:
        parsed = ipaddress.ip_address(address)
        require_allowed(parsed, server.host)
        if server.is_loopback and not parsed.is_loopback:
            raise HarnessError(
                f"{quote(server.host)} is not this machine but {parsed}",
                fix="backend.base_url=http://127.0.0.1:PORT/v1",
                code="E-ADDRESS",
            )
    return found


def proxy_for(server: Server) -> str | None:
    """The proxy that the environment names for this server; none for one on this machine."""
    if server.is_loopback or proxy_bypass(server.host):
        return None
    proxies = getproxies_environment()
    return proxies.get(server.scheme) or proxies.get("all")


def key_of(variable: str | None) -> str | None:
    """The key in the environment; None where there is none. E-SECRET for one that no header can carry.

    variable: the one that was named, which must then be set; OPENAI_API_KEY otherwise.
    """
    key = os.environ.get(variable or "OPENAI_API_KEY", "").strip()
    if variable is not None and not key:
        raise HarnessError(
            f"the environment has no {quote(variable)}, which backend.options.api_key_env names",
            fix=f"export {variable}=..., or leave api_key_env out for a server without keys",
            code="E-SECRET",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise HarnessError(
            f"what is in {variable or 'OPENAI_API_KEY'} is no key: it has characters that no header can carry",
            fix="export the key by itself, without quotes or line ends",
            code="E-SECRET",
        )
    return key or None


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _wrong(what: str) -> HarnessError:
    return HarnessError(what, fix="backend.base_url=http://localhost:8000/v1, or another server's", code="E-OPTION")


def _secret(what: str) -> HarnessError:
    return HarnessError(
        what,
        fix="give scheme, host, port and path alone; a key goes into the environment as OPENAI_API_KEY",
        code="E-SECRET",
    )
