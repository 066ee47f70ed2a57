"""Why a net takes a picture for what it takes it for: Grad-CAM and occlusion, as pictures."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnzoo.analysis.predict.pictures import STDIN, Picture
from cnnzoo.analysis.trained_net import TrainedNet
from cnnzoo.data.listing.outputs import EXPLAINED
from cnnzoo.device import explain_oom
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

Method = Literal["gradcam", "occlusion"]

EXPLANATIONS = "explanations"
"""The folder of a run into which explanations are written."""

SHOWN_SIZE = 224
"""Pixels a side that explanations have at least."""

OPACITY = 0.6
"""Of the map where it is highest; where it is 0 the picture alone is seen."""


class Explainer:
    """Writes, for a picture, what of it the net's answer rests on: a map in warm colours over what the net saw.

    ``gradcam``: the maps of the last convolution, each weighed by the mean of the answer's gradient over it, summed,
    negative sums left out (Selvaraju et al. 2017, section 3).

    ``occlusion``: how much less probable the answer is where a square of the training images' mean hides a part (after
    Zeiler and Fergus 2014, section 4.2). Squares are a seventh of a side wide and half of that apart; of those that
    hide a pixel the mean counts.

    captum computes both.

    Args:
        net: The net that answers.
        method: Which of the two.
        pictures: All that are to be explained.
        folder: Where to write, each below it as the pictures lie below the folder that holds them all; None for the
            folder ``explanations`` of the net's run, where they lie below the name of that folder.

    Raises:
        CnnzooError: captum is not installed.
        UsageError: The net has no convolution.
    """

    def __init__(
        self, net: TrainedNet, method: Method, pictures: Sequence[Picture], folder: Path | None = None
    ) -> None:
        try:
            import captum.attr as captum
        except ImportError as error:
            raise CnnzooError("--explain needs captum. Install it: pip install 'cnnzoo[explain]'") from error
        self.net, self.method = net, method
        parents = [str(_whole(picture.path).parent) for picture in pictures]
        self.root = Path(os.path.commonpath(parents)) if parents else Path()
        self.folder = net.run / EXPLANATIONS / self.root.name if folder is None else folder
        self.occlusion = captum.Occlusion(lambda images: net.model(images).float().softmax(1))
        self.grad_cam, self.enlarged = None, captum.LayerAttribution.interpolate
        if method == "gradcam":
            self.grad_cam = captum.LayerGradCam(net.model, _last_convolution(net))

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return maps, float32 ``(N, H, W)`` from 0 to 1, of images ``(N, C, H, W)`` and answers, int64 ``(N,)``."""
        with explain_oom(len(images)):
            maps = self._grad_cam(images, labels) if self.grad_cam else self._occlusion(images, labels)
        maps = maps.detach().float().clamp_min(0)
        scaled: Tensor = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
        return scaled

    def _grad_cam(self, images: Tensor, labels: Tensor) -> Tensor:
        assert self.grad_cam
        coarse = self.grad_cam.attribute(images, target=labels, relu_attributions=True)  # (N, 1, h, w)
        maps: Tensor = self.enlarged(coarse, tuple(images.shape[-2:]), interpolate_mode="bilinear")
        return maps[:, 0]

    def _occlusion(self, images: Tensor, labels: Tensor) -> Tensor:
        channels, side = images.shape[1], math.ceil(images.shape[-1] / 7)
        step = math.ceil(side / 2)
        with torch.no_grad():
            maps: Tensor = self.occlusion.attribute(
                images,
                target=labels,
                sliding_window_shapes=(channels, side, side),
                strides=(channels, step, step),
                baselines=0,  # the mean, after normalisation
            )
        return maps.mean(1)

    def save(self, name: str, pixels: Tensor, heat: Tensor) -> Path:
        """Write a map over a picture, and return where.

        Args:
            name: Of the picture.
            pixels: What the net saw, 0 to 1, ``(C, H, W)``.
            heat: The map, ``(H, W)``.

        Raises:
            CnnzooError: It cannot be written.
        """
        below = Path("stdin") if name == STDIN else _whole(Picture(name).path).relative_to(self.root)
        path = self.folder / below.with_name(below.name + EXPLAINED[self.method])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CnnzooError(
                f"cannot write into {path.parent}: {one_line(error)}. Choose another folder with --explain-to."
            ) from error
        with replacing(path, otherwise="choose another folder with --explain-to") as file:
            _overlay(pixels, heat).save(file, format="PNG")
        return path


def _whole(path: Path) -> Path:
    """Return an absolute path without ``..``, which would lead out of the folder that it is written into."""
    return Path(os.path.normpath(path.absolute()))


def _last_convolution(net: TrainedNet) -> nn.Module:
    """Return the convolution that runs last; auxiliary ones that stand behind it may not run at all."""
    ran: list[nn.Module] = []
    convolutions = [module for module in net.model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in convolutions]
    saved = net.saved
    try:
        with torch.inference_mode():
            net.model(
                torch.zeros(1, saved.in_channels, saved.image_size, saved.image_size, device=net.device)
            )
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise UsageError(
            f"{saved.model} has no convolution for Grad-CAM to look at. Try --explain occlusion."
        )
    return ran[-1]


def _overlay(pixels: Tensor, heat: Tensor) -> "Image":
    from PIL import Image

    factor = math.ceil(SHOWN_SIZE / heat.shape[-1])
    size = heat.shape[-1] * factor, heat.shape[-2] * factor
    seen = (pixels.expand(3, -1, -1).permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    picture = np.asarray(Image.fromarray(seen).resize(size, Image.Resampling.NEAREST), dtype=np.float32)
    warmth = np.asarray(Image.fromarray(heat.cpu().numpy()).resize(size, Image.Resampling.BILINEAR))
    warmth = warmth.clip(0, 1)[..., None]
    colours = 255 * (3 * warmth - np.arange(3)).clip(0, 1)  # black, red, yellow, white
    opacity = OPACITY * warmth
    return Image.fromarray(np.rint(picture * (1 - opacity) + colours * opacity).astype(np.uint8))
