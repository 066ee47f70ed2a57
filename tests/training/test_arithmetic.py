"""One count of multiply-adds, for the summary, the bench and the choice of a precision."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import cnnzoo
from cnnzoo.analysis.summary.summary import summarize
from cnnzoo.models.registry import create_skeleton, get_spec
from cnnzoo.precision import LARGE_NET
from cnnzoo.training.arithmetic import Arithmetic
from cnnzoo.training.checks import dry_run
from tests.processes import REPOSITORY

CPU, META = torch.device("cpu"), torch.device("meta")


class Attention(nn.Module):
    """Self-attention in torch's own module and, of the same size, by the function alone."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 16, bias=False)
        self.attention = nn.MultiheadAttention(16, num_heads=2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.project(images.flatten(2).transpose(1, 2))  # (N, 9, 16)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        again = nn.functional.scaled_dot_product_attention(attended, attended, attended)
        logits: Tensor = self.head(again.mean(1))
        return logits


PRODUCTS = 2 * 9 * 9 * 16
"""Of queries with keys, and of what comes out with values."""


@pytest.mark.slow
def test_the_count_is_the_same_without_torch_dynamo() -> None:
    program = (
        "import sys\nimport torch\nfrom cnnzoo.models.registry import create_model\n"
        "from cnnzoo.training.arithmetic import Arithmetic\nfrom tests.training.test_arithmetic import Attention\n"
        "nets = [(create_model('lenet'), (2, 1, 28, 28)), (create_model('lenet5-1998'), (2, 1, 32, 32)),\n"
        "        (create_model('alexnet'), (2, 3, 227, 227)), (Attention(), (2, 16, 3, 3))]\n"
        "def count():\n"
        "    for net, shape in nets:\n"
        "        with torch.inference_mode(), Arithmetic(net.eval()) as arithmetic:\n"
        "            net(torch.zeros(shape))\n"
        "        yield [(type(module).__name__, work) for module, work in arithmetic.calls]\n"
        "without = list(count())\nassert 'torch._dynamo' not in sys.modules\n"
        "import torch._dynamo\nassert list(count()) == without\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("device", [CPU, META])
def test_attention_is_counted_wherever_it_runs(device: torch.device) -> None:
    model = Attention().eval().to(device)
    with torch.inference_mode(), Arithmetic(model) as arithmetic:
        model(torch.zeros(2, 16, 3, 3, device=device))
    by_module = {type(module).__name__: 0 for module, _ in arithmetic.calls}
    for module, work in arithmetic.calls:
        by_module[type(module).__name__] += work // 2
    assert by_module == {
        "Linear": 9 * 16 * 16 + 16 * 10,
        "MultiheadAttention": PRODUCTS + 4 * 9 * 16 * 16,
        "Attention": PRODUCTS,
    }
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_is_done_outside_of_layers_has_a_row_and_the_rows_add_up() -> None:
    summary = summarize(Attention(), (1, 16, 3, 3))
    rows = {row.name: row.mult_adds for row in summary.layers}
    assert (rows["Attention"], rows["attention"]) == (PRODUCTS, PRODUCTS + 4 * 9 * 16 * 16)
    assert summary.mult_adds == sum(row.mult_adds or 0 for row in summary.layers)
    assert dry_run(Attention(), 10, (16, 3, 3), CPU).mult_adds == summary.mult_adds


@pytest.mark.parametrize(
    ("name", "side", "mult_adds"),
    [
        ("torchvision/resnet18", 224, 1_814_073_344),
        ("torchvision/vit_b_16", 224, 17_563_828_224),
        ("torchvision/swin_t", 224, 4_490_566_656),
    ],
)
def test_networks_of_torchvision_have_half_of_what_torch_counts(name: str, side: int, mult_adds: int) -> None:
    model = create_skeleton(name, num_classes=1000, in_channels=3).eval()
    images = torch.zeros(1, 3, side, side, device=META)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert counter.get_total_flops() == 2 * mult_adds
    summary = summarize(model, (1, 3, side, side))
    assert summary.mult_adds == sum(row.mult_adds or 0 for row in summary.layers) == mult_adds


def test_of_a_net_that_leaves_out_connections_those_that_exist_are_counted() -> None:
    """LeCun et al. 1998, section II.B: C1 has 122,304, C3 151,600, C5 48,120 and F6 10,164 with their biases."""
    model = cnnzoo.create_model("lenet5-1998", num_classes=10, in_channels=1)
    summary = summarize(model, (1, 1, 32, 32))
    rows = {row.name.rpartition(".")[2]: row.mult_adds for row in summary.layers if row.parameters}
    assert rows == {"C1": 122_304, "S2": 12, "C3": 151_600, "S4": 32, "C5": 48_120, "F6": 10_164}
    assert summary.mult_adds == dry_run(model, 10, (1, 32, 32), CPU).mult_adds == 332_232


def test_a_model_that_fails_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match="shapes"), Arithmetic(model):
        model(torch.zeros(1, 3))
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _as_it_was_counted(model: nn.Module, image: tuple[int, int, int]) -> int:
    """The weights of convolutions and linear layers, once for every position of an output."""
    counted = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d | nn.Linear)
        maps = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
        counted += module.weight.numel() * output.numel() // maps

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, *image, device=META))
    return counted


BUILT_IN = [name for name in cnnzoo.list_models() if not name.startswith("torchvision/")]
SOME_OF_TORCHVISION = [
    f"torchvision/{name}"
    for name in (
        "alexnet",
        "squeezenet1_1",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "mnasnet0_5",
        "googlenet",
    )
]


@pytest.mark.parametrize("name", [*BUILT_IN, *SOME_OF_TORCHVISION])
@pytest.mark.parametrize("channels", [1, 3])
def test_auto_picks_the_precision_that_it_picked(name: str, channels: int) -> None:
    """The threshold is where it was, and the other count takes no net over it."""
    if channels == 1 and name not in BUILT_IN:
        pytest.skip("for three channels")
    size = get_spec(name).image_size
    model = create_skeleton(name, num_classes=10, in_channels=channels).eval().to(META)
    with torch.no_grad(), Arithmetic(model) as arithmetic:
        model(torch.zeros(1, channels, size, size, device=META))
    was = _as_it_was_counted(model, (channels, size, size))
    assert (arithmetic.mult_adds < LARGE_NET) == (was < LARGE_NET)
    assert LARGE_NET == 10_000_000
