"""One base model in memory, and the switch that makes it compute the base, an adapter or a fully tuned checkpoint.

Adapters are named by the hash of their bytes, so a name is never reused for other weights. A full checkpoint is put
on by pointing the model's parameters at other tensors; the base's own tensors stay untouched and are pointed back.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.types import Checkpoint
from harness.models.files import ADAPTER_WEIGHTS, FULL_WEIGHTS
from harness.models.lora_files import Base, is_of, read_config, write_adapter
from harness.models.weights import read_weights

# Of DoRA: the length of each output's weights, trained apart from their direction.
_MAGNITUDE = ".lora_magnitude_vector"
_KEEP = 3


class Switch:
    """Puts checkpoints on a base model, one at a time.

    `activate` is for evaluation: eval mode, no gradients. `start_training` and `resume_training` are for the one
    adapter that a trainer works on. Whoever wants something active says so before using the model.
    """

    def __init__(self, model: nn.Module, base: Base, dtype: torch.dtype) -> None:
        self._model = model
        self._described = base
        self._dtype = dtype
        self._peft: PeftModel | None = None
        self._loaded: OrderedDict[str, int] = OrderedDict()
        self._base: dict[str, Tensor] = {}
        self._full: str | None = None
        self._n_trained = 0
        # Hash of the checkpoint that is on in eval mode, empty for the base; None while anything else may be.
        self._on: str | None = None
        self.linear_layers = linear_layers(model)

    def activate(self, checkpoint: Checkpoint | None) -> None:
        """Make the model compute this checkpoint, or the base; in eval mode.

        EnvironmentFault E-ADAPTER if the weights are not what the checkpoint says or do not fit; the base is then on.
        """
        wanted = "" if checkpoint is None else checkpoint.sha256
        if self._on == wanted and not self._model.training:
            return
        self._on = None
        self._switch(checkpoint)
        self._on = wanted

    def _switch(self, checkpoint: Checkpoint | None) -> None:
        self._model.eval()
        if checkpoint is not None and checkpoint.kind == "full":
            self._adapters_off()
            self._put_on_full(checkpoint)
            return
        self._take_off_full()
        self._adapters_off()
        if checkpoint is not None:
            adapter = self._load_adapter(checkpoint)
            self._adapter_on(adapter, train=False)
            self._model.eval()

    def n_keys(self, checkpoint: Checkpoint) -> int:
        """Number of weights that were consumed when this checkpoint was put on last."""
        if checkpoint.kind == "full":
            return len(self._base)
        return self._loaded[_adapter_name(checkpoint)]

    def start_training(self, config: LoraConfig, seed: int) -> str:
        """Add a fresh adapter, initialised from `seed` alone, and return its name."""
        self.activate(None)
        self._n_trained += 1
        name = f"training-{self._n_trained}"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._add(name, config)
        self.resume_training(name)
        return name

    def resume_training(self, name: str) -> None:
        """Put the adapter in training back on, with gradients and dropout, whatever was evaluated meanwhile."""
        self._on = None
        self._take_off_full()
        self._adapter_on(name, train=True)
        self._model.train()

    def stop_training(self, name: str) -> None:
        """Forget the adapter in training; the base is on."""
        self._remove(name)
        self.activate(None)

    def training_weights(self, name: str) -> dict[str, Tensor]:
        """The tensors of the adapter in training, by the names they have in its file; views, not copies."""
        return dict(get_peft_model_state_dict(self._wrapped(), adapter_name=name, save_embedding_layers=False))

    def write_training(self, name: str, folder: Path) -> None:
        """Write the adapter in training as peft reads it."""
        write_adapter(folder, self.training_weights(name), self._wrapped().peft_config[name], self._described)

    def base_tensors(self) -> dict[str, Tensor]:
        """The base's parameters by their original names, whatever is switched on."""
        return self._base or dict(self._base_parameters())

    def _put_on_full(self, checkpoint: Checkpoint) -> None:
        if self._full == checkpoint.sha256:
            return
        self._take_off_full()
        verify_hash(checkpoint, FULL_WEIGHTS)
        tensors = _read_full(checkpoint.folder, self._dtype)
        parameters = dict(self._named_parameters())
        _compare({name: p.shape for name, p in parameters.items()}, tensors, checkpoint)
        self._base = {name: parameter.data for name, parameter in parameters.items()}
        self._full = checkpoint.sha256
        for name, parameter in parameters.items():
            parameter.data = tensors[name].to(parameter.device)

    def _take_off_full(self) -> None:
        if self._full is None:
            return
        for name, parameter in self._named_parameters():
            parameter.data = self._base[name]
        self._base, self._full = {}, None

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The base's own parameters, tied ones once, without what peft added to their names."""
        found = ((n, p) for n, p in self._model.named_parameters() if ".lora_" not in n)
        return [(name.replace(".base_layer.", "."), parameter) for name, parameter in found]

    def _base_parameters(self) -> list[tuple[str, Tensor]]:
        return [(name, parameter.data) for name, parameter in self._named_parameters()]

    def _load_adapter(self, checkpoint: Checkpoint) -> str:
        name = _adapter_name(checkpoint)
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return name
        verify_hash(checkpoint, ADAPTER_WEIGHTS)
        if not is_of(checkpoint, self._described):
            raise adapter_fault(checkpoint, "it was trained on another base model")
        tensors = read_tensors(checkpoint.folder / ADAPTER_WEIGHTS, checkpoint)
        with torch.random.fork_rng():
            self._try_add(name, checkpoint)
        try:
            self._fill(name, tensors, checkpoint)
        except EnvironmentFault:
            self._remove(name)
            raise
        self._loaded[name] = len(tensors)
        while len(self._loaded) > _KEEP:
            self._remove(self._loaded.popitem(last=False)[0])
        return name

    def _fill(self, name: str, tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
        slots = self.training_weights(name)
        _compare({key: slot.shape for key, slot in slots.items()}, tensors, checkpoint)
        _refuse_no_effect(slots, tensors, checkpoint)
        with torch.no_grad():
            for key, slot in slots.items():
                slot.copy_(tensors[key])

    def _try_add(self, name: str, checkpoint: Checkpoint) -> None:
        config = read_config(checkpoint)
        try:
            self._add(name, config)
        except (ValueError, KeyError, TypeError, RuntimeError) as err:
            self._remove(name)
            raise adapter_fault(checkpoint, f"its layers are not those of this model: {err}") from err

    def _add(self, name: str, config: LoraConfig) -> None:
        if self._peft is None:
            self._peft = PeftModel(self._model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._adapters_off()

    def _remove(self, name: str) -> None:
        self._on = None
        if self._peft is not None and name in self._peft.peft_config:
            with warnings.catch_warnings():
                # peft says which adapter becomes active instead; here, none does.
                warnings.simplefilter("ignore", UserWarning)
                self._peft.delete_adapter(name)
        self._loaded.pop(name, None)
        self._adapters_off()

    def _adapter_on(self, name: str, *, train: bool) -> None:
        tuner = self._wrapped().base_model
        tuner.enable_adapter_layers()
        tuner.set_adapter(name, inference_mode=not train)

    def _adapters_off(self) -> None:
        if self._peft is not None:
            self._peft.base_model.disable_adapter_layers()

    def _wrapped(self) -> PeftModel:
        if self._peft is None:
            raise HarnessError("no adapter has been added to this model", fix="this is a bug; please report it")
        return self._peft


def linear_layers(model: nn.Module) -> tuple[str, ...]:
    """Last names of all linear layers but the output projection, sorted; of a model without adapters."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]
    heads = {_last(name) for name, module in found if module is head}
    return tuple(sorted({_last(name) for name, _ in found} - heads))


def verify_hash(checkpoint: Checkpoint, file: str) -> None:
    """E-ADAPTER unless the weights on disk are the bytes that were recorded."""
    path = checkpoint.folder / file
    if not path.is_file():
        raise adapter_fault(checkpoint, f"{file} is missing")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != checkpoint.sha256:
        raise adapter_fault(checkpoint, f"{file} has sha256 {found[:12]}..., recorded was {checkpoint.sha256[:12]}...")


def read_tensors(file: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of a file, finite; E-ADAPTER otherwise."""
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as err:
        raise adapter_fault(checkpoint, f"{file.name} cannot be read: {err}") from err
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise adapter_fault(checkpoint, f"{len(bad)} weights are not finite, such as {bad[0]!r}")
    return tensors


def adapter_fault(checkpoint: Checkpoint, why: str) -> EnvironmentFault:
    """The error for weights that cannot be trusted."""
    return EnvironmentFault(
        f"checkpoint {checkpoint.name} cannot be used: {why}",
        fix="train again with the same base model, or take the checkpoint from an intact copy",
        code="E-ADAPTER",
    )


def _refuse_no_effect(fresh: Mapping[str, Tensor], tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """fresh: an untrained adapter's weights, whose B are zero and whose magnitudes (DoRA) are the base's own norms."""
    outputs = [tensor for name, tensor in tensors.items() if ".lora_B." in name]
    magnitudes = [name for name in tensors if name.endswith(_MAGNITUDE)]
    moved = any(not torch.allclose(fresh[name].cpu(), tensors[name].to(fresh[name].dtype)) for name in magnitudes)
    if not moved and not any(bool(tensor.any()) for tensor in outputs):
        raise adapter_fault(checkpoint, "adapter has no effect: all its B matrices are zero")


def _compare(expected: Mapping[str, torch.Size], found: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Require the same names and shapes on both sides: what is left over was trained for nothing."""
    for what, keys in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys())):
        if keys:
            raise adapter_fault(checkpoint, f"{len(keys)} weights are {what}, such as {min(keys)!r}")
    for key, shape in expected.items():
        if found[key].shape != shape:
            raise adapter_fault(checkpoint, f"{key!r} has shape {tuple(found[key].shape)}, not {tuple(shape)}")


def _read_full(folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: parameter.data for name, parameter in read_weights(folder, dtype).named_parameters()}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _adapter_name(checkpoint: Checkpoint) -> str:
    return f"checkpoint-{checkpoint.sha256[:32]}"
