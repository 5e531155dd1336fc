"""What the labelling page asks of its server, as an ASGI application: three questions and one thing to do."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from harness.autorater.label_journal import LabelJournal
from harness.autorater.label_rows import strict_json
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import Preference, text_hash
from harness.data.display import escape
from harness.labelling.guard import SECURITY, Guard, Method, Refusal
from harness.labelling.progress import given, progress
from harness.labelling.sheet import Sheet, SheetItem, labels_for, values_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

MAX_BODY = 1 << 20
MAX_NAME = 80
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
PATHS: Mapping[str, Method] = {
    **dict.fromkeys(_FILES, "GET"),
    **dict.fromkeys(("/sheet", "/progress", "/item"), "GET"),
    "/label": "POST",
}
# A redirect would still count as coming from elsewhere, and the cookie would be withheld; a page's own step does not.
_ENTRANCE = b'<!doctype html><meta charset="utf-8"><title>Labels</title><meta http-equiv="refresh" content="0;url=/">'
_BODY_S = 30.0
_LOG = logging.getLogger(__name__)


class LabelApp:
    """Answers requests that the guard lets in. `n_requests` counts them: silence is how the server notices the end."""

    def __init__(
        self,
        sheet: Sheet,
        journal: LabelJournal,
        guard: Guard,
        *,
        rubric: str,
        annotator: str,
        now: Callable[[], str],
    ) -> None:
        self.n_requests = 0
        self._sheet, self._journal, self._guard = sheet, journal, guard
        self._rubric, self._annotator, self._now = rubric, annotator, now
        self._items: Mapping[str, SheetItem] = {item.id: item for item in sheet.items}
        self._answers = given(sheet, journal.labels)
        self._files = {path: ((_PAGE / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        self._actions: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            **dict.fromkeys(_FILES, self._file),
            "/sheet": self._show_sheet,
            "/progress": self._show_progress,
            "/item": self._show_item,
            "/label": self._take_label,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.requests import Request

        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Request(scope, receive))
        except Exception:
            _LOG.exception("a request to the labelling page failed")
            response = self._text(500, "an error in the server; its log says more")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path, token = request.scope["path"], request.query_params.get("token")
        refusal = self._guard.check(request.method, path, request.scope["headers"], token=token)
        if refusal is not None:
            return self._refuse(refusal)
        self.n_requests += 1
        if token is not None and path == "/":
            return self._enter()
        try:
            return await self._actions[path](request)
        except EnvironmentFault as fault:
            return self._text(503, fault.what)
        except HarnessError as error:
            return self._text(409 if error.code == "E-LABELS" else 400, error.what)

    async def _file(self, request: Request) -> Response:
        content, kind = self._files[request.scope["path"]]
        return self._bytes(200, content, kind)

    async def _show_sheet(self, request: Request) -> Response:
        return self._json(
            {
                **describe(self._sheet, self._rubric),
                "annotator": self._annotator,
                "annotators": list(self._answers),
            }
        )

    async def _show_progress(self, request: Request) -> Response:
        return self._progress(self._named(request.query_params.get("annotator")))

    async def _show_item(self, request: Request) -> Response:
        return self._json(shown(self._item(request.query_params.get("id"))))

    async def _take_label(self, request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Refusal):
            return self._refuse(body)
        fields = _fields(body)
        item, annotator = self._item(fields["item"]), self._named(fields["annotator"])
        value = self._value(fields["value"])
        labels = labels_for(
            self._sheet,
            item,
            value,
            annotator=annotator,
            id=_id(fields["id"], item),
            guideline=text_hash(self._rubric),
            time=self._now(),
        )
        added = [self._journal.append(label) for label in labels]
        if any(added):
            self._answers.setdefault(annotator, {})[item.id] = value
        return self._progress(annotator)

    def _item(self, name: JsonValue) -> SheetItem:
        if not isinstance(name, str) or name not in self._items:
            raise _bad("no such item on this sheet")
        return self._items[name]

    def _value(self, value: JsonValue) -> int | Preference:
        for possible in values_of(self._sheet):
            # 1 == True in Python, and true is no answer.
            if type(value) is type(possible) and value == possible:
                return possible
        raise _bad("no such answer on this sheet")

    def _named(self, name: JsonValue) -> str:
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or escape(name, 10 * MAX_NAME) != name:
            raise _bad(f"a name has 1 to {MAX_NAME} visible characters")
        if self._annotator and name != self._annotator:
            raise _bad("this sheet is for somebody else")
        return name.strip()

    def _progress(self, annotator: str) -> Response:
        now = progress(self._sheet, annotator, self._answers)
        agreement: JsonValue = {"same": now.n_same, "n": now.n_shared}
        done: JsonValue = dict(now.done)
        return self._json({"items": list(now.items), "done": done, "agreement": agreement})

    def _enter(self) -> Response:
        response = self._bytes(200, _ENTRANCE, "text/html")
        response.set_cookie(self._guard.cookie, self._guard.token, path="/", httponly=True, samesite="strict")
        return response

    def _refuse(self, refusal: Refusal) -> Response:
        return self._text(refusal.status, refusal.why)

    def _text(self, status: int, text: str) -> Response:
        return self._bytes(status, escape(text, 400).encode(), "text/plain")

    def _json(self, value: JsonValue) -> Response:
        return self._bytes(200, json.dumps(value, allow_nan=False).encode(), "application/json")

    def _bytes(self, status: int, content: bytes, kind: str) -> Response:
        from starlette.responses import Response

        headers = {**SECURITY, "content-type": f"{kind}; charset=utf-8"}
        if status == 405:
            headers["allow"] = "GET, POST"
        return Response(content, status, headers)


def describe(sheet: Sheet, rubric: str) -> dict[str, JsonValue]:
    """What a page may know of a sheet: what is asked. Nothing of whose the answers are."""
    return {
        "id": sheet.id,
        "kind": sheet.kind,
        "criterion": sheet.criterion,
        "scale": sheet.scale,
        "rubric": rubric,
    }


def shown(item: SheetItem) -> dict[str, JsonValue]:
    """What a page may know of an item."""
    texts = asdict(item)["item"]
    return {
        "id": item.id,
        "question": texts["question"],
        "references": list(texts["references"]),
        "answers": list(item.answers),
    }


async def _body(request: Request) -> JsonValue | Refusal:
    """The request's JSON. What is too long is read and thrown away for a while, so that the refusal can be read."""
    content = bytearray()
    size = 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= MAX_BODY:
                    content += chunk
                elif size > 4 * MAX_BODY:
                    break
    except TimeoutError:
        return Refusal(408, "the request did not arrive in time")
    if size > MAX_BODY:
        return Refusal(413, f"more than {MAX_BODY} bytes")
    try:
        return strict_json(content.decode("utf-8"))
    except (UnicodeDecodeError, HarnessError):
        return Refusal(400, "not one JSON text")


def _fields(body: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(body, dict) or set(body) != {"id", "item", "value", "annotator"}:
        raise _bad("a label has id, item, value and annotator")
    return body


def _id(name: JsonValue, item: SheetItem) -> str:
    if not isinstance(name, str) or re.fullmatch(re.escape(item.id) + r"\.[0-9a-f]{32}", name) is None:
        raise _bad("a label's id is its item's and 32 hexadecimal digits")
    return name


def _bad(what: str) -> HarnessError:
    return HarnessError(what, fix="reload the page", code="E-REQUEST")
