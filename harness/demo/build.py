"""Make the demo base model from nothing: corpus, tokenizer, pretraining, model folder, card.

python -m harness.demo.build --out harness/demo/model
"""

import argparse
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.corpus import Episode, episodes
from harness.demo.packing import Packed, pack
from harness.demo.tasks import held_out, inputs_of
from harness.demo.tokenizer import VOCABULARY, encode, make_tokenizer, texts_of

# B rows of a batch, T tokens of a row, V vocabulary.
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 1
    steps: int = 7000
    batch: int = 6
    lr: float = 5e-3
    warmup: int = 100
    weight_decay: float = 0.05
    hidden: int = 192
    layers: int = 4
    threads: int = 2
    # Measured on the corpus; a step without enough episodes ends the build, so a little more than needed.
    episodes_per_step: float = 22.0


def main() -> None:
    """Read the arguments and build."""
    usual = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("harness/demo/model"), help="the model folder to write")
    parser.add_argument("--steps", type=int, default=usual.steps, help="optimiser steps; fewer for a quick look")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--layers", type=int, default=usual.layers)
    args = parser.parse_args()
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", flush=True)

    build(Recipe(seed=args.seed, steps=args.steps, layers=args.layers), args.out, report)


def build(recipe: Recipe, out: Path, report: Report) -> None:
    """Run the recipe and write the model folder."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = tokenizer_for(recipe.seed)
    report(f"tokenizer: {len(tokenizer)} entries")
    rows = corpus_rows(recipe, tokenizer)
    report(f"corpus: {len(rows.ids)} rows, {int((rows.owners >= 0).sum()):,} tokens")
    model = new_model(recipe, tokenizer)
    report(f"model: {sum(p.numel() for p in model.parameters()):,} parameters")
    pretrain(model, rows, recipe, report)
    write_folder(model, tokenizer, out)
    report(f"written: {out}")


def tokenizer_for(seed: int, n: int = 30_000) -> PreTrainedTokenizerFast:
    """The tokenizer, trained on a late sample of the corpus, where the final mix of skills has been reached."""
    late: Iterator[Episode] = islice(episodes(seed, 2 * n), n, None)
    return make_tokenizer(text for episode in late for text in texts_of(episode))


def corpus_rows(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Packed:
    """The whole corpus as packed rows, in the curriculum's order."""
    n = int(recipe.steps * recipe.episodes_per_step)
    forbidden = held_out()
    allowed = (episode for episode in episodes(recipe.seed, n) if inputs_of(episode).isdisjoint(forbidden))
    encoded = (row for block in _blocks(allowed, 2000) for row in encode(tokenizer.backend_tokenizer, block))
    return pack(encoded, tokenizer.pad_token_id)


def _blocks(stream: Iterator[Episode], size: int) -> Iterator[list[Episode]]:
    while block := list(islice(stream, size)):
        yield block


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A small Llama with random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=recipe.hidden,
        intermediate_size=512,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.hidden // 64,
        num_key_value_heads=recipe.hidden // 64,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    # With bf16 and a mask on a CPU, the plain implementation took 0.31 s a step where SDPA took 0.43 s.
    model.set_attn_implementation("eager")
    return model


def pretrain(model: LlamaForCausalLM, rows: Packed, recipe: Recipe, report: Report) -> None:
    """Train the model on the rows in their order, once."""
    optimizers = make_optimizers(model, recipe)
    n_steps = min(recipe.steps, len(rows.ids) // recipe.batch)
    running = 0.0
    model.train()
    for step in range(n_steps):
        part = slice(step * recipe.batch, (step + 1) * recipe.batch)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * schedule(step, n_steps, recipe.warmup)
        loss = weighted_loss(model, rows, part)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 0:
            report(f"step {step}/{n_steps}  loss {running:.3f}")


def make_optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms, both at one learning rate."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(
            matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, n_steps: int, warmup: int) -> float:
    """The learning rate's factor: a linear rise, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, n_steps - warmup)))


def weighted_loss(model: LlamaForCausalLM, rows: Packed, part: slice) -> Tensor:
    """Mean cross-entropy of the next token, by the rows' weights; an episode sees only itself."""
    ids_BT = torch.from_numpy(rows.ids[part].astype(np.int64))
    weights_BT = torch.from_numpy(rows.weights[part])
    mask_B1TT = own_past(torch.from_numpy(rows.owners[part]))
    with torch.autocast("cpu", torch.bfloat16):
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_B1TT, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].float().flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none"
    )
    wanted = weights_BT[:, 1:].flatten()
    return (losses * wanted).sum() / wanted.sum()


def own_past(owners_BT: Tensor) -> Tensor:
    """The mask to add to attention scores: 0 for a token's own episode up to itself, else minus infinity."""
    n_tokens = owners_BT.shape[1]
    past_TT = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    same_BTT = owners_BT[:, :, None] == owners_BT[:, None, :]
    # Plain attention adds its mask, so a mask of booleans would hide nothing.
    return torch.zeros(same_BTT.shape).masked_fill(~(same_BTT & past_TT), -math.inf)[:, None]


def write_folder(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model folder as any Hugging Face model has it, weights in bf16."""
    shutil.rmtree(out, ignore_errors=True)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
