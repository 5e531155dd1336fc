"""Settings of the fake backend, typed as all others are."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from harness.backends.fake import backend
from harness.core.errors import HarnessError
from harness.core.specs import BackendSpec, ModelSpec


def made(options: dict[str, JsonValue]) -> int:
    spec = BackendSpec(name="fake", options=options)
    backend.identify(ModelSpec(name="fake"), spec)
    return backend.create(ModelSpec(name="fake"), spec, thinking=False).context_length


@pytest.mark.parametrize(
    ("options", "said"),
    [({"limit": "abc"}, "limit"), ({"limit": 0}, "limit"), ({"fail": {"x": 2}}, "fail.x"), ({"limt": 9}, "limt")],
)
def test_wrong_and_unknown_options_are_refused(options: dict[str, JsonValue], said: str) -> None:
    with pytest.raises(HarnessError) as caught:
        made(options)
    assert caught.value.code == "E-OPTION"
    assert caught.value.details[0].startswith(said)
    assert "it knows: fail, limit" in caught.value.fix


def test_options_are_taken() -> None:
    assert made({"limit": 50}) == 50
