"""Which model answers for a picture that is sent to none in particular."""

from __future__ import annotations

from collections.abc import Iterable

MODELS_HEADER = "Garments-Models"
"""Says which models the service chose from, as `together` names them, in URL quoting."""

CATALOGUE_SIDE = 28
"""In pixels, the side of the pictures of Fashion-MNIST."""


def model_for(size: tuple[int, int] | None, small: str, photo: str) -> str:
    """The name of the model for a picture of `size` (width, height), None if that is unknown.

    A picture no larger than 28×28 is one of Fashion-MNIST, or made to look like one: `small`
    answers. Any other is a photo, which `photo` was trained on.
    """
    fits = size is not None and max(size) <= CATALOGUE_SIDE
    return small if fits else photo


def together(models: Iterable[str]) -> str:
    """How models are named that a service chooses from; each is a name@version."""
    return "+".join(sorted(models))
