"""What tests in a browser share; all of them are slow."""

from collections.abc import Iterator

import pytest

from tests.browser.chromium import MISSING, Browser, find_chromium, started


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip(MISSING)
    with started() as browser:
        yield browser


@pytest.fixture
def browser(_chromium: Browser) -> Iterator[Browser]:
    """A Chromium of 1280 by 900 pixels, in light colours, on an empty page."""
    _chromium.look()
    _chromium.allow_scripts(True)
    _chromium.open("about:blank")
    yield _chromium
    _chromium.close_other_tabs()
    _chromium.open("about:blank")  # so that a page of an earlier test asks for nothing in the next
