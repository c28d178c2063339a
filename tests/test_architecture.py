"""The laws of the rooms, read off the imports. CONTRIBUTING.md gives their reasons."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "garments"
SCRIPTS = (
    "app.py",
    "batch_request.py",
    "generate_image.py",
    "model_accuracy.py",
    "train_model.py",
)
MAY_IMPORT = {
    "settings": set(),
    "preprocess": set(),
    "dataset": {"in_place"},
    "generated": {"dataset", "in_place"},
    "network": set(),
    "routing": set(),
    "card": set(),
    "bounds": set(),
    "child": set(),
    "evidence": {"bounds"},
    "export_reviews": {
        *{"cells", "dataset", "in_place", "predictions", "settings", "store", "terminal"},
    },
    "prune": {"settings", "store", "terminal"},
    "terminal": set(),
    "in_place": set(),
    "cells": set(),
    "predictions": {"cells", "in_place"},
    "report": set(),
    "accuracy": {"cells", "in_place", "predictions", "report"},
    "engine": {"card", "settings"},
    "answering": {"card", "engine", "preprocess"},
    "training_request": {"terminal"},
    "training": {
        *{"bounds", "card", "child", "dataset", "engine", "in_place"},
        *{"network", "preprocess", "report", "training_request"},
    },
    "web": {
        *{"answering", "bounds", "card", "cells", "engine", "evidence"},
        *{"preprocess", "routing", "settings", "store"},
    },
    "store": set(),
    "morning": {"bounds", "cells"},
    "thumbnail": {"preprocess"},
    "batch": {
        *{"card", "cells", "in_place", "morning", "predictions"},
        *{"routing", "settings", "store", "terminal", "thumbnail"},
    },
    "cluster": {
        "answering",
        "batch",
        "card",
        "cells",
        "child",
        "engine",
        "in_place",
        "predictions",
        "preprocess",
        "routing",
        "settings",
        "store",
    },
}
ONLY_IN = {
    "keras": {"network", "training"},
    "tensorflow": {"network", "training"},
    "torch": {"training"},
    "onnx": {"training"},
    "flask": {"web"},
    "werkzeug": {"web"},
    "granian": {"web"},
    "prometheus_client": {"web"},
    "uvloop": {"web"},
    "ray": {"cluster"},
    "pyarrow": {"cluster"},
    "onnxruntime": {"engine", "training"},
    "requests": {"batch", "dataset"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "urllib": {"cells", "cluster", "routing", "settings"},
    "multipart": {"web"},
    "urllib3": {"batch"},  # for the errors that those of requests wrap
    "http": set(),
}
QUIET = {
    "bounds",
    "evidence",
    "answering",
    "preprocess",
    "routing",
    "engine",
    "report",
    "in_place",
    "cells",
    "predictions",
    "accuracy",
    "store",
    "morning",
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from garments import report` names a room; `from x import name` names no module.
            names = [f"garments.{alias.name}" for alias in node.names]
            yield from names if node.module == "garments" else [str(node.module)]


def test_contributing_tells_the_same_laws() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)(?:\.py|/)` \| .* \| (.*) \|$", text, flags=re.MULTILINE)
    assert {room: set(re.findall(r"\w+", rooms)) for room, rooms in told} == MAY_IMPORT


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(PROJECT)))


def test_every_room_has_a_law() -> None:
    assert {room_of(path) for path in modules()} == MAY_IMPORT.keys()


@each([*modules(), *sorted(PACKAGE.rglob("*.js"))])
def test_no_module_passes_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@each(modules())
def test_a_room_imports_only_the_rooms_it_may(path: Path) -> None:
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("garments.")}
    assert rooms <= MAY_IMPORT[room_of(path)] | {room_of(path)}


def test_of_the_night_only_the_preview_is_drawn_from_what_the_model_sees() -> None:
    assert not {"engine", "preprocess"} & MAY_IMPORT["batch"]
    drawing = [room for room in MAY_IMPORT["batch"] if "preprocess" in MAY_IMPORT[room]]
    assert drawing == ["thumbnail"]


def test_of_settings_the_engine_has_no_setting() -> None:
    nodes = ast.walk(ast.parse((PACKAGE / "engine.py").read_text(encoding="utf-8")))
    imported = [
        ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    of_settings = [one for one in imported if "settings" in one]
    assert of_settings == ["from garments.settings import tell_library"]


@each(modules())
def test_a_library_stays_in_its_room(path: Path) -> None:
    for name in imports(path):
        assert room_of(path) in ONLY_IN.get(name.split(".")[0], {room_of(path)}), name


@each(modules())
def test_the_package_never_imports_a_script(path: Path) -> None:
    assert not {Path(name).stem for name in SCRIPTS} & set(imports(path))


@each(modules())
def test_only_settings_reads_the_environment(path: Path) -> None:
    assert room_of(path) == "settings" or "environ" not in taken_from_os(path)


def taken_from_os(path: Path) -> set[str]:
    """The names that a module takes from `os`, as attributes or by import."""
    taken = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "os":
            taken.add("environ" if node.attr in ("environ", "getenv") else node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            taken |= {"environ" if a.name in ("environ", "getenv") else a.name for a in node.names}
    return taken


@each([path for path in modules() if room_of(path) in QUIET])
def test_a_quiet_room_prints_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "print"]


def test_the_package_re_exports_nothing() -> None:
    (docstring,) = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_at_most_40_lines(name: str) -> None:
    assert len((PROJECT / name).read_text(encoding="utf-8").splitlines()) <= 40


def test_importing_what_serves_loads_nothing_slow_and_configures_nothing() -> None:
    program = """if True:
        import logging, sys
        import garments.batch, garments.web, garments.accuracy, garments.training_request
        assert not {"tensorflow", "keras"} & sys.modules.keys(), "TensorFlow was loaded"
        assert "sqlalchemy.dialects.postgresql" not in sys.modules, "it is for few"
        assert not logging.getLogger().handlers, "logging was configured"
    """
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)
