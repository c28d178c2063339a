"""The path of pictures through the service, where it does not depend on HTTP."""

import asyncio
import itertools
import struct
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from garments.engine import Answer, Engine
from garments.preprocess import Limits
from garments.web.access_log import RequestRecord
from garments.web.batching import Group, TooMuch
from garments.web.classify import classify
from garments.web.problems import Refusal
from garments.web.uploads import Upload
from tests import hostile
from tests.pictures import encoded


def test_a_request_whose_time_is_up_is_given_up_between_two_pictures(
    engine: Engine, boot: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1)  # a second more for each picture
    monkeypatch.setattr("garments.web.classify.time.monotonic", lambda: next(clock))
    uploads = [Upload(None, boot)] * 5
    assert len(classify(engine, uploads, limits=Limits(), until=5)) == 5
    clock = itertools.count(1)
    with pytest.raises(Refusal) as refused:
        classify(engine, uploads, limits=Limits(), until=3)
    assert refused.value.code == "out_of_time"
    assert next(clock) == 5  # nothing was done for the fifth


def in_the_loop(work: Callable[[], Any]) -> Any:
    """What becomes of work that is done where others wait for it."""

    async def inside() -> Any:
        record = RequestRecord("", "", "", None)
        return await Group(1, 10, lambda: None).work(lambda _: work(), {}, record)

    return asyncio.run(inside())


PACKED = {b"zTXt": b"k\0\0x", b"iTXt": b"k\0\1\0\0\0x", b"iCCP": b"k\0\0x"}
HEAD = hostile.chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 1, 0, 0, 0, 0))


@pytest.mark.parametrize(
    "pictures",
    [
        [encoded(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True)],
        [encoded(Image.new("1", (5000, 5000)), "PNG")],
        [encoded(Image.new("L", (28, 28)), "GIF")],
        [hostile.png(28, 28, HEAD)],
        *([hostile.png(28, 28, hostile.chunk(*part))] for part in PACKED.items()),
        [encoded(Image.new("L", (60, 60)), "PNG")] * 20,
        [hostile.BOOT] * 60,
    ],
    ids=[
        "WebP",
        "PNG",
        "another format",
        "two heads",
        "packed text",
        "packed Unicode",
        "packed profile",
        "together",
        "many",
    ],
)
def test_what_may_be_much_work_is_not_done_where_others_wait(
    pictures: list[bytes], engine: Engine
) -> None:
    uploads = [Upload(None, picture) for picture in pictures]
    with pytest.raises(TooMuch):
        in_the_loop(lambda: classify(engine, uploads, limits=Limits()))


def test_two_dozen_small_pictures_are_little_work(engine: Engine, boot: bytes) -> None:
    uploads = [*[Upload(None, boot)] * 24, Upload(None, Refusal("malformed_base64", "no picture"))]
    results = in_the_loop(lambda: classify(engine, uploads, limits=Limits()))
    assert [isinstance(result, Answer) for result in results] == [True] * 24 + [False]


def test_in_a_thread_of_its_own_no_work_is_too_much(engine: Engine) -> None:
    many = [Upload(None, encoded(Image.new("1", (3000, 3000)), "PNG"))] * 2
    assert len(classify(engine, many, limits=Limits())) == 2
