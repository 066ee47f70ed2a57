"""What a dataset is: its classes, its channels, its size, its checksums and where it comes from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from cnnzoo.errors import CnnzooError, UsageError, unknown

SAMPLE = "fashionmnist-sample"
DEFAULT_DATASET = "fashionmnist"

_DIGITS = tuple(str(digit) for digit in range(10))
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_THINGS = (  # noqa: SIM905  (as a tuple it would take a hundred lines)
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
    "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
    "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid "
    "otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
    "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle "
    "wardrobe whale willow_tree wolf woman worm"
).split()

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The two files of each split, as the MNIST family names them."""


@dataclass(frozen=True)
class DatasetSpec:
    """A named dataset.

    Attributes:
        name: What a person types.
        title: What its authors call it.
        classes: Their names, in the order of the labels.
        channels: 1 (grey) or 3 (RGB).
        image_size: Pixels a side.
        num_train: Training images.
        num_test: Test images.
        megabytes: Size of the download.
        torchvision: The torchvision class that knows its addresses and checksums; empty where there is none: then it is
            looked for in ``--data-dir``.
        sha256: Of each IDX file unpacked. Packed files differ with the packer, their contents do not.
        folders: Where it lies without anybody having to fetch it.
        by_hand: How to get it by hand, one way a line.
        format: How its files are laid out, a name in ``formats.FORMATS``.
        read: Returns a split's images and labels, in place of files; see ``register_dataset``.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    num_train: int
    num_test: int
    megabytes: int
    torchvision: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    by_hand: tuple[str, ...] = ()
    format: str = "idx"
    read: Callable[[str], tuple[Any, Any]] | None = None


_SPECS = [
    DatasetSpec(
        "fashionmnist",
        "Fashion-MNIST",
        _CLOTHES,
        channels=1,
        image_size=28,
        num_train=60_000,
        num_test=10_000,
        megabytes=31,
        torchvision="FashionMNIST",
        sha256={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        folders=(Path("/usr/share/datasets/fashion-mnist"),),
        by_hand=("on Debian or Ubuntu: apt-get install dataset-fashion-mnist",),
    ),
    DatasetSpec(
        "mnist",
        "MNIST",
        _DIGITS,
        channels=1,
        image_size=28,
        num_train=60_000,
        num_test=10_000,
        megabytes=12,
        torchvision="MNIST",
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    DatasetSpec(
        "kmnist",
        "Kuzushiji-MNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        channels=1,
        image_size=28,
        num_train=60_000,
        num_test=10_000,
        megabytes=21,
        torchvision="KMNIST",
    ),
    DatasetSpec(
        "cifar10",
        "CIFAR-10",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        channels=3,
        image_size=32,
        num_train=50_000,
        num_test=10_000,
        megabytes=170,
        torchvision="CIFAR10",
        format="cifar",
    ),
    DatasetSpec(
        "cifar100",
        "CIFAR-100",
        tuple(_THINGS),
        channels=3,
        image_size=32,
        num_train=50_000,
        num_test=10_000,
        megabytes=169,
        torchvision="CIFAR100",
        format="cifar",
    ),
    DatasetSpec(
        "svhn",
        "SVHN, cropped digits",
        _DIGITS,
        channels=3,
        image_size=32,
        num_train=73_257,
        num_test=26_032,
        megabytes=246,
        torchvision="SVHN",
        format="svhn",
    ),
    DatasetSpec(
        SAMPLE,
        "Fashion-MNIST, a sample of 7,000 images",
        _CLOTHES,
        channels=1,
        image_size=28,
        num_train=6_000,
        num_test=1_000,
        megabytes=3,
        sha256={
            "train-images-idx3-ubyte": "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084",
            "train-labels-idx1-ubyte": "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a",
            "t10k-images-idx3-ubyte": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
            "t10k-labels-idx1-ubyte": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
        },
        folders=(Path(str(files("cnnzoo.data") / "sample")),),
    ),
]

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}

Read = TypeVar("Read", bound=Callable[[str], tuple[Any, Any]])


def register_dataset(
    name: str, *, classes: Sequence[str], channels: int, image_size: int, title: str = ""
) -> Callable[[Read], Read]:
    """Register the decorated function as dataset ``name``.

    It is called with ``train`` or ``test`` and returns the images, uint8 ``(N, channels, H, W)``, and their labels,
    whole numbers ``(N,)`` from 0 on, as arrays or tensors. Validation images are split off from the training images.

    Args:
        name: What a person types.
        classes: Names of the classes, in the order of the labels.
        channels: 1 (grey) or 3 (RGB).
        image_size: Pixels a side, about; a net's own size counts.
        title: What its authors call it.

    Raises:
        CnnzooError: The name is taken.
    """

    def register(read: Read) -> Read:
        if name in DATASETS:
            raise CnnzooError(f"dataset name {name!r} is taken. Register yours under another name.")
        DATASETS[name] = DatasetSpec(
            name,
            title or name,
            tuple(classes),
            channels,
            image_size,
            num_train=0,
            num_test=0,
            megabytes=0,
            read=read,
        )
        return read

    return register


def get_dataset_spec(name: str) -> DatasetSpec:
    """Return what is known of dataset ``name``.

    Raises:
        UsageError: There is none of that name; the message names the nearest.
    """
    if name not in DATASETS:
        error = unknown("dataset", name, DATASETS)
        raise UsageError(f"{error} Or folder:PATH for a tree of class folders, csv:FILE for a table.")
    return DATASETS[name]
