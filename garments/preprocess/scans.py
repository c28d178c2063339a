"""How many scans libjpeg would decode of a JPEG, told without decoding any of them."""

from __future__ import annotations

import re

_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = 0xD9
# The markers of segments and of the end. Within a scan 0 is stuffed in after a sample of 0xFF, D0
# to D7 are restarts, and libjpeg passes over what is below C0, or dies of it.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
# Between scans stand a few tables; before them a profile or notes, in parts of 64 KiB.
_MOST_SEGMENTS = 10_000


def count_scans(data: bytes, most: int) -> int:
    """The scans up to the end of the first picture, counted no further than one beyond `most`.

    Where that is certain to be within `most`, it may be more than there are. Phones and cameras
    append films, raw samples and further pictures, in which anything may look like a scan.
    ITU-T T.81, annex B, and what libjpeg's jdmarker.c makes of files that break it.
    """
    # Every scan has its marker, so nearly all files need no more than this, which is the fastest.
    if (looking_like_it := data.count(_START_OF_SCAN)) <= most:
        return looking_like_it
    place, count, segments = 2, 0, 0
    while count <= most and (marker := _MARKER.search(data, place)):
        kind = marker[1][0]
        if kind == _END_OF_IMAGE:
            break
        if kind == _START_OF_SCAN[1]:
            count += 1
        else:
            segments += 1
            if segments > _MOST_SEGMENTS:
                return most + 1  # there is no telling in reasonable time
        # The length counts its own two bytes. Where it is less than that nothing else is passed
        # over, and these two are no marker.
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return count
