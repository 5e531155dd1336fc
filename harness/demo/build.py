"""Make an embedded base model from nothing: corpus, tokenizer, pretraining, model folder, card.

python -m harness.demo.build --model demo --out harness/demo/model
python -m harness.demo.build --model demo-small --out harness/demo/small
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.card import Facts, write_card
from harness.demo.corpus import Episode, episodes
from harness.demo.measure import measure
from harness.demo.packing import Packed, pack
from harness.demo.pretraining import RECIPES, Recipe, Report, new_model, pretrain
from harness.demo.tasks import held_out, inputs_of
from harness.demo.tokenizer import encode, make_tokenizer, texts_of


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=RECIPES, default="demo", help="which of the embedded models")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--steps", type=int, help="optimiser steps; fewer for a quick look")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--layers", type=int)
    args = parser.parse_args()
    changes = {key: value for key in ("steps", "seed", "layers") if (value := getattr(args, key)) is not None}
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", flush=True)

    build(replace(RECIPES[args.model], **changes), args.out, report)


def build(recipe: Recipe, out: Path, report: Report) -> None:
    """Run the recipe and write the model folder."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    tokenizer = tokenizer_for(recipe)
    report(f"tokenizer: {len(tokenizer)} entries")
    rows = corpus_rows(recipe, tokenizer)
    report(f"corpus: {len(rows.ids)} rows, {int((rows.owners >= 0).sum()):,} tokens")
    model = new_model(recipe, tokenizer)
    report(f"model: {sum(p.numel() for p in model.parameters()):,} parameters")
    pretrain(model, rows, recipe, report)
    write_folder(model, tokenizer, out)
    write_card(out, facts(recipe, rows, model), skills := measure(out))
    report(f"written: {out}; exactly right: {', '.join(f'{k} {r}/{n}' for k, (r, n) in skills.items())}")


def tokenizer_for(recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer, trained on a late sample of the corpus, where the final mix of skills has been reached."""
    n = recipe.tokenizer_episodes
    late: Iterator[Episode] = islice(episodes(recipe.seed, 2 * n), n, None)
    return make_tokenizer(text for episode in late for text in texts_of(episode))


def corpus_rows(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Packed:
    """The whole corpus as packed rows, in the curriculum's order."""
    n = int(recipe.steps * recipe.episodes_per_step)
    forbidden = held_out()
    allowed = (episode for episode in episodes(recipe.seed, n) if inputs_of(episode).isdisjoint(forbidden))
    encoded = (row for block in _blocks(allowed, 2000) for row in encode(tokenizer.backend_tokenizer, block))
    return pack(encoded, tokenizer.pad_token_id)


def facts(recipe: Recipe, rows: Packed, model: LlamaForCausalLM) -> Facts:
    """What the card says of the recipe and the model."""
    used = (rows.owners[: recipe.steps * recipe.batch] >= 0).sum()
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "steps": recipe.steps,
        "batch": recipe.batch,
        "lr": recipe.lr,
        "layers": recipe.layers,
        "hidden": recipe.hidden,
        "feed_forward": recipe.feed_forward,
        "heads": recipe.hidden // 64,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens_m": float(used) / 1e6,
    }


def _blocks(stream: Iterator[Episode], size: int) -> Iterator[list[Episode]]:
    while block := list(islice(stream, size)):
        yield block


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
