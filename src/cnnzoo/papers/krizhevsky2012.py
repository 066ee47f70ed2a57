"""AlexNet as published: Krizhevsky et al. 2012, section 3 and Fig. 2."""

from collections.abc import Mapping
from typing import Any

from cnnzoo.papers.publication import Publication, PublishedLayer

_KERNELS = "section 3.5, p. 5"


def _differences(model: str, net: Mapping[str, Any]) -> list[str]:
    dropout = {f"Dropout of {net['dropout']:g}; the paper has 0.5 (section 4.2).": net["dropout"] != 0.5}
    one_tower = {
        "One tower: conv2, conv4 and conv5 see all maps; in the paper half of them "
        "(sections 3.2 and 3.5; -o groups=2).": net.get("groups") == 1,
        f"{net.get('groups')} groups of maps; the paper has 2 (section 3.2).": net.get("groups", 2) > 2,
        "No local response normalisation (section 3.3; -o lrn=true).": not net.get("lrn"),
        f"{net.get('activation')} as activation; the paper has ReLU (section 3.1).": net.get("activation")
        != "relu",
        "Average pooling; the paper has max pooling (section 3.5).": net.get("pooling") != "max",
        "Plain pooling, 2 wide; in the paper 3 wide and overlapping (section 3.4).": not net.get("overlap"),
        **dropout,
        "PyTorch's first weights; the paper draws them from N(0, 0.01), biases 0 or 1 (section 5).": True,
    }
    return [words for words, does in (dropout if model == "alexnet-2012" else one_tower).items() if does]


PAPER = Publication(
    models=("alexnet", "alexnet-2012"),
    differences=_differences,
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
