"""What stands under `backend.options` of a hosted model, and which of it decides what the model answers."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from harness.core.errors import HarnessError
from harness.core.specs import BackendSpec, Spec
from harness.data.display import escape

# What every body has already, from the request alone.
_OWN_KEYS = frozenset(
    {"model", "messages", "prompt", "stream", "n", "stop", "seed", "temperature", "top_p", "logprobs"}
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


class RemoteOptions(Spec):
    """Settings of `backend=openai`."""

    api_key_env: str | None = Field(None, description="variable with the key; OPENAI_API_KEY if there is one")
    tokenizer: str | None = Field(
        None, description="demo, or a folder with the served model's tokenizer: prompts are sent as its token ids"
    )
    context_length: int | None = Field(
        None, ge=1, description="most tokens of prompt and answer; bytes where there is no tokenizer"
    )
    max_concurrency: int = Field(16, ge=1, le=1024, description="most requests at a time; the server may lower it")
    max_calls: int | None = Field(None, ge=1, description="stop after so many calls of one start, resumable")
    max_tokens: int | None = Field(None, ge=1, description="the same for tokens, prompts and answers together")
    timeout_s: float = Field(120, gt=0, le=3600, description="for a whole answer")
    connect_timeout_s: float = Field(10, gt=0, le=600)
    retries: int = Field(8, ge=0, le=100, description="of one request")
    backoff_s: float = Field(0.5, gt=0, le=60, description="first wait before a retry; doubled up to ten times as long")
    max_tokens_name: Literal["auto", "max_tokens", "max_completion_tokens"] = Field(
        "auto", description="what the server calls its limit"
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="further fields of every request, such as reasoning_effort"
    )
    adapters: dict[str, str] = Field(
        default_factory=dict, description="checkpoint -> the name under which the server has it"
    )
    n_samples: int = Field(16, ge=1, le=1000, description="replies from which a label's probability is counted")
    deterministic: bool | None = Field(
        None, description="whether greedy answers repeat themselves; left out: found out by asking twice"
    )

    @field_validator("api_key_env")
    @classmethod
    def _is_a_variable(cls, name: str | None) -> str | None:
        # The message must not repeat what was typed: it may be the key itself.
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("name a variable of the environment, never the key itself")
        return name

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_request_alone(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        clash = sorted(_OWN_KEYS & extra.keys())
        if clash:
            raise ValueError(f"{', '.join(clash)} come from the request itself")
        return extra

    @property
    def deciding(self) -> dict[str, JsonValue]:
        """What can change an answer or a label score, unless it is as it was made."""
        found = self.model_dump(mode="json", include={"extra_body", "adapters", "deterministic"}, exclude_defaults=True)
        return {**found, "n_samples": self.n_samples}


def options_of(options: BackendSpec) -> RemoteOptions:
    """The typed settings; E-OPTION that lists every mistake, E-SECRET for a key among them."""
    if inline := sorted(name for name in options.options if "key" in name.lower() and name != "api_key_env"):
        raise HarnessError(
            f"backend.options.{escape(inline[0])} looks like a key, which would be written to the run's folder",
            fix="export OPENAI_API_KEY=..., or name another variable in backend.options.api_key_env",
            code="E-SECRET",
        )
    try:
        return RemoteOptions.model_validate(options.options)
    except ValidationError as err:
        raise HarnessError(
            "the options of backend=openai are wrong",
            fix=f"correct backend.options; it knows: {', '.join(RemoteOptions.model_fields)}",
            code="E-OPTION",
            details=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors(include_input=False)],
        ) from None
