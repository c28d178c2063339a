import os
import re
from pathlib import Path

import numpy as np
import pytest

from garments import accuracy, report
from garments.dataset import LABELS
from garments.predictions import Row, TableError, write_predictions


def row(name: str, prediction: int | None, decision: str = "accept") -> Row:
    return Row(name, "" if prediction is None else str(prediction), decision=decision)


ROWS = [
    row("a_label_0.png", 0),
    row("b_label_0.png", 6, "review"),
    row("c_label_6.png", 6),
    row("d_label_9.png", 7),
    row("e_label_9.png", None, "unreadable"),
]


def test_labels_are_read_out_of_the_names() -> None:
    found = accuracy.labels_in_names(ROWS, 10)
    assert list(found.values()) == [(0,), (0,), (6,), (9,), (9,)]
    assert accuracy.labels_in_names([row("sub/image_3_label_7.JPG", 0)], 10) == {
        "sub/image_3_label_7.JPG": (7,)
    }


@pytest.mark.parametrize("name", ["x.png", "label_3.png", "x_label_10.png", "x_label_.png"])
def test_a_name_without_a_label_is_told(name: str) -> None:
    with pytest.raises(TableError, match="does not tell its label.*--labels"):
        accuracy.labels_in_names([row(name, 0)], 10)


def test_scores_count_an_unreadable_file_as_wrong() -> None:
    scores = accuracy.compare(ROWS, accuracy.labels_in_names(ROWS, 10), 10)
    assert (scores.count, scores.accuracy) == (5, pytest.approx(2 / 5))
    assert scores.accepted_share == pytest.approx(3 / 5)
    assert scores.accepted_accuracy == pytest.approx(2 / 3)
    assert scores.recall[0] == pytest.approx(1 / 2)
    assert scores.precision[6] == pytest.approx(1 / 2)
    assert scores.recall[9] == 0
    assert scores.support == [2, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert scores.confusion[0][6] == scores.confusion[9][7] == 1


def test_the_count_of_a_class_is_a_whole_number_where_no_answer_is_right_too() -> None:
    scores = accuracy.compare([row("a.png", 7)], {"a.png": (3,)}, 10)
    assert re.search(r"^Dress .* 1$", report.as_text(scores, LABELS), flags=re.MULTILINE)


def test_answers_of_people_count_and_are_told() -> None:
    truth = accuracy.labels_in_names(ROWS, 10)
    assert accuracy.beside(ROWS, truth) == ""
    rows = [*ROWS, row("f_label_3.png", 3, "reviewed"), row("g_label_4.png", None, "reviewed")]
    truth = accuracy.labels_in_names(rows, 10)
    assert accuracy.beside(rows, truth) == "reviewed  2 of 7 are people's answers"
    scores = accuracy.compare(rows, truth, 10)
    assert (scores.right, scores.accepted) == (3, 3)


def test_of_several_right_classes_any_is_right_and_the_first_is_the_true_one_else() -> None:
    rows = [row("a.png", 2), row("b.png", 0), row("c.png", 4), row("d.png", None, "unreadable")]
    scores = accuracy.compare(rows, {r.filename: (2, 0) for r in rows}, 10)
    assert (scores.count, scores.right) == (4, 2)
    assert (scores.support[2], scores.support[0]) == (3, 1)
    assert (scores.confusion[2][2], scores.confusion[0][0], scores.confusion[2][4]) == (1, 1, 1)


STRANGERS = [
    row("n1.png", 3),
    row("n2.png", 3, "review"),
    row("n3.png", None, "unreadable"),
    row("n4.png", 3, "reviewed"),
    row("n5.png", None, "reviewed"),
]


def test_a_photo_of_none_of_the_ten_is_told_of_apart() -> None:
    truth = accuracy.labels_in_names(ROWS, 10) | {r.filename: () for r in STRANGERS}
    rows = [*ROWS, *STRANGERS]
    assert accuracy.compare(rows, truth, 10) == accuracy.compare(ROWS, truth, 10)
    assert accuracy.beside(rows, truth).splitlines() == [
        "reviewed  2 of 10 are people's answers",
        "photos of none of the ten: 5, of which accepted as a class: 2",
    ]


def test_photos_of_none_of_the_ten_alone_have_no_accuracy() -> None:
    truth = {r.filename: () for r in STRANGERS}
    with pytest.raises(TableError, match="no accuracy; photos of none of the ten: 5, of which"):
        accuracy.compare(STRANGERS, truth, 10)


def test_a_file_without_a_label_is_told() -> None:
    with pytest.raises(TableError, match=r"1 of 5 files have no label, the first is 'a_label_0"):
        accuracy.compare(ROWS, {r.filename: (0,) for r in ROWS[1:]}, 10)


def test_labels_come_as_numbers_or_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("filename,label\na.png,9\nb.png,ankle BOOT\nc.png, T-shirt/top \n")
    assert accuracy.read_labels(path, LABELS) == {"a.png": (9,), "b.png": (9,), "c.png": (0,)}


def test_a_label_may_be_several_classes_or_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "filename,label\na.png,2;0\nb.png,ankle boot; Sneaker;9\nc.png,none of these\nd.png,None\n"
    )
    assert accuracy.read_labels(path, LABELS) == {
        "a.png": (2, 0),
        "b.png": (9, 7),
        "c.png": (),
        "d.png": (),
    }


