"""What the page of ``cnnzoo explore`` asks for, and gets."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from cnnzoo.analysis.explore.explorer import Explorer
from cnnzoo.analysis.explore.unit import Unit
from cnnzoo.analysis.predict.predict import sees_light_on_dark
from cnnzoo.data.decoding.images import BrokenImageError
from cnnzoo.errors import CnnzooError, showable
from cnnzoo.ui.explore.frames import frame, look_frame, thumbnails
from cnnzoo.ui.explore.guard import Application, Guard
from cnnzoo.ui.explore.turns import SupersededError, Turns
from cnnzoo.ui.screen import distinct_names

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MAX_UPLOAD_BYTES = 20_000_000
"""Maximum size of an uploaded picture, counted as it arrives."""

MAX_PICTURES = 32
"""Maximum number of pictures in memory, as the net takes them, of all pages together."""

MAX_TESTS = 48
"""Maximum number of test images in one answer."""

STATIC = Path(__file__).parent / "static"
SHARED = Path(__file__).parents[1] / "web"


class PictureGoneError(CnnzooError):
    """A picture is not kept any more, and has to be sent again."""


_NAME = 14
"""Characters of a class's name beside its bar, at most."""


class Asked(BaseModel):
    """What a page wants to know.

    Attributes:
        picture: One that was sent before, by its number; ``test`` one of the test images; else it comes in the body.
        name: What that is called.
        invert: As ``predict --invert``.
        crop: As ``predict --crop-to-ink``.
        epoch: With the weights of which.
        off: What is switched off: a layer's index, and a map or a unit.
        in_full: Layers of which all maps are wanted.
        layer: Of the unit that was clicked.
        unit: Its place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: int | None = None
    test: int | None = None
    name: Annotated[str, Len(max_length=300)] = "the picture"
    invert: Literal["auto", "yes", "no"] = "auto"
    crop: bool = False
    epoch: int | None = None
    off: Annotated[tuple[tuple[int, ...], ...], Len(max_length=256)] = ()
    in_full: Annotated[tuple[int, ...], Len(max_length=64)] = ()
    layer: int = 0
    unit: Annotated[Unit, Len(max_length=4)] = ()

    def units_off(self) -> dict[int, list[Unit]]:
        """Return what is switched off, by layer."""
        found: dict[int, list[Unit]] = {}
        for layer, *unit in self.off:
            found.setdefault(layer, []).append(tuple(unit))
        return found


class Desk:
    """Answers what pages ask about a net; in one thread at a time."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.pictures: OrderedDict[int, tuple[Tensor, dict[str, Any]]] = OrderedDict()
        self.count = 0

    def net(self) -> dict[str, Any]:
        """Return what the page has to know of the net."""
        it, saved = self.explorer, self.explorer.net.saved
        classes = [showable(name) for name in saved.classes]
        light_on_dark = sees_light_on_dark(saved)
        return {
            "model": saved.model,
            "dataset": showable(saved.dataset),
            "file": showable(str(it.net.path)),
            "epoch": saved.epoch,
            "epochs": list(it.epochs),
            "classes": classes,
            "short": distinct_names(classes, _NAME),
            "channels": saved.in_channels,
            "size": saved.image_size,
            "light_on_dark": light_on_dark,
            # Of clothes, which fill their images, a figure of 20 pixels in 28 would be too small.
            "crop": light_on_dark and not saved.dataset.startswith("fashionmnist"),
            "wired": it.is_wired,
            "answer": it.answer.layers,
            "layers": [
                {
                    "name": it.label(index),
                    "type": layer.type,
                    "about": layer.about,
                    "shape": layer.shape,
                    "maps": layer.is_maps,
                    "hands_on": layer.hands_on,
                    "sources": layer.source.layers,
                    "join": layer.source.join,
                }
                for index, layer in enumerate(it.layers)
            ],
        }

    def look(self, asked: Asked, content: bytes) -> bytes:
        """Return what the net makes of a picture."""
        number, image, about = self._picture(asked, content)
        look = self.explorer.look(image, asked.epoch, asked.units_off())
        return look_frame(self.explorer, look, asked.in_full, picture=number, **about)

    def unit(self, asked: Asked, content: bytes) -> bytes:
        """Return the arithmetic of one number."""
        number, image, _ = self._picture(asked, content)
        told = self.explorer.tell(image, asked.layer, asked.unit, asked.epoch, asked.units_off())
        return frame(
            {
                "picture": number,
                "value": told.value,
                "rule": told.rule,
                "lines": told.lines,
                "parts": [vars(part) for part in told.parts],
            }
        )

    def field(self, asked: Asked, content: bytes) -> bytes:
        """Return what a unit sees of the picture."""
        number, image, _ = self._picture(asked, content)
        return frame(
            {"picture": number, "box": self.explorer.field(image, asked.layer, asked.unit, asked.epoch)}
        )

    def tests(self, start: int, count: int) -> bytes:
        """Return a few test images."""
        num = len(self.explorer.tests.source.labels)
        indices = range(max(start, 0), min(start + count, num))
        pixels, labels = self.explorer.test_pixels(indices)
        small = thumbnails(pixels)
        return frame(
            {"num": num, "start": indices.start, "labels": labels, "size": list(small.shape[1:])}, small
        )

    def _picture(self, asked: Asked, content: bytes) -> tuple[int, Tensor, dict[str, Any]]:
        if content:
            image, inverted = self.explorer.picture(content, asked.name, asked.invert, crop_to_ink=asked.crop)
            about: dict[str, Any] = {"inverted": inverted, "truth": None}
        elif asked.test is not None:
            image, label = self.explorer.test_image(asked.test)
            about = {"inverted": False, "truth": label}
        elif asked.picture is not None and asked.picture in self.pictures:
            self.pictures.move_to_end(asked.picture)
            return asked.picture, *self.pictures[asked.picture]
        else:
            raise PictureGoneError("that picture is not kept any more. Choose it again.")
        self.count += 1
        self.pictures[self.count] = image, about
        while len(self.pictures) > MAX_PICTURES:
            self.pictures.popitem(last=False)
        return self.count, image, about


