"""Pretraining a small Llama on packed rows, on a CPU: the recipe, the model, the optimisers and the loop."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.demo.packing import Packed
from harness.demo.tokenizer import VOCABULARY

# B rows of a batch, T tokens of a row, V vocabulary.
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights."""

    name: str = "demo"
    seed: int = 1
    steps: int = 7000
    batch: int = 6
    lr: float = 5e-3
    warmup: int = 100
    weight_decay: float = 0.05
    hidden: int = 192
    feed_forward: int = 512
    layers: int = 4
    threads: int = 2
    # Measured on the corpus; a step without enough episodes ends the build, so a little more than needed.
    episodes_per_step: float = 22.0
    tokenizer_episodes: int = 30_000


# Each embedded model by the name that `model=` takes.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        Recipe(name="demo-small", steps=3000, hidden=128, feed_forward=256, layers=3, threads=1),
    )
}


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A small Llama with random weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
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
