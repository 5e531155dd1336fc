"""A zoo of tiny random-weight models, one of each family, with chat templates written by hand in the family's style.

`build_zoo(folder)` writes ordinary Hugging Face folders; nothing is downloaded. The tokenizers are small BPEs trained
on the sentences below: byte-level as Llama 3, Qwen, Phi and GPT-2 have them, SentencePiece-like (blanks as U+2581)
as Llama 2, Mistral and Gemma have them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "Answer with one word: yes or no. Is snow white? Yes! Is coal white? No.",
    "user assistant system model: You are a helpful assistant that labels text.",
    "def add(a, b): return a + b  # 1 + 1 == 2, x != y",
    "A cat sat on the mat; the cat's hat was flat. 0123456789",
    "Straße, café, naïve, 東京, привет, 🙂🙃",
] * 4

LLAMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + (system if loop.index0 == 0 else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('Only user and assistant roles are supported!') }}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
QWEN2 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


@dataclass(frozen=True)
class Animal:
    """One family: its configuration, tokenizer and template."""

    config: str
    template: str | None
    bos: str | None
    eos: str
    control: tuple[str, ...]
    byte_level: bool
    adds_bos: bool
    words: tuple[str, ...] = ()
    extra: dict[str, object] = field(default_factory=dict)


_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_THINK = ("<think>", "</think>")
_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_TURNS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
_TAGS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_HEAD = {"head_dim": 8}
_TIED = {"tie_word_embeddings": True}
_WINDOW = {"sliding_window": 16}

ANIMALS = {
    "llama2": Animal("LlamaConfig", LLAMA2, "<s>", "</s>", ("<unk>", "<s>", "</s>"), False, True),
    "llama3": Animal("LlamaConfig", LLAMA3, "<|begin_of_text|>", "<|eot_id|>", _HEADERS, True, True),
    "mistral": Animal(
        "MistralConfig",
        MISTRAL,
        "<s>",
        "</s>",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        False,
        True,
        extra=_WINDOW,
    ),
    "qwen2": Animal("Qwen2Config", QWEN2, None, "<|im_end|>", _IM, True, False, extra=_TIED),
    "qwen3": Animal("Qwen3Config", CHATML, None, "<|im_end|>", _IM, True, False, words=_THINK, extra=_HEAD | _TIED),
    "gemma": Animal("GemmaConfig", GEMMA, "<bos>", "<eos>", _TURNS, False, True, extra=_HEAD),
    "gemma2": Animal("Gemma2Config", GEMMA, "<bos>", "<eos>", _TURNS, False, True, extra=_HEAD | _WINDOW),
    "phi3": Animal("Phi3Config", PHI3, None, "<|endoftext|>", _TAGS, True, False, extra={"pad_token_id": 0}),
    "gpt2": Animal("GPT2Config", None, None, "<|endoftext|>", ("<|endoftext|>",), True, False),
}
NAMES = tuple(ANIMALS)
# As Phi-3's long-context models: other rotary factors for a whole call as soon as one of its rows has 33 tokens.
_LONG_ROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
_FROM_33 = {"original_max_position_embeddings": 32}
LONG = "phi3long"
ANIMALS[LONG] = replace(
    ANIMALS["phi3"], extra={"pad_token_id": 0, "rope_parameters": {**_LONG_ROPE, **_FROM_33}, **_FROM_33}
)


def build_zoo(folder: Path, names: tuple[str, ...] = tuple(ANIMALS)) -> dict[str, Path]:
    """Write the models named and return their folders."""
    return {name: build(folder / name, ANIMALS[name]) for name in names}


def build(folder: Path, animal: Animal) -> Path:
    """Write one model: tokenizer, template, configuration and random weights, the same every time."""
    import torch
    import transformers

    from harness.models.weights import quietly

    n_tokens = _write_tokenizer(folder, animal)
    sizes = _SIZES | animal.extra
    if animal.config == "GPT2Config":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    ids = {"bos_token_id": None, "eos_token_id": 0, "vocab_size": n_tokens + 5}
    config = getattr(transformers, animal.config)(**ids, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                # Larger than usual, so that random models have opinions and greedy choices no ties.
                torch.nn.init.normal_(parameter, std=0.2)
    with quietly():
        model.save_pretrained(folder)
    return folder


def _write_tokenizer(folder: Path, animal: Animal) -> int:
    from transformers import PreTrainedTokenizerFast

    tokenizer = _byte_level(animal) if animal.byte_level else _sentencepiece_like(animal)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=animal.bos, eos_token=animal.eos)
    wrapped.add_special_tokens({"additional_special_tokens": list(animal.control)})
    if animal.words:
        wrapped.add_tokens(list(animal.words))
    wrapped.save_pretrained(folder)
    if animal.template is not None:
        (folder / "chat_template.jinja").write_text(animal.template, encoding="utf-8")
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2))
    return len(wrapped)


def _byte_level(animal: Animal):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(animal.control),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _with_bos(tokenizer, animal)


def _sentencepiece_like(animal: Animal):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bytes_256 = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=animal.control[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    metaspace = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(metaspace)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*animal.control, *bytes_256], max_token_length=8, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    state = json.loads(tokenizer.to_str())
    # The bytes are ordinary vocabulary: only the trainer had to be told to keep them.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in animal.control]
    return _with_bos(Tokenizer.from_str(json.dumps(state)), animal)


def _with_bos(tokenizer, animal: Animal):
    from tokenizers import processors

    if animal.adds_bos and animal.bos:
        bos = (animal.bos, tokenizer.token_to_id(animal.bos))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{animal.bos} $A", pair=f"{animal.bos} $A {animal.bos} $B", special_tokens=[bos]
        )
    return tokenizer
