"""The scripts as a person runs them; batch_request.py and app.py have files of their own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes

import model_accuracy
from garments import dataset, generated
from garments.dataset import Dataset
from garments.training_request import BACKENDS, FOR_CATALOGUE, FOR_PHOTOS
from tests.conftest import IMAGES, PROJECT, hundred, script, telling_nobody

Accuracy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    "name",
    ["app.py", "batch_request.py", "generate_image.py", "model_accuracy.py", "train_model.py"],
)
def test_a_script_explains_itself(name: str) -> None:
    done = script(name, "--help")
    assert done.returncode == 0
    assert "usage:" in done.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("batch_request.py", "in the place of another table's"),
        ("generate_image.py", "--output OUTPUT folder; default: images"),
        ("model_accuracy.py", "--plot PLOT default: confusion_matrix.png"),
    ],
)
def test_what_a_script_writes_is_told_by_its_help(name: str, told: str) -> None:
    assert told in " ".join(script(name, "--help").stdout.split())


def test_images_are_generated_from_a_csv(test_set: Dataset, tmp_path: Path) -> None:
    dataset.write_csv(test_set.take(range(5)), tmp_path / "five.csv")
    done = script("generate_image.py", "--csv", tmp_path / "five.csv", "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, f"5 pictures are in {tmp_path / 'out'}\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"image_{row}_label_{test_set.labels[row]}.png" for row in range(5)
    ]


def test_generating_for_a_reader_that_is_gone_ends_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(f"{','.join(dataset.HEADER)}\n9{',0' * 784}\n")
    command = [sys.executable, "-u", "generate_image.py", "--csv", tmp_path / "one.csv"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--output", tmp_path], cwd=PROJECT, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == -signal.SIGPIPE
    assert (tmp_path / "image_0_label_9.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_all_pictures_are_written_though_it_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(f"{','.join(dataset.HEADER)}\n9{',0' * 784}\n")
    arguments = ("--csv", tmp_path / "one.csv", "--output", tmp_path)
    code, told = telling_nobody("generate_image", *arguments)
    assert code == 1
    assert told.splitlines()[-1].startswith("all pictures are written; [Errno 28]")
    assert "Traceback" not in told
    assert (tmp_path / "image_0_label_9.png").exists()


def test_the_hundred_pictures_are_what_the_command_makes(test_set: Dataset, tmp_path: Path) -> None:
    (tmp_path / "Data").mkdir()
    done = script("generate_image.py", "--per-class", "10", cwd=tmp_path)
    assert done.returncode == 0
    made = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert made == sorted(path.name for path in hundred())
    for name in made:
        assert (tmp_path / "images" / name).read_bytes() == (IMAGES / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--csv", "app.py"], "app.py, line 1: the header must be label"),
        (["--csv", "none.csv"], "none.csv cannot be read"),
        (["--csv", "Data", "--limit", "1"], "Data cannot be read: Is a directory"),
        (["--limit", "x"], "invalid int value"),
        (["--output", ""], "argument --output: it is empty: name a place, or leave it out"),
        (["--csv", ""], "argument --csv: it is empty: name a place, or leave it out"),
    ],
)
def test_generating_refuses_what_it_cannot_use(arguments: list[str], told: str) -> None:
    done = script("generate_image.py", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_generating_that_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from garments import generated\n"
        "def write_images(*_): raise KeyboardInterrupt\n"
        "generated.write_images = write_images\n"
    )
    header = ",".join(["label", *(f"pixel{n}" for n in range(1, 785))])
    (tmp_path / "one.csv").write_text(f"{header}\n{'0,' * 784}0\n")
    paths = f"{tmp_path}:{PROJECT}"
    done = script("generate_image.py", "--csv", "one.csv", cwd=tmp_path, PYTHONPATH=paths)
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted: the same command writes all pictures anew\n")
    assert "Traceback" not in done.stderr


@pytest.fixture
def ten_right(tmp_path: Path) -> Path:
    """A table of a picture of each class, all right."""
    lines = ["filename,prediction,label,confidence,decision,model,expected,error"]
    lines += [f"image_{n}_label_{n}.png,{n},x,0.9,accept,m@1,," for n in range(10)]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    return tmp_path / "p.csv"


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Accuracy:
    """Run model_accuracy.py as `script` does, but in this process, which has its packages."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command, code = ["model_accuracy.py", *map(str, arguments)], 0
        monkeypatch.setattr("sys.argv", command)
        try:
            model_accuracy.main()
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(command, code, *capsys.readouterr())

    return run


