"""Files of which Pillow would make something else than they hold, put right."""

from __future__ import annotations

from PIL import Image, TiffImagePlugin, TiffTags

_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284  # tags of a TIFF
_WHITE_IS_0 = 0
_COLOUR_BY_COLOUR = 2


def prepare(picture: Image.Image) -> None:
    """Make a TIFF ready to be decoded."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    # Pillow would read further directories when it loads, and make something of each value.
    for tag in TiffTags.TAGS_V2_GROUPS:
        picture.getexif().pop(tag, None)
    tags = picture.tag_v2
    if tags.get(_PLANES) == _COLOUR_BY_COLOUR and 16 in tags.get(_BITS, ()):
        # Unless libtiff unpacks them, Pillow would take either byte of a sample for one. What it
        # has no decoder for, CMYK for instance, it then refuses.
        order = "L" if tags.prefix == b"II" else "B"
        picture.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
            if tile.codec_name == "raw" and tile.args
            else tile
            for tile in picture.tile
        ]


def is_negative(picture: Image.Image) -> bool:
    """Whether 0 is white and Pillow leaves that be: in a TIFF of more than eight bits."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return picture.mode.startswith(("I", "F")) and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_0


def make_visible(picture: Image.Image) -> None:
    """Make a BMP opaque that would not be seen at all: what wrote it left that byte at 0."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0):
        picture.putalpha(255)
