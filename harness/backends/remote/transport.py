"""The wire under the OpenAI client: one server, few headers, no redirect, and no reply larger than can be meant.

The key is put on here and nowhere else, and only on what goes to the server it is for; errors that the client raises
carry its own request, which never had it.
"""

from __future__ import annotations

import asyncio
import logging
import socket

import httpx2

from harness.backends.remote.address import Server, allowed, proxy_for
from harness.backends.remote.redaction import without_key
from harness.data.display import escape

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 2**20
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
# The client adds what machine and Python it runs on, and reads further headers from the environment.
_HEADERS = frozenset({"content-type", "content-length"})
_OPENAI = ("api.openai.com", frozenset({"openai-organization", "openai-project"}))


class WireFault(Exception):
    """A reply that cannot be taken: `reason` is one of few, for counting; `detail` is safe to show.

    was_sent: whether the request may have been answered, and billed.
    """

    def __init__(self, reason: str, detail: str = "", *, was_sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.was_sent = was_sent


class Redirected(WireFault):
    """The server sends the request elsewhere; nobody went there."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """An `httpx2` transport to one server, with its key."""

    def __init__(self, server: Server, key: str | None) -> None:
        self._server = server
        self._key = key
        proxy = proxy_for(server)
        if proxy is not None:
            _log.warning("requests to %s go through a proxy that the environment names", server.url)
        self._inner = httpx2.AsyncHTTPTransport(proxy=proxy, limits=_LIMITS)
        self._resolves = proxy is None
        self._addresses: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The reply, read and unpacked; WireFault where there is none to take."""
        response = await self._sent(request)
        try:
            if 300 <= response.status_code < 400:
                raise Redirected("the server redirects", escape(response.headers.get("location", "nowhere"), 200))
            body = await _body(response)
        finally:
            await response.aclose()
        kept = [(name, value) for name, value in response.headers.items() if name in _TOLD]
        said = without_key(body, self._key, response.status_code)
        return httpx2.Response(response.status_code, headers=kept, content=said, request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        """To the first address that can be connected to; each was looked at before, and no other is used."""
        if not self._resolves:
            return await self._inner.handle_async_request(self._dressed(request, None))
        for address in await self._resolved():
            try:
                return await self._inner.handle_async_request(self._dressed(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as err:
                failed = err
        self._addresses = []
        raise failed

    async def _resolved(self) -> list[str]:
        """The server's addresses, as they were when it could first be reached."""
        if not self._addresses:
            loop = asyncio.get_running_loop()
            try:
                found = await loop.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
            except OSError as err:
                said = escape(str(err), 100)
                raise WireFault("the server's name cannot be resolved", said, was_sent=False) from err
            self._addresses = allowed((str(entry[4][0]) for entry in found), self._server)
        return self._addresses

    def _dressed(self, request: httpx2.Request, address: str | None) -> httpx2.Request:
        """The request with our headers alone, to the server that the key is for."""
        url, server = request.url, self._server
        if (url.scheme, url.host, url.port or server.port) != (server.scheme, server.host, server.port):
            raise Redirected("a request for another server", escape(str(url.host), 100))
        own = _HEADERS | (_OPENAI[1] if server.host == _OPENAI[0] else frozenset())
        headers = {name: value for name, value in request.headers.items() if name in own}
        headers |= {"host": request.headers["host"], "accept": "application/json", "accept-encoding": "gzip"}
        headers |= {"user-agent": "sft-harness"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        extensions = dict(request.extensions)
        if address is not None:
            url = url.copy_with(host=address)
            extensions["sni_hostname"] = server.host
        return httpx2.Request(request.method, url, headers=headers, content=request.content, extensions=extensions)


# As many connections as there may be requests; idle ones go before most servers close them.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=4.0)
# Of a reply's headers, what anybody looks at.
_LIMITED = frozenset(f"x-ratelimit-{said}-{what}" for said in ("remaining", "reset") for what in ("requests", "tokens"))
_TOLD = frozenset({"retry-after", "retry-after-ms", "date"}) | _LIMITED


async def _body(response: httpx2.Response) -> bytes:
    """The unpacked body, piece by piece up to the limit."""
    encodings = {each.strip().lower() for each in response.headers.get("content-encoding", "").split(",")}
    if not encodings <= _ENCODINGS or len(encodings) > 1:
        raise WireFault("the reply is packed in a way that was not asked for")
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise WireFault("the reply is larger than 16 MiB")
        pieces.append(piece)
    return b"".join(pieces)
