"""A real Chromium without a window: what a page says on its console, what it asks the network for, how it looks."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # of tests in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",  # /dev/shm may be small there
    "--hide-scrollbars",
    "--no-first-run",
)


MISSING = "there is no Chromium here: apt-get install chromium chromium-driver"


def find_chromium() -> tuple[str, str] | None:
    """Return the browser and its driver, as Debian's packages chromium and chromium-driver bring them."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """A browser with one tab; ``driver`` is selenium's, for all that this does not have."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def look(
        self,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        media: str = "screen",
        scale: float = 1,
    ) -> None:
        """Set the size of the page in CSS pixels, the colours that a person prefers, and ``print`` for paper."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self._do("Emulation.setDeviceMetricsOverride", metrics)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {
            "name": "prefers-reduced-motion",
            "value": "reduce",
        }  # so that nothing moves away from a click
        self._do("Emulation.setEmulatedMedia", {"media": media, "features": [colours, still]})

    def allow_scripts(self, allowed: bool) -> None:
        """Run the scripts of the pages that are opened from now on, or not."""
        self._do("Emulation.setScriptExecutionDisabled", {"value": not allowed})

    def open(self, page: Path | str) -> None:
        """Open a file or an address, and forget what was said and asked for before."""
        self.console(), self.requests()
        self.driver.get(page.absolute().as_uri() if isinstance(page, Path) else page)

    def console(self) -> list[str]:
        """Return the warnings and errors on the console since this was last asked."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """Return the addresses that pages asked for since this was last asked, but for those with their own content."""
        entries = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        addresses = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in addresses if not address.startswith("data:")]

    def save(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page as PNG: the whole of it, or what a person sees first."""
        shot = self._do("Page.captureScreenshot", {"captureBeyondViewport": whole} | self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))

    def close_other_tabs(self) -> None:
        """Go back to one tab, where a test has opened more."""
        first, *others = self.driver.window_handles
        for other in others:
            self.driver.switch_to.window(other)
            self.driver.close()
        self.driver.switch_to.window(first)

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self._do("Page.getLayoutMetrics", {})["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _do(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.driver.execute_cdp_cmd(command, arguments)
        return answer


@contextmanager
def started() -> Iterator[Browser]:
    """Start a browser, and end it.

    Raises:
        RuntimeError: There is none on this machine.
    """
    found = find_chromium()
    if found is None:
        raise RuntimeError(MISSING)
    options = ChromeOptions()
    options.binary_location = found[0]
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(found[1]))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
