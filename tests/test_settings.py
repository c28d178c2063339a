from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from garments.settings import PREFIX, PROJECT, Settings, SettingsError


def test_defaults_hold_where_the_environment_says_nothing() -> None:
    assert Settings.from_environment({"PATH": "/bin"}) == Settings()


def test_a_variable_sets_the_setting_of_its_name_in_the_right_type() -> None:
    settings = Settings.from_environment(
        {
            "GARMENTS_PORT": "80",
            "GARMENTS_WAIT_SECONDS": "1.5",
            "GARMENTS_MODEL_DIR": "/models",
            "GARMENTS_DATASET_DIR": "/data",
        }
    )
    assert (settings.port, settings.wait_seconds) == (80, 1.5)
    assert (settings.model_dir, settings.dataset_dir) == (Path("/models"), Path("/data"))


def test_an_empty_variable_means_the_default() -> None:
    assert Settings.from_environment({"GARMENTS_PORT": ""}).port == 5001


def test_what_is_chosen_wins_unless_it_is_none() -> None:
    environment = {"GARMENTS_PORT": "80", "GARMENTS_HOST": "::1"}
    settings = Settings.from_environment(environment, port=90, host=None)
    assert (settings.port, settings.host) == (90, "::1")


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GARMENTS_PROT", "80", "did you mean GARMENTS_PORT"),
        ("GARMENTS_XYZZY", "1", "see README.md"),
        ("GARMENTS_PORT", "eighty", "must be a whole number"),
        ("GARMENTS_PORT", "5_001", "must be a whole number"),
        ("GARMENTS_PORT", "٥٠٠١", "must be a whole number"),
        ("GARMENTS_WAIT_SECONDS", "1_0", "must be a number"),
        ("GARMENTS_WAIT_SECONDS", "long", "must be a number"),
        ("GARMENTS_PORT", "0", "at least 1"),
        ("GARMENTS_PORT", "70000", "at most 65535"),
        ("GARMENTS_WAIT_SECONDS", "nan", "at least 0"),
        ("GARMENTS_WORKERS", "-1", "at least 0"),
        ("GARMENTS_WORKERS", "1025", "at most 1024"),
        ("GARMENTS_BATCH_SIZE", "9223372036854775808", "at most 1000000"),
        ("GARMENTS_MAX_QUEUE_BYTES", "99999999999999999999999", "at most 1099511627776"),
        ("GARMENTS_MODEL", "fashion-mnist/", "the name of a folder in GARMENTS_MODEL_DIR"),
        ("GARMENTS_MODEL", "..", "the name of a folder"),
        ("GARMENTS_PHOTO_MODEL", "model/photo", "PHOTO_MODEL is 'model/photo': it must be"),
        ("GARMENTS_SERVICE_URL", "localhost:5001", "must be like http://127.0.0.1:5001"),
        ("GARMENTS_SERVICE_URL", "http://", "must be like"),
        ("GARMENTS_SERVICE_URL", "http://[::1", "must be like"),
        ("GARMENTS_SERVICE_URL", "http://127.0.0.1:abc", "must be like"),
        ("GARMENTS_SERVICE_URL", "http://127.0.0.1:99999", "must be like"),
        ("GARMENTS_TIMEOUT_SECONDS", "inf", "at most 86400"),
        ("GARMENTS_API_TOKEN", "secret…", "API_TOKEN must be of ASCII letters"),
        ("GARMENTS_API_TOKEN", "secret\n", "API_TOKEN must be of ASCII letters"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_way_out(variable: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GARMENTS_SECRET_KEY", "k\udcff"),
        ("GARMENTS_PHOTO_MODEL", "k\udcff"),
        ("GARMENTS_HOST", "k\udcff"),
        ("GARMENTS_DATABASE_URL", "postgresql://k\udcff@host/name"),
    ],
)
def test_text_that_is_not_utf_8_is_refused_and_not_told(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} has bytes that are not UTF-8") as refused:
        Settings.from_environment({variable: value})
    assert "k" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:////a\udcff.db", "sqlite+pysqlite:////a\udcff.db"])
def test_a_path_may_be_of_any_bytes(url: str) -> None:
    paths = {"GARMENTS_MODEL_DIR": "/a\udcff", "GARMENTS_DATABASE_URL": url}
    settings = Settings.from_environment(paths)
    assert bytes(settings.model_dir) == b"/a\xff"
    assert settings.database_url == paths["GARMENTS_DATABASE_URL"]


@pytest.mark.parametrize(
    "host",
    ["a..b", ".a", "a..", "a" * 64, "a b", "a\tb", "a\xa0b", "*.a", "a\\b", "a%2e.b", "ü..a"],
)
def test_a_host_that_cannot_be_one_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="it must be like http://127.0.0.1:5001"):
        Settings(service_url=f"http://{host}:5001")


@pytest.mark.parametrize(
    "host",
    ["a." + "b" * 63, "a.b.", "a_b", "127.0.0.1", "[::1]", "[fe80::1%25eth0]", "ü.de", "हिन्दी.in"],
)
def test_a_host_may_be_a_name_in_any_script_or_an_address(host: str) -> None:
    url = f"https://me:s3cret@{host}:5001/garments"
    assert Settings(service_url=url).service_url == url


def test_every_whole_number_has_an_end() -> None:
    numbers = [entry for entry in fields(Settings) if entry.type == "int"]
    assert len(numbers) > 10
    assert [entry.name for entry in numbers if entry.metadata["most"] is None] == []


@pytest.mark.parametrize(
    "url", ["http://me:s3/cret@host:99999", "me:s3/cret@host", "//me:s3/cret@host"]
)
def test_the_password_of_a_wrong_address_is_not_told(url: str) -> None:
    with pytest.raises(SettingsError, match="host.*must be like http") as refused:
        Settings(service_url=url)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("entry", fields(Settings), ids=lambda entry: entry.name)
def test_the_readme_has_every_setting_with_default_and_meaning(entry) -> None:
    default = "" if entry.default is None else str(entry.default)
    shown = default.replace(f"{PROJECT}/", "")
    cell = f"`{shown}`" if shown else ""
    row = f"| `{PREFIX}{entry.name.upper()}` | {cell} | {entry.metadata['meaning']} |"
    assert row in (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
