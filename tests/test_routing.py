"""Which model answers, in the service and in a night."""

import copy
import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from garments import batch
from garments.batch.answers import updated
from garments.card import read_card
from garments.engine import Engine
from garments.predictions import read_predictions
from garments.preprocess.size import size_of
from garments.routing import from_header, in_header, model_for
from garments.web.batching import TooMuch
from garments.web.deadline import UNTIL
from garments.web.models import Candidates
from garments.web.problems import Refusal
from garments.web.routing import engines_for
from garments.web.uploads import Upload
from tests import fake_service as fake
from tests.conftest import IMAGES, MODEL, PROJECT, serving
from tests.fake_service import fake_service
from tests.hostile import BOOT, chunk, text
from tests.pictures import as_jpeg, encoded
from tests.places import Place
from tests.test_classify import in_the_loop
from tests.test_web import MakeClient, as_json, assert_problem, form

PHOTO = PROJECT / "model" / "photo"


@pytest.fixture
def photo() -> bytes:
    """A catalogue shot of a sneaker, large and in colour."""
    return as_jpeg(np.asarray(Image.open(IMAGES / "image_9_label_7.png")))


@pytest.fixture
def client(both_models: Path, make_client: MakeClient) -> FlaskClient:
    return make_client(model_dir=both_models)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((28, 28), "small"),
        ((1, 28), "small"),
        ((29, 28), "photo"),
        ((28, 29), "photo"),
        ((4000, 3000), "photo"),
        (None, "photo"),
    ],
)
def test_a_picture_of_at_most_28_by_28_is_a_small_one_and_any_other_a_photo(
    size: tuple[int, int] | None, name: str
) -> None:
    assert model_for(size, "small", "photo") == name


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_size_stands_in_the_head_of_a_file(kind: str) -> None:
    assert size_of(encoded(Image.new("RGB", (31, 17)), kind)) == (31, 17)


@pytest.mark.parametrize("data", [b"", b"no picture", BOOT[:20], b"\xff\xd8\xff"])
def test_what_cannot_be_read_has_no_size(data: bytes) -> None:
    assert size_of(data) is None


# The service


def ask(client: FlaskClient, data: bytes, query: str = "") -> dict[str, object]:
    return dict(client.post(f"/predict{query}", data=data, content_type="image/png").json)


def test_the_picture_chooses_the_model(client: FlaskClient, photo: bytes) -> None:
    assert ask(client, BOOT)["model"]["name"] == "fashion-mnist"
    assert ask(client, photo)["model"]["name"] == "photo"


@pytest.mark.parametrize(
    ("query", "chosen"), [("", ["fashion-mnist", "photo"]), ("?model=photo", ["photo"])]
)
def test_an_answer_tells_from_which_models_the_service_chose(
    query: str, chosen: list[str], client: FlaskClient
) -> None:
    answer = client.post(f"/predict{query}", data=BOOT, content_type="image/png")
    cards = (read_card(folder) for folder in (MODEL, PHOTO))
    told = {card.name: f"{card.name}@{card.version}" for card in cards}
    assert answer.headers["Garments-Models"] == "+".join(told[name] for name in chosen)


@pytest.mark.parametrize("name", ["fashion-mnist", "photo"])
def test_a_request_may_name_the_model(name: str, client: FlaskClient, photo: bytes) -> None:
    for picture in (BOOT, photo):
        assert ask(client, picture, f"?model={name}")["model"]["name"] == name


def test_pictures_of_one_request_go_each_to_its_own_model(
    client: FlaskClient, photo: bytes
) -> None:
    sent = [(("image"), data, str(n)) for n, data in enumerate([BOOT, photo, BOOT, photo])]
    body = client.post("/predict", **form(*sent)).json
    assert body["model"]["name"] == "fashion-mnist"
    named = [entry.get("model", {}).get("name") for entry in body["predictions"]]
    assert named == [None, "photo", None, "photo"]
    assert [entry["filename"] for entry in body["predictions"]] == list("0123")
    alone = [ask(client, data)["predictions"][0] for data in (BOOT, photo)]
    for entry, expected in zip(body["predictions"], alone * 2, strict=True):
        assert entry["prediction"] == expected["prediction"]
        assert entry["confidence"] == pytest.approx(expected["confidence"], abs=1e-3)


