"""How well the model does what it was pretrained to do: exact answers on held-out rows, by skill."""

from collections import defaultdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.demo.tasks import rows

BATCH = 40
MAX_TOKENS = 64
# Per skill: how many answers were exactly right, of how many.
Skills = dict[str, tuple[int, int]]


def measure(folder: Path) -> Skills:
    """Zero-shot greedy answers of the model in the folder to the test rows of the `general` task."""
    test = [row for split, row in rows("general") if split == "test"]
    answers = answer(folder, [row["prompt"] for row in test])
    by_skill: defaultdict[str, list[bool]] = defaultdict(list)
    for row, given in zip(test, answers, strict=True):
        by_skill[row["skill"]].append(given == row["answer"])
    return {skill: (sum(right), len(right)) for skill, right in sorted(by_skill.items())}


def answer(folder: Path, prompts: list[str]) -> list[str]:
    """The model's greedy answer to each prompt as the only user turn, in 32-bit floats."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        for text in prompts
    ]
    by_length = sorted(range(len(chats)), key=lambda i: len(chats[i]))
    answers = [""] * len(chats)
    for start in range(0, len(by_length), BATCH):
        part = by_length[start : start + BATCH]
        inputs = tokenizer([chats[i] for i in part], padding=True, return_tensors="pt")
        with torch.inference_mode():
            outputs = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        texts = tokenizer.batch_decode(outputs[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(part, texts, strict=True):
            answers[i] = text
    return answers
