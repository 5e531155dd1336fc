"""A sheet to label and its server, in a thread of this process or as a process of its own that can be killed."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from harness.autorater.labels import LabelJournal
from harness.core.judging import LabelKind, Single, text_hash
from harness.labelling.server import serve
from harness.labelling.sheet import Sheet, draw, load_sheet, save_sheet

RUBRIC = "# Is it helpful?\n\n- 5: it helps\n- 1: it does not\n\nLength does not matter."
SYSTEMS = ("secret-base", "secret-tuned")


def singles(n: int, texts: Sequence[str] = ("answer",)) -> dict[str, list[Single]]:
    """n prompts, each with an answer of two systems; the texts in turn within questions, answers and references."""
    made: dict[str, list[Single]] = {}
    for side, system in enumerate(SYSTEMS):
        for number in range(n):
            text = texts[number % len(texts)]
            question = f"question {number} {text}"
            answer = f"{'ab'[side]}{number} {text}"
            item = Single(f"{number}-{side}", text_hash(question), system, question, answer, (f"reference {text}",))
            made.setdefault(system, []).append(item)
    return made


def a_sheet(n: int = 10, kind: LabelKind = "likert", texts: Sequence[str] = ("answer",), overlap: float = 1.0) -> Sheet:
    """n items or pairs."""
    prompts = n if kind == "pair" else (n + 1) // 2
    return draw(singles(prompts, texts), n=n, seed=1, kind=kind, criterion="helpfulness", overlap=overlap)


class Link:
    """Where a server is and the secret that lets one in."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        assert parts.port is not None
        self.link, self.port, self.token = link, parts.port, parse_qs(parts.query)["token"][0]

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"harness_label_{self.port}={self.token}"}

    @property
    def own(self) -> dict[str, str]:
        """What the page's own requests carry."""
        origin = f"http://127.0.0.1:{self.port}"
        return {**self.cookie, "Origin": origin, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """(status, body, headers) of one request, sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def label(self, sheet: Sheet, number: int = 0, **changes: object) -> tuple[int, bytes]:
        """Give a label of the sheet's item of that number."""
        item = sheet.items[number].id
        fields = {"id": f"{item}.{number:032x}", "item": item, "value": 3, "annotator": "Ada", **changes}
        return self.ask("POST", "/label", self.own, json.dumps(fields).encode())[:2]


@contextmanager
def served(sheet: Sheet, journal: LabelJournal, *, annotator: str = "", idle_s: float = 60.0) -> Iterator[Link]:
    """A server in a thread; it ends by itself when nobody asks."""
    ready = threading.Event()
    links: list[str] = []

    def on_ready(link: str) -> None:
        links.append(link)
        ready.set()

    def run() -> None:
        serve(sheet, journal, rubric=RUBRIC, on_ready=on_ready, annotator=annotator, idle_s=idle_s)

    threading.Thread(target=run, daemon=True).start()
    assert ready.wait(20), "the server did not start"
    yield Link(links[0])


PROGRAM = """
import sys
from pathlib import Path
from harness.autorater.labels import LabelJournal
from harness.labelling.server import serve
from harness.labelling.sheet import load_sheet
folder, port = Path(sys.argv[1]), int(sys.argv[2])
with LabelJournal(folder / "labels.jsonl") as journal:
    serve(load_sheet(folder / "sheet.json"), journal, rubric=(folder / "rubric.md").read_text(), port=port,
          on_ready=lambda link: print(link, flush=True))
"""


class Process:
    """A server as a process, of the sheet in a folder."""

    def __init__(self, folder: Path, sheet: Sheet | None = None, port: int = 0) -> None:
        if sheet is not None:
            save_sheet(sheet, folder / "sheet.json")
            (folder / "rubric.md").write_text(RUBRIC)
        self.sheet = load_sheet(folder / "sheet.json")
        words = [sys.executable, "-c", PROGRAM, str(folder), str(port)]
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root, env=dict(os.environ)
        )
        assert self.process.stdout is not None
        self.link = Link(self.process.stdout.readline().strip())

    def kill(self) -> str:
        """SIGKILL; what it had said on stderr."""
        self.process.kill()
        return self.process.communicate(timeout=20)[1]
