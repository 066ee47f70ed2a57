"""Take pictures of a page at the width of a desk and of a phone, in light and in dark, and on paper.

``python -m scripts.screenshots PAGE [-o FOLDER]``: PAGE is a file of HTML or an address; the pictures are called
PAGE-1280-light.png and so on. With ``--first`` they show what a person sees first, and not the whole page; with
``--at SELECTOR`` what stands from there on. README's docs/report.png is the 1280-light one with
``--at "#confusion"``, after ``cnnzoo train lenet --dataset fashionmnist --epochs 5`` and ``cnnzoo report``; its
docs/explore.png is that of the address which ``cnnzoo explore`` prints of a LeNet on MNIST, with ``--draw``. Needs
Debian's chromium and chromium-driver, and the extra ``dev``.
"""

import argparse
from pathlib import Path

from tests.browser.chromium import Browser, started
from tests.browser.explorer import Page

THREE = (
    *((0.3, 0.2), (0.5, 0.14), (0.68, 0.28), (0.62, 0.42), (0.45, 0.5)),
    *((0.62, 0.58), (0.7, 0.72), (0.5, 0.87), (0.28, 0.74)),
)
"""Points of a stroke, as shares of the pad's width and height."""

WIDTHS = {1280: 900, 360: 740}
"""CSS pixels across, and down as far as is seen first."""


def main() -> None:
    """Read what was asked, and take the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", help="a file of HTML, or an address")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder of the pictures [this one]")
    parser.add_argument("--first", action="store_true", help="what is seen first, and not the whole page")
    parser.add_argument(
        "--at", default="", help="a CSS selector: what is seen where the page is scrolled to it"
    )
    parser.add_argument(
        "--draw",
        action="store_true",
        help="of the explorer: a 3 that is drawn, and a number that is clicked on",
    )
    parser.add_argument("--scale", type=float, default=1, help="pixels for each CSS pixel [1]")
    asked = parser.parse_args()
    page = Path(asked.page) if Path(asked.page).is_file() else asked.page
    name = page.stem if isinstance(page, Path) else "page"
    asked.output.mkdir(parents=True, exist_ok=True)
    with started() as browser:
        for width, height in WIDTHS.items():
            for dark in (False, True):
                browser.look(width=width, height=height, dark=dark, scale=asked.scale)
                take(
                    browser,
                    page,
                    asked.output / f"{name}-{width}-{'dark' if dark else 'light'}.png",
                    asked,
                )
        browser.look(width=794, media="print")  # A4
        take(browser, page, asked.output / f"{name}-print.png", asked)


def take(browser: Browser, page: Path | str, path: Path, asked: argparse.Namespace) -> None:
    """Take one picture, and say what the page's console had to complain of."""
    if asked.draw:
        explorer = Page(browser, str(page))
        explorer.changes(lambda: explorer.draw(*THREE))
        explorer.click_map(1, 2, 0.52, 0.32)
        explorer.until(lambda: "It sees" in explorer.text('[data-part="sees"]'), "what the unit sees")
        browser.driver.execute_script("scrollTo(0, 0)")
    else:
        browser.open(page)
    if asked.at:
        browser.driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", asked.at)
    browser.save(path, whole=not (asked.first or asked.at or asked.draw))
    print(path, *browser.console())


if __name__ == "__main__":
    main()