def test_the_model_of_an_answer_is_that_of_the_first_picture_that_has_one(
    client: FlaskClient, photo: bytes
) -> None:
    body = client.post("/predict", **as_json(text(b"no picture"), text(BOOT), text(photo))).json
    assert body["model"]["name"] == "fashion-mnist"
    named = [entry.get("model", {}).get("name") for entry in body["predictions"]]
    assert named == [None, None, "photo"]


@pytest.mark.parametrize("bad", [b"no picture", None])
def test_a_bad_picture_harms_no_other_whichever_model_it_is_for(
    bad: bytes | None, client: FlaskClient
) -> None:
    sent = [text(BOOT), "no base64!" if bad is None else text(bad), text(BOOT)]
    entries = client.post("/predict", **as_json(*sent)).json["predictions"]
    assert ["error" in entry for entry in entries] == [False, True, False]
    assert_problem(
        client.post("/predict", **as_json(sent[1])),
        400 if bad is None else 415,
        *["malformed_base64" if bad is None else "unsupported_type"],
    )


def test_a_request_for_two_models_whose_time_is_up_is_refused_as_a_whole(
    client: FlaskClient, photo: bytes
) -> None:
    too_late = {UNTIL: time.monotonic() - 1}
    sent = as_json(text(BOOT), text(photo))
    assert_problem(client.post("/predict", **sent, environ_overrides=too_late), 503, "out_of_time")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pictures whose size is asked for; each gets that of a photo."""
    asked: list[bytes] = []

    def measure(data: bytes) -> tuple[int, int]:
        asked.append(data)
        return 4000, 3000

    monkeypatch.setattr("garments.web.routing.size_of", measure)
    return asked


@pytest.mark.parametrize("path", ["/predict", "/process_batch"])
def test_of_a_request_whose_time_is_up_no_picture_is_measured(
    path: str, client: FlaskClient, photo: bytes, measured: list[bytes]
) -> None:
    too_late = {UNTIL: time.monotonic() - 1}
    sent = as_json(*[text(photo)] * 3)
    assert_problem(client.post(path, **sent, environ_overrides=too_late), 503, "out_of_time")
    assert measured == []


def test_a_request_whose_time_is_up_is_given_up_between_two_pictures_to_measure(
    engine: Engine, measured: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1)  # a second more for each picture
    monkeypatch.setattr("garments.web.routing.time.monotonic", lambda: next(clock))
    with pytest.raises(Refusal) as refused:
        engines_for(Candidates(engine, copy.copy(engine)), [Upload(None, BOOT)] * 5, until=3)
    assert refused.value.code == "out_of_time"
    assert len(measured) == 3


PNG = 8  # bytes that each PNG begins with


@pytest.mark.parametrize(
    "picture",
    [BOOT[:PNG] + chunk(b"tEXt", b"k\0v") + BOOT[PNG:], encoded(Image.new("L", (28, 28)), "GIF")],
    ids=["a PNG that begins with a text", "another format"],
)
def test_where_others_wait_no_picture_is_opened_to_be_measured(
    picture: bytes, engine: Engine, measured: list[bytes]
) -> None:
    both, uploads = Candidates(engine, copy.copy(engine)), [Upload(None, picture)]
    with pytest.raises(TooMuch):
        in_the_loop(lambda: engines_for(both, uploads))
    in_the_loop(lambda: engines_for(both, [Upload(None, BOOT)]))  # whose head tells all
    assert measured == [BOOT]
    assert engines_for(both, uploads) == [both.photo]


def test_the_older_interface_chooses_too(client: FlaskClient, photo: bytes) -> None:
    found = client.post("/process_batch", **as_json(text(BOOT), text(photo))).json["predictions"]
    assert found == [ask(client, data)["predictions"][0]["prediction"] for data in (BOOT, photo)]


def test_a_service_without_a_model_for_photos_answers_with_the_one_that_it_has(
    make_client: MakeClient, photo: bytes
) -> None:
    assert ask(make_client(), photo)["model"]["name"] == "fashion-mnist"


@pytest.mark.parametrize("there", [{"card.json": "{}"}, {"model.onnx": ""}, {"model.keras": ""}])
def test_a_service_whose_model_for_photos_is_damaged_is_not_ready(
    there: dict[str, str], tmp_path: Path, photo: bytes, make_client: MakeClient
) -> None:
    (tmp_path / MODEL.name).symlink_to(MODEL)
    (tmp_path / "photo").mkdir()
    for name, content in there.items():
        (tmp_path / "photo" / name).write_text(content)
    client = make_client(model_dir=tmp_path)
    assert_problem(client.get("/ready"), 503, "not_ready")
    assert client.get("/v2/health/ready").status_code == 503
    told = client.post("/predict", data=photo, content_type="image/jpeg")
    assert "model photo is not loaded" in assert_problem(told, 503, "not_ready")


@pytest.mark.parametrize(
    ("left", "called"),
    [
        (lambda folder: (folder / "photo").symlink_to("gone"), "photo"),
        (lambda folder: (folder / "photo").mkdir(), "photo"),
        (lambda folder: (folder / ".photo.old").symlink_to(PHOTO), "photo"),
        (lambda folder: (folder / "photo").symlink_to(PHOTO), "phot"),
    ],
    ids=["link", "no disk", "killed training", "wrong name"],
)
def test_a_service_whose_model_for_photos_is_away_is_not_ready(
    left: Callable[[Path], object],
    called: str,
    tmp_path: Path,
    photo: bytes,
    make_client: MakeClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / MODEL.name).symlink_to(MODEL)
    left(tmp_path)
    client = make_client(model_dir=tmp_path, photo_model=called)
    assert_problem(client.get("/ready"), 503, "not_ready")
    told = client.post("/predict", data=photo, content_type="image/jpeg")
    assert f"model {called} is not loaded" in assert_problem(told, 503, "not_ready")
    assert f"the model {called} is not served: " in caplog.text


# A night


PHOTO_MODEL = {"name": "photo", "version": "0123456789ab"}


def identity(model: dict[str, str]) -> str:
    return f"{model['name']}@{model['version']}"


def answer_by_both(
    handler: fake.Handler, pictures: list[bytes], photos: bool = True, **headers: str
) -> None:
    """Answer with the model for photos for what begins with p, if there are `photos`."""
    entry = {"prediction": 1, "label": "Trouser", "confidence": 0.9, "decision": "accept"}
    rows: list[dict[str, object]] = [
        {"filename": str(place), **entry, "top": []} for place in range(len(pictures))
    ]
    for row, picture in zip(rows, pictures, strict=True):
        if photos and picture.startswith(b"p"):
            row["model"] = PHOTO_MODEL
    fake.send_json(handler, {"model": fake.MODEL, "predictions": rows}, **headers)


def golden(handler: fake.Handler, pictures: list[bytes]) -> None:
    """Answer the pictures that test the service, which are of different sizes."""
    if size_of(pictures[0]) == (28, 28):
        fake.answer_golden(handler, pictures)
    else:
        fake.answer_golden(handler, pictures, read_card(PHOTO), PHOTO_MODEL)


@pytest.fixture
def night(place: Place) -> Callable[[], batch.Counts]:
    """A night over two pictures, on a service that says it serves what is asked for first."""
    place.add("a.png", "p.jpg")

    def run() -> batch.Counts:
        models = (fake.MODEL, PHOTO_MODEL)
        with fake_service(otherwise=answer_by_both, golden=golden, models=models) as service:
            return place.night(service)

    return run


def models(place: Place) -> list[str]:
    return [row.model for row in read_predictions(place.output, 10)]


def test_every_row_tells_which_model_answered(
    night: Callable[[], batch.Counts], place: Place
) -> None:
    for posted in (2, 0):
        assert night().posted == posted
        assert models(place) == [identity(fake.MODEL), "photo@0123456789ab"]


def test_a_night_on_the_model_for_photos_alone_tests_it_once(place: Place) -> None:
    asked = []

    def once(handler: fake.Handler, pictures: list[bytes]) -> None:
        asked.append(len(pictures))
        golden(handler, pictures)

    with fake_service(golden=once, models=(PHOTO_MODEL,)) as service:
        place.night(service, model="photo")
    assert asked == [1]


def test_no_night_goes_to_a_service_that_lacks_the_model_for_photos(place: Place) -> None:
    place.add("a.png")
    told = pytest.raises(batch.ServiceError, match="does not serve the model 'photo'")
    with fake_service(models=(fake.MODEL,)) as service, told:
        place.night(service)
    assert not place.output.exists()


def test_but_where_neither_has_one_or_another_is_named(place: Place, models: Path) -> None:
    place.add("a.png")
    with fake_service(models=(fake.MODEL,)) as service:
        assert place.night(service, model_dir=models).posted == 1
        settings = replace(place.settings, service_url=service.url)
        assert batch.run(place.photos, place.output, settings, model=MODEL.name).found == 1


@pytest.mark.parametrize("changed", [PHOTO_MODEL, fake.MODEL])
def test_another_version_of_either_model_is_asked_again(
    changed: dict[str, str],
    night: Callable[[], batch.Counts],
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    night()
    monkeypatch.setitem(changed, "version", "f" * 12)
    assert night().posted == 2
    assert models(place).count(f"{changed['name']}@{'f' * 12}") == 1


def test_what_was_answered_while_the_model_for_photos_was_missing_is_asked_again(
    place: Place,
) -> None:
    small, both = identity(fake.MODEL), f"{identity(fake.MODEL)}+{identity(PHOTO_MODEL)}"
    place.add(*(f"p{number}.jpg" for number in range(4)))
    whole = partial(answer_by_both, Garments_Models=both)
    with fake_service(
        [whole, partial(answer_by_both, photos=False, Garments_Models=small)],
        otherwise=whole,
        golden=golden,
        models=(fake.MODEL, PHOTO_MODEL),
    ) as service:
        place.night(service, batch_size=1, connections=1)
        assert sum(service.requests) == 5
    assert models(place) == [identity(PHOTO_MODEL)] * 4


@pytest.fixture
def real(place: Place, photo: bytes) -> Place:
    """A place with a picture for each model."""
    (place.photos / "a.png").write_bytes(BOOT)
    (place.photos / "b.jpg").write_bytes(photo)
    return place


def names(place: Place) -> list[str]:
    return [one.partition("@")[0] for one in models(place)]


def test_a_night_may_name_the_model(both_models: Path, real: Place) -> None:
    found = []
    with serving(GARMENTS_MODEL_DIR=str(both_models)) as (url, _):
        settings = replace(real.settings, service_url=url, model_dir=both_models)
        for name in (None, "photo", "fashion-mnist", None):
            counts = batch.run(real.photos, real.output, settings, model=name)
            found.append((counts.posted, names(real)))
    assert found == [
        (2, ["fashion-mnist", "photo"]),
        (2, ["photo", "photo"]),
        (2, ["fashion-mnist", "fashion-mnist"]),
        (0, ["fashion-mnist", "photo"]),
    ]


def test_a_model_for_photos_may_take_pictures_of_any_size(real: Place, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for name in ("first", "second"):
        shutil.copytree(MODEL, folder / name)
        replace(read_card(MODEL), name=name).write(folder / name)
    named = {"model_dir": folder, "model": "first", "photo_model": "second"}
    told = {f"GARMENTS_{name.upper()}": str(value) for name, value in named.items()}
    with serving(**told) as (url, _):
        settings = replace(real.settings, service_url=url, **named)
        assert batch.run(real.photos, real.output, settings).posted == 2
    assert names(real) == ["first", "second"]


def test_the_models_of_a_service_are_named_together_in_one_order() -> None:
    assert updated("b@1+a@2", "a@2") == "a@2+b@1"
    assert updated("a@1+b@2", "a@3") == "a@3+b@2"


def test_a_header_carries_the_name_of_any_folder() -> None:
    named = "a@1+mäntel, 100 %@2"
    assert in_header(named).isascii()
    assert "," not in in_header(named)
    assert from_header(in_header(named)) == named
    assert in_header("a-b@1+c_d@2") == "a-b@1+c_d@2"
