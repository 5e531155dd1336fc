"""Reading a page back with the standard library's HTML parser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser

Element = tuple[str, tuple[tuple[str, str | None], ...]]


class Page(HTMLParser):
    """Elements in order, the text outside scripts and styles, and the values of <data>."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.ended: list[str] = []
        self.words: list[str] = []
        self.values: list[float] = []
        self._inside = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        self._inside = tag
        self.values += [float(value or "nan") for name, value in attrs if tag == "data" and name == "value"]

    def handle_endtag(self, tag: str) -> None:
        self.ended.append(tag)
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", ()))

    @property
    def text(self) -> str:
        """What is readable without scripts, on one line."""
        return " ".join("".join(self.words).split())

    @property
    def structure(self) -> tuple[list[Element], list[str]]:
        """Every start and end tag but the marks, whose number follows the words."""
        return [each for each in self.elements if each[0] != "mark"], [tag for tag in self.ended if tag != "mark"]


def payload(source: str) -> dict[str, object]:
    """The data that the page carries for its script."""
    packed = re.search(r'id="payload">([A-Za-z0-9+/=]*)</script>', source)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed.group(1))))
