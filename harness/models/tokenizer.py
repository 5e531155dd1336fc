"""Text to token ids and back: a transformers tokenizer behind the harness's own, smaller protocol.

Differences that matter: nothing is ever added around a text, control tokens spelled out in data stay text,
decoding never tidies blanks, and the chat template runs with a frozen clock and errors that say what to do.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from harness.core.errors import HarnessError
from harness.core.protocols import Tokenizer
from harness.core.types import Message
from harness.models.safety import check_configs, check_links, read_json
from harness.models.template import MAX_RENDERED_CHARACTERS, read_template, uses_clock, vetted

_log = logging.getLogger(__name__)

# Templates that print today's date would make every day's prompts different ones.
_FROZEN_CLOCK = datetime(2025, 1, 1)
# Classes that hold what tokenizer.json says and nothing else, so that the auto class (and torch) is not needed.
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
# transformers overrides the class named in the folder for some of the other architectures.
_PLAIN_ARCHITECTURES = ("llama", "gpt2", "mistral3", "qwen3", "gemma", "gemma2", "smollm3")


class _Rules(Protocol):
    def to_str(self) -> str: ...


class _AddedToken(Protocol):
    special: bool


class _Transformers(Protocol):
    """What is used of a transformers tokenizer."""

    eos_token_id: int | None
    bos_token_id: int | None
    unk_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: dict[int, _AddedToken]
    chat_template: str | dict[str, str] | None
    model_max_length: int

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]: ...
    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...
    def get_vocab(self) -> dict[str, int]: ...
    def apply_chat_template(self, messages: list[dict[str, str]], **options: object) -> str: ...


class HFTokenizer:
    """`harness.core.protocols.Tokenizer` over a transformers tokenizer."""

    counts_bytes = False

    def __init__(self, inner: _Transformers, template: str | None, *, thinking: bool) -> None:
        self._inner = inner
        self._template = template
        self._thinking = thinking

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text, if the folder names one."""
        return self._inner.eos_token_id

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text, if the folder names one."""
        return self._inner.bos_token_id

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens: those that never come from encoding plain text."""
        added = (token_id for token_id, token in self._inner.added_tokens_decoder.items() if token.special)
        return frozenset(self._inner.all_special_ids).union(added)

    @cached_property
    def n_ids(self) -> int:
        """One more than the largest id: the embedding rows a model must have."""
        return max(self._inner.get_vocab().values(), default=-1) + 1

    @property
    def max_length(self) -> int | None:
        """The text length the folder claims, where it claims a sane one."""
        claimed = self._inner.model_max_length
        return claimed if 0 < claimed < 10**9 else None

    @cached_property
    def sha256(self) -> str:
        """Hash of vocabulary, rules, control tokens, template and what the template is told."""
        state = [self._rules(), self._template, self._thinking, sorted(self.special_ids), self.eos_id, self.bos_id]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids of `text`, nothing added. special: whether spelled-out control tokens become control ids.

        Added tokens that the folder does not call special (Qwen's `<think>`) are ordinary words and always match.
        """
        ids = self._inner.encode(text, add_special_tokens=False, split_special_tokens=not special)
        if special or not (self.special_ids - {self._inner.unk_token_id}).intersection(ids):
            return ids
        raise HarnessError(
            f"the tokenizer turns control tokens in plain text into control ids: {text[:60]!r}",
            fix="take the control tokens out of the data, or use a model folder with tokenizer.json",
            code="E-SPECIAL-IN-TEXT",
        )

    def prefix_ids(self) -> list[int]:
        """What this tokenizer puts before plain text by itself (a BOS, or nothing)."""
        plain = self._inner.encode("a", add_special_tokens=False, split_special_tokens=False)
        whole = self._inner.encode("a", add_special_tokens=True, split_special_tokens=False)
        starts = (i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        return whole[: next(starts, 0)]

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of `ids`, blanks exactly as the tokens have them."""
        return self._inner.decode(list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False)

    def apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The conversation as the template writes it; E-ROLE where the template refuses it."""
        if self._template is None:
            raise HarnessError(
                "this model has no chat template, and none is guessed",
                fix='model.template=FILE with a Jinja chat template, or prompting.form = "text"',
                code="E-NOTEMPLATE",
            )
        try:
            text = self._inner.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                chat_template=self._template,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                enable_thinking=self._thinking,
                strftime_now=_FROZEN_CLOCK.strftime,
            )
        except SecurityError as err:
            raise _template_error(f"the chat template tries what its sandbox forbids: {err}") from err
        except TemplateError as err:
            raise _role_error(messages, str(err)) from err
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as err:
            raise _template_error(f"the chat template fails: {type(err).__name__}: {err}") from err
        if len(text) > MAX_RENDERED_CHARACTERS:
            raise _template_error(f"the chat template writes {len(text)} characters")
        return text

    def _rules(self) -> str:
        backend: _Rules | None = getattr(self._inner, "backend_tokenizer", None)
        if backend is not None:
            return backend.to_str()
        return json.dumps([type(self._inner).__name__, sorted(self._inner.get_vocab().items())])


def load_tokenizer(folder: Path, template: Path | None, *, thinking: bool) -> HFTokenizer:
    """The tokenizer in a model folder. template: a file that stands in for the folder's own chat template.

    No network, no code from the folder. HarnessError E-TOKENIZER if there is none that transformers can read.
    """
    check_links(folder)
    check_configs(folder)
    try:
        with offline():
            inner = _from_folder(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as err:
        raise HarnessError(
            f"no tokenizer can be loaded from {str(folder)!r}: {str(err).splitlines()[0] if str(err) else err!r}",
            fix="the folder needs tokenizer.json and tokenizer_config.json, as save_pretrained writes them",
            code="E-TOKENIZER",
        ) from err
    text = read_template(template) if template is not None else _own_template(inner)
    if text is not None and uses_clock(text):
        _log.warning("the chat template prints the date; it is told %s, always", f"{_FROZEN_CLOCK:%Y-%m-%d}")
    return HFTokenizer(inner, text, thinking=thinking)


@contextmanager
def offline() -> Iterator[None]:
    """While a folder is loaded, nothing is fetched, whatever its files ask for."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _from_folder(folder: Path) -> _Transformers:
    if _is_generic(folder):
        from transformers.tokenization_utils_tokenizers import TokenizersBackend

        return cast(_Transformers, TokenizersBackend.from_pretrained(folder, local_files_only=True))
    from transformers import AutoTokenizer

    return cast(_Transformers, AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))


