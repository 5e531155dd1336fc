"""From bytes to text: UTF-8 and nothing else, with the byte where it goes wrong."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.data.files import Line


def refuse_oversize(line: Line, limit: int) -> None:
    """E-RECSIZE for a line that was too long to be kept."""
    if line.oversize:
        raise too_long(limit)


def too_long(limit: int) -> HarnessError:
    """E-RECSIZE: a record over the limit."""
    return HarnessError(
        f"the record is longer than {limit:,} bytes",
        fix="split the record, or raise data.max_record_bytes",
        code="E-RECSIZE",
    )


def decode(line: Line) -> str:
    """The line as text, less the \\r of a Windows line end; E-ENC, E-SURROGATE or E-JSON-TRUNC with the byte."""
    content = line.content.removesuffix(b"\r") if line.ended else line.content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _undecodable(line, error) from error


def _undecodable(line: Line, error: UnicodeDecodeError) -> HarnessError:
    if not line.ended and error.reason == "unexpected end of data":
        return truncated("a character")
    found = error.object[error.start : error.start + 8].hex(" ")
    where = f"at byte {error.start + 1} of the line (byte {line.offset + error.start} of the file)"
    lead = error.object[error.start : error.start + 2]
    follow = lead[1] if len(lead) == 2 else 0
    if lead[0] == 0xED and 0xA0 <= follow <= 0xBF:
        return surrogate(f"half of a surrogate pair {where}: {found}")
    if (
        lead[0] in (0xC0, 0xC1)
        or (lead[0] == 0xE0 and 0x80 <= follow <= 0x9F)
        or (lead[0] == 0xF0 and 0x80 <= follow <= 0x8F)
    ):
        return surrogate(f"an overlong UTF-8 form {where}: {found}")
    return HarnessError(
        f"bytes that are not UTF-8 {where}: {found}",
        fix="save the file as UTF-8 (from Latin-1: iconv -f LATIN1 -t UTF-8)",
        code="E-ENC",
    )


def truncated(inside: str) -> HarnessError:
    """E-JSON-TRUNC: the last line stops in the middle."""
    return HarnessError(
        f"the file ends inside {inside}: its last line is incomplete",
        fix="get the file again, or drop the last line: sed -i '$d' FILE",
        code="E-JSON-TRUNC",
    )


def nul() -> HarnessError:
    """E-NUL: a zero character in a text."""
    return HarnessError(
        "a NUL character in a text; tokenizers and C programs stop reading there",
        fix="remove it from the data",
        code="E-NUL",
    )


def surrogate(what: str) -> HarnessError:
    """E-SURROGATE: something that no UTF-8 text can hold."""
    return HarnessError(
        what, fix="write the whole character; half a pair cannot be encoded as UTF-8", code="E-SURROGATE"
    )