def test_accuracy_is_told_with_table_and_plot(ten_right: Path, tmp_path: Path) -> None:
    done = script("model_accuracy.py", ten_right, "--plot", tmp_path / "matrix.png")
    assert done.returncode == 0
    assert done.stdout.startswith("accuracy  100.00%  (10 of 10)\naccepted  100.00%")
    assert (tmp_path / "matrix.png").stat().st_size > 10_000


def test_a_folder_of_photos_is_judged_by_labels_of_several_classes_or_none(
    accuracy: Accuracy, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text(
        "filename,prediction,label,confidence,decision,model,expected,error\n"
        "hat.jpg,8,Bag,0.95,accept,m@1,,\n"
        "hood.jpg,4,Coat,0.97,accept,m@1,,\n"
        "ring.jpg,5,Sandal,0.3,review,m@1,,\n"
        "top.jpg,6,Shirt,0.5,review,m@1,,\n"
    )
    (tmp_path / "labels.csv").write_text(
        "filename,expected\n"
        "hat.jpg,none of these\nring.jpg,none\nhood.jpg,2;4\ntop.jpg,T-shirt/top\n"
    )
    given = (tmp_path / "p.csv", "--labels", tmp_path / "labels.csv")
    done = accuracy(*given, "--plot", tmp_path / "matrix.png")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "photos of none of the ten: 2, of which accepted as a class: 1\n"
        "accuracy  50.00%  (1 of 2)\n"
        "accepted  50.00%  (1 of 2), of which 100.00% right\n"
    )


def test_the_plot_says_what_the_text_says_whatever_has_no_class(
    accuracy: Accuracy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["filename,prediction,label,confidence,decision,model,expected,error"]
    lines += [f"image_{n}_label_{n}.png,{n},x,0.9,accept,m@1,," for n in range(8)]
    lines += ["image_8_label_8.png,,,,unreadable,,,damaged"]
    lines += ["image_9_label_9.png,,none of these,,reviewed,m@1,,"]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    titles = []
    monkeypatch.setattr(Axes, "set_title", lambda _, title: titles.append(title))
    done = accuracy(tmp_path / "p.csv", "--plot", tmp_path / "m.png")
    assert "accuracy  80.00%  (8 of 10)\n" in done.stdout
    assert titles == ["8 of 10 right"]


def test_accuracy_is_told_against_that_of_another_table(
    ten_right: Path, accuracy: Accuracy, tmp_path: Path
) -> None:
    worse = ten_right.read_text().replace("label_0.png,0", "label_0.png,6")
    (tmp_path / "other.csv").write_text(worse)
    others = tmp_path / "other.csv"
    done = accuracy(ten_right, "--against", others, "--plot", tmp_path / "m.png")
    told = "right where the other is wrong  1\nwrong where the other is right  0\n"
    assert told in done.stdout


def test_accuracy_is_told_wherever_only_ascii_can_be(tmp_path: Path) -> None:
    lines = ["filename,prediction,label,confidence,decision,model,expected,error"]
    lines += ["image_0_label_0.png,0,x,0.9,accept,m@1,,"]  # of the other classes there is no file
    (tmp_path / "p.csv").write_text("\n".join(lines))
    command = ("model_accuracy.py", tmp_path / "p.csv", "--plot", tmp_path / "matrix.png")
    done = script(*command, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "true class (rows), predicted class (columns)" in done.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: there is no column"),
        ("filename,prediction,label,confidence,decision,model,expected,error\n", "has no rows"),
        (
            "filename,prediction,label,confidence,decision,model,expected,error\na.png,1,x,1,accept,m,,\n",
            "'a.png' does not tell its label",
        ),
    ],
)
def test_accuracy_refuses_what_it_cannot_score(
    text: str, told: str, accuracy: Accuracy, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text(text)
    done = accuracy(tmp_path / "p.csv", "--plot", tmp_path / "matrix.png")
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "matrix.png").exists()


