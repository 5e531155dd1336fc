"""Runs in an environment that has Unsloth, and knows nothing of the harness: `trainers.unsloth` starts it.

Everything is decided by the job it is given: rows, their order, their batches and learning rates. Through a pipe it
says what it has done, a JSON line a step, and behind a checkpoint it waits for a line on its input.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from unsloth import FastLanguageModel

_MOMENTS = ("exp_avg", "exp_avg_sq")


def main(job_file: str, pipe: str) -> None:
    """Train from the step that the job names to its end."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    # What this process starts must not hold the pipe open behind it.
    os.set_inheritable(int(pipe), False)
    said = os.fdopen(int(pipe), "w", encoding="utf-8")
    model = adapted(job)  # type: ignore[no-untyped-call]
    model.train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.0, weight_decay=job["weight_decay"])
    if job["state"]:
        restore(Path(job["state"]), job["done"], parameters, optimizer)
    losses: list[float] = []
    for number, step in enumerate(job["steps"][job["done"] :], start=job["done"] + 1):
        torch.manual_seed((job["seed"] << 32) + number)
        losses.append(train_step(model, step, job))
        torch.nn.utils.clip_grad_norm_(parameters.values(), job["clip"])
        for group in optimizer.param_groups:
            group["lr"] = step["lr"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        line: dict[str, object] = {"step": number, "loss": sum(losses) / len(losses)}
        if number in job["checkpoints"]:
            folder = Path(job["out"]) / str(number)
            model.save_pretrained(folder)
            keep(folder, parameters, optimizer)
            line["folder"] = str(folder)
            losses = []
        said.write(json.dumps(line) + "\n")
        said.flush()
        if "folder" in line and not sys.stdin.readline():
            return


def adapted(job):  # type: ignore[no-untyped-def]
    """Unsloth's model of the same folder, with a fresh adapter."""
    model, _ = FastLanguageModel.from_pretrained(
        model_name=job["model"],
        max_seq_length=job["longest"],
        dtype=getattr(torch, job["dtype"]),
        load_in_4bit=job["load_in_4bit"],
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=job["rank"],
        target_modules=job["targets"],
        lora_alpha=job["alpha"],
        lora_dropout=job["dropout"],
        bias="none",
        use_gradient_checkpointing="unsloth" if job["gradient_checkpointing"] else False,
        random_state=job["seed"],
        use_rslora=job["rslora"],
    )


def train_step(model, step, job) -> float:  # type: ignore[no-untyped-def]
    """The gradient of one optimiser step, and its mean loss over all tokens that are learnt."""
    device = next(model.parameters()).device
    halved = job["dtype"] == "bfloat16"
    total = sum(n for batch in step["batches"] for n in (sum(job["loss"][i]) for i in batch))
    found = 0.0
    for batch in step["batches"]:
        width = max(len(job["ids"][i]) for i in batch)
        ids, mask, labels = (torch.full((len(batch), width), fill) for fill in (0, 0, -100))
        for at, i in enumerate(batch):
            row, counts = torch.tensor(job["ids"][i]), torch.tensor(job["loss"][i])
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
            labels[at, : len(row)] = torch.where(counts, row, -100)
        with torch.autocast(device.type, torch.bfloat16) if halved else nullcontext():
            output = model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device))
        share = output.loss * (int((labels >= 0).sum()) / total)
        share.backward()
        found += float(share.detach())
    return found


def keep(folder, parameters, optimizer) -> None:  # type: ignore[no-untyped-def]
    """What it takes to go on from here."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous().clone()
        for moment in _MOMENTS:
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment].cpu().contiguous().clone()
    save_file(tensors, folder / "training.safetensors")


def restore(folder, step, parameters, optimizer) -> None:  # type: ignore[no-untyped-def]
    """Weights and moments as they were behind a step."""
    tensors = load_file(folder / "training.safetensors")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
