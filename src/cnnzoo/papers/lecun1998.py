"""LeNet-5 as published: LeCun et al. 1998, section II.B and Table I."""

from collections.abc import Mapping
from typing import Any

from cnnzoo.papers.publication import Publication, PublishedLayer

_C1_TO_F6 = "section II.B, p. 7"


def _differences(model: str, net: Mapping[str, Any]) -> list[str]:
    if model == "lenet5-1998":
        return []
    size, pooling, groups, fc_activation = (
        net[k] for k in ("image_size", "pooling", "groups", "fc_activation")
    )
    differs = {
        f"Images of {size}×{size}, which C1 pads by 2; the paper has 32×32 (section II.B).": True,
        f"{'Average' if pooling == 'avg' else 'Max'} pooling without parameters; in the paper the sum of four, times a "
        "coefficient, plus a bias, then squashed (section II.B).": True,
        "C3 sees all 6 maps; in the paper 3, 4 or 6 of them (Table I).": groups == 1,
        f"C3 in {groups} groups of maps; the paper has Table I.": groups > 1,
        f"{net['activation']} after C1 and C3; in the paper 1.7159·tanh(2x/3) after each layer to F6 (eq. 6).": True,
        "No activation after C5 and F6 (eq. 6).": fc_activation == "none",
        f"{fc_activation} after C5 and F6 (eq. 6).": fc_activation != "none",
        "A linear output and cross-entropy; in the paper Euclidean RBF units and eq. 9.": True,
        f"Dropout of {net['dropout']:g}, of which the paper has none.": net["dropout"] > 0,
        "Local response normalisation, of which the paper has none.": net["lrn"],
        "Overlapping pooling; the paper's does not overlap (section II.B).": net["overlap"],
        "PyTorch's first weights; the paper's are within ±2.4 / fan-in (appendix A).": True,
    }
    return [words for words, does in differs.items() if does]


PAPER = Publication(
    models=("lenet", "lenet5-1998"),
    differences=_differences,
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
