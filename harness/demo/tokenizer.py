"""The demo model's tokenizer and chat template, and how an episode becomes token ids with loss weights."""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from harness.demo.corpus import Episode

VOCABULARY = 2048
PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}\n"
    "{%- if message.role not in ['system', 'user', 'assistant'] -%}\n"
    "{{- raise_exception('no such role: ' + message.role) -}}\n"
    "{%- endif -%}\n"
    "{{- '<|' + message.role + '|>' + message.content + '<|end|>' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}\n"
)
# Learning to ask is worth less than learning to answer, but the inputs still teach words.
INPUT_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and the weight that the loss gives to predicting each."""

    ids: list[int]
    weights: list[float]


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 2,048 entries, digits alone, trained on the texts."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    bpe.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(ROLES),
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def texts_of(episode: Episode) -> Iterable[str]:
    """Every piece of text in the episode."""
    if episode.system is not None:
        yield episode.system
    for turn in episode.turns:
        yield from turn


def encode(tokenizer: Tokenizer, episodes: list[Episode]) -> list[Encoded]:
    """The episodes as the chat template renders them; weight 1 on answers with their end, less elsewhere.

    Written by parts because a part's tokens never cross the special tokens around it, so joining the ids
    equals encoding the rendered chat, and the weights come for free.
    """
    batch = iter(tokenizer.encode_batch_fast([text for episode in episodes for text in texts_of(episode)]))
    vocabulary = tokenizer.get_vocab()
    system, user, assistant, end = (vocabulary[token] for token in (*ROLES, END))
    rows = []
    for episode in episodes:
        ids: list[int] = []
        weights: list[float] = []
        roles = ([] if episode.system is None else [system]) + [user, assistant] * len(episode.turns)
        for role in roles:
            body = [*next(batch).ids, end]
            weight = 1.0 if role == assistant else INPUT_WEIGHT
            ids += [role, *body]
            weights += [INPUT_WEIGHT, *[weight] * len(body)]
        rows.append(Encoded(ids, weights))
    return rows
