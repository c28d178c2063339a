"""The models that the service answers with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from garments.answering import load_engine
from garments.card import Card, CardError, is_model_folder, read_model
from garments.engine import Engine, EngineError
from garments.web.problems import Refusal

Found = Mapping[Path, tuple[Card, bytes] | CardError]
"""What each model folder holds, or why it cannot be read."""


def read_folders(folder: Path, default: str) -> Found:
    """Read every model folder in `folder`, and that of the model `default` in any case."""
    found = {path.name for path in folder.glob("*") if is_model_folder(path)}
    # A name that begins with a dot is a folder that training has not finished; the other one is the
    # file system's, and nobody's to enter.
    others = {name for name in found if name.startswith(".")} | {"lost+found"}
    names = found - others | {default}
    return {folder / name: _read(folder / name) for name in sorted(names)}


def _read(folder: Path) -> tuple[Card, bytes] | CardError:
    try:
        return read_model(folder)
    except CardError as error:
        return error


class Models:
    """Engines by name; one that could not be loaded and proven is left out."""

    def __init__(self, found: Found, default: str) -> None:
        """Load every model in `found`; without `default` among them none is served."""
        self._engines: dict[str, Engine] = {}
        self._default = default
        self._found = {folder.name for folder in found}
        self.faults: list[str] = []
        """Why models are left out, in words for whoever runs the service."""
        self.seconds: dict[str, float] = {}
        """How long each model took to load and prove."""
        for folder, model in found.items():
            started = time.perf_counter()
            try:
                if isinstance(model, CardError):
                    raise model
                self._engines[folder.name] = load_engine(folder, model)
            except (CardError, EngineError) as error:
                self.faults.append(f"the model {folder.name} is not served: {error}")
            else:
                self.seconds[folder.name] = time.perf_counter() - started

    def has_folder(self, name: str) -> bool:
        """Whether there is a model folder of that name, be it served or not."""
        return name in self._found

    @property
    def engines(self) -> list[Engine]:
        """Every engine that was loaded, sorted by name."""
        return list(self._engines.values())

    def require_default(self) -> None:
        """Raise Refusal unless the default is loaded: without it none is served."""
        if self._default not in self._engines:
            raise Refusal("not_ready", "the model is not loaded; the service's log says why")

    def all(self) -> list[Engine]:
        """Every engine, sorted by name. Raises Refusal unless the default is among them."""
        self.require_default()
        return self.engines

    def named(self, name: str) -> Engine:
        """The engine called `name`. Raises Refusal."""
        self.require_default()
        try:
            return self._engines[name]
        except KeyError:
            known = ", ".join(self._engines)
            raise Refusal("unknown_model", f"the models are: {known}") from None
