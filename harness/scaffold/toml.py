"""Values as TOML text. Whatever could hide or act in an editor or a terminal is written as an escape."""

from __future__ import annotations

import re

from pydantic import JsonValue

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def spell(value: JsonValue) -> str:
    """A value on one line; tables are written inline. ValueError for null, which TOML does not have.

    >>> spell({"labels": ["a", "b"], "share": 0.5, "strict": True})
    '{ labels = ["a", "b"], share = 0.5, strict = true }'
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(map(_spell_character, value)) + '"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(spell, value))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{spell_key(key)} = {spell(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    raise ValueError("TOML has no null")


def spell_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if _BARE_KEY.fullmatch(key) else spell(key)


def _spell_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
