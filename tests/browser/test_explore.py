"""The page of ``cnnzoo explore`` in a real browser: drawn on, dropped on, clicked, and used by the keyboard alone."""

import base64
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Keys

from tests.browser.chromium import Browser
from tests.browser.explorer import Page
from tests.helpers import contents, quick, train
from tests.processes import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet, with the weights of each of its three epochs."""
    return train(quick(tmp_path_factory.mktemp("explore"), keep_epochs=True)).run


@contextmanager
def served(*args: object, cwd: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run ``cnnzoo explore ARGS``; the address, and the process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cnnzoo", "explore", *map(str, args), "--no-browser"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip(), server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    with served(run, cwd=run) as (address, _):
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = Page(browser, address)
    page.until(page.answer, "an answer")
    yield page
    said = [
        line for line in browser.console() if "status of 4" not in line
    ]  # which the page itself has told of
    assert said == []


def picture(path: Path, pixels: "np.typing.NDArray[np.uint8]") -> Path:
    Image.fromarray(pixels).save(path)
    return path


LINE = ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))


def test_a_drawing_goes_through_the_net_as_it_is_drawn(page: Page) -> None:
    first = page.changes(lambda: page.draw(*LINE))
    assert page.changes(lambda: page.draw((0.3, 0.5), (0.8, 0.5))) != first
    assert page.changes(lambda: page.find("#undo").click()) == first
    page.changes(lambda: page.find("#clear").click())
    page.until(lambda: "%" in page.text("#says"), "the answer said aloud")


def test_a_click_on_a_map_tells_how_that_number_came_about(page: Page) -> None:
    page.click_map(1, 3, 0.52, 0.52)
    page.until(lambda: page.all('[data-part="lines"] li'), "the arithmetic")
    assert page.text('[data-part="place"]') == "map 3, row 14, column 14"
    lines = [str(line.text) for line in page.all('[data-part="lines"] li')]
    value = float(page.text('[data-part="value"]').replace("−", "-"))
    assert float(lines[-1].rpartition("= ")[2].replace("−", "-")) == pytest.approx(value, rel=0.01)
    assert lines[0].count("·") == 25
    assert len(page.all('[data-part="parts"] .grid span')) == 50
    page.until(lambda: "It sees 5×5 pixels: rows 12 to 16" in page.text('[data-part="sees"]'), "what it sees")
    page.find('[data-part="map"]').send_keys(Keys.ARROW_DOWN)
    page.until(lambda: page.text('[data-part="place"]') == "map 3, row 15, column 14", "the next unit")


def test_a_map_that_is_switched_off_changes_the_answer_and_comes_back(page: Page) -> None:
    before = page.answer()
    page.click_map(4, 2)
    page.changes(lambda: page.find('[data-part="switches"] button').click())
    assert page.all(".class s")  # what it was before, struck out
    assert page.find(".map.off").get_attribute("aria-label") == "features.C3, map 2, switched off"
    assert page.changes(lambda: page.find("#all-on").click()) == before


def test_the_slider_goes_through_the_epochs(page: Page) -> None:
    last = page.answer()
    slider = page.find("#epoch")
    first = page.changes(lambda: slider.send_keys(Keys.HOME))
    assert slider.get_attribute("aria-valuetext") == page.text("#epoch-says") == "epoch 1"
    page.changes(lambda: slider.send_keys(Keys.ARROW_RIGHT))
    assert page.changes(lambda: slider.send_keys(Keys.HOME)) == first
    slider.send_keys(Keys.END)
    page.until(lambda: page.text("#epoch-says") in ("epoch 3",), "the last epoch")
    assert last


def test_everything_can_be_done_with_the_keyboard_alone(page: Page) -> None:
    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    def focused(attribute: str = "id") -> str:
        return str(page.driver.switch_to.active_element.get_attribute(attribute))

    for _ in range(40):
        if focused() == "pad":
            break
        press(Keys.TAB)
    assert focused() == "pad"
    page.changes(lambda: press(Keys.SPACE, *[Keys.ARROW_DOWN] * 8, Keys.SPACE))
    assert page.text("#pad-says").startswith("Pen up, column 14, row 22")
    for _ in range(40):
        if "map" in focused("class").split():
            break
        press(Keys.TAB)
    assert focused("aria-label") == "input, map 0"
    press(Keys.TAB)
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert focused("aria-label") == "features.C1, map 2"
    outline = page.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(Keys.ENTER)
    page.until(lambda: page.all('[data-part="lines"] li'), "the arithmetic")
    assert page.text('[data-part="place"]').startswith("map 2, ")
    press(Keys.ESCAPE)
    assert not page.find("#inspector").is_displayed()
    assert focused("aria-label") == "features.C1, map 2"


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.click_map(1)
    nameless = page.driver.execute_script(
        "return [...document.querySelectorAll('button, input, select, [tabindex=\"0\"], [role=img]')].filter(it =>"
        " it.offsetParent && !(it.getAttribute('aria-label') || it.labels?.length || it.textContent.trim()"
        " || it.getAttribute('aria-labelledby'))).map(it => it.outerHTML)"
    )
    assert nameless == []


def test_a_picture_is_brought_and_dropped(page: Page, tmp_path: Path) -> None:
    shoe = picture(tmp_path / "shoe.png", np.pad(np.full((60, 20), 200, np.uint8), 20))
    page.changes(lambda: page.bring(shoe))
    drop = """
        const content = Uint8Array.from(atob(arguments[0]), (sign) => sign.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([content], "negative.png", {type: "image/png"}));
        document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    """
    negative = picture(tmp_path / "negative.png", 255 - np.pad(np.full((20, 60), 200, np.uint8), 20))
    page.changes(lambda: page.driver.execute_script(drop, base64.b64encode(negative.read_bytes()).decode()))
    assert page.text("#file-name") == "negative.png"
    assert "the negative is shown to the net" in page.text("#seen-note")


def test_a_picture_of_20_megapixels_is_taken_and_one_of_more_is_not(page: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4_000, 5_000), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg", quality=60)
    page.changes(lambda: page.bring(tmp_path / "photo.jpg"))
    Image.new("1", (5_000, 4_001)).save(tmp_path / "larger.png")
    page.bring(tmp_path / "larger.png")
    assert page.fault() == "larger.png has 5,000×4,001 pixels, and 20 million are the most. Make it smaller."


@pytest.mark.parametrize("kind", ["text", "bomb", "cut", "long", "empty"])
def test_what_is_no_picture_gets_one_line_and_the_page_goes_on(page: Page, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"{kind}.png"
    expected = "cannot be read as an image"
    if kind == "text":
        file.write_text("only words")
    elif kind == "bomb":
        Image.new("1", (30_000, 30_000)).save(file)
        expected = "would unpack to more than"
    elif kind == "long":
        file.write_bytes(bytes(20_000_001))
        expected = "has more than 20 MB. Make it smaller."
    elif kind == "empty":
        file.touch()
        expected = "is empty"
    else:
        picture(file, np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8))
        file.write_bytes(file.read_bytes()[:4_000])
    page.bring(file)
    said = page.fault()
    assert f"{kind}.png" in said
    assert expected in said
    page.find("#tab-draw").click()
    page.changes(lambda: page.draw(*LINE))
    assert not page.find("#fault").is_displayed()


def test_a_class_name_is_text_whatever_is_in_it(browser: Browser, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    for split in ("train", "test"):
        for name, shade in ((evil, 40), ("{{ 7*7 }}", 200)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(8):
                picture(folder / f"{number}.png", np.full((28, 28), shade + number, np.uint8))
    dataset = f"folder:{tmp_path / 'images'}"
    run = train(quick(tmp_path, dataset=dataset, limit_train=None, limit_val=None, epochs=1)).run
    with served(run, cwd=tmp_path) as (address, _):
        page = Page(browser, address)
        page.until(page.answer, "an answer")
        names = page.all(".class .name")
        assert sorted(str(name.get_attribute("title")) for name in names) == [evil, "{{ 7*7 }}"]
        assert sorted(str(name.text) for name in names) == ["<img sr…rt(1)>", "{{ 7*7 }}"]
        assert browser.console() == []


def test_two_tabs_do_not_take_each_others_turns(page: Page, address: str) -> None:
    first = page.changes(lambda: page.draw(*LINE))
    page.driver.switch_to.new_window("tab")
    other = Page(page.browser, address)
    other.until(other.answer, "an answer")
    second = other.changes(lambda: other.draw((0.2, 0.2), (0.8, 0.8)))
    page.driver.switch_to.window(page.driver.window_handles[0])
    assert page.answer() == first != second
    page.click_map(1, 0)
    page.until(lambda: page.all('[data-part="lines"] li'), "the arithmetic")


def test_nothing_comes_from_anywhere_else_and_nothing_is_said_on_the_console(
    browser: Browser, address: str
) -> None:
    page = Page(browser, address)
    page.until(page.answer, "an answer")
    page.click_map(1)
    page.until(lambda: page.all('[data-part="lines"] li'), "the arithmetic")
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith((address, "blob:", "about:"))] == []


def test_the_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back(
    browser: Browser, run: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(run, "--port", port, cwd=run) as (address, server):
        assert f":{port}/" in address
        page = Page(browser, address)
        page.until(page.answer, "an answer")
        server.kill()
        server.wait()
        page.draw(*LINE)
        page.until(lambda: page.find("#gone").is_displayed(), "that it is gone")
        assert page.text("#gone").startswith("cnnzoo does not answer.")
    with served(run, "--port", port, cwd=run) as (address, _):
        page.until(
            lambda: "Another explorer runs at this address now" in page.text("#fault"), "that another runs"
        )
        assert not page.find("#gone").is_displayed()
        again = Page(browser, address)
        again.until(again.answer, "an answer")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_page_goes_on_after_its_server_was_held_up(browser: Browser, run: Path) -> None:
    with served(run, cwd=run) as (address, server):
        held = Page(browser, address)
        held.until(held.answer, "an answer")
        server.send_signal(signal.SIGSTOP)
        before = held.answer()
        held.draw(*LINE)
        time.sleep(0.5)
        server.send_signal(signal.SIGCONT)
        held.until(lambda: held.answer() != before, "another answer")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_page(browser: Browser, address: str, width: int) -> None:
    browser.look(width=width)
    page = Page(browser, address)
    page.until(page.answer, "an answer")
    page.click_map(4)
    page.until(lambda: page.all('[data-part="lines"] li'), "the arithmetic")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_net_is_explored(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import cnnzoo\nfrom torch import nn\n\n\n"
        '@cnnzoo.register_model("mine", image_size=28)\n'
        "class Mine(nn.Module):\n"
        "    def __init__(self, num_classes=10, in_channels=1):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(in_channels, 4, 3)\n"
        "        self.mix = nn.TransformerEncoderLayer(26, 2, 8, batch_first=True)\n"
        "        self.last = nn.Linear(26, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        return self.last(self.mix(self.conv(x).mean(1)).mean(1))\n"
    )
    for model, size, joins, imports in (
        ("lenet5-1998", 32, 0, ()),
        ("alexnet", 67, 0, ()),
        ("torchvision/resnet18", 32, 8, ()),
        ("mine", 28, 0, (str(tmp_path / "mine.py"),)),
    ):
        changes = {"limit_train": 32, "limit_val": 16, "epochs": 1, "model_options": {}, "imports": imports}
        run = train(quick(tmp_path, model=model, image_size=size, **changes)).run
        with served(run, *(f"--import={module}" for module in imports), cwd=tmp_path) as (address, _):
            page = Page(browser, address)
            page.until(page.answer, f"an answer of {model}", 60)
            page.changes(lambda page=page: page.draw(*LINE))  # type: ignore[misc]
            page.click_map(1, 1)
            page.until(lambda page=page: page.all('[data-part="lines"] li'), "the arithmetic")  # type: ignore[misc]
            assert len(page.all(".wires .join")) == joins, model
            assert browser.console() == []


# The command


def test_the_address_is_alone_on_its_line_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    folders = [run, *run.iterdir()]
    modes = {path: path.stat().st_mode for path in folders}
    for path in folders:
        path.chmod(modes[path] & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        with served(run, cwd=tmp_path) as (address, server):
            assert httpx.get(address).status_code == 200
            asked = {"asked": json.dumps({"test": 0})}
            assert httpx.post(f"{address}api/look", params=asked, timeout=30).status_code == 200
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=10)
            assert (server.returncode, out) == (130, "")
            assert err.splitlines()[-1] == "Error: stopped."
    finally:
        for path in folders:
            path.chmod(modes[path])
    assert contents(run) == before
    assert list(tmp_path.iterdir()) == []


def send(client: httpx.Client, request: httpx.Request) -> None:
    with suppress(httpx.HTTPError):
        client.send(request)


def test_ctrl_c_ends_it_at_once_with_a_page_open_and_a_request_running(browser: Browser, run: Path) -> None:
    with served(run, cwd=run) as (address, server):
        page = Page(browser, address)
        page.until(page.answer, "an answer")
        content = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (4_000, 5_000), np.uint8)).save(
            content, "PNG", compress_level=0
        )
        with httpx.Client(timeout=30) as client:
            request = client.build_request(
                "POST", f"{address}api/look", content=content.getvalue()[:19_000_000]
            )
            sending = threading.Thread(target=send, args=(client, request), daemon=True)
            sending.start()
            time.sleep(0.15)
            started = time.monotonic()
            server.send_signal(signal.SIGINT)
            _, err = server.communicate(timeout=10)
            assert time.monotonic() - started < 2
        assert (server.returncode, err.splitlines()[-1]) == (130, "Error: stopped.")


def test_a_port_that_is_taken_is_said_in_one_line(run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with served(run, "--port", port, cwd=run) as (address, server):
            _, err = server.communicate(timeout=60)
    assert (address, server.returncode) == ("", 1)
    assert err.splitlines()[-1].startswith(
        f"Error: port {port} cannot be had: Address already in use. Choose another"
    )
