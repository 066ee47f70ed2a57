"""The page of ``cnnzoo explore``, as it is asked over HTTP: what it answers, and whom it refuses."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnzoo.analysis.explore.explorer import Explorer
from cnnzoo.analysis.trained_net import load_net
from tests.conftest import Command
from tests.helpers import quick, train

pytest.importorskip("uvicorn")

import httpx
import uvicorn

from cnnzoo.ui.explore.app import MAX_UPLOAD_BYTES, build_app
from cnnzoo.ui.explore.server import listen
from cnnzoo.ui.explore.turns import SupersededError, Turns

TOKEN = "a-secret"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(quick(tmp_path_factory.mktemp("explore"), epochs=2, keep_epochs=True)).run


@pytest.fixture(scope="module")
def page(run: Path) -> Iterator[httpx.Client]:
    """A browser that has the whole address."""
    explorer = Explorer(load_net(run / "best.pt", precision="fp32"))
    listening = listen(0)
    port = listening.getsockname()[1]
    application, _ = build_app(explorer, TOKEN, port)
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/{TOKEN}/", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join(10)
    listening.close()


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def ask(page: httpx.Client, kind: str, content: bytes = b"", **asked: object) -> tuple[dict[str, Any], bytes]:
    answer = page.post(f"api/{kind}", params={"asked": json.dumps(asked)}, content=content)
    assert answer.status_code == 200, answer.text
    length = int.from_bytes(answer.content[:4], "little")
    return json.loads(answer.content[4 : 4 + length]), answer.content[4 + length :]


def refusal(page: httpx.Client, kind: str, content: bytes = b"", **asked: object) -> tuple[int, str]:
    answer = page.post(f"api/{kind}", params={"asked": json.dumps(asked)}, content=content)
    return answer.status_code, answer.json()["error"]


# What it answers


def test_the_address_answers_at_once_and_with_a_strict_policy(page: httpx.Client) -> None:
    answer = page.get("", follow_redirects=False)
    assert answer.status_code == 200
    assert "lenet" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    for file in ("static/explore.js", "static/explore.css", "shared/base.css"):
        assert page.get(file).status_code == 200
        assert f'"{file}"' in answer.text


def test_a_look_has_probabilities_and_each_layers_maps_in_bytes(page: httpx.Client) -> None:
    header, maps = ask(page, "look", test=4)
    assert sum(header["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert header["before"] is None
    layers = page.get("api/net").json()["layers"]
    assert [bool(layer) for layer in header["layers"]] == [not layer["hands_on"] for layer in layers]
    sizes = [it["num"] * it["size"][0] * it["size"][1] for it in header["layers"] if it]
    assert len(maps) == 28 * 28 + sum(sizes)
    first = np.frombuffer(maps, np.uint8, 6 * 28 * 28, offset=2 * 28 * 28)
    assert (first.min(), first.max()) == (0, 255)


def test_a_drawing_is_kept_for_what_is_asked_next(page: httpx.Client) -> None:
    figure = Image.new("L", (280, 280))
    figure.paste(255, (120, 40, 160, 240))
    header, _ = ask(page, "look", png(figure), crop=True)
    told, _ = ask(page, "unit", picture=header["picture"], layer=1, unit=[0, 3, 3])
    last = float(told["lines"][-1].rpartition("= ")[2].replace("−", "-"))
    assert last == pytest.approx(told["value"], rel=1e-3)
    box, _ = ask(page, "field", picture=header["picture"], layer=1, unit=[0, 3, 3])
    assert box["box"] == [1, 1, 6, 6]
    off, _ = ask(page, "look", picture=header["picture"], off=[[1, 0], [4, 2, 1, 1]])
    assert off["before"] == header["probabilities"]
    other, _ = ask(page, "look", picture=header["picture"], epoch=1)
    assert other["probabilities"] != header["probabilities"]
    assert refusal(page, "look", picture=10**6)[0] == 410


def test_test_images_come_by_the_page(page: httpx.Client) -> None:
    answer = page.get("api/tests", params={"start": 990, "count": 24})
    header = json.loads(answer.content[4 : 4 + int.from_bytes(answer.content[:4], "little")])
    assert (header["num"], header["start"], len(header["labels"])) == (1000, 990, 10)
    assert refusal(page, "look", test=1000) == (
        422,
        "there is no test image 1000: there are 1,000, from 0 to 999.",
    )


# What it refuses


def test_a_file_that_is_no_picture_gets_one_line(page: httpx.Client) -> None:
    status, said = refusal(page, "look", b"only words", name="notes.txt")
    assert (status, said) == (422, "notes.txt cannot be read as an image (no known format). Choose another.")
    cut = png(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))[:2000]
    status, said = refusal(page, "look", cut, name="cut.png")
    assert status == 422
    assert said.startswith("cut.png cannot be read as an image")


def test_a_picture_that_would_unpack_to_too_much_is_refused_before_it_is(page: httpx.Client) -> None:
    bomb = png(Image.new("1", (9_000, 9_000)))
    assert len(bomb) < 20_000
    status, said = refusal(page, "look", bomb, name="bomb.png")
    assert status == 422
    assert "81" not in said
    assert said == "bomb.png has 9,000×9,000 pixels, and 20 million are the most. Make it smaller."
    status, said = refusal(page, "look", png(Image.new("1", (20_000, 20_000))), name="larger.png")
    assert (status, "would unpack to more than 100 million pixels" in said) == (422, True)


def test_an_upload_is_counted_as_it_comes(page: httpx.Client) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:  # without a length in the header
        nonlocal sent
        while sent < 2 * MAX_UPLOAD_BYTES:
            sent += 1_000_000
            yield bytes(1_000_000)

    answer = page.post("api/look", params={"asked": '{"name": "film.mov"}'}, content=chunks())
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "film.mov has more than 20 MB. Make it smaller.",
    )


@pytest.mark.parametrize(
    "asked", ["[]", "{", '{"epoch": "x"}', '{"evil": 1}', '{"off": [[1]]}' * 2, "[" * 9_000]
)
def test_a_request_that_the_page_never_makes_is_refused(page: httpx.Client, asked: str) -> None:
    assert page.post("api/look", params={"asked": asked}).status_code == 400


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("look", {"off": [[99, 0]]}),
        ("look", {"off": [[1, -1]]}),
        ("look", {"epoch": 77}),
        ("unit", {"layer": 77, "unit": [0]}),
        ("unit", {"layer": 1, "unit": [0, 0]}),
        ("field", {"layer": 1, "unit": [0]}),
        ("field", {"layer": 1, "unit": [0, 99, 99]}),
        ("field", {"layer": 99, "unit": [0]}),
        ("field", {"layer": -1, "unit": [0]}),
    ],
)
def test_what_is_nowhere_in_the_net_gets_one_line(
    page: httpx.Client, kind: str, asked: dict[str, Any]
) -> None:
    status, said = refusal(page, kind, test=0, **asked)
    assert (status, "\n" in said) == (422, False)
    assert said


@pytest.mark.parametrize("path", ["/", "/a-secre/", "/a-secret-/", "/favicon.ico", "//a-secret/"])
def test_without_the_token_nothing_is_answered(page: httpx.Client, path: str) -> None:
    answer = page.get(f"http://127.0.0.1:{page.base_url.port}{path}", follow_redirects=False)
    assert answer.status_code == 403
    assert "Open the whole address" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_name_of_this_machine_is_refused(page: httpx.Client, host: str) -> None:
    port = str(page.base_url.port)
    assert page.get("", headers={"Host": host.replace("PORT", port)}).status_code == 403
    assert page.get("", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://evil.example:PORT", "https://127.0.0.1:PORT"]
)
def test_another_page_is_refused(page: httpx.Client, origin: str) -> None:
    port = str(page.base_url.port)
    assert page.post("api/look", headers={"Origin": origin.replace("PORT", port)}).status_code == 403
    assert page.get("api/net", headers={"Origin": f"http://127.0.0.1:{port}"}).status_code == 200


def test_files_outside_the_pages_own_are_not_served(page: httpx.Client) -> None:
    for path in ("static/../app.py", "static/%2e%2e/app.py", "shared/../html.py", "static/"):
        assert page.get(path).status_code in (403, 404)


# One at a time


def test_of_those_that_wait_the_newest_alone_is_computed() -> None:
    done: list[str] = []
    go_on = threading.Event()

    def work(name: str) -> str:
        if name == "first":
            go_on.wait(10)
        done.append(name)
        return name

    async def all_at_once() -> list[Any]:
        turns = Turns()
        tasks = []
        for who, name in (("a", "first"), ("a", "old"), ("b", "other"), ("a", "older"), ("a", "newest")):
            tasks.append(asyncio.ensure_future(turns.take(who, lambda name=name: work(name))))  # type: ignore[misc]
            await asyncio.sleep(0.02)
        assert done == []
        assert tasks[1].done()  # at once, and not when its turn would be
        go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(all_at_once())
    assert [answer if isinstance(answer, str) else type(answer) for answer in answers] == [
        *("first", SupersededError, "other", SupersededError, "newest")
    ]
    assert done == ["first", "other", "newest"]


def test_a_fault_in_one_computation_ends_none_of_the_others() -> None:
    async def two() -> tuple[object, int]:
        turns = Turns()

        def fault() -> int:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await turns.take("a", fault)
        return turns.is_busy, await turns.take("a", lambda: 1)

    assert asyncio.run(two()) == (False, 1)


# The command


def test_without_what_it_needs_explore_says_what_to_install(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnzoo.cli.explore.find_spec", lambda name: None)
    done = command("explore", run)
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("Install what it needs: pip install 'cnnzoo[explore]'\n")
    assert done.err.count("\n") == 1
