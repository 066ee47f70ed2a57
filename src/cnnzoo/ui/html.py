"""Pages of HTML: templates and what they inline lie beside this file; every string from outside is escaped."""

import base64
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from cnnzoo.errors import showable
from cnnzoo.ui.style import write_figure

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Environment
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_HERE = Path(__file__).parent

_TALL = 400
"""Square inches from which a figure is not tried as vectors: that of a deep net would be several megabytes."""


def render(template: str, **values: object) -> str:
    """Return a page.

    Every value is escaped, names are made showable, and one that the template names and nobody gave is an error.
    Templates extend ``web/base.html``. What they can use beside their values:

    - ``inlined(name)``: the text of a file of ours, such as a style sheet;
    - ``digest(name)``: its SHA-256, as a Content-Security-Policy names what it lets run;
    - ``VALUE|tojson``: for ``<script type="application/json">``; no string in it can end that element.

    Args:
        template: Its path below this file's folder, such as ``report/report.html``.
        **values: What it shows.
    """
    return showable(_environment().get_template(template).render(values))


def inlined(name: str) -> Markup:
    """Return the text of a file of ours, by its path below this file's folder, as it is."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def digest(name: str) -> str:
    """Return the SHA-256 of a file of ours as ``sha256-…``: a page whose policy names it runs no other script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(inlined(name).encode()).digest()).decode()


def data_uri(content: bytes, media_type: str) -> str:
    """Return an address that holds its own content, such as that of a picture."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def figure_uri(figure: "Figure", most: int) -> str:
    """Return a figure as an address: vectors (SVG), or pixels of 256 colours (PNG) where these are too many.

    Args:
        figure: What to show.
        most: Characters that the address should have at most; of pixels there may be more.
    """
    from PIL import Image

    width, height = figure.get_size_inches()
    if width * height < _TALL:
        svg = io.BytesIO()
        write_figure(figure, svg, ".svg")
        address = data_uri(svg.getvalue(), "image/svg+xml")
        if len(address) <= most:
            return address
    for dpi in (100, 72):
        drawn, png = io.BytesIO(), io.BytesIO()
        write_figure(figure, drawn, ".png", dpi=dpi)
        Image.open(drawn).convert("RGB").quantize(256).save(png, "PNG", optimize=True)
        address = data_uri(png.getvalue(), "image/png")
        if len(address) <= most:
            break
    return address


def image_uri(pixels: "NDArray[np.uint8]", largest: int | None = None) -> str:
    """Return pixels as an address.

    Small ones stay what they are (PNG); a photograph of more than 32 pixels a side is a JPEG, a quarter as large.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``.
        largest: Pixels that the longer side may have; more are scaled down.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    if largest is not None:
        image.thumbnail((largest, largest))
    file = io.BytesIO()
    if max(image.size) > 32:
        image.save(file, "JPEG", quality=85)
        return data_uri(file.getvalue(), "image/jpeg")
    image.save(file, "PNG", optimize=True)
    return data_uri(file.getvalue(), "image/png")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(inlined=inlined, digest=digest)
    # In the order that was given; NaN is no JSON, and would silently empty the page.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment
