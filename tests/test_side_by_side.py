"""Networks are fitted in processes of their own, which end with the one that waits for them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from garments.dataset import LABELS, Dataset
from garments.settings import PROJECT
from garments.training import photo_fit
from garments.training.batches import Rows
from garments.training.kinds import kinds_of
from garments.training.learner import Floats, Pictures
from garments.training.photo_fit import PhotoFit
from garments.training.photos import read_photos
from garments.training.recipe import RECIPES, Recipe
from garments.training.shown import Photos
from garments.training.side_by_side import side_by_side
from tests.conftest import until
from tests.pictures import take
from tests.works import SOON, tell

torch = pytest.importorskip("torch", reason="torch is not installed: make torch")


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_works_are_done_at_once_each_on_its_share_and_what_fails_is_left_to_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    both = get_context("spawn").Barrier(2)
    side_by_side([partial(tell, tmp_path, number, both) for number in (1, 2)], share=2)
    told = [(tmp_path / str(number)).read_text().split() for number in (1, 2)]
    assert len({os.getpid(), *(int(pid) for pid, _ in told)}) == 3
    assert {int(threads) for _, threads in told} == {max(1, torch.get_num_threads() // 2)}
    assert sorted(record.getMessage() for record in caplog.records) == ["work 1", "work 2"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_waits(ends: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import signal; from functools import partial; from pathlib import Path\n"
        "from garments.training.side_by_side import side_by_side\n"
        "from tests.works import wait\n"
        "if __name__ == '__main__':\n"
        # What a shell starts in the background is deaf to Ctrl-C, and so are its children.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    work = partial(wait, Path(__import__('sys').argv[1]))\n"
        "    side_by_side([work, work], share=2)\n"
    )
    (tmp_path / "program.py").write_text(program)
    (folder := tmp_path / "begun").mkdir()
    command = [sys.executable, str(tmp_path / "program.py"), str(folder)]
    paths = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        command, env=paths, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            until(lambda: len(os.listdir(folder)) == 2, SOON)
            if ends == signal.SIGINT:  # as from a terminal, to all of them
                os.killpg(process.pid, ends)
            else:
                process.send_signal(ends)
            _, errors = process.communicate(timeout=SOON)
        finally:
            process.kill()
    until(lambda: not any(is_alive(int(name)) for name in os.listdir(folder)), SOON)
    assert errors.count("Traceback") == (ends == signal.SIGINT)


@pytest.fixture
def weights_in(sample: Dataset, tmp_path: Path) -> Callable[[str], list[Floats]]:
    """Fit two networks to photos, with their states in a folder of that name: their mean."""
    for number in range(12):
        take(tmp_path / "photos" / LABELS[3 if number % 2 else 8] / f"{number}.png")
    photos = read_photos([tmp_path / "photos"])

    def fitted(folder: str) -> list[Floats]:
        how = PhotoFit(
            architecture="reference",
            recipe=replace(RECIPES["reference"], epochs=2, averaged=2),
            seed=0,
            backend="torch",
            data_directory=tmp_path / folder,
            kinds=kinds_of(photos),
            catalogue=sample,
            shots=10,
            size=(28, 28),
        )
        return how.fitted(photos)[0].get_weights()

    return fitted


@pytest.mark.long
def test_networks_fitted_side_by_side_are_as_if_fitted_one_after_the_other(
    weights_in: Callable[[str], list[Floats]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fitted(*, beside: bool) -> list[Floats]:
        monkeypatch.setattr(photo_fit, "pays", lambda: beside)
        return weights_in(f"beside {beside}")

    caplog.set_level(logging.INFO)
    apart = fitted(beside=True)
    trained_in = {entry.processName for entry in caplog.records if "epoch 2" in entry.getMessage()}
    assert len(trained_in - {"MainProcess"}) == 2
    caplog.clear()
    for one, other in zip(apart, fitted(beside=False), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert {entry.processName for entry in caplog.records} == {"MainProcess"}
    caplog.clear()
    again = fitted(beside=True)
    assert not [entry for entry in caplog.records if "SpawnProcess" in str(entry.processName)]
    assert all(map(np.array_equal, again, apart))


class Killed(Exception):
    """Stands for a kill between two instructions."""


@pytest.mark.slow
def test_a_killed_run_on_photos_ends_with_the_weights_of_an_unbroken_one(
    weights_in: Callable[[str], list[Floats]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_fit, "pays", lambda: False)
    unbroken, altered = weights_in("unbroken"), Photos.altered
    shown: list[tuple[int, int]] = []

    def killed_once(photos: Photos, rows: Rows, recipe: Recipe, *place: int) -> Pictures:
        seed, epoch, _ = place
        shown.append((seed, epoch))
        if len(shown) == 4:  # in the second network's second epoch
            raise Killed
        return altered(photos, rows, recipe, *place)

    monkeypatch.setattr(Photos, "altered", killed_once)
    with pytest.raises(Killed):
        weights_in("killed")
    resumed = weights_in("killed")
    assert shown == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1)]
    assert all(map(np.array_equal, resumed, unbroken))
