"""Where the code of a published metric comes from: a script, the local cache of `evaluate`, or the Hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.data.display import escape, quote
from harness.metrics.context import MetricContext, option_error

if TYPE_CHECKING:
    from evaluate import EvaluationModule

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TIMEOUT_S = 5.0


def load(context: MetricContext, where: str) -> EvaluationModule:
    """A script by its path, else a name: from the local cache first, from the Hub only if it is not there."""
    import evaluate

    path = context.folder / where
    if path.is_file() or (path / f"{path.name}.py").is_file():
        return _loaded(context, where, lambda: evaluate.load(str(path.resolve()), keep_in_memory=True))
    if not _HUB_NAME.fullmatch(where) or where.endswith(".py"):
        raise option_error(context, f"there is no metric script at {quote(where)}", fix="correct the path")
    try:
        with _offline():
            return _loaded(context, where, lambda: evaluate.load(where, keep_in_memory=True))
    except FileNotFoundError:
        _check_hub(context.name, where)
    try:
        return _loaded(context, where, lambda: evaluate.load(where, keep_in_memory=True))
    except FileNotFoundError as err:
        raise HarnessError(
            f"there is no metric {where!r} on the Hub", fix="check its spelling at https://huggingface.co", code="E-HUB"
        ) from err


def _loaded(context: MetricContext, where: str, loading: Callable[[], EvaluationModule]) -> EvaluationModule:
    """What `loading` loads; HarnessError where the script needs a package or cannot be read."""
    try:
        return loading()
    except FileNotFoundError:
        raise
    except ImportError as err:
        raise HarnessError(
            f"metric {context.name!r} needs a package that is not installed: {escape(str(err), 200)}",
            fix="install it with pip",
            code="E-METRIC",
        ) from err
    except Exception as err:
        raise HarnessError(
            f"metric {context.name!r} cannot be loaded: {type(err).__name__}: {escape(str(err), 300)}",
            fix="correct the script, or choose another metric",
            code="E-METRIC",
        ) from err


@contextmanager
def _offline() -> Iterator[None]:
    """`evaluate` without the network: its one switch, a module's constant, is put back afterwards."""
    from evaluate import config

    before = config.HF_EVALUATE_OFFLINE
    config.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        config.HF_EVALUATE_OFFLINE = before


def _check_hub(name: str, where: str) -> None:
    """HarnessError E-OFFLINE, within seconds, where the Hub cannot be reached or must not be."""
    from evaluate import config
    from huggingface_hub import constants, get_session

    try:
        if constants.HF_HUB_OFFLINE or config.HF_EVALUATE_OFFLINE:
            raise OSError("HF_HUB_OFFLINE or HF_EVALUATE_OFFLINE is set")
        get_session().head(constants.ENDPOINT, timeout=_TIMEOUT_S)
    except Exception as err:
        raise HarnessError(
            f"metric {name!r} is not in the local cache, and the Hub cannot be reached",
            fix=f"on a machine with network: python -c \"import evaluate; evaluate.load('{where}')\";"
            " or name the path of its script",
            code="E-OFFLINE",
            details=(escape(str(err) or type(err).__name__, 200),),
        ) from err
