"""Which requests are let in. A web page in the same browser and other people on the same machine are hostile.

Everything is an allow-list: hosts, origins, methods, paths and content types. What is refused is told why in a few
words that repeat nothing of the request.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Method = Literal["GET", "POST"]
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not let in."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Knows the server's port, the secret, and which paths there are with their one method."""

    port: int
    token: str
    paths: Mapping[str, Method]

    @property
    def cookie(self) -> str:
        """The cookie's name; cookies know hosts but not ports, and two servers must not take each other's."""
        return f"harness_label_{self.port}"

    def check(self, method: str, path: str, headers: Headers, *, token: str | None = None) -> Refusal | None:
        """Why a request is refused; None where it is let in. token: the one in the query, if any."""
        hosts = _all(headers, b"host")
        if len(hosts) != 1 or hosts[0] not in self._hosts():
            return Refusal(403, "unknown host")
        if method not in ("GET", "POST"):
            return Refusal(405, "method not allowed")
        entering = method == "GET" and path == "/" and token is not None and same(token, self.token)
        if not _is_same_origin(method, headers, hosts[0], entering=entering):
            return Refusal(403, "the request comes from another page")
        if not entering and not self._has_cookie(headers):
            return Refusal(401, "open the link that was printed when labelling was started")
        if path not in self.paths:
            return Refusal(404, "nothing here")
        if method != self.paths[path]:
            return Refusal(405, "method not allowed")
        return _content(headers) if method == "POST" else None

    def _hosts(self) -> tuple[str, ...]:
        return tuple(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    def _has_cookie(self, headers: Headers) -> bool:
        pairs = [pair.strip().partition("=") for line in _all(headers, b"cookie") for pair in line.split(";")]
        return any(name == self.cookie and same(value, self.token) for name, _, value in pairs)


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _is_same_origin(method: str, headers: Headers, host: str, *, entering: bool) -> bool:
    """What changes something must say that it comes from our own page; nothing may say that it comes from another.

    Whoever knows the secret may come in from anywhere, as a navigation: from a terminal, or the file that a browser
    was started with.
    """
    sites, origins = _all(headers, b"sec-fetch-site"), _all(headers, b"origin")
    if entering and not origins and _all(headers, b"sec-fetch-mode") in ([], ["navigate"]):
        return True
    if any(origin != f"http://{host}" for origin in origins):
        return False
    if any(site not in ("same-origin", "none") for site in sites):
        return False
    return method == "GET" or bool(origins) or "same-origin" in sites


def _content(headers: Headers) -> Refusal | None:
    kind = [value.lower().replace(" ", "") for value in _all(headers, b"content-type")]
    if kind not in (["application/json"], ["application/json;charset=utf-8"]):
        return Refusal(415, "application/json only")
    if _all(headers, b"content-length") and _all(headers, b"transfer-encoding"):
        return Refusal(400, "a length and a transfer encoding")
    return None


def _all(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for each, value in headers if each.lower() == name]
