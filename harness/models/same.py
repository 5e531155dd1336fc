"""Whether a tuned model's folder describes the model that is loaded: what its weights alone cannot show.

Weights of another rotary base, activation or vocabulary fit the same layers and compute something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from harness.models.safety import read_json
from harness.models.weights import read_model_config

# Of config.json: who wrote it, how it is kept, and padding, which is masked here.
_BOOKKEEPING = frozenset(
    {"architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path", "use_cache", "pad_token_id"}
    | {"_attn_implementation", "_attn_implementation_internal", "_commit_hash", "gradient_checkpointing"}
)
# Of tokenizer.json: how the last program that used it cut and filled its batches.
_BATCHING = ("truncation", "padding")


def differences(folder: Path, base: Path) -> Iterator[str]:
    """What another model in `folder` is than in `base`, by name: settings, tokenizer, chat template.

    Settings that a file leaves out have transformers' defaults. A tokenizer or template that either folder lacks is not
    compared: the base's is used for both.
    """
    one, other = (dict(_leaves(_config(place))) for place in (folder, base))
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            yield f"config.json: {key} is {one.get(key)!r:.60}, the base's {other.get(key)!r:.60}"
    for what, read in (("tokenizer.json", _tokenizer), ("the chat template", _template)):
        found, wanted = read(folder), read(base)
        if found is not None and wanted is not None and found != wanted:
            yield f"{what} is another than the base's"


def _config(folder: Path) -> Mapping[str, JsonValue]:
    found = read_model_config(folder)
    values: dict[str, JsonValue] = found.to_dict()  # type: ignore[attr-defined]
    return values


def _leaves(values: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in values.items():
        if key in _BOOKKEEPING:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tokenizer(folder: Path) -> JsonValue:
    """The tokenizer's rules; merges as pairs, which older files write as one text."""
    file = folder / "tokenizer.json"
    found = read_json(file) if file.is_file() else None
    if not isinstance(found, dict):
        return None
    rules = {key: value for key, value in found.items() if key not in _BATCHING}
    model = rules.get("model")
    if isinstance(model, dict) and isinstance(merges := model.get("merges"), list):
        pairs: list[JsonValue] = [[*merge.split(" ")] if isinstance(merge, str) else merge for merge in merges]
        rules["model"] = {**model, "merges": pairs}
    return rules


def _template(folder: Path) -> JsonValue:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace").strip()
    settings = folder / "tokenizer_config.json"
    found = read_json(settings) if settings.is_file() else None
    template = found.get("chat_template") if isinstance(found, dict) else None
    return template.strip() if isinstance(template, str) else template
