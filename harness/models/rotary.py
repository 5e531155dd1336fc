"""Models that compute a whole call otherwise as soon as one of its rows is long (Phi-3's longrope, dynamic NTK).

transformers chooses their rotary factors by the largest position in a call: a long row would change what its short
neighbours get. Rows on different sides of that length therefore never share a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

# Where transformers keeps rotary settings, of the whole model or by kind of layer, and what it calls the kind.
_SETTINGS = ("rope_parameters", "rope_scaling")
_KIND = ("rope_type", "type")


def switches_at(model: object) -> int | None:
    """Tokens of a row up to which a model computes as for short ones; None where all rows are computed alike."""
    config: object = getattr(model, "config", None)
    parts = (config, config.get_text_config()) if hasattr(config, "get_text_config") else (config,)
    found = (_switch(part, settings) for part in parts for settings in _rotary_settings(part))
    return min((length for length in found if length is not None), default=None)


def _rotary_settings(config: object) -> Iterator[Mapping[str, object]]:
    for name in _SETTINGS:
        settings = getattr(config, name, None)
        if isinstance(settings, Mapping):
            yield settings
            yield from (each for each in settings.values() if isinstance(each, Mapping))


def _switch(config: object, settings: Mapping[str, object]) -> int | None:
    kind = str(next((settings[name] for name in _KIND if settings.get(name)), ""))
    whole = getattr(config, "max_position_embeddings", None)
    if "dynamic" in kind:
        return cast(int | None, whole)
    if kind != "longrope":
        return None
    name = "original_max_position_embeddings"
    return cast(int | None, settings.get(name) or getattr(config, name, None) or whole)
