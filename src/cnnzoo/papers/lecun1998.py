"""LeNet-5 as published: LeCun et al. 1998, section II.B and Table I."""

from cnnzoo.papers.publication import Publication, PublishedLayer

_C1_TO_F6 = "section II.B, p. 7"

PAPER = Publication(
    models=("lenet", "lenet5-1998"),
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