def test_accuracy_that_nobody_reads_to_the_end_ends_without_a_word(
    ten_right: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", "model_accuracy.py", ten_right, "--plot", tmp_path / "m.png"]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == -signal.SIGPIPE


def test_accuracy_that_cannot_be_drawn_is_told_all_the_same(
    ten_right: Path, accuracy: Accuracy, tmp_path: Path
) -> None:
    done = accuracy(ten_right, "--plot", tmp_path / "none" / "m.png")
    assert done.stdout.startswith("accuracy  100.00%  (10 of 10)")
    assert "is drawn in" not in done.stdout
    assert done.returncode == 2
    told = f"the plot {tmp_path}/none/m.png cannot be written: No such file or directory"
    assert f"{told}; name another place with --plot" in done.stderr


@pytest.mark.parametrize("way", ["the very name", "a link"])
def test_accuracy_is_not_drawn_over_what_it_is_read_from(
    way: str, ten_right: Path, accuracy: Accuracy, tmp_path: Path
) -> None:
    table = ten_right.rename(tmp_path / "table").read_text()
    (tmp_path / "link.png").symlink_to("table")
    plot = tmp_path / ("table" if way == "the very name" else "link.png")
    done = accuracy(tmp_path / "table", "--plot", plot)
    assert done.returncode == 2
    assert "would be written over: name another place with --plot" in done.stderr
    assert (tmp_path / "table").read_text() == table


def test_a_plot_for_which_there_is_no_room_leaves_the_one_that_was_there(
    ten_right: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.png").write_bytes(b"before")
    command = f"ulimit -f 8; exec '{sys.executable}' model_accuracy.py {ten_right} --plot"
    done = subprocess.run(
        ["bash", "-c", f"{command} {tmp_path}/m.png"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "m.png cannot be written: File too large; name another place" in done.stderr
    assert (tmp_path / "m.png").read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"m.png", "p.csv"}


def test_accuracy_refuses_a_place_that_is_not_named(ten_right: Path, accuracy: Accuracy) -> None:
    done = accuracy(ten_right, "--plot", "")
    assert done.returncode == 2
    assert "argument --plot: it is empty: name a place, or leave it out" in done.stderr


@pytest.mark.parametrize("name", ["generate_image.py", "model_accuracy.py"])
@pytest.mark.parametrize("package", ["numpy", "pandas"])
def test_a_script_that_is_interrupted_while_its_packages_load_says_so(
    package: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / f"{package}.py").write_text("raise KeyboardInterrupt")
    done = script(name, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{PROJECT}")
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_accuracy_that_cannot_be_told_is_no_fault_of_the_table(ten_right: Path) -> None:
    code, told = telling_nobody("model_accuracy", ten_right, "--plot", ten_right.with_name("m.png"))
    assert code == 1
    assert told == "the answer cannot be told: [Errno 28] No space left on device\n"


@pytest.fixture
def without_keras(tmp_path: Path) -> dict[str, str]:
    """The environment of a script for which Keras is not installed."""
    (tmp_path / "keras.py").write_text("raise ModuleNotFoundError('no keras', name='keras')")
    return {"PYTHONPATH": str(tmp_path)}


def test_training_explains_itself_where_only_what_serves_is_installed(
    without_keras: dict[str, str],
) -> None:
    done = script("train_model.py", "--help", **without_keras)
    assert done.returncode == 0
    listed = done.stdout.partition("\noptions:\n")[2]
    for name in (*FOR_CATALOGUE, *FOR_PHOTOS, *BACKENDS):
        assert name in listed
    flags = listed.replace("\n" + 24 * " ", " " * 24).splitlines()
    assert len(flags) == 9
    assert all(len(flag) > 24 for flag in flags), "a flag is not explained"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--name", ""], "'' is no name for a folder"),
        (["--name", ".."], "'..' is no name for a folder"),
        (["--name", "a/b"], "'a/b' is no name for a folder"),
        (["--epochs", "0", "--name", "x"], "0 epochs: train for at least 1"),
        (["--architecture", "transformer"], "invalid choice: 'transformer'"),
        (["--architecture", "transformer"], "efficientnet-lite0"),
        (["--backend", "jax"], "invalid choice: 'jax' (choose from"),
        (["--backend", "jax"], "tensorflow"),
        (["--seed", "7", "--seed", "7", "--name", "x"], "a seed is given twice"),
        (["--seed", "-1", "--name", "x"], "the seed -1 is not from 0"),
        (["--architecture", "efficientnet-lite0"], "give some with --photos"),
        (["--photos", "d", "--architecture", "residual"], "residual is not for photos"),
        (["--photos", "d", "--teachers", "t"], "leave out --teachers"),
        (["--photos", "d", "--seeds", "0", "1"], "for each fold: give one"),
        (["--photos", "images", ""], "argument --photos: it is empty: name a place"),
        (["--teachers", ""], "argument --teachers: it is empty: name a place"),
        (["--photos", "images", "d"], "d is no folder: docs/training.md tells"),
    ],
)
def test_training_refuses_what_it_cannot_do_before_keras_is_loaded(
    arguments: list[str], told: str, without_keras: dict[str, str]
) -> None:
    done = script("train_model.py", *arguments, **without_keras)
    assert done.returncode == 2
    assert told in done.stderr
    assert "not installed" not in done.stderr


def test_training_with_a_setting_that_cannot_be_used_says_so_before_keras_is_loaded(
    without_keras: dict[str, str],
) -> None:
    done = script("train_model.py", "--quick", GARMENTS_PORT="x", **without_keras)
    assert done.returncode == 2
    assert "GARMENTS_PORT" in done.stderr


@pytest.mark.parametrize("backend", ["jax", "torch", "foo"])
def test_training_with_keras_on_what_cannot_export_says_so_before_keras_is_loaded(
    backend: str, without_keras: dict[str, str]
) -> None:
    done = script("train_model.py", "--quick", KERAS_BACKEND=backend, **without_keras)
    assert done.returncode == 2
    assert f"KERAS_BACKEND is '{backend}'" in done.stderr
    assert "unset it; --backend says what trains" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--quick"], "make .venv/.everything installs what training needs"),
        (["--quick", "--backend", "torch"], "make torch installs all"),
        (["--photos", "images"], "make torch installs all"),
    ],
)
def test_training_without_its_packages_says_what_installs_them(
    arguments: list[str], told: str, without_keras: dict[str, str]
) -> None:
    done = script("train_model.py", *arguments, **without_keras)
    assert done.returncode == 2
    assert f"keras is not installed: {told}" in done.stderr
    assert ".venv/bin/python train_model.py runs with it" in done.stderr


