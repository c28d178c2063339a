"""Pictures of one request to the models that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from garments.engine import Engine
from garments.preprocess import BadImage
from garments.preprocess.size import size_of
from garments.routing import in_header, model_for, together
from garments.settings import Settings
from garments.web.classify import Result, classify
from garments.web.models import Models
from garments.web.problems import Refusal
from garments.web.uploads import Upload


class Router:
    """Says which models a request has to choose from."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models

    def default(self) -> Engine:
        """The engine for a photo, or for what cannot be read. Raises Refusal."""
        small, photo = self._settings.model, self._settings.photo_model
        if not self._models.has_folder(photo):
            return self._models.named(small)  # the only one there is
        self._models.require_default()
        try:
            return self._models.named(photo)
        except Refusal as error:
            detail = f"the model {photo} is not loaded; the service's log says why"
            raise Refusal("not_ready", detail) from error

    def choice(self, name: str | None) -> tuple[Engine, ...]:
        """The engines that a picture may go to. Raises Refusal.

        That called `name`; else the one for small pictures, and that for photos if it is another.
        """
        if name is not None:
            return (self._models.named(name),)
        photo, small = self.default(), self._models.named(self._settings.model)
        return (small,) if photo is small else (small, photo)


def engines_for(choice: tuple[Engine, ...], uploads: Sequence[Upload]) -> list[Engine]:
    """The engine of `choice` for each upload."""
    by_name = {engine.card.name: engine for engine in choice}
    if len(by_name) == 1:
        return [*choice] * len(uploads)
    small, photo = by_name
    return [by_name[model_for(_size(upload), small, photo)] for upload in uploads]


@lru_cache(maxsize=8)  # there are few choices, and many requests
def chosen_from(choice: tuple[Engine, ...]) -> str:
    """What an answer says of the models that could have given it."""
    return in_header(together(engine.card.identity for engine in choice))


def classify_each(engines: Sequence[Engine], uploads: Sequence[Upload], **how: Any) -> list[Result]:
    """What `classify` finds for each of `uploads`, by its own engine of `engines`."""
    groups: dict[str, list[int]] = {}
    for place, engine in enumerate(engines):
        groups.setdefault(engine.card.name, []).append(place)
    if len(groups) == 1:
        return classify(engines[0], uploads, **how)
    results: dict[int, Result] = {}
    for places in groups.values():
        some = [uploads[place] for place in places]
        try:
            found = classify(engines[places[0]], some, **how)
        except (BadImage, Refusal) as fault:
            # What is wrong with a picture that is the only one for its model harms no other.
            if isinstance(fault, Refusal) and fault is not some[0].content:
                raise
            found = [fault]
        results.update(zip(places, found, strict=True))
    return [results[place] for place in range(len(uploads))]


def _size(upload: Upload) -> tuple[int, int] | None:
    return None if isinstance(upload.content, Refusal) else size_of(upload.content)
