"""The models that the service answers with."""

from __future__ import annotations

import logging
from pathlib import Path

from garments.card import CARD_NAME, CardError
from garments.engine import Engine, EngineError
from garments.preprocess import PREPROCESSING
from garments.web.problems import Refusal

logger = logging.getLogger(__name__)


def _load(folder: Path) -> Engine:
    engine = Engine(folder)
    if engine.card.preprocessing not in PREPROCESSING:
        known = ", ".join(PREPROCESSING)
        raise EngineError(
            f"{folder} asks for the preprocessing {engine.card.preprocessing!r}, "
            f"this version knows {known}"
        )
    return engine


class Models:
    """Engines by name; empty when one of them could not be loaded and proven."""

    def __init__(self, folder: Path, default: str) -> None:
        """Load every model folder in `folder`, of which one must be called `default`."""
        self._engines: dict[str, Engine] = {}
        names = {card.parent.name for card in folder.glob(f"*/{CARD_NAME}")} | {default}
        try:
            self._engines = {name: _load(folder / name) for name in sorted(names)}
        except (CardError, EngineError) as error:
            logger.error("not ready: %s", error)

    def all(self) -> list[Engine]:
        """Every engine, sorted by name. Raises Refusal while there is none."""
        if not self._engines:
            raise Refusal("not_ready", "no model is loaded; the service's log says why")
        return list(self._engines.values())

    def named(self, name: str) -> Engine:
        """The engine called `name`. Raises Refusal."""
        known = ", ".join(engine.card.name for engine in self.all())
        try:
            return self._engines[name]
        except KeyError:
            raise Refusal("unknown_model", f"the models are: {known}") from None
