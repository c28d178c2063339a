"""Training, from the CSVs to a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from garments import dataset, report
from garments.card import Card
from garments.dataset import Dataset
from garments.engine import Engine
from garments.training import checkpoint
from garments.training.batches import Catalogue
from garments.training.calibrate import MOST_ERROR
from garments.training.checkpoint import checkpoint_path
from garments.training.evaluate import ask, evidence, summary
from garments.training.export import Origin, export
from garments.training.fit import History, fit
from garments.training.preflight import check
from garments.training.recipe import SPLIT_SEED, VALIDATION, recipe_of
from garments.training.replacing import WHOLE, keep_what_accepts, replacing_folder
from garments.training.teacher_answers import ALTERATIONS, TeacherAnswers
from garments.training.teachers import Teachers
from garments.training_request import BACKENDS


@dataclass(frozen=True)
class _Run:
    """What one seed came to."""

    seed: int
    history: History
    folder: Path
    engine: Engine
    validation: dict[str, Any]


def train(
    folder: Path,
    data_directory: Path,
    dataset_directory: Path | None = None,
    *,
    architecture: str,
    seeds: Sequence[int] = (0,),
    epochs: int | None = None,
    quick: bool = False,
    backend: str = BACKENDS[0],
    teachers: Sequence[Path] = (),
    validation: int = VALIDATION,
) -> tuple[Card, report.Scores]:
    """Train `architecture` once for each seed, and put the best in the model folder `folder`.

    Where `teachers`, other model folders of the same rows, are given, it learns their answers
    beside the labels.
    Everything is chosen on `validation` rows held out of the training CSV, the best seed too; the
    test CSV is opened once, at the end. Each run keeps its state in `data_directory`, so that the
    same call goes on where it was interrupted. An old folder is replaced when the new one is
    whole, unless the old model accepts answers and the new one none. Returns the card and the test
    scores of the best. Raises DatasetError and TrainingError.
    """
    check(folder, seeds, epochs, backend)
    recipe = recipe_of(architecture, quick=quick, epochs=epochs)
    dataset.check("test", data_directory, dataset_directory)
    rows = dataset.load("train", data_directory, dataset_directory)
    training, held_out = dataset.split(rows, validation, SPLIT_SEED)
    examples, unseen = Catalogue(training), Catalogue(held_out)
    teacher_answers, versions, learnt_from = None, [], training.digest
    if teachers:
        taught_by = Teachers(teachers, rows.digest, backend)
        versions = taught_by.versions
        learnt_from = " ".join([training.digest, f"{ALTERATIONS} alterations", *versions])
        kept_in = data_directory / "training"
        told_apart = f"{learnt_from} in floats" if taught_by.in_floats else learnt_from
        teacher_answers = TeacherAnswers(examples, recipe, taught_by.answer, kept_in, told_apart)
    fitted = {}
    for seed in seeds:
        state = checkpoint_path(data_directory, architecture, recipe, learnt_from, seed)
        with checkpoint.locked(state):
            fitted[seed] = fit(
                architecture,
                recipe,
                examples,
                unseen,
                seed=seed,
                backend=backend,
                checkpoint_file=state,
                teacher_answers=teacher_answers,
            )

    with replacing_folder(folder) as partial:
        runs = []
        for seed, found in fitted.items():
            backends = " and ".join(sorted(set(found.backends)))
            origin = Origin(
                architecture=architecture,
                training_data_sha256=rows.digest,
                seed=seed,
                epochs=recipe.epochs,
                backend=backends,
                taught_by=versions,
            )
            place = partial / str(seed)
            export(found.network, held_out, origin, folder.name, place, among=len(fitted))
            engine = Engine(place)
            validation_scores = summary(ask(engine, held_out))
            runs.append(_Run(seed, found.history, place, engine, validation_scores))
        best = max(runs, key=lambda run: (run.validation["accuracy"], -run.validation["loss"]))
        threshold, states = best.engine.card.accept_threshold, data_directory / "training"
        keep_what_accepts(folder, threshold, "the new one", "train for longer", states)
        test = dataset.load("test", data_directory, dataset_directory)
        card, scores = _complete(best, runs, test, rows)
        best.folder.rename(partial / WHOLE)
    return card, scores


def _complete(
    best: _Run, runs: Sequence[_Run], test: Dataset, training: Dataset
) -> tuple[Card, report.Scores]:
    """Open the test set: score every run, and give the best its plots and its full card."""
    answers = {run.seed: ask(run.engine, test) for run in runs}
    own = answers[best.seed]
    card = replace(
        best.engine.card,
        validation=best.validation,
        scores=summary(own) | evidence(best.engine, own, test, training),
        runs=[
            {
                "seed": run.seed,
                "validation": run.validation,
                "scores": summary(answers[run.seed]),
            }
            for run in runs
        ],
    )
    card.write(best.folder)
    scores = own.scores
    report.plot_learning_curves(best.history, best.folder / "learning_curves.png")
    report.plot_confusion(scores.confusion, dataset.LABELS, best.folder / "confusion_matrix.png")
    report.plot_reliability(own.confidence, own.right, best.folder / "reliability.png")
    report.plot_coverage(
        own.confidence,
        own.right,
        card.accept_threshold,
        MOST_ERROR,
        best.folder / "coverage.png",
    )
    return card, scores
