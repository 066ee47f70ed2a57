"""The page that tells a run, in a real browser: its numbers, sorting, the images behind the matrix, and who it asks."""

import json
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.ui.report.page import MAX_REPORT_BYTES, report
from tests.browser.chromium import Browser
from tests.helpers import quick, train

pytestmark = pytest.mark.slow

NAMES = (
    "<script>alert(1)<",
    "a \"quoted\" 'class' & more",
    "猫",
    "</ul><img src=x onerror=alert(2)>".replace("/", "∕"),
)


def run_of_images(folder: Path, names: tuple[str, ...], num: int, size: int) -> Path:
    """A LeNet that has hardly learned anything of some coloured images of each class."""
    for label, name in enumerate(names):
        for part, each in (("train", 3), ("test", num)):
            for number in range(each):
                path = folder / "images" / part / name / f'{number} "o\'k" <b>&amp;.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = Image.effect_noise((size, size), 90).convert("RGB")
                Image.blend(noise, Image.new("RGB", noise.size, (label, 2 * label, 200)), 0.3).save(path)
    return train(quick(folder, dataset=f"folder:{folder / 'images'}", limit_train=None, epochs=1)).run


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classes and files have names that could be HTML, with its report."""
    run = run_of_images(tmp_path_factory.mktemp("odd"), NAMES, 8, 40)
    evaluate(run / "best.pt")
    report(run)
    return run


def texts(browser: Browser, selector: str) -> list[str]:
    found = browser.driver.find_elements(By.CSS_SELECTOR, selector)
    return [element.get_attribute("textContent").strip() for element in found]  # type: ignore[union-attr]


def test_the_numbers_are_those_of_eval_and_nobody_is_asked(odd: Path, browser: Browser) -> None:
    page = odd / "report.html"
    browser.open(page)
    said = json.loads((odd / "eval.json").read_text(encoding="utf-8"))
    assert f"{said['accuracy']:.2%}" in texts(browser, ".tiles .first dd")
    assert texts(browser, "#classes tbody th") == [row["name"] for row in said["classes"]]
    assert texts(browser, "#classes tbody tr:nth-child(2) td") == [
        *(f"{said['classes'][1][key]:.2%}" for key in ("precision", "recall", "f1")),
        str(said["classes"][1]["count"]),
    ]
    matrix = browser.driver.find_elements(By.CSS_SELECTOR, ".matrix tbody tr")
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in matrix]
    assert cells == [[str(count or "") for count in row] for row in said["confusion"]]
    assert browser.console() == []
    assert browser.requests() == [page.as_uri()]


def test_names_that_could_be_html_are_text(odd: Path, browser: Browser) -> None:
    browser.open(odd / "report.html")
    assert browser.driver.execute_script("return document.scripts.length") == 1
    assert texts(browser, "img[onerror], b") == []
    names = {
        image.get_attribute("alt") for image in browser.driver.find_elements(By.CSS_SELECTOR, ".gallery img")
    }
    assert names
    assert all(name and name.endswith(' "o\'k" <b>&amp;.png') for name in names)


def test_a_click_on_a_heading_sorts(odd: Path, browser: Browser) -> None:
    browser.open(odd / "report.html")
    recalls = texts(browser, "#classes tbody td:nth-child(3)")
    heading = browser.driver.find_element(By.CSS_SELECTOR, "#classes th:nth-child(3)")
    for order, is_reversed in (("descending", True), ("ascending", False)):
        heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert heading.get_attribute("aria-sort") == order
        by_number = sorted(recalls, key=lambda text: float(text.rstrip("%")), reverse=is_reversed)
        assert texts(browser, "#classes tbody td:nth-child(3)") == by_number
    browser.driver.find_element(By.CSS_SELECTOR, "#classes th:first-child button").click()
    assert heading.get_attribute("aria-sort") is None
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, "#classes [aria-sort]")) == 1


@pytest.mark.parametrize("scripts", [True, False])
def test_a_click_on_a_number_shows_the_images_behind_it(odd: Path, browser: Browser, scripts: bool) -> None:
    browser.allow_scripts(scripts)
    browser.open(odd / "report.html")
    for link in browser.driver.find_elements(By.CSS_SELECTOR, ".matrix a"):
        count = int(link.text)
        link.click()
        (shown,) = [c for c in browser.driver.find_elements(By.CSS_SELECTOR, ".cell") if c.is_displayed()]
        assert f"#{shown.get_attribute('id')}" == link.get_dom_attribute("href")
        assert len(shown.find_elements(By.CSS_SELECTOR, "img")) == min(count, 10)
    assert browser.console() == []


def test_arrow_keys_walk_the_matrix_in_one_step_of_tab(odd: Path, browser: Browser) -> None:
    browser.open(odd / "report.html")
    links = browser.driver.find_elements(By.CSS_SELECTOR, ".matrix a")
    assert [link.get_attribute("tabindex") for link in links].count("0") == 1
    (column,) = {link.get_dom_attribute("href").rpartition("-")[2] for link in links[:1]}
    browser.driver.execute_script("arguments[0].focus()", links[0])
    below = [link for link in links[1:] if link.get_dom_attribute("href").endswith(f"-{column}")]
    links[0].send_keys(Keys.ARROW_DOWN)
    focused = browser.driver.switch_to.active_element
    assert focused == (below[0] if below else links[0])
    focused.send_keys(Keys.ENTER)
    assert focused.get_attribute("aria-current") == "true"


def test_without_scripts_tables_and_pictures_stay(odd: Path, browser: Browser) -> None:
    browser.allow_scripts(False)
    browser.open(odd / "report.html")
    for selector in (
        "#classes table",
        ".matrix",
        "#curves img",
        ".gallery img",
        "#filters img",
        "#features img",
    ):
        found = browser.driver.find_elements(By.CSS_SELECTOR, selector)
        assert found, selector
        assert all(element.is_displayed() for element in found), selector


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_down_alone(odd: Path, browser: Browser, dark: bool) -> None:
    browser.look(width=360, height=740, dark=dark)
    browser.open(odd / "report.html")
    width = browser.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= 360


def test_a_hundred_classes_and_their_mistakes_fit(tmp_path: Path, browser: Browser) -> None:
    names = tuple(f"class {label}, of a name that is rather long" for label in range(100))
    run = run_of_images(tmp_path, names, 20, 64)
    page = report(run)
    assert MAX_REPORT_BYTES / 2 < page.stat().st_size <= MAX_REPORT_BYTES
    browser.open(page)
    assert len(texts(browser, ".matrix tbody tr")) == 100
    for kind in ("img", ".name"):  # thumbnails, and file names where no room is left
        assert browser.driver.find_elements(By.CSS_SELECTOR, f"#behind {kind}"), kind
    assert browser.console() == []
