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
    if engine.card.name != folder.name:
        raise EngineError(f"{folder} holds the model {engine.card.name!r}: give it that name")
    if engine.card.preprocessing not in PREPROCESSING:
        known = ", ".join(PREPROCESSING)
        raise EngineError(
            f"{folder} asks for the preprocessing {engine.card.preprocessing!r}, "
            f"this version knows {known}"
        )
    return engine


class Models:
    """Engines by name; one that could not be loaded and proven is left out and logged."""

    def __init__(self, folder: Path, default: str) -> None:
        """Load every model folder in `folder`; without `default` among them none is served."""
        self._engines: dict[str, Engine] = {}
        self._default = default
        found = {card.parent.name for card in folder.glob(f"*/{CARD_NAME}")}
        # A name that begins with a dot is a folder that training has not finished.
        names = {name for name in found if not name.startswith(".")} | {default}
        for name in sorted(names):
            try:
                self._engines[name] = _load(folder / name)
            except (CardError, EngineError) as error:
                logger.error("the model %s is not served: %s", name, error)

    def all(self) -> list[Engine]:
        """Every engine, sorted by name. Raises Refusal while there is none."""
        if self._default not in self._engines:
            raise Refusal("not_ready", "the model is not loaded; the service's log says why")
        return list(self._engines.values())

    def named(self, name: str) -> Engine:
        """The engine called `name`. Raises Refusal."""
        self.all()
        try:
            return self._engines[name]
        except KeyError:
            known = ", ".join(self._engines)
            raise Refusal("unknown_model", f"the models are: {known}") from None
