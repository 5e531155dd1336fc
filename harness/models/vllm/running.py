"""Which engine is running, and with which adapters: one at a time, started when needed and kept as long as it can be.

An engine is started anew only for another model's folder, or for adapters that it has no room for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.models.vllm.adapters import Adapter, room_for
from harness.models.vllm.engine import Engine, EngineSettings, LoraRoom

# Slots of an engine that has to hold any adapter: the first question is often about one, and more follow.
_FEWEST, _MOST = 4, 8


class Running:
    """The engine of the base, or that of a fully tuned model.

    base: what the base's engine is started with, but for its room for adapters. most: adapters side by side.
    """

    def __init__(self, base: EngineSettings, most: int | None, start: Callable[[EngineSettings], Engine]) -> None:
        self._base = base
        self.most = most or _MOST
        self._fewest = min(self.most, _FEWEST)
        self._start = start
        self._engine: Engine | None = None
        self._on: set[int] = set()

    @property
    def folder(self) -> Path | None:
        """The model of the engine that is running."""
        return None if self._engine is None or self._engine.closed else self._engine.settings.folder

    def base(self, adapters: Sequence[Adapter] = ()) -> Engine:
        """The engine of the base with these adapters, of which there may be `most`; nothing may be under way in it.

        Others leave where there would be too many: one slot of vLLM's own is always empty.
        """
        engine = self._of(replace(self._base, lora=self._room(adapters)))
        wanted = {adapter.number for adapter in adapters}
        lora = engine.settings.lora
        if lora is not None and len(self._on | wanted) > lora.adapters:
            engine.forget(self._on - wanted)
            self._on &= wanted
        self._on |= wanted
        return engine

    def of(self, folder: Path) -> Engine:
        """The engine of a fully tuned model."""
        return self._of(replace(self._base, folder=folder))

    def close(self) -> None:
        """End the engine."""
        engine, self._engine, self._on = self._engine, None, set()
        if engine is not None:
            engine.close()

    def _of(self, settings: EngineSettings) -> Engine:
        if self._engine is not None and not self._engine.closed and _serves(self._engine.settings, settings):
            return self._engine
        self.close()
        self._engine = self._start(settings)
        return self._engine

    def _room(self, adapters: Sequence[Adapter]) -> LoraRoom | None:
        """For these adapters; no less than the engine has that is running."""
        if not adapters:
            return None
        had = self._engine.settings.lora if self._engine is not None else None
        ranks = [room_for(adapter.rank) for adapter in adapters]
        n = max(len(adapters), self._fewest)
        return LoraRoom(n, max(ranks)) if had is None else LoraRoom(max(n, had.adapters), max(*ranks, had.rank))


def _serves(has: EngineSettings, wanted: EngineSettings) -> bool:
    """Whether an engine can do what another would be started for."""
    if replace(has, lora=None) != replace(wanted, lora=None):
        return False
    if wanted.lora is None:
        return True
    return has.lora is not None and has.lora.adapters >= wanted.lora.adapters and has.lora.rank >= wanted.lora.rank
