"""The labelling page on this machine: bound to the loopback, behind a secret, closed when nobody is there any more."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import signal
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from html import escape as markup
from pathlib import Path
from typing import TYPE_CHECKING

from harness.autorater.label_journal import LabelJournal
from harness.core.errors import HarnessError
from harness.labelling.app import PATHS, LabelApp
from harness.labelling.guard import Guard
from harness.labelling.sheet import Sheet

if TYPE_CHECKING:
    import uvicorn

    from harness.labelling.lines import Line

IDLE_S = 8 * 3600.0
_TICK_S = 0.25
_TOKEN_BYTES = 32


def serve(
    sheet: Sheet,
    journal: LabelJournal,
    *,
    rubric: str,
    on_ready: Callable[[str], None],
    annotator: str = "",
    port: int = 0,
    open_browser: bool = False,
    idle_s: float = IDLE_S,
    now: Callable[[], str] = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
) -> None:
    """Serve the sheet until Ctrl-C, or until nothing was asked for idle_s seconds.

    on_ready gets the link, with the secret in it, once it works. annotator: the one who labels; empty: the page asks.
    port 0: any free one. E-INSTALL where the server's libraries are not installed, E-PORT where the port is taken.
    """
    config_type, server_type = _uvicorn()
    from harness.labelling.lines import Line

    with _bound(port) as listening:
        guard = Guard(listening.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES), PATHS)
        app = LabelApp(sheet, journal, guard, rubric=rubric, annotator=annotator, now=now)
        config = config_type(
            app,
            http=Line,
            ws="none",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            log_level="error",
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=16 << 10,
            timeout_graceful_shutdown=2,
        )
        server = server_type(config)
        link = f"http://127.0.0.1:{guard.port}/?token={guard.token}"
        with (
            opener(link) if open_browser else contextlib.nullcontext() as file,
            _ended_by_ctrl_c(server),
        ):
            asyncio.run(_serve(server, listening, app, idle_s, lambda: _announce(on_ready, link, file)))


@contextlib.contextmanager
def _ended_by_ctrl_c(server: uvicorn.Server) -> Iterator[None]:
    """While this lasts, Ctrl-C says that people are done. Signals are heard by the main thread alone.

    The server stops on it by itself, and hands it on, once it has stopped, to whoever listened before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _serve(
    server: uvicorn.Server, listening: socket.socket, app: LabelApp, idle_s: float, ready: Callable[[], None]
) -> None:
    watching = asyncio.create_task(_watch(server, app, idle_s, ready))
    try:
        await server.serve(sockets=[listening])
    finally:
        watching.cancel()


async def _watch(server: uvicorn.Server, app: LabelApp, idle_s: float, ready: Callable[[], None]) -> None:
    """Say when it is ready, hang up on those who only hold the line, and stop when nobody asks any more."""
    from harness.labelling.lines import hang_up

    loop = asyncio.get_running_loop()
    while not server.started:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(ready)
    waiting: dict[Line, tuple[object, float]] = {}
    n_requests, last = app.n_requests, loop.time()
    while loop.time() - last < idle_s:
        await asyncio.sleep(min(_TICK_S, idle_s))
        if app.n_requests != n_requests:
            n_requests, last = app.n_requests, loop.time()
        waiting = hang_up(list(server.server_state.connections), waiting, loop.time())
    server.should_exit = True


def _announce(on_ready: Callable[[str], None], link: str, file: Path | None) -> None:
    on_ready(link)
    if file is not None:
        webbrowser.open(file.as_uri())


@contextlib.contextmanager
def opener(link: str) -> Iterator[Path]:
    """A file that leads to the link. A browser's arguments are seen by everybody on the machine; the file is not."""
    with tempfile.TemporaryDirectory(prefix="harness-label-") as folder:
        file = Path(folder) / "open.html"
        file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={markup(link)}">')
        file.chmod(0o600)
        yield file


@contextlib.contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """A socket of the loopback's; E-PORT where it cannot be had."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise HarnessError(
                f"port {port} {'is in use' if taken else 'cannot be had'}",
                fix="choose another one, or leave it out to get a free one",
                code="E-PORT",
            ) from error
        yield listening


def require_libraries() -> None:
    """E-INSTALL where the page cannot be served because the server's libraries are not installed."""
    _uvicorn()


def _uvicorn() -> tuple[type[uvicorn.Config], type[uvicorn.Server]]:
    try:
        import starlette  # noqa: F401
        from uvicorn import Config, Server
    except ImportError as error:
        raise HarnessError(
            "the labelling page needs libraries that are not installed",
            fix="pip install 'sft-harness[label]', or label without a server: an offline sheet",
            code="E-INSTALL",
        ) from error
    return Config, Server
