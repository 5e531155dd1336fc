"""Where a model is: an embedded one, a folder or an id on the Hub, resolved to a local folder safe to load.

Nothing here imports torch or transformers, so a wrong name is noticed within seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.specs import ModelSpec
from harness.models.files import FULL_WEIGHTS
from harness.models.safety import WEIGHT_INDEX, check_folder, names_only_pickles, read_json

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "model"
DEMO_SMALL_FOLDER = DEMO_FOLDER.with_name("small")

# No Python, no pickles: what cannot run code is all that is ever fetched or hashed.
PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
# Some repositories carry the same weights a second time in their maker's own layout.
_DUPLICATES = ("*/*", "consolidated*")
_METADATA = "__metadata__"
_FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_TIMEOUT_S = 5.0
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def locate(spec: ModelSpec) -> Path:
    """The local folder of a model, checked by `safety.check_folder`.

    HarnessError E-MODEL, E-OFFLINE or E-HUB where there is none, and whatever the checks find.
    """
    folder = _folder(spec)
    check_folder(folder)
    return folder


def local_folder(spec: ModelSpec) -> Path | None:
    """The folder of an embedded model or of one on this machine; None where the Hub would have to be asked.

    Not checked: `locate` does that, and says what is wrong.
    """
    embedded = {"demo": DEMO_FOLDER, "demo-small": DEMO_SMALL_FOLDER}
    folder = embedded.get(spec.name, Path(spec.name).expanduser())
    return folder if (folder / "config.json").is_file() else None


def model_identity(folder: Path) -> Mapping[str, JsonValue]:
    """What distinguishes this model from every other: its Hub commit, or one hash over all its files.

    >>> model_identity(Path("/cache/models--a--b/snapshots/" + "0123456789" * 4))
    {'commit': '0123456789012345678901234567890123456789'}
    """
    if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
        return {"commit": folder.name}
    digest = hashlib.sha256()
    for file in sorted(model_files(folder)):
        digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
    return {"sha256": digest.hexdigest()}


def quantization_identity(spec: ModelSpec) -> Mapping[str, JsonValue]:
    """What a base's weights were quantised to belongs to its identity; nothing for one that was not.

    >>> quantization_identity(ModelSpec()), quantization_identity(ModelSpec(quantization="nf4"))
    ({}, {'quantization': 'nf4'})
    """
    return {} if spec.quantization == "none" else {"quantization": spec.quantization}


def model_files(folder: Path) -> Iterable[Path]:
    """The files a model or tokenizer is loaded from; READMEs and the like do not belong to its identity."""
    return {file for pattern in PATTERNS for file in folder.glob(pattern) if file.is_file()}


def parameter_count(folder: Path) -> int | None:
    """How many numbers a located model's weights have, tied ones once; None for packed (quantised) weights.

    From the headers of the files that transformers would load; no weight is read.
    """
    config = read_json(folder / "config.json")
    if isinstance(config, dict) and config.get("quantization_config"):
        return None
    return sum(_n_floats(file) for file in _weight_files(folder))


def _weight_files(folder: Path) -> Iterable[Path]:
    """One whole file before an index of several, as transformers chooses."""
    if (folder / FULL_WEIGHTS).is_file() or not (folder / WEIGHT_INDEX).is_file():
        whole = folder / FULL_WEIGHTS
        return [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    index = read_json(folder / WEIGHT_INDEX)
    shards = index["weight_map"] if isinstance(index, dict) else {}
    assert isinstance(shards, dict)
    return [folder / name for name in sorted({str(name) for name in shards.values()})]


def _n_floats(file: Path) -> int:
    """Floating-point numbers in a file whose header `check_folder` has found sane; masks and the like do not count."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    spans = [(str(entry.get("dtype")), *entry["data_offsets"]) for name, entry in header.items() if name != _METADATA]
    return sum((int(stop) - int(start)) // _FLOAT_BYTES[dtype] for dtype, start, stop in spans if dtype in _FLOAT_BYTES)


def _folder(spec: ModelSpec) -> Path:
    if spec.name == "demo":
        return _embedded(spec.name, DEMO_FOLDER)
    if spec.name == "demo-small":
        return _embedded(spec.name, DEMO_SMALL_FOLDER)
    path = Path(spec.name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or spec.name.startswith((".", "~")) or not _HUB_ID.fullmatch(spec.name):
        raise HarnessError(
            f"there is no model folder {spec.name!r}",
            fix="give model= a folder with config.json and safetensors, an id on the Hub, demo or demo-small",
            code="E-MODEL",
        )
    return _from_hub(spec.name, spec.revision)


def _embedded(name: str, folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise EnvironmentFault(
            f"the model {name} is missing from this installation ({folder})",
            fix=f"install the harness again, or make it: python -m harness.demo.build --model {name} --out {folder}",
            code="E-MODEL",
        )
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    """The snapshot of a repository; the cached one when the Hub cannot be reached."""
    cached = _cached(name, revision) if revision is not None and _COMMIT.fullmatch(revision) else None
    return cached or _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_TIMEOUT_S)
        if names_only_pickles(sibling.rfilename for sibling in info.siblings or ()):
            raise _pickles_only(name)
        patterns, duplicates = list(PATTERNS), list(_DUPLICATES)
        found = snapshot_download(name, revision=info.sha, allow_patterns=patterns, ignore_patterns=duplicates)
    except GatedRepoError as err:
        fix = f"accept its licence at https://huggingface.co/{name}, then: hf auth login"
        raise _hub_error(name, "is gated", fix) from err
    except RepositoryNotFoundError as err:
        fix = "check the spelling; for a private model, log in first: hf auth login"
        raise _hub_error(name, "does not exist, or this account may not see it", fix) from err
    except RevisionNotFoundError as err:
        fix = f"look up its branches and tags at https://huggingface.co/{name}"
        raise _hub_error(name, f"has no revision {revision!r}", fix) from err
    except HfHubHTTPError as err:
        status = getattr(err.response, "status_code", "no status")
        raise _hub_error(name, f"cannot be read from the Hub (HTTP {status})", "try again later") from err
    except _connection_errors() as err:
        return _cached(name, revision) or _offline(name, revision, err)
    return Path(found)


def _connection_errors() -> tuple[type[Exception], ...]:
    """Errors of the HTTP client, which differs between versions of huggingface_hub."""
    found: list[type[Exception]] = [OSError]
    for module in ("httpx2", "httpx"):
        with suppress(ImportError, AttributeError):
            found.append(__import__(module).TransportError)
    return tuple(found)


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS), local_files_only=True)
    except (LocalEntryNotFoundError, OSError):
        return None
    folder = Path(found)
    has_weights = (folder / WEIGHT_INDEX).exists() or any(folder.glob("*.safetensors"))
    return folder if has_weights and (folder / "config.json").exists() else None


def _offline(name: str, revision: str | None, err: Exception) -> Path:
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    include = " ".join(f"--include '{pattern}'" for pattern in PATTERNS)
    raise HarnessError(
        f"the Hub cannot be reached and {name!r} is not in the local cache",
        fix=f"on a machine with network: {command} {include}; or use model=demo",
        code="E-OFFLINE",
    ) from err


def _hub_error(name: str, what: str, fix: str) -> HarnessError:
    return HarnessError(f"the model {name!r} {what}", fix=fix, code="E-HUB")


def _pickles_only(name: str) -> HarnessError:
    return HarnessError(
        f"the model {name!r} has only pickled weights (.bin, .pt), which can run code when they are read",
        fix="choose a repository or revision with safetensors files",
        code="E-PICKLE",
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
