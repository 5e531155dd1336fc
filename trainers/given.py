"""Trains nothing: takes an adapter or a tuned model that is there already, to be evaluated like one trained here."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.specs import Spec
from harness.core.types import Checkpoint, TokenRow
from harness.data.display import quote
from harness.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_RECORD, FULL_WEIGHTS
from harness.models.location import model_files
from harness.models.safety import WEIGHT_INDEX, check_folder, check_links, check_safetensors, read_json

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel

_MANIFEST = "MANIFEST.json"
_TRAINER_STATE = "trainer_state.json"
_TOKENS_PER_BATCH = 4096


class GivenSpec(Spec):
    """Settings of `given`."""

    path: str = Field(description="folder of a peft adapter, of a checkpoint of a run, or of a tuned model")
    sha256: str | None = Field(None, description="what its files must hash to; left out: whatever they are now")

    @model_validator(mode="before")
    @classmethod
    def _is_of_these_bytes(cls, typed: object) -> object:
        """Fill the hash in at once, so that the same path with other files in it is another run."""
        if isinstance(typed, dict) and typed.get("sha256") is None and isinstance(typed.get("path"), str):
            with suppress(HarnessError):  # `settle` says what is wrong with the folder
                return {**typed, "sha256": _digest(_looked_through(typed["path"]).files)}
        return typed


class Origin(BaseModel):
    """What a checkpoint says of its own training; text from elsewhere, so only sane numbers are believed."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    step: int = Field(1, ge=1, le=999_999)
    epoch: float = Field(0.0, ge=0)
    train_loss: float | None = Field(None, ge=0)
    train_accuracy: float | None = Field(None, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Given:
    """A folder that was looked through: what it is, the files that are taken, and where it says it comes from.

    is_of_a_run: whether a run's manifest vouches for every one of the files.
    """

    folder: Path
    kind: Literal["adapter", "full"]
    files: tuple[Path, ...]
    weights: Path
    origin: Origin
    is_of_a_run: bool


class GivenTrainer:
    """`harness.core.protocols.Trainer` of one checkpoint, copied and checked, not trained."""

    spec_type: type[BaseModel] = GivenSpec
    backends = ("hf", "vllm", "openai")

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """The hash of the files as they are now, and what is known of the base; E-ADAPTER where they cannot be it.

        E-CONFLICT where they are a tuned model and the base is a server's or quantised.
        """
        assert isinstance(spec, GivenSpec)
        given = look_at(spec)
        found = _verified(given, spec)
        if "server" in model:
            _require_adapter(given)
        _require_whole(given, is_quantised="quantization" in model)
        what = f"{'an adapter' if given.kind == 'adapter' else 'a tuned model'} as it is in {quote(spec.path)}"
        return spec.model_copy(update={"sha256": found}), (what, *_base_reasons(given, model))

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """No step and no token; one checkpoint."""
        assert isinstance(spec, GivenSpec)
        steps = (look_at(spec).origin.step,)
        return TrainPlan(n_rows=len(rows), n_steps=0, n_tokens=0, n_target_tokens=0, checkpoint_steps=steps)

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """The one checkpoint, once it has been put on the model; E-ADAPTER if it does not fit."""
        from trainers.tuned import loaded_model

        assert isinstance(spec, GivenSpec)
        saved = tuple(sink.saved())
        yield from saved
        if saved:
            return
        given = look_at(spec)
        before = _verified(given, spec)
        checkpoint = checkpoint_of(given)
        if getattr(model, "is_hosted", False):
            # What it changes there is for the backend to prove; losses are not to be had.
            _require_adapter(given)
        else:
            loaded = loaded_model(model)
            _require_whole(given, is_quantised=loaded.quantization != "none")
            if given.kind == "full":
                _require_same_model(given, loaded.folder)
            checkpoint = measured(loaded, checkpoint, validation_rows)
        final = sink.save(checkpoint, partial(copy_files, given), lambda _: None)
        _verified(given, spec.model_copy(update={"sha256": before}))
        progress(1, 1, "")
        yield final


trainer: Trainer = GivenTrainer()


def _require_adapter(given: Given) -> None:
    """A server has adapters beside its model, not other models under its name; E-CONFLICT."""
    if given.kind == "full":
        raise HarnessError(
            "a tuned model cannot be put on a server's model",
            fix="serve it under a name of its own: model=NAME trainer=none",
            code="E-CONFLICT",
        )


def _require_whole(given: Given, *, is_quantised: bool) -> None:
    """A tuned model's weights are numbers of their own, and cannot take the place of a base's bits; E-CONFLICT."""
    if given.kind == "full" and is_quantised:
        raise HarnessError(
            "a tuned model cannot be put on a quantised base",
            fix="model.quantization=none, or an adapter as trainer.path",
            code="E-CONFLICT",
        )


def look_at(spec: GivenSpec) -> Given:
    """What a folder holds, its weights' layout checked and none of them read.

    HarnessError E-ADAPTER where there is no adapter and no model; what `harness.models.safety` finds otherwise.
    """
    return _looked_through(spec.path)


def _looked_through(path: str) -> Given:
    folder = Path(path).expanduser()
    if folder.is_file():
        raise _unusable(folder, "it is a file, not a folder")
    if not folder.is_dir():
        raise _unusable(folder, "there is no such folder")
    if (folder / ADAPTER_CONFIG).exists() or any(folder.glob("adapter_model.*")):
        return _adapter(folder)
    if not (folder / "config.json").is_file():
        raise _unusable(folder, f"it holds neither {ADAPTER_CONFIG} nor config.json")
    return _full(folder)


def _adapter(folder: Path) -> Given:
    check_links(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").exists()
        raise _unusable(folder, "its weights are pickled, which can run code" if pickled else f"no {ADAPTER_WEIGHTS}")
    if not (folder / ADAPTER_CONFIG).is_file():
        raise _unusable(folder, f"no {ADAPTER_CONFIG}, so nobody knows its rank and strength")
    check_safetensors(folder / ADAPTER_WEIGHTS)
    names = (ADAPTER_WEIGHTS, ADAPTER_CONFIG, BASE_RECORD)
    files = tuple(folder / name for name in names if (folder / name).is_file())
    return _given(folder, "adapter", files)


def _full(folder: Path) -> Given:
    check_folder(folder)
    weights = folder / FULL_WEIGHTS
    if not weights.is_file() or (folder / WEIGHT_INDEX).is_file():
        raise _unusable(folder, f"its weights are not in one file, {FULL_WEIGHTS}")
    others = (
        f for f in model_files(folder) if f.suffix != ".safetensors" and f.name not in (_MANIFEST, _TRAINER_STATE)
    )
    return _given(folder, "full", (weights, *sorted(others)))


def _given(folder: Path, kind: Literal["adapter", "full"], files: tuple[Path, ...]) -> Given:
    recorded = _run_record(folder, files)
    origin = recorded or _trainer_state(folder) or Origin()
    return Given(folder, kind, files, files[0], origin, is_of_a_run=recorded is not None)


def _run_record(folder: Path, files: Sequence[Path]) -> Origin | None:
    """From a run's manifest, if these are the very files that it is of."""
    manifest = _described(folder / _MANIFEST)
    hashes, figures = manifest.get("files"), manifest.get("checkpoint")
    if not isinstance(hashes, dict) or any(hashes.get(file.name) != _sha256(file) for file in files):
        return None
    return _parsed(figures)


def _trainer_state(folder: Path) -> Origin | None:
    """From what transformers' trainer leaves beside its checkpoints."""
    state = _described(folder / _TRAINER_STATE)
    return _parsed({"step": state.get("global_step"), "epoch": state.get("epoch") or 0.0})


def _described(file: Path) -> Mapping[str, JsonValue]:
    """An object of JSON; empty if there is none: it describes the weights and does not change them."""
    try:
        found = read_json(file) if file.is_file() else None
    except HarnessError:
        found = None
    return found if isinstance(found, dict) else {}


def _parsed(figures: object) -> Origin | None:
    try:
        return Origin.model_validate(figures)
    except ValidationError:
        return None


def _verified(given: Given, spec: GivenSpec) -> str:
    """One hash over all files that are taken; E-ADAPTER if it is not the one asked for."""
    found = _digest(given.files)
    if spec.sha256 not in (None, found):
        raise _unusable(given.folder, f"its files hash to {found[:12]}..., not to {quote(str(spec.sha256), 15)}")
    return found


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
    return digest.hexdigest()


def _base_reasons(given: Given, model: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """What is known of the base it was trained on; E-ADAPTER if that is another than `model`."""
    if given.kind == "full":
        said = "nothing says which model it was tuned from"
        return (f"{said}; it must have the same layers, settings, tokenizer and chat template as this one",)
    config = read_json(given.folder / ADAPTER_CONFIG)
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not (given.folder / BASE_RECORD).is_file():
        said = f"the adapter names {quote(str(named))} as its base" if named else "the adapter names no base"
        return (f"{said}; that it is this model's cannot be proven, only that it fits its layers",)
    if "server" in model:
        return (f"it was trained on {quote(str(named))}; whether the server's model is that one, nobody here can tell",)
    record = read_json(given.folder / BASE_RECORD)
    if not isinstance(record, dict) or any(model.get(key) != value for key, value in record.items()):
        raise _unusable(given.folder, f"it was trained on another base model, {quote(str(named))}")
    return ("it was trained on this very base model",)


def _require_same_model(given: Given, base: Path) -> None:
    """E-ADAPTER where the folder describes another model than the base, which its weights would be run as."""
    from harness.models.same import differences

    found = tuple(differences(given.folder, base))
    if found:
        raise HarnessError(
            f"{quote(str(given.folder), 200)} is not a tuned version of this base model: {found[0]}",
            fix="name the base it was tuned from as model=, or evaluate it by itself: model=FOLDER trainer=none",
            code="E-ADAPTER",
            details=found[1:8],
        )


def checkpoint_of(given: Given) -> Checkpoint:
    """The files where they are, without figures of validation."""
    origin = given.origin
    return Checkpoint(
        step=origin.step,
        epoch=origin.epoch,
        folder=given.folder,
        kind=given.kind,
        sha256=_sha256(given.weights),
        train_loss=origin.train_loss,
        train_accuracy=origin.train_accuracy,
        validation_loss=None,
        validation_accuracy=None,
    )


def measured(loaded: LoadedModel, checkpoint: Checkpoint, rows: Sequence[TokenRow]) -> Checkpoint:
    """The checkpoint put on the model, which checks it, with its figures on the validation rows."""
    import torch

    from harness.models.loss import projection_of
    from trainers.loop import accumulate, enough_memory

    try:
        with enough_memory("measuring the checkpoint", "a smaller model, or model.quantization=nf4"):
            loaded.switch.activate(checkpoint)
            with torch.no_grad():
                figures = accumulate(
                    loaded.model,
                    rows,
                    _TOKENS_PER_BATCH,
                    device=loaded.device,
                    precision=nullcontext(),
                    as_tree=False,
                    backward=None,
                    projection=projection_of(loaded.model, loaded.device),
                )
    except EnvironmentFault as err:
        if err.code != "E-ADAPTER":
            raise
        raise EnvironmentFault(
            f"{quote(str(checkpoint.folder), 200)} does not fit this model: {err.what}",
            fix="model= the base it was trained on, or another trainer.path",
            code="E-ADAPTER",
            resumable=False,
        ) from err
    finally:
        loaded.switch.activate(None)
    if not figures.n_targets or not math.isfinite(figures.mean_loss):
        return checkpoint
    return replace(checkpoint, validation_loss=figures.mean_loss, validation_accuracy=figures.accuracy)


def copy_files(given: Given, target: Path) -> None:
    """The files as a checkpoint of a run: an adapter from elsewhere gets its configuration's hash into its weights'."""
    for file in given.files:
        shutil.copyfile(file, target / file.name)
    if given.kind == "adapter" and not given.is_of_a_run:
        _sign(target)


def _sign(folder: Path) -> None:
    """Write the configuration's hash into the weights' header.

    A checkpoint goes by the hash of its weights' file, here and in the cache of completions; the same matrices with
    another alpha are another checkpoint.
    """
    from safetensors.torch import load_file, save_file

    weights = folder / ADAPTER_WEIGHTS
    # One key only: safetensors writes several in no fixed order.
    save_file(load_file(weights), weights, metadata={"config": _sha256(folder / ADAPTER_CONFIG)})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unusable(folder: Path, why: str) -> HarnessError:
    return HarnessError(
        f"{quote(str(folder), 200)} cannot be evaluated: {why}",
        fix="trainer.path= (adapter= of harness evaluate) a folder as peft's or transformers' save_pretrained writes"
        " it, or a run's checkpoint",
        code="E-ADAPTER",
    )