@pytest.fixture
def already_trained(tmp_path: Path) -> dict[str, str]:
    """The environment of a script for which training is done at once, and tells its scores."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "command = sys.modules['garments.training.command'] = types.ModuleType('command')\n"
        "command.carry_out = lambda *_, **__: '91–93 % right'\n"
    )
    return {"PYTHONPATH": f"{tmp_path}:{PROJECT}"}


def test_training_tells_its_scores_in_whatever_encoding_the_terminal_has(
    already_trained: dict[str, str],
) -> None:
    done = script("train_model.py", PYTHONIOENCODING="iso-8859-1", **already_trained)
    assert (done.returncode, done.stdout) == (0, "91?93 % right\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_scores_that_cannot_be_printed_are_no_reason_to_train_again(
    unbuffered: str, already_trained: dict[str, str]
) -> None:
    environment = {**os.environ, **already_trained, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, PROJECT / "train_model.py"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("the model is in place, and its scores on its card; [Errno 28]")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_interrupted_training_says_that_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import garments.training.command as command\n"
        "def train(*args, **choices): raise KeyboardInterrupt\n"
        "command.train = train\n"
    )
    paths = f"{tmp_path}:{PROJECT}"
    done = script("train_model.py", "--name", "x", cwd=tmp_path, PYTHONPATH=paths)
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted: the same command goes on after the last epoch\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["numpy", "tensorflow"])
def test_a_training_that_is_interrupted_while_its_packages_load_says_so(
    package: str, tmp_path: Path
) -> None:
    (tmp_path / f"{package}.py").write_text("raise KeyboardInterrupt")
    paths = f"{tmp_path}:{PROJECT}"
    done = script("train_model.py", "--quick", cwd=tmp_path, PYTHONPATH=paths)
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted: the same command goes on after the last epoch\n")
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.figures
def test_the_whole_loop_reaches_the_cards_accuracy(
    service: str, models: Path, test_set: Dataset, tmp_path: Path
) -> None:
    """All 10,000 test pictures as files, through HTTP into the table, and scored."""
    generated.write_images(test_set, range(len(test_set)), tmp_path / "images")
    table = tmp_path / "predictions.csv"
    done = script(
        *("batch_request.py", tmp_path / "images", "--output", table, "--url", service),
        GARMENTS_DATABASE_URL=f"sqlite:///{tmp_path}/predictions.db",
        GARMENTS_MODEL_DIR=str(models),
    )
    assert done.returncode == 0, done.stderr
    print(f"\n{done.stderr.splitlines()[-1]}")
    done = script("model_accuracy.py", table, "--plot", tmp_path / "matrix.png")
    assert done.returncode == 0, done.stderr
    print("\n".join(done.stdout.splitlines()[:2]))
    assert float(done.stdout.split()[1].rstrip("%")) >= 93
    shutil.rmtree(tmp_path / "images")
