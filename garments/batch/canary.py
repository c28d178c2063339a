"""A picture whose answer is known, sent before all others."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

from PIL import Image

from garments.batch.client import Client
from garments.batch.errors import ServiceError
from garments.card import Card, is_due
from garments.routing import model_for
from garments.settings import Settings

# Kernels differ in the last digits between machines; a wrong model differs in the first.
_TOLERANCE = 0.01


def has_photo_model(served: Collection[str], settings: Settings) -> bool:
    """Whether the model for photos is among those that are `served`.

    Raises ServiceError where the models that the client has say that it should be.
    """
    name = settings.photo_model
    if served and name not in served and is_due(settings.model_dir / name, Settings.photo_model):
        raise ServiceError(
            f"the service does not serve the model {name!r}, which this night is set up for: have "
            "both use the same model folders and GARMENTS_PHOTO_MODEL, and restart the service"
        )
    return name in served


def ask_each(client: Client, cards: Iterable[Card], settings: Settings) -> Iterator[str]:
    """`_ask` for each of the models that `client` may be answered by; raises what it raises."""
    for card in cards:
        size = card.width, card.height
        if card.name == model_for(size, settings.model, settings.photo_model):
            yield _ask(client, card)
        else:  # a picture of that size is for another model, unless this one is named
            with closing(Client(settings, card.name)) as naming:
                yield _ask(naming, card)


def _ask(client: Client, card: Card) -> str:
    """Send the golden picture of `card` and return the name@version of what answered.

    A model of another version must give the same class, and one of the same version the same
    confidence. Raises ServiceError where it does not, and what `Client.classify` raises.
    """
    (answer,) = client.classify([_picture(card)])
    if "error" in answer:
        raise _wrong(f"it answers with {answer['error']['detail']!r}")
    identity = str(answer["model"])
    name = identity.partition("@")[0]
    if name != card.name:
        raise ServiceError(
            f"the service answers with the model {name!r}, but this night is set up for "
            f"{card.name!r}: set GARMENTS_MODEL and GARMENTS_PHOTO_MODEL alike for both"
        )
    confidence = max(card.golden_probabilities)
    expected = card.golden_probabilities.index(confidence)
    if answer["prediction"] != expected:
        raise _wrong(f"it takes a picture of {card.labels[expected]!r} for {answer['label']!r}")
    strayed = abs(answer["confidence"] - confidence)
    if identity == card.identity and strayed > _TOLERANCE:
        raise _wrong(f"its confidence is off by {strayed:.2g}")
    return identity


def _wrong(reason: str) -> ServiceError:
    return ServiceError(
        f"the service gives a wrong answer to the picture that tests it ({reason}): see its "
        "log and its limits, and restart it; nothing was posted"
    )


def _picture(card: Card) -> bytes:
    """The golden input as a file; the service takes a picture of that size as it is."""
    mode = {1: "L", 3: "RGB"}[card.channels]
    pixels = base64.b64decode(card.golden_input)
    file = io.BytesIO()
    Image.frombytes(mode, (card.width, card.height), pixels).save(file, "PNG")
    return file.getvalue()
