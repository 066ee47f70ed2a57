"""The explorer's page as a person uses it."""

import time
from collections.abc import Callable
from pathlib import Path

from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.chromium import Browser


class Page:
    """What a person does on the page, and reads there."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.driver = browser, browser.driver
        browser.open(address)
        self.until(lambda: "ready" in str(self.find("body").get_attribute("class")), "the page is ready")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).get_attribute("textContent")).strip()

    def until(self, is_so: Callable[[], object], what: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.05)

    def answer(self) -> str:
        return self.text("#bars")

    def changes(self, do: Callable[[], object]) -> str:
        """Do something, and wait until the answer is another, and the last one."""
        before = self.answer()
        do()
        self.until(lambda: self.answer() not in (before, "") and not self.is_busy(), "another answer")
        return self.answer()

    def is_busy(self) -> bool:
        return self.find("#answer").get_attribute("aria-busy") == "true"

    def draw(self, *points: tuple[float, float]) -> None:
        pad = self.find("#pad")
        side = pad.size["width"]
        hand = ActionChains(self.driver, duration=10)
        for number, (x, y) in enumerate(points):
            hand.move_to_element_with_offset(pad, (x - 0.5) * side, (y - 0.5) * side)
            if not number:
                hand.click_and_hold()
        hand.release().perform()

    def click_map(self, layer: int, number: int = 0, x: float = 0.5, y: float = 0.5) -> None:
        row = self.find(f'.layer[data-index="{layer}"]')
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
        self.until(lambda: len(row.find_elements(By.CSS_SELECTOR, ".map")) > number, "the map")
        it = row.find_elements(By.CSS_SELECTOR, ".map")[number]
        width, height = it.size["width"], it.size["height"]
        ActionChains(self.driver).move_to_element_with_offset(
            it, (x - 0.5) * width, (y - 0.5) * height
        ).click().perform()

    def bring(self, file: Path) -> None:
        self.find("#tab-file").click()
        self.find("#file").send_keys(str(file))

    def fault(self) -> str:
        self.until(lambda: self.text("#fault"), "a line of what is wrong")
        return self.text("#fault")
