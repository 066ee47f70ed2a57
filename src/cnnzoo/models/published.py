"""What the papers themselves say of their networks, layer by layer; ``cnnzoo summary --paper`` compares with it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedLayer:
    """One layer, as its paper describes it.

    Attributes:
        name: As in the paper; the layer of that name in our net is compared with it.
        output: Shape of what an image becomes in it: ``(C, H, W)`` or ``(C,)``.
        parameters: Numbers that it learns; where the paper gives kernels only, what follows from them.
        connections: Inputs of all its units together, biases included; None where the paper gives none.
        source: Where the paper says so.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    connections: int | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A network as published.

    Attributes:
        reference: Authors, title, where and when.
        layers: In their order.
        remarks: What a reader of the paper should know about its figures.
    """

    reference: str
    layers: tuple[PublishedLayer, ...]
    remarks: tuple[str, ...] = ()


_C1_TO_F6 = "section II.B, p. 7"

LENET_5 = Publication(
    reference="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document "
    "Recognition, Proc. IEEE 86(11), 1998; pages of the authors' version",
    layers=(
        PublishedLayer(name="C1", output=(6, 28, 28), parameters=156, connections=122_304, source=_C1_TO_F6),
        PublishedLayer(name="S2", output=(6, 14, 14), parameters=12, connections=5_880, source=_C1_TO_F6),
        PublishedLayer(
            name="C3",
            output=(16, 10, 10),
            parameters=1_516,
            connections=151_600,
            source="section II.B and Table I, p. 8",
        ),
        PublishedLayer(
            name="S4", output=(16, 5, 5), parameters=32, connections=2_000, source="section II.B, p. 8"
        ),
        PublishedLayer(
            name="C5", output=(120,), parameters=48_120, connections=48_120, source="section II.B, p. 8"
        ),
        PublishedLayer(
            name="F6", output=(84,), parameters=10_164, connections=10_164, source="section II.B, p. 8"
        ),
        PublishedLayer(
            name="output",
            output=(10,),
            parameters=0,
            connections=840,
            source="section II.B, p. 8: 10 RBFs of 84",
        ),
    ),
    remarks=("In all: 340,908 connections, but only 60,000 trainable parameters (p. 8).",),
)

_KERNELS = "section 3.5, p. 5"

ALEXNET = Publication(
    reference="A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet Classification with Deep Convolutional Neural "
    "Networks, NIPS 2012",
    layers=(
        PublishedLayer(
            name="conv1",
            output=(96, 55, 55),
            parameters=(11 * 11 * 3 + 1) * 96,
            source=f"{_KERNELS}: 96 kernels of 11×11×3, stride 4; Fig. 2",
        ),
        PublishedLayer(name="pool1", output=(96, 27, 27), parameters=0, source="section 3.4, p. 4; Fig. 2"),
        PublishedLayer(
            name="conv2",
            output=(256, 27, 27),
            parameters=(5 * 5 * 48 + 1) * 256,
            source=f"{_KERNELS}: 256 kernels of 5×5×48; Fig. 2: 186,624 neurons",
        ),
        PublishedLayer(name="pool2", output=(256, 13, 13), parameters=0, source="section 3.4, p. 4; Fig. 2"),
        PublishedLayer(
            name="conv3",
            output=(384, 13, 13),
            parameters=(3 * 3 * 256 + 1) * 384,
            source=f"{_KERNELS}: 384 kernels of 3×3×256; Fig. 2: 64,896 neurons",
        ),
        PublishedLayer(
            name="conv4",
            output=(384, 13, 13),
            parameters=(3 * 3 * 192 + 1) * 384,
            source=f"{_KERNELS}: 384 kernels of 3×3×192; Fig. 2: 64,896 neurons",
        ),
        PublishedLayer(
            name="conv5",
            output=(256, 13, 13),
            parameters=(3 * 3 * 192 + 1) * 256,
            source=f"{_KERNELS}: 256 kernels of 3×3×192; Fig. 2: 43,264 neurons",
        ),
        PublishedLayer(name="pool5", output=(256, 6, 6), parameters=0, source="sections 3.4 and 3.5, p. 4"),
        PublishedLayer(
            name="fc6",
            output=(4096,),
            parameters=(6 * 6 * 256 + 1) * 4096,
            source=f"{_KERNELS}: 4096 neurons; Fig. 2",
        ),
        PublishedLayer(
            name="fc7",
            output=(4096,),
            parameters=(4096 + 1) * 4096,
            source=f"{_KERNELS}: 4096 neurons; Fig. 2",
        ),
        PublishedLayer(
            name="fc8",
            output=(1000,),
            parameters=(4096 + 1) * 1000,
            source="section 3.5, p. 4: a 1000-way softmax; Fig. 2",
        ),
    ),
    remarks=(
        "The paper gives kernels and neurons; the parameters follow from the kernels, one bias each. "
        "It counts 60 million in all (abstract).",
        "It says that images have 224×224 pixels, of which 11×11 kernels with stride 4 do not make the 55×55 of its "
        "Fig. 2; of 227×227 they do.",
        "Fig. 2's caption counts 253,440 neurons in the first layer; its drawing, 55×55×48 twice, has 290,400.",
    ),
)
