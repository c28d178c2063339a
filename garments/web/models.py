"""The models that the service answers with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from garments.answering import load_engine
from garments.card import Card, CardError, is_due, is_model_folder, read_model
from garments.engine import Engine, EngineError
from garments.settings import Settings
from garments.web.problems import Refusal

ModelFolders = Mapping[Path, tuple[Card, bytes] | CardError]
"""What each model folder holds, or why it cannot be read."""


def read_folders(settings: Settings, served: ModelFolders | None = None) -> ModelFolders:
    """Read every model folder, and in any case that of the model for small pictures.

    That for photos too where it is due, or is `served` now: photos would go to the wrong model.
    """
    folder = settings.model_dir
    photo = folder / settings.photo_model
    needed = {settings.model}
    if is_due(photo, Settings.photo_model) or isinstance((served or {}).get(photo), tuple):
        needed.add(photo.name)
    found = {path.name for path in folder.glob("*") if is_model_folder(path)}
    # A name that begins with a dot is a folder that training has not finished; the other one is the
    # file system's, and nobody's to enter.
    others = {name for name in found if name.startswith(".")} | {"lost+found"}
    names = found - others | needed
    return {folder / name: _read(folder / name) for name in sorted(names)}


def _read(folder: Path) -> tuple[Card, bytes] | CardError:
    try:
        return read_model(folder)
    except CardError as error:
        return error


class Candidates(NamedTuple):
    """The engines that a request's pictures may go to; the same one twice where there is one."""

    small: Engine
    photo: Engine


class Models:
    """Engines by name; one that could not be loaded and proven is left out."""

    def __init__(self, found: ModelFolders, small: str, photo: str) -> None:
        """Load every model in `found`; without that called `small` none is served.

        `photo` is the one for photos, if it is among them.
        """
        self._engines: dict[str, Engine] = {}
        self._small, self._photo = small, photo
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

    @property
    def engines(self) -> list[Engine]:
        """Every engine that was loaded, sorted by name."""
        return list(self._engines.values())

    def all(self) -> list[Engine]:
        """Every engine, sorted by name. Raises Refusal unless that for small pictures is there."""
        self._require_small()
        return self.engines

    def labels(self) -> list[str]:
        """The classes that nights and people speak of: those of the model for small pictures.

        Raises Refusal.
        """
        return self.named(self._small).card.labels

    def named(self, name: str) -> Engine:
        """The engine called `name`. Raises Refusal."""
        self._require_small()
        try:
            return self._engines[name]
        except KeyError:
            known = ", ".join(self._engines)
            raise Refusal("unknown_model", f"the models are: {known}") from None

    def candidates(self, name: str | None = None) -> Candidates:
        """The engines that a picture may go to: that called `name`, or else those for each size.

        Raises Refusal.
        """
        if name is not None:
            engine = self.named(name)
            return Candidates(engine, engine)
        small = self.named(self._small)
        if self._photo not in self._found:
            return Candidates(small, small)
        photo = self._engines.get(self._photo)
        if photo is None:
            detail = f"the model {self._photo} is not loaded; the service's log says why"
            raise Refusal("not_ready", detail)
        return Candidates(small, photo)

    def _require_small(self) -> None:
        if self._small not in self._engines:
            raise Refusal("not_ready", "the model is not loaded; the service's log says why")
