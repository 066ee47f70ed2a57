"""A trained net that is asked about one picture at a time: every layer's maps, one number, what it does without a part.

All of it is computed in the net's own forward pass, in float32, so that what is written out adds up.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnzoo.analysis.eval.test_images import HeldOut, held_out_images
from cnnzoo.analysis.explore.graph import Layer, LayerInput, about, wiring
from cnnzoo.analysis.explore.unit import Told, Unit, tell_number
from cnnzoo.analysis.explore.written import number
from cnnzoo.analysis.features import HANDS_ON, run_layers
from cnnzoo.analysis.fields import Box, field_of_unit
from cnnzoo.analysis.predict.pictures import Picture
from cnnzoo.analysis.predict.predict import Invert, PictureReader
from cnnzoo.analysis.trained_net import TrainedNet
from cnnzoo.data.decoding.images import open_image, quiet
from cnnzoo.device import explain_oom, to_device
from cnnzoo.errors import CnnzooError
from cnnzoo.precision import LARGE_NET
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.answers import logits_in
from cnnzoo.training.arithmetic import Arithmetic
from cnnzoo.training.reporter import Reporter

MAX_GIVEN_PIXELS = 20_000_000
"""Of a picture that somebody brings; seen in its header, before anything is decoded."""

MAX_EPOCH_BYTES = 1 << 29
"""Of weights of other epochs that are kept in memory."""

Off = Mapping[int, Sequence[Unit]]
"""What is switched off: of each layer, by its index, whole maps ``(channel,)`` or single units."""


@dataclass(frozen=True)
class Look:
    """What a net makes of a picture.

    Attributes:
        outputs: Of each layer, the image first: float32 on the CPU.
        logits: Float32 ``(num_classes,)``.
        probabilities: Their softmax.
        before: The probabilities with nothing switched off; None where nothing is.
    """

    outputs: list[Tensor]
    logits: Tensor
    probabilities: Tensor
    before: Tensor | None


class Explorer:
    """A trained net, and the other epochs of its run that were kept. One thread at a time may ask it.

    Args:
        net: The net; in float32.
        reporter: Told of progress.

    Attributes:
        layers: In the order in which they run; the image is the first.
        is_wired: Whether it is known how the layers are connected; else each takes what the one before gives.
        answer: Where the logits come from.
        epochs: Those whose weights there are, the net's own among them, each with its file.
        is_small: Whether the net gains nothing from threads.
    """

    def __init__(self, net: TrainedNet, reporter: Reporter | None = None) -> None:
        self.net, self.reporter = net, reporter or Reporter()
        saved = net.saved
        found: list[tuple[str, nn.Module, tuple[int, ...]]] = []
        blank = torch.zeros(saved.in_channels, saved.image_size, saved.image_size)
        with torch.no_grad(), Arithmetic(net.model) as work:
            run_layers(
                net.model, blank[None], lambda *it: found.append((it[0], it[1], tuple(it[2].shape[1:])))
            )
        self.is_small = work.mult_adds < LARGE_NET
        sources = wiring(net.model, [name for name, _, _ in found])
        self.is_wired = sources is not None
        chain = [LayerInput((index,)) for index in range(len(found) + 1)]
        *each, self.answer = sources or chain
        self.layers = [
            Layer("input", "Image", "the picture as the net takes it", tuple(blank.shape), LayerInput(())),
            *(
                Layer(name, type(module).__name__, about(module), shape, source, isinstance(module, HANDS_ON))
                for (name, module, shape), source in zip(found, each, strict=True)
            ),
        ]
        kept = {
            int(path.stem.removeprefix("epoch-")): path
            for path in net.run.glob("epoch-*.pt")
            if _is_kept(path)
        }
        self.epochs = dict(sorted({**kept, saved.epoch: net.path}.items()))
        self._models: OrderedDict[int, nn.Module] = OrderedDict()
        self._tests: HeldOut | None = None

    @property
    def tests(self) -> HeldOut:
        """The run's own test images.

        Raises:
            CnnzooError: They cannot be had.
        """
        if self._tests is None:
            self._tests = held_out_images(self.net.saved, self.net.path, self.net.config, None, self.reporter)
        return self._tests

    def test_pixels(self, indices: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return test images as they are stored, uint8 ``(N, C, H, W)``, and their labels.

        Raises:
            CnnzooError: They cannot be had, or there is no such one.
        """
        source = self.tests.source
        num = len(source.labels)
        if beyond := [index for index in indices if not 0 <= index < num]:
            raise CnnzooError(f"there is no test image {beyond[0]}: there are {num:,}, from 0 to {num - 1}.")
        pixels, labels = next(iter(source.batches([torch.tensor(list(indices))], torch.device("cpu"))))
        return pixels, labels.tolist()

    def test_image(self, index: int) -> tuple[Tensor, int]:
        """Return a test image as the net takes it, float32 ``(C, H, W)``, and its label."""
        pixels, (label,) = self.test_pixels([index])
        return self.net.preprocessing(pixels)[0], label

    def picture(
        self, content: bytes, name: str, invert: Invert = "auto", *, crop_to_ink: bool = False
    ) -> tuple[Tensor, bool]:
        """Return a picture as the net takes it, float32 ``(C, H, W)``, as ``predict`` does, and whether it is inverted.

        Args:
            content: Of a file that Pillow opens.
            name: What it is called, for errors.
            invert: Whether to show the net its negative.
            crop_to_ink: Whether to cut out and centre a drawn figure.

        Raises:
            BrokenImageError: It is no picture.
            CnnzooError: It has more than MAX_GIVEN_PIXELS.
        """
        if content.startswith(
            (b"\0\0\1\0", b"icns")
        ):  # whose header does not say how large what is inside is
            raise CnnzooError(f"{name} is an icon. Choose a picture.")
        reader = PictureReader(self.net, invert, crop_to_ink)
        with quiet(), explain_oom(1):
            with open_image(Path(name), content) as image:
                width, height = image.size
            if width * height > MAX_GIVEN_PIXELS:
                raise CnnzooError(
                    f"{name} has {width:,}×{height:,} pixels, "
                    f"and {MAX_GIVEN_PIXELS // 1_000_000} million are the most. "
                    "Make it smaller."
                )
            seen = reader.read(Picture(name, content))
            return self.net.preprocessing.normalized(reader.sized(seen.pixels))[0].cpu(), seen.inverted

    def look(self, image: Tensor, epoch: int | None = None, off: Off | None = None) -> Look:
        """Return what the net makes of an image.

        Args:
            image: As the net takes it, ``(C, H, W)``.
            epoch: With the weights of which epoch; the net's own by default.
            off: What is switched off: it puts out 0.

        Raises:
            CnnzooError: There is no such epoch, or the net answers with NaN.
            IndexError: There is no such unit.
        """
        model = self._model(epoch)
        outputs = [image.detach().to("cpu", torch.float32, copy=True)]

        def keep(_name: str, _module: nn.Module, output: Tensor) -> None:
            outputs.append(output.detach()[0].to("cpu", torch.float32, copy=True))

        with torch.no_grad(), explain_oom(1):
            with self._switched_off(model, off or {}):
                logits = self._logits(run_layers(model, image[None], keep))
            before = None
            if off:
                before = self._logits(run_layers(model, image[None], lambda *_: None)).softmax(0)
        return Look(outputs, logits, logits.softmax(0), before)

    def tell(
        self, image: Tensor, layer: int, unit: Unit, epoch: int | None = None, off: Off | None = None
    ) -> Told:
        """Write out the arithmetic of one number; the arguments are those of ``look``, and the number's place.

        Raises:
            CnnzooError: There is no such epoch.
            IndexError: There is no such unit.
        """
        model = self._model(epoch)
        self._check(layer, unit)
        if layer == 0:
            return self._pixel(image, unit)
        module = self._module(model, layer)
        use = self._use(layer)
        taken: list[Tensor] = []
        outputs: list[Tensor] = [image]

        def take(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            # A copy, as is what each layer puts out: the next one may change it in place.
            taken.append(next(value for value in inputs if isinstance(value, Tensor)).detach().clone())

        hook = module.register_forward_pre_hook(take)
        try:
            with torch.no_grad(), explain_oom(1), self._switched_off(model, off or {}):
                run_layers(
                    model, image[None], lambda _n, _m, output: outputs.append(output.detach()[0].clone())
                )
        finally:
            hook.remove()
        if any((off or {}).get(layer, ())) and _is_off(unit, (off or {})[layer]):
            return Told(0.0, "Switched off: it puts out 0, whatever it takes.")
        told = tell_number(module, taken[use][0], outputs[layer], unit)
        return self._joined(told, layer, taken[use][0], outputs, unit)

    def field(self, image: Tensor, layer: int, unit: Unit, epoch: int | None = None) -> Box | None:
        """Return which part of an image one unit sees; None where none of it.

        Raises:
            CnnzooError: There is no such epoch.
            IndexError: There is no such unit.
        """
        self._check(layer, unit)
        if layer == 0:
            _, row, column = unit
            return Box(row, column, row + 1, column + 1)
        with explain_oom(1):
            return field_of_unit(self._model(epoch), image, layer, unit)

    def _pixel(self, image: Tensor, unit: Unit) -> Told:
        value, prep = image[unit].item(), self.net.preprocessing
        if not prep.mean:
            return Told(value, "A pixel of the picture, from 0 for black to 1 for white.")
        mean, std = prep.mean[unit[0]], prep.std[unit[0]]
        pixel = round(value * std + mean, 4)  # black is a hair off 0 after both ways
        line = f"({number(pixel)} − {number(mean)})/{number(std)} = {number(value)}"
        rule = "A pixel, 0 for black to 1 for white, less the mean of the training images, divided by their deviation."
        return Told(value, rule, (line,))

    def _joined(self, told: Told, layer: int, taken: Tensor, outputs: list[Tensor], unit: Unit) -> Told:
        """Write before the arithmetic of a number where what it takes comes from, where branches join."""
        source = self.layers[layer].source
        if source.join != "+" or not source.is_plain or taken.shape != outputs[layer].shape or not told.lines:
            return told
        values = [
            outputs[index][unit].item() for index in source.layers if outputs[index].shape == taken.shape
        ]
        total = taken[unit].item()
        if len(values) != len(source.layers) or not math.isclose(
            sum(values), total, rel_tol=1e-3, abs_tol=1e-4
        ):
            return told
        shown = " + ".join(
            f"{f'({number(value)})' if value < 0 else number(value)} ({self.label(index)})"
            for value, index in zip(values, source.layers, strict=True)
        )
        return replace(
            told,
            rule=f"Branches meet here and are added, number by number. {told.rule}",
            lines=(f"{shown} = {number(total)}", *told.lines),
        )

    def label(self, layer: int) -> str:
        """Return a layer's name, and which use of it this is where it is used again."""
        use = self._use(layer)
        return self.layers[layer].name + (f" (use {use + 1})" if use else "")

    def _check(self, layer: int, unit: Unit, *, may_be_map: bool = False) -> None:
        """See that there is such a unit, or a whole map of such units."""
        if not 0 <= layer < len(self.layers):
            raise IndexError(f"there is no layer {layer} in this net.")
        shape = self.layers[layer].shape
        fits = 1 <= len(unit) <= len(shape) if may_be_map else len(unit) == len(shape)
        if not fits or any(not 0 <= at < side for at, side in zip(unit, shape, strict=False)):
            place = ", ".join(map(str, unit))
            raise IndexError(
                f"there is no unit ({place}) in {self.label(layer)}, which has {'×'.join(map(str, shape))}."
            )

    def _use(self, layer: int) -> int:
        return sum(it.name == self.layers[layer].name for it in self.layers[:layer])

    def _module(self, model: nn.Module, layer: int) -> nn.Module:
        name = self.layers[layer].name
        named: dict[str, nn.Module] = {found: module for found, module in model.named_modules() if found}
        return named.get(name, model)  # the whole model where it is one layer

    def _logits(self, answer: object) -> Tensor:
        logits = logits_in(answer)
        assert isinstance(logits, Tensor)
        logits = logits[0].float().cpu()
        if not logits.isfinite().all():
            raise CnnzooError(
                "the net answers with numbers that are NaN or infinite. Try another checkpoint."
            )
        return logits

    def _model(self, epoch: int | None) -> nn.Module:
        """Return the net with the weights of an epoch."""
        if epoch is None or epoch == self.net.saved.epoch:
            return self.net.model
        if epoch not in self.epochs:
            raise CnnzooError(
                f"there are no weights of epoch {epoch}: there are those of {_listed(self.epochs)}."
            )
        if epoch not in self._models:
            path = self.epochs[epoch]
            model = to_device(load_checkpoint(path).build_model(path.parent), self.net.device).eval()
            size = sum(parameter.nbytes for parameter in model.parameters())
            while self._models and size * (len(self._models) + 1) > MAX_EPOCH_BYTES:
                self._models.popitem(last=False)
            self._models[epoch] = model
        self._models.move_to_end(epoch)
        return self._models[epoch]

    @contextmanager
    def _switched_off(self, model: nn.Module, off: Off) -> Iterator[None]:
        """Have units put out 0 within the block."""
        by_module: dict[nn.Module, dict[int, Sequence[Unit]]] = {}
        for layer, units in off.items():
            for unit in units:
                self._check(layer, unit, may_be_map=True)
            if layer == 0:
                raise IndexError("the picture itself cannot be switched off.")
            by_module.setdefault(self._module(model, layer), {})[self._use(layer)] = units
        hooks = []
        for module, uses in by_module.items():
            hooks.append(module.register_forward_hook(_silencer(uses)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _silencer(uses: Mapping[int, Sequence[Unit]]) -> Any:  # noqa: ANN401
    """Return a hook that puts 0 in the place of units, in those uses of its layer in which they are switched off."""
    use = -1

    def silence(_module: nn.Module, _inputs: object, answer: object) -> object:
        nonlocal use
        use += 1
        if use not in uses or not isinstance(answer, Tensor):
            return answer
        silenced = answer.clone()
        for unit in uses[use]:
            silenced[0][unit] = 0
        return silenced

    return silence


def _is_off(unit: Unit, units: Sequence[Unit]) -> bool:
    return any(unit[: len(off)] == off for off in units)


def _is_kept(path: Path) -> bool:
    return path.stem.removeprefix("epoch-").isdecimal()


def _listed(epochs: Mapping[int, object]) -> str:
    return ", ".join(map(str, epochs))
