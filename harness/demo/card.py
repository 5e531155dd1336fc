"""The model card that the build writes into the model folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from harness.demo.measure import Skills

# What the recipe set, by the template's hole.
Facts = Mapping[str, str | int | float]
# Text with {holes} for everything that is measured or set.
TEMPLATE = Path(__file__).with_name("card.md")


def write_card(folder: Path, facts: Facts, skills: Skills) -> None:
    """Write README.md with the facts of the recipe, the measured skills and the hash of every other file."""
    files = sorted(path for path in folder.iterdir() if path.name != "README.md")
    total = (sum(right for right, _ in skills.values()), sum(n for _, n in skills.values()))
    lines = [f"| {skill} | {right / n:.2f} | {n} |" for skill, (right, n) in {**skills, "**all**": total}.items()]
    hashes = [f"| `{path.name}` | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" for path in files]
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    text = TEMPLATE.read_text(encoding="utf-8").format(
        **facts, n=total[1], megabytes=megabytes, skills="\n".join(lines), files="\n".join(hashes)
    )
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
