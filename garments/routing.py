"""Which model answers for a picture that is sent to none in particular."""

from __future__ import annotations

CATALOGUE_SIDE = 28
"""In pixels, the side of the pictures of Fashion-MNIST."""


def model_for(size: tuple[int, int] | None, small: str, photo: str) -> str:
    """The name of the model for a picture of `size` (width, height), None if that is unknown.

    A picture no larger than 28×28 is one of Fashion-MNIST, or made to look like one: `small`
    answers. Any other is a photo, which `photo` was trained on.
    """
    fits = size is not None and max(size) <= CATALOGUE_SIDE
    return small if fits else photo