def test_labels_may_be_the_return_slips(tmp_path: Path) -> None:
    path = tmp_path / "returns.csv"
    path.write_text("order,filename,expected\n1,./=a.png,9\n2,b.png,ankleboot\n")
    assert accuracy.read_labels(path, LABELS) == {"=a.png": (9,), "b.png": (9,)}
    path.write_text("filename,expected,label\na.png,9,1\n")
    assert accuracy.read_labels(path, LABELS) == {"a.png": (1,)}
    table = "filename,prediction,confidence,decision,model,expected,error"
    path.write_text(f"{table}\na.png,9,0.9,accept,m@1,Ankle boot,\n")  # as all were answered
    assert accuracy.read_labels(path, LABELS) == {"a.png": (9,)}
    path.write_text("filename,class\na.png,9\n")
    with pytest.raises(TableError, match="line 1: there is no column expected or label; .*must"):
        accuracy.read_labels(path, LABELS)


def test_predictions_are_taken_for_labels_only_where_some_are_corrected(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    answers = [Row(f"{n}.png", str(n), LABELS[n], decision="accept") for n in (3, 4)]
    write_predictions(answers, path)
    with pytest.raises(TableError, match="is a table of predictions: .*name a CSV of filename,lab"):
        accuracy.read_labels(path, LABELS)
    path.write_text(path.read_text().replace("Coat", "Shirt"))
    assert accuracy.read_labels(path, LABELS) == {"3.png": (3,), "4.png": (6,)}
    write_predictions([answer._replace(decision="reviewed") for answer in answers], path)
    assert accuracy.read_labels(path, LABELS) == {"3.png": (3,), "4.png": (4,)}


def test_labels_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    with open(reading), open(writing, "w") as file:
        print("filename,label,decision", "a.png,9,accept", sep="\n", file=file)
        file.close()
        labels = accuracy.read_labels(Path(f"/dev/fd/{reading}"), LABELS)
    assert labels == {"a.png": (9,)}


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("Hat", "'Hat' is no class: .*none of these; several are joined by ;"),
        ("0;Hat", "'Hat' is no class"),
        ("0;", "'' is no class"),
        ("", "'' is no class"),
        ("3;none", "'3;none' is at once a class and none of them"),
    ],
)
def test_an_unknown_label_is_refused_by_line(label: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"filename,label\na.png,9\nb.png,{label}\n")
    with pytest.raises(TableError, match=rf"labels\.csv, line 3: {told}"):
        accuracy.read_labels(path, LABELS)


@pytest.mark.parametrize("name", [" a\u0301.png", "\u00e1.png  ", "\u00e1.png"])
def test_a_label_is_of_the_only_file_whose_name_is_alike(name: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"filename,expected\n{name},9\nb.png,3\n", encoding="utf-8")
    rows = [row("a\u0301.png", 9), row("b.png", 3)]
    truth = accuracy.truth_of(rows, tmp_path / "l.csv", LABELS)
    assert [truth[r.filename] for r in rows] == [(9,), (3,)]


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (["a\u0301.png", "\u00e1.png"], "\u00e1.png ,9"),
        (["\u00e1.png"], "\u00e1.png ,9\na\u0301.png,3"),
    ],
)
def test_but_of_none_where_several_are(files: list[str], lines: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"filename,expected\n{lines}\n", encoding="utf-8")
    truth = accuracy.truth_of([row(name, 9) for name in files], tmp_path / "l.csv", LABELS)
    assert not truth.keys() & set(files)


