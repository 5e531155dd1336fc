"""The model card that the build writes into the model folder."""

import hashlib
from pathlib import Path

from harness.demo.measure import Skills

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The embedded demo model

A very small chat model that comes with the harness, so that a run works on any machine, offline. It exists to be tuned and
evaluated in a few minutes on two processor cores. **It is not useful for anything else:** it knows a few hundred English words
and a handful of text exercises, and it is wrong often.

| | |
|---|---|
| architecture | Llama, {layers} layers, hidden size {hidden}, {heads} heads of 64, tied embeddings |
| parameters | {parameters:,} |
| weights | bf16 safetensors, {megabytes:.1f} MB |
| tokenizer | byte-level BPE, 2,048 entries, every digit alone |
| chat template | `<\\|system\\|>`, `<\\|user\\|>`, `<\\|assistant\\|>`, each turn closed by `<\\|end\\|>`, which is also the end of text; `<\\|pad\\|>` pads |
| longest training row | 512 tokens |
| licence | Apache-2.0, as the harness; the corpus and its generator's output CC0-1.0 |

## How it was made

    python -m harness.demo.build --out harness/demo/model

from nothing, with seed {seed}: {steps:,} steps of {batch} rows of 512 tokens, {tokens_m:.1f} million tokens, each seen once. Muon trains the
matrices in the layers, AdamW the rest, both at a learning rate of {lr:g} on a cosine. Predicting an answer weighs 1, predicting
its input 0.3. No other model, data set or person's text was used.

## Data

The corpus is written by a seeded grammar (`harness/demo/corpus/`): chats of one to six turns that classify messages, write headlines,
answer questions about records, extract fields, rewrite records, copy texts, look words up, and a little prose. Names, keys, labels
and marks come from open pools of invented words, so that examples have to be read. The shipped tasks share its words; their
sentences, styles and forms are not in it, and the build leaves out every episode whose input is a row of a shipped task.

## Measured

Zero-shot, greedy, exact match on the {n} test rows of `tasks/general`: the skills it was trained for, on inputs that it has not seen.

| skill | exactly right | n |
|---|---|---|
{skills}

How it does on the other shipped tasks, untuned and tuned, is in `harness/demo/README.md`.

## Limits

* English words of its own corpus only; anything else is spelled out in pieces and hardly understood.
* Prompts beyond 512 tokens were never seen in training; the position limit of 1,024 is only technical.
* It has no knowledge, no safety training and no manners. It repeats and invents names, numbers and codes.
* A new build from the same seed has the same tokenizer and corpus byte for byte. Its weights differ in the last bits between
  processors and versions of torch, and so, a little, do its figures.

## Files

| file | sha256 |
|---|---|
{files}
"""


def write_card(folder: Path, facts: dict[str, int | float], skills: Skills) -> None:
    """Write README.md with the facts of the recipe, the measured skills and the hash of every other file."""
    files = sorted(path for path in folder.iterdir() if path.name != "README.md")
    total = (sum(right for right, _ in skills.values()), sum(n for _, n in skills.values()))
    lines = [f"| {skill} | {right / n:.2f} | {n} |" for skill, (right, n) in {**skills, "**all**": total}.items()]
    hashes = [f"| `{path.name}` | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" for path in files]
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    text = CARD.format(
        **facts, n=total[1], megabytes=megabytes, skills="\n".join(lines), files="\n".join(hashes)
    )
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
