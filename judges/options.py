"""A judge's options as typed values, and the one sentence about what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from harness import registry
from harness.core.errors import HarnessError
from harness.core.judging import LabelKind
from harness.core.protocols import JudgeContext
from harness.core.specs import Spec
from harness.data.display import escape, quote

Options = TypeVar("Options", bound=Spec)


def parse_options(context: JudgeContext, kind: type[Options]) -> Options:
    """The options of a judge, typed; HarnessError E-OPTION that lists every mistake."""
    try:
        return kind.model_validate(dict(context.options))
    except ValidationError as err:
        details = [
            escape(f"{'.'.join(map(str, each['loc'])) or 'options'}: {each['msg'].removeprefix('Value error, ')}", 200)
            for each in err.errors()
        ]
        known = ", ".join(kind.model_fields) or "none"
        raise option_error(
            context, "its options are wrong", fix=f"correct [options]; it knows: {known}", details=details
        ) from err


def named_in_options(context: JudgeContext, kind: registry.Kind, name: str) -> object:
    """The plug-in that an option names; E-UNKNOWN says whose option it is."""
    try:
        return registry.load(kind, name, folder=context.folder)
    except HarnessError as err:
        if err.code != "E-UNKNOWN":
            raise
        raise HarnessError(
            f"judge {quote(context.name)}: {err.what}",
            fix=f"correct [options] in judge.toml of {quote(context.name)}; {err.fix}",
            code=err.code,
        ) from err


def option_error(context: JudgeContext, what: str, *, fix: str, details: Sequence[str] = ()) -> HarnessError:
    """A mistake in one judge's configuration: E-OPTION, its judge.toml named in the way to mend it."""
    return HarnessError(
        f"judge {quote(context.name)}: {what}",
        fix=f"{fix}, in judge.toml of {quote(context.name)}",
        code="E-OPTION",
        details=details,
    )


def require_labels(context: JudgeContext, kind: str, allowed: Sequence[LabelKind]) -> None:
    """E-OPTION unless people's labels are of a kind that this kind of judge can be held against."""
    if context.label_kind not in allowed:
        raise option_error(
            context,
            f"a judge of kind {kind} answers to labels of {' or '.join(allowed)}, not of {context.label_kind}",
            fix=f'set label = "{allowed[0]}", or another kind',
        )
