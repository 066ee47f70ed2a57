"""What the page is sent: a length, JSON of that length, and behind it maps as bytes."""

import json
import math
from collections.abc import Container
from typing import Any

import torch
from torch import Tensor

from cnnzoo.analysis.explore.explorer import Explorer, Look
from cnnzoo.data.preprocess import Preprocessing

MAX_SENT_MAPS = 16
"""Maximum number of maps sent of a layer, unless all of them are requested."""

FEW_MAPS, DEEP = 6, 24
"""The same of a net that has more layers than DEEP."""

MAX_THUMBNAIL = 56
"""Maximum side of the small pictures of test images, in pixels."""


def frame(header: dict[str, Any], *parts: Tensor) -> bytes:
    """Return a header and uint8 tensors as one message: 4 bytes (little-endian) of length, JSON, and the tensors."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return b"".join(
        (len(text).to_bytes(4, "little"), text, *(part.contiguous().numpy().tobytes() for part in parts))
    )


def look_frame(
    explorer: Explorer, look: Look, in_full: Container[int] = (), **more: str | float | bool | None
) -> bytes:
    """Return what a net makes of a picture: probabilities, and each layer's maps in one byte a number.

    All maps of a layer have one scale, from its lowest number to its highest.

    Args:
        explorer: Whose net it is.
        look: What it made.
        in_full: Layers of which all maps are sent, and not the first few.
        more: To be told, too.
    """
    most = MAX_SENT_MAPS if len(explorer.layers) <= DEEP else FEW_MAPS
    layers: list[dict[str, object] | None] = []
    parts = [visible_pixels(look.outputs[0], explorer.net.preprocessing)]
    for index, (layer, output) in enumerate(zip(explorer.layers, look.outputs, strict=True)):
        if layer.hands_on:
            layers.append(None)
            continue
        maps = as_maps(output)
        few = maps if index in in_full else maps[:most]
        low, high, scaled = _in_bytes(maps, few)
        layers.append({"low": low, "high": high, "num": len(few), "size": list(few.shape[1:])})
        parts.append(scaled)
    header = {
        **more,
        "layers": layers,
        "seen": list(parts[0].shape),
        "logits": look.logits.tolist(),
        "probabilities": look.probabilities.tolist(),
        "before": None if look.before is None else look.before.tolist(),
    }
    return frame(header, *parts)


def as_maps(output: Tensor) -> Tensor:
    """Return what a layer puts out as pictures ``(N, H, W)``: a vector is one row, rows of tokens are one picture."""
    if output.ndim == 3 and output.shape[1] * output.shape[2] > 1:
        return output
    return output[None] if output.ndim == 2 else output.reshape(1, 1, -1)


def visible_pixels(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return an image as the net takes it as a person sees it, uint8 ``(H, W, C)``, grey or RGB."""
    pixels = preprocessing.restored(image)
    if len(pixels) not in (1, 3):
        pixels = pixels.mean(0, keepdim=True)
    return (pixels * 255).round().to(torch.uint8).permute(1, 2, 0)


def thumbnails(images: Tensor) -> Tensor:
    """Return uint8 images ``(N, C, H, W)`` made small enough, ``(N, H, W, C)``, grey or RGB."""
    size = min(images.shape[-1], MAX_THUMBNAIL)
    small = (Preprocessing(size).sized(images) * 255).round().to(torch.uint8)
    if small.shape[1] not in (1, 3):
        small = small.float().mean(1, keepdim=True).to(torch.uint8)
    return small.permute(0, 2, 3, 1)


def _in_bytes(all_maps: Tensor, few: Tensor) -> tuple[float, float, Tensor]:
    """Return the lowest and highest finite number of all maps, and a few of those from 0 to 255 between the two."""
    low, high = (end.item() for end in all_maps.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = all_maps[all_maps.isfinite()]
        low, high = (finite.min().item(), finite.max().item()) if len(finite) else (0.0, 0.0)
    span = high - low
    scaled = (few.nan_to_num(low) - low) * (255 / span) if span > 0 else torch.zeros_like(few)
    return low, high, scaled.clamp(0, 255).round().to(torch.uint8)