def test_the_label_of_the_very_name_stays_the_files(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("filename,expected\n a.png,3\na.png,9\n")
    truth = accuracy.truth_of([row("a.png", 9)], tmp_path / "l.csv", LABELS)
    assert truth["a.png"] == (9,)


def test_two_models_are_compared_file_by_file() -> None:
    truth = {f"{number}.png": (3,) for number in range(20)}
    better = [row(name, 3) for name in truth]
    worse = [row(name, 3 if number < 10 else 4) for number, name in enumerate(truth)]
    text = accuracy.against(better, worse[::-1], {**truth, "of-no-interest.png": (1,)})
    assert "right where the other is wrong  10\n" in text
    assert "wrong where the other is right  0\n" in text
    assert "p = 0.002 " in text


def test_what_people_answered_in_either_table_is_no_answer_of_a_model() -> None:
    truth = {f"{number}.png": (3,) for number in range(20)}
    ours = [row(name, 3, "reviewed" if name == "0.png" else "accept") for name in truth]
    theirs = [row(name, 4, "accept") for name in truth]
    theirs[10:] = [row(f"{number}.png", 3, "reviewed") for number in range(10, 20)]
    for some, others, better in ((ours, theirs, "right"), (theirs, ours, "wrong")):
        text = accuracy.against(some, others, truth)
        assert "answered by people, left out    11\n" in text
        (told,) = (line for line in text.splitlines() if line.startswith(f"{better} where"))
        assert told.endswith("  9")
    assert "left out" not in accuracy.against(theirs[:9], theirs[:9], truth)
    with pytest.raises(
        TableError, match="none of the 10 files is left to compare: people answered for 10"
    ):
        accuracy.against(theirs[10:], theirs[10:], truth)


def test_models_are_compared_by_any_right_class_and_not_by_photos_of_none() -> None:
    truth = {"a.png": (5, 7), "b.png": (), "c.png": (5, 7)}
    ours = [row("a.png", 7), row("b.png", 7), row("c.png", 5)]
    theirs = [row("a.png", 5), row("b.png", 9, "review"), row("c.png", 9)]
    text = accuracy.against(ours, theirs, truth)
    assert "of none of the ten, left out    1\n" in text
    assert "right where the other is wrong  1\n" in text
    assert "wrong where the other is right  0\n" in text
    with pytest.raises(TableError, match="none of the 1 files is left to compare"):
        accuracy.against(ours[1:2], theirs[1:2], truth)


def test_models_that_saw_other_files_are_not_compared() -> None:
    with pytest.raises(TableError, match=r"1 files are only in one .* 'b.png'"):
        accuracy.against([row("a.png", 1)], [row("a.png", 1), row("b.png", 1)], {"a.png": (1,)})


def test_the_text_has_the_figures_and_the_matrix() -> None:
    scores = accuracy.compare(ROWS, accuracy.labels_in_names(ROWS, 10), 10)
    lines = report.as_text(scores, LABELS).splitlines()
    assert lines[0] == "accuracy  40.00%  (2 of 5)"
    assert lines[1] == "accepted  60.00%  (3 of 5), of which 66.67% right"
    boots = next(line for line in lines if line.startswith("9 Ankle boot"))
    assert boots.split()[3:] == ["0", "0", "0", "0", "0", "0", "0", "1", "0", "0"]


def test_the_text_has_a_dash_for_what_there_is_nothing_to_tell_of() -> None:
    scores = accuracy.compare(ROWS, accuracy.labels_in_names(ROWS, 10), 10)
    lines = report.as_text(scores, LABELS).splitlines()[4:14]
    cells = {label: line.split()[-4:] for label, line in zip(LABELS, lines, strict=True)}
    assert len({len(line) for line in lines}) == 1
    assert cells["T-shirt/top"] == ["100.0%", "50.0%", "66.7%", "2"]
    assert cells["Trouser"] == ["–", "–", "–", "0"]  # neither there nor answered
    assert cells["Sneaker"] == ["0.0%", "–", "–", "0"]  # answered, and always wrongly
    assert cells["Ankle boot"] == ["–", "0.0%", "0.0%", "2"]  # there, and never answered


def test_nothing_accepted_has_no_accuracy_of_the_accepted() -> None:
    scores = report.score(np.array([1]), np.array([1]), np.array([False]), 10)
    assert scores.accepted_accuracy is None
    assert "accepted  0.00%  (0 of 1)" in report.as_text(scores, LABELS).splitlines()


def test_a_plot_is_drawn_where_a_link_leads(tmp_path: Path) -> None:
    scores = accuracy.compare(ROWS, accuracy.labels_in_names(ROWS, 10), 10)
    (tmp_path / "link.png").symlink_to("real.png")
    accuracy.draw(scores, LABELS, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_size > 10_000


def test_no_file_takes_the_place_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def noted(*arguments: object) -> None:
        places.append(arguments[2])
        raise OSError("for root would else replace the device")

    monkeypatch.setattr(accuracy, "plot_confusion", noted)
    scores = accuracy.compare(ROWS, accuracy.labels_in_names(ROWS, 10), 10)
    with pytest.raises(ValueError, match="plot /dev/null cannot be written: for root would"):
        accuracy.draw(scores, LABELS, Path("/dev/null"))
    assert places == [Path("/dev/null")]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    expected = (4 * abs(0.95 - 0.75) + 2 * abs(0.55 - 0.5)) / 6
    assert report.expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert report.expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
