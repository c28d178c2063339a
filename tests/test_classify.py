"""The path of pictures through the service, where it does not depend on HTTP."""

import itertools

import pytest

from garments.engine import Engine
from garments.preprocess import Limits
from garments.web.classify import classify
from garments.web.problems import Refusal
from garments.web.uploads import Upload


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