def build_app(explorer: Explorer, token: str, port: int) -> tuple[Application, Turns]:
    """Return the application, and the turns in which it computes. Call it where the event loop runs, or will.

    Args:
        explorer: The net.
        token: The first part of the address's path.
        port: Where it will be served.
    """
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from cnnzoo.ui.html import render

    desk, turns = Desk(explorer), Turns()
    about = desk.net()
    page_text = render("explore/explore.html", net=about)

    async def page(_: "Request") -> "Response":
        return HTMLResponse(page_text)

    async def net(_: "Request") -> "Response":
        return JSONResponse(about)

    async def answer(kind: str, request: "Request", work: Callable[[], bytes]) -> "Response":
        who = f"{request.headers.get('x-page', '')[:64]} {kind}"
        try:
            content = await turns.take(who, work)
        except SupersededError:
            return JSONResponse({"error": "a newer request has taken this one's place."}, 409)
        except PictureGoneError as error:
            return JSONResponse({"error": str(error)}, 410)
        except (CnnzooError, IndexError) as error:
            said = f"{error.what}. Choose another." if isinstance(error, BrokenImageError) else str(error)
            return JSONResponse({"error": said}, 422)
        return Response(content, media_type="application/octet-stream")

    def asks(kind: str) -> Route:
        compute = getattr(desk, kind)

        async def endpoint(request: "Request") -> "Response":
            try:
                asked = Asked.model_validate(json.loads(request.query_params.get("asked", "{}")))
            except (ValidationError, ValueError, RecursionError):
                return JSONResponse({"error": "this request is none of the page's. Load the page anew."}, 400)
            content = await _read(request)
            if content is None:
                said = f"{asked.name} has more than {MAX_UPLOAD_BYTES // 1_000_000} MB. Make it smaller."
                return JSONResponse({"error": said}, 413)
            return await answer(kind, request, partial(compute, asked, content))

        return Route(f"/api/{kind}", endpoint, methods=["POST"])

    async def tests(request: "Request") -> "Response":
        try:
            start, count = (
                int(request.query_params.get(name, usual)) for name, usual in (("start", 0), ("count", 24))
            )
        except ValueError:
            return JSONResponse({"error": "this request is none of the page's. Load the page anew."}, 400)
        return await answer("tests", request, partial(desk.tests, start, min(max(count, 1), MAX_TESTS)))

    inside = [
        Route("/", page),
        Route("/api/net", net),
        Route("/api/tests", tests),
        *map(asks, ("look", "unit", "field")),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount("/shared", StaticFiles(directory=SHARED)),
    ]
    return Guard(Starlette(routes=[Mount(f"/{token}", routes=inside)]), token, port), turns


async def _read(request: "Request") -> bytes | None:
    """Return a request's body; None where it is too long, of which no more is read."""
    from starlette.requests import ClientDisconnect

    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                return None
            chunks.append(chunk)
    except ClientDisconnect:
        raise asyncio.CancelledError from None
    return b"".join(chunks)
