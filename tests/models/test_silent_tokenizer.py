"""A model folder's own settings do not change what its tokens say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from harness.models.tokenizer import load_tokenizer

TEXT = "x != y , do n't , really ?"


@pytest.mark.parametrize("name", ["llama3", "llama2", "gpt2"])
def test_folders_that_ask_for_tidy_blanks_are_not_obeyed(zoo: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(zoo[name], tmp_path / "tidy"))
    file = folder / "tokenizer_config.json"
    tidy = dict.fromkeys(
        ("clean_up_tokenization_spaces", "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"),
        True,
    )
    file.write_text(json.dumps({**json.loads(file.read_text()), **tidy}))
    theirs = AutoTokenizer.from_pretrained(folder)
    ids = theirs.encode(TEXT, add_special_tokens=False)
    assert theirs.decode(ids) != TEXT
    assert load_tokenizer(folder, None, thinking=False).decode(ids, skip_special=False) == TEXT
