"""A real browser before a real service, for all tests of pages.

Playwright keeps an event loop for as long as it runs, beside which no test could use one of its
own. So whatever needs it is in this folder, and it ends with the folder's last test.
"""

import functools
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.reviewing import Shop, here
from tests.conftest import hundred, serving, sign_in

WORD = "open-sesame"
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WAIT_SECONDS = 2.0
expect.set_options(timeout=5_000)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, which Debian keeps safe, rather than one that Playwright brings."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no browser: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=list(_ARGUMENTS),
            chromium_sandbox=os.geteuid() != 0,  # it refuses to be root in its sandbox
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database that nobody has made yet."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/predictions.db"


@pytest.fixture(scope="module")
def open_service(both_models: Path, database: str) -> Iterator[str]:
    """The address of a service without a token."""
    settings = {"GARMENTS_MODEL_DIR": str(both_models), "GARMENTS_DATABASE_URL": database}
    with serving(**settings) as (url, _):
        yield url


@pytest.fixture(scope="module")
def closed_service(both_models: Path, database: str) -> Iterator[str]:
    """The address of a service whose token is WORD."""
    settings = {"GARMENTS_MODEL_DIR": str(both_models), "GARMENTS_DATABASE_URL": database}
    with serving(GARMENTS_API_TOKEN=WORD, **settings) as (url, _):
        yield url


class Person:
    """Somebody with a browser of their own; whatever it complains of is in `complaints`."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.provoked: set[str] = set()
        """Parts of complaints that a test brings about."""
        self.page = context.new_page()
        self.page.on("console", self._heard)
        # Playwright only catches windows to choose files while somebody listens, and to begin takes
        # it longer than a key does.
        self.page.on("filechooser", lambda _: None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._asked: set[Request] = set()
        context.on("request", lambda asked: self._asked.add(asked))
        context.on("requestfinished", lambda asked: self._asked.discard(asked))
        context.on("requestfailed", lambda asked: self._asked.discard(asked))

    def _heard(self, message: ConsoleMessage) -> None:
        # A breach of the policy is told as an error too.
        provoked = any(part in message.text for part in self.provoked)
        if message.type in ("error", "warning") and not provoked:
            self.complaints.append(message.text)

    def leave(self) -> None:
        """Close the browser when all that its pages have asked is answered.

        What came later to the service would take photos from the next test, which nobody then has.
        """
        until = time.monotonic() + _WAIT_SECONDS  # what a test holds back is never answered
        while self._asked and self.context.pages and time.monotonic() < until:
            self.context.pages[0].wait_for_timeout(10)
        self.context.close()

    def sign_in(self, url: str, name: str = "Ann", token: str = "") -> None:
        """Give a name, and a token if there is one to give."""
        self.page.goto(f"{url}/sign-in")
        self.page.get_by_label("Your name").fill(name)
        if token:
            self.page.get_by_label("Token").fill(token)
        self.page.locator("main button").click()
        self.page.wait_for_url(f"{url}/")


NewPerson = Callable[..., Person]


@pytest.fixture
def person(chromium: Browser) -> Iterator[NewPerson]:
    """Make people with windows so `wide`, `dark` or light; fails for what their browsers say."""
    with ExitStack() as stack:
        people = []

        def make(wide: int = 1280, *, dark: bool = False, touch: bool = False) -> Person:
            context = chromium.new_context(
                viewport={"width": wide, "height": 900},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
                has_touch=touch,
            )
            people.append(Person(context))
            stack.callback(people[-1].leave)
            return people[-1]

        yield make
        assert [each.complaints for each in people] == [[] for _ in people]


@pytest.fixture(scope="module")
def shop(open_service: str, database: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A night of the repository's hundred pictures has been; about twenty are for review."""
    shop = Shop(tmp_path_factory.mktemp("shop"), open_service, database)
    shop.photos.mkdir()
    for path in hundred():
        shutil.copy(path, shop.photos)
    assert shop.night().review >= 12
    return shop


@pytest.fixture(autouse=True)
def _nothing_decided(request: pytest.FixtureRequest) -> None:
    if "shop" in request.fixturenames:
        request.getfixturevalue("shop").empty()


@pytest.fixture(scope="module")
def cookies_of(shop: Shop) -> Callable[[str], list[dict[str, str]]]:
    """What a browser keeps of a sign-in under a name; the service is asked for it once."""

    @functools.cache
    def of(name: str) -> list[dict[str, str]]:
        with requests.Session() as browser:
            assert sign_in(browser, shop.url, name).status_code == 303
            kept = [{"name": one.name, "value": one.value} for one in browser.cookies]
        return [{**one, "url": shop.url} for one in kept]

    return of


@pytest.fixture
def reviewer(
    shop: Shop, person: NewPerson, cookies_of: Callable[[str], list[dict[str, str]]]
) -> Callable[..., Person]:
    """Make a Person who has opened the review; other tests prove the form that lets them in."""

    def make(name: str = "Ann", wide: int = 1280, **how: object) -> Person:
        made = person(wide, **how)
        made.context.add_cookies(cookies_of(name))
        made.page.goto(f"{shop.url}/review")
        expect(made.page.locator("#name")).not_to_be_empty()
        here(made.page)
        return made

    return make


def faults_of(page: Page) -> str:
    """What axe-core finds wrong with a page, in words; nothing if all is well."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return found.generate_report() if found.violations_count else ""


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window."""
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window, f"the page is {wide} pixels wide in a window of {window}"


def shown_in_turn(page: Page) -> Iterator[str]:
    """Show the page in a phone's width and in a wide one, light and dark; say which it is now."""
    for wide, scheme in itertools.product((360, 2560), ("light", "dark")):
        page.set_viewport_size({"width": wide, "height": 900})
        page.emulate_media(color_scheme=scheme)
        yield f"{wide} pixels wide, {scheme}"
