"""What a unit sees of an image, by its gradient, beside what arithmetic says and beside changes of pixels."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.analysis.features import features
from cnnzoo.analysis.fields import Box, field_of_unit, receptive_fields
from cnnzoo.analysis.summary.summary import summarize
from cnnzoo.models.registry import create_model


class Branches(nn.Module):
    """A block of two convolutions beside the identity, maxima and ReLUs among them, some as functions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one = nn.Conv2d(2, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.two = nn.Conv2d(4, 2, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.last = nn.Conv2d(2, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.two(self.relu(self.one(images))) + images)
        logits: Tensor = self.last(self.pool(maps)).mean((2, 3))
        return logits


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(2))


def test_a_field_behind_branches_is_that_of_the_longest_path(image: Tensor) -> None:
    net = Branches()
    by_name = dict(zip([name for name, _ in features(net, image)], receptive_fields(net, image), strict=True))
    assert by_name == {
        "input": Box(8, 8, 9, 9),
        "one": Box(7, 7, 10, 10),
        "relu": Box(7, 7, 10, 10),
        "two": Box(6, 6, 11, 11),
        "pool": Box(5, 5, 12, 12),
        "last": Box(5, 5, 12, 12),
    }


def test_pixels_outside_the_field_change_nothing_and_each_edge_of_it_something(image: Tensor) -> None:
    net = Branches().eval()
    box = field_of_unit(net, image, 5, (1, 0, 3))
    assert box == Box(0, 3, 4, 10)  # the padding of the image's edge is no part of the image

    def value(picture: Tensor) -> Tensor:
        return dict(features(net, picture))["last"][1, 0, 3]

    outside = image.clone()
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[box.top : box.bottom, box.left : box.right] = True
    outside[:, ~inside] += 9
    assert value(outside) == value(image)
    edges = (slice(0, 4), 3), (slice(0, 4), 9), (3, slice(3, 10))
    for rows, columns in edges:
        darker, lighter = image.clone(), image.clone()
        darker[:, rows, columns] -= 50
        lighter[:, rows, columns] += 50
        assert value(darker) != value(image) or value(lighter) != value(image)  # one may be behind a ReLU


@pytest.mark.parametrize("model", ["lenet", "alexnet"])
def test_where_layers_follow_each_other_it_is_what_the_summary_works_out(model: str) -> None:
    net, side = create_model(model, in_channels=1), 28 if model == "lenet" else 227
    fields = receptive_fields(net, torch.randn(1, side, side))[1:]
    found = summarize(net, (1, 1, side, side)).layers
    said = [layer.receptive_field for layer in found]
    pairs = [
        (box.height, size[0])
        for box, size in zip(fields, said, strict=True)
        if box and size and box.height < side
    ]
    assert len(pairs) > 3
    assert all(box == size for box, size in pairs)


def test_the_net_is_left_as_it_was(image: Tensor) -> None:
    net = Branches()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    receptive_fields(net, image)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_unit_that_is_not_there(image: Tensor) -> None:
    with pytest.raises(IndexError, match="3 coordinates"):
        field_of_unit(Branches(), image, 1, (1,))
    with pytest.raises(IndexError):
        field_of_unit(Branches(), image, 1, (9, 0, 0))
