"""A few seconds of what `make fuzz` does for hours, on inputs that every run makes alike."""

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz, hostile

EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "repeat"]), st.binary(max_size=8)),
    min_size=1,
    max_size=6,
)
BRIEFLY = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def edited(seed: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """The seed with bytes set, cut out or repeated at places from 0, its start, to 1, its end."""
    data = bytearray(seed)
    for share, kind, content in edits:
        place = int(share * len(data))
        if kind == "set":
            data[place : place + len(content)] = content
        elif kind == "cut":
            del data[place : place + 8 * len(content)]
        else:
            data[place:place] = data[place : place + 64] * len(content)
    return bytes(data)


SMALL = sorted((data for data in hostile.own().values() if len(data) < 50_000), key=len)


@pytest.mark.filterwarnings("ignore")
@BRIEFLY
@given(st.sampled_from(SMALL), EDITS)
def test_the_decoder_reads_or_refuses_whatever_it_is_given(
    seed: bytes, edits: list[tuple[float, str, bytes]]
) -> None:
    fuzz.check_picture(edited(seed, edits))


@pytest.fixture(scope="module")
def narrow() -> FlaskClient:
    return fuzz.make_client()


@pytest.mark.filterwarnings("ignore")
@BRIEFLY
@given(st.sampled_from(fuzz.request_seeds()), EDITS)
def test_the_service_answers_or_refuses_whatever_it_is_sent(
    narrow: FlaskClient, seed: bytes, edits: list[tuple[float, str, bytes]]
) -> None:
    data = edited(seed, edits)
    if len(data) > 2:
        fuzz.check_request(narrow, data)
