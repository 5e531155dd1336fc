"""What is checked of a model folder before any library reads it: its files may come from anyone.

transformers has followed config keys to remote code even without `trust_remote_code` (CVE-2026-4372, CVE-2026-5241),
so suspicious keys are refused here, and the weights' layout is checked without allocating what they claim to hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault, HarnessError

WEIGHT_INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_CONFIG_FILES = ("config.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json")
# Left by older versions of transformers and harmless: they name where a config once came from.
_HARMLESS = frozenset({"_name_or_path", "_commit_hash", "_from_model_config", "_attn_implementation_autoset"})
_REFUSED = re.compile(r"_.*|auto_map|trust_remote_code|.*implementation.*|custom_.*|transformers_weights")
_MAX_JSON_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no causal language model, needs code, is pickled, is cut short or points elsewhere."""
    if not (folder / "config.json").is_file():
        raise HarnessError(
            f"{str(folder)!r} holds no config.json, so it is not a model",
            fix="give model= a folder as transformers' save_pretrained writes it",
            code="E-MODEL",
        )
    if (folder / "adapter_config.json").exists():
        # transformers would follow base_model_name_or_path to wherever it points.
        raise HarnessError(
            f"{str(folder)!r} holds an adapter, not a base model",
            fix="give model= the base model; merge the adapter into it first if that is what you want to tune",
            code="E-MODEL",
        )
    check_links(folder)
    check_configs(folder)
    check_weights(folder)


def check_configs(folder: Path) -> None:
    """Refuse configuration that asks for code; E-REMOTECODE names the file and the key."""
    for name in _CONFIG_FILES:
        if not (folder / name).is_file():
            continue
        for key in _keys(read_json(folder / name)):
            if _REFUSED.fullmatch(key) and key not in _HARMLESS:
                raise HarnessError(
                    f"{name} of {str(folder)!r} has the key {key!r}, by which a model can bring its own code",
                    fix="use a model of an architecture that transformers itself implements",
                    code="E-REMOTECODE",
                )


def check_links(folder: Path) -> None:
    """Refuse links out of the folder; the Hub's cache links its snapshots to its own blobs, which is fine."""
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed.append((folder.parents[1] / "blobs").resolve())
    for file in folder.rglob("*"):
        target = file.resolve()
        if file.is_symlink() and not any(target.is_relative_to(root) for root in allowed):
            raise HarnessError(
                f"{file.name!r} in the model folder {str(folder)!r} is a link out of it",
                fix="replace the link by the file itself",
                code="E-LINK",
            )


def check_weights(folder: Path) -> None:
    """Require complete safetensors files: E-PICKLE or E-SAFETENSORS."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = names_only_pickles(file.name for file in folder.iterdir())
        raise HarnessError(
            f"{str(folder)!r} has {'only pickled weights, which can run code' if pickles else 'no weights'}",
            fix="convert them to safetensors where nothing can go wrong: a machine without network and secrets"
            if pickles
            else "add model.safetensors",
            code="E-PICKLE" if pickles else "E-MODEL",
        )
    for file in files:
        check_safetensors(file)
    if (folder / WEIGHT_INDEX).is_file():
        _check_index(folder)


def check_safetensors(file: Path) -> tuple[str, ...]:
    """Names of the tensors in a file whose header is sane and whose data is all there; E-SAFETENSORS otherwise."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise _damaged(file, f"its header claims {length} bytes in a file of {size}")
        header = stream.read(length)
    try:
        entries = json.loads(header)
        spans = {name: entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__"}
        ordered = sorted((int(start), int(stop)) for start, stop in spans.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        raise _damaged(file, "its header cannot be read") from err
    end = 0
    for start, stop in ordered:
        if start != end or stop < start:
            raise _damaged(file, "its tensors overlap or leave holes")
        end = stop
    if 8 + length + end != size:
        raise _damaged(file, f"it should have {8 + length + end} bytes and has {size}")
    return tuple(spans)


def names_only_pickles(names: Iterable[str]) -> bool:
    """Whether a list of file names has pickled weights and no safetensors."""
    listed = list(names)
    return any(name.endswith(_PICKLES) for name in listed) and not any(n.endswith(".safetensors") for n in listed)


def read_json(file: Path) -> JsonValue:
    """A JSON file of a model folder; HarnessError E-MODEL if it is none or absurdly large."""
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"larger than {_MAX_JSON_BYTES} bytes")
        value: JsonValue = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise HarnessError(
            f"{str(file)!r} cannot be read as JSON: {err}",
            fix="fetch the model again",
            code="E-MODEL",
        ) from err
    return value


def _keys(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _check_index(folder: Path) -> None:
    index = read_json(folder / WEIGHT_INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise _damaged(folder / WEIGHT_INDEX, "it has no weight_map")
    for shard in sorted({str(name) for name in shards.values()}):
        if "/" in shard or "\\" in shard or not (folder / shard).is_file():
            raise _damaged(folder / WEIGHT_INDEX, f"it names {shard!r}, which is not there")


def _damaged(file: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{str(file)!r} is damaged or cut short: {why}", fix="fetch or write the file again", code="E-SAFETENSORS"
    )