def _is_generic(folder: Path) -> bool:
    """Whether the auto class would choose the generic one: asking it costs seconds, for it imports torch."""
    described, model = folder / "tokenizer_config.json", folder / "config.json"
    if not (described.is_file() and model.is_file() and (folder / "tokenizer.json").is_file()):
        return False
    tokenizer_config, config = read_json(described), read_json(model)
    if not isinstance(tokenizer_config, dict) or not isinstance(config, dict):
        return False
    generic = tokenizer_config.get("tokenizer_class") in _GENERIC_CLASSES
    return generic and config.get("model_type") in _PLAIN_ARCHITECTURES


def _own_template(inner: _Transformers) -> str | None:
    """The folder's chat template; of several, the one called default."""
    template = inner.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return None if template is None else vetted(template)


def _role_error(messages: Sequence[Message], why: str) -> HarnessError:
    roles = ", ".join(message.role for message in messages)
    has_system = any(message.role == "system" for message in messages)
    return HarnessError(
        f"the chat template refuses the turns ({roles}): {why}",
        fix='prompting.system_role = "user" folds the system text into the first user turn'
        if has_system
        else "turns must alternate between user and assistant, and begin with user",
        code="E-ROLE",
    )


def _template_error(what: str) -> HarnessError:
    return HarnessError(what, fix="give a template of your own: model.template=FILE", code="E-TEMPLATE")


def _check(tokenizer: HFTokenizer) -> Tokenizer:
    """For the type checker: the class satisfies the protocol."""
    return tokenizer
