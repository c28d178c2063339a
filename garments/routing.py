"""Which model answers for a picture that is sent to none in particular."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import quote, unquote

MODELS_HEADER = "Garments-Models"
"""Says which models the service chose from; see `in_header`."""

CATALOGUE_SIDE = 28
"""In pixels, the side of the pictures of Fashion-MNIST."""

_Model = TypeVar("_Model")


def model_for(size: tuple[int, int] | None, small: _Model, photo: _Model) -> _Model:
    """The model for a picture of `size` (width, height), None if that is unknown.

    A picture no larger than 28×28 is one of Fashion-MNIST, or made to look like one: `small`
    answers. Any other is a photo, which `photo` was trained on.
    """
    fits = size is not None and max(size) <= CATALOGUE_SIDE
    return small if fits else photo


def together(models: Iterable[str]) -> str:
    """How models are named that a service chooses from; each is a name@version."""
    return "+".join(sorted(models))


def in_header(together: str) -> str:
    """The same in URL quoting: a header cannot carry every name that a folder can have."""
    return quote(together, safe="@+")


def from_header(value: str) -> str:
    """What `in_header` was given."""
    return unquote(value)
