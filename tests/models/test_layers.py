"""Layers that compute in a faster way: the same numbers and the same gradients, and their names, as torch's."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import cnnzoo
from cnnzoo.models.layers import Conv2d, Features, blockwise_conv2d


@settings(deadline=None, max_examples=40)
@given(
    kernel=st.integers(2, 11),
    stride=st.integers(2, 5),
    more=st.integers(0, 40),
    channels=st.integers(1, 4),
    bias=st.booleans(),
)
def test_a_strided_convolution_over_blocks_of_pixels_has_the_sums_and_gradients_of_torchs(
    kernel: int, stride: int, more: int, channels: int, bias: bool
) -> None:
    torch.manual_seed(kernel)
    images = torch.randn(2, channels, kernel + more, kernel + more, dtype=torch.float64)
    weights = [
        torch.randn(3, channels, kernel, kernel, dtype=torch.float64).requires_grad_() for _ in range(2)
    ]
    weights[1].data.copy_(weights[0].data)
    offsets = torch.randn(3, dtype=torch.float64) if bias else None
    expected = F.conv2d(images, weights[0], offsets, stride)
    found = blockwise_conv2d(images, weights[1], offsets, stride)
    torch.testing.assert_close(found, expected)
    slopes = torch.randn_like(expected)
    for outputs in (expected, found):
        outputs.backward(slopes)
    torch.testing.assert_close(weights[1].grad, weights[0].grad)


def test_alexnets_first_layer_is_that_of_torch_to_1e_5_in_fp32() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 96, kernel_size=11, stride=4)
    images = torch.randn(2, 3, 227, 227)
    expected = layer(images).detach()
    found = blockwise_conv2d(images, layer.weight, layer.bias, 4).detach()
    assert found.shape == (2, 96, 55, 55)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_in_bf16_the_first_layer_takes_the_blocks_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def counted(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        calls.append(weight.shape[-1])
        return blockwise_conv2d(images, weight, bias, stride)

    monkeypatch.setattr("cnnzoo.models.layers.blockwise_conv2d", counted)
    model = cnnzoo.create_model("alexnet", num_classes=3, in_channels=1, image_size=67).eval()
    images = torch.randn(2, 1, 67, 67)
    in_fp32 = model(images)
    assert calls == []
    with torch.autocast("cpu", torch.bfloat16):
        in_bf16 = model(images)
    assert calls == [11]
    torch.testing.assert_close(in_bf16.float(), in_fp32, atol=0.02, rtol=0.05)
    assert {type(layer) for layer in model.modules() if isinstance(layer, nn.Conv2d)} == {Conv2d}


def test_a_relu_after_the_pooling_has_the_same_numbers_and_gradients_as_one_before_it() -> None:
    torch.manual_seed(0)
    layers = [
        Conv2d(1, 4, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    fast, plain = Features(*layers), nn.Sequential(*copy.deepcopy(layers))
    images = torch.randn(3, 1, 25, 25)
    images[0] = 0  # windows all of whose numbers are the same
    outputs = [net(images) for net in (plain, fast)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_who_looks_on_sees_the_layers_as_they_stand() -> None:
    seen: list[tuple[int, ...]] = []
    net = Features(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    images = torch.randn(1, 1, 10, 10)
    expected = net(images)
    hook = net[1].register_forward_hook(lambda module, taken, given: seen.append(tuple(given.shape)))
    assert torch.equal(net(images), expected)
    assert seen == [(1, 2, 8, 8)]
    hook.remove()
    net[1] = nn.ReLU()

    def look(_: nn.Module, given: Any) -> None:
        seen.append(tuple(given[0].shape))

    hook = net[1].register_full_backward_pre_hook(look)
    net(images).sum().backward()
    assert seen[1:] == [(1, 2, 8, 8)]
    hook.remove()
    assert [str(node.target) for node in torch.fx.symbolic_trace(net).graph.nodes][1:4] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"stride": (2, 3)}, (1, 2, 20, 20)),
        ({"stride": 2, "dilation": 2}, (1, 2, 20, 20)),
        ({"stride": 2, "groups": 2}, (1, 2, 20, 20)),
        ({"stride": 2, "padding": 1}, (1, 2, 20, 20)),
        ({"stride": 2}, (2, 20, 20)),
        ({"stride": 2}, (1, 2, 20, 17)),
    ],
)
def test_a_convolution_of_any_other_kind_is_torchs_in_bf16_too(
    settings: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = Conv2d(2, 4, 3, **settings)
    plain = nn.Conv2d(2, 4, 3, **settings)
    plain.load_state_dict(layer.state_dict())
    images = torch.randn(shape)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(images), plain(images))
