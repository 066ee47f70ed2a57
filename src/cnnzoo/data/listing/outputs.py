"""The names of what cnnzoo itself writes, which is neither training data nor a picture to predict."""

EXPLAINED = {"gradcam": ".gradcam.png", "occlusion": ".occlusion.png"}
"""The end of an explanation's name, by the method that made it."""

RUNS = "runs"
"""Default name of the folder that holds the runs."""

OF_A_RUN = frozenset(
    {
        *(".lock", "config.yaml", "history.csv", "history.png", "last.pt", "best.pt", "manifest.json"),
        *("trained.npy", "eval.json", "confusion.csv", "predictions.csv"),
    }
)
"""Files of a run, of one of its evaluations, or of a tracker's copy. A person's folder may well have one of them."""

OF_A_STUDY = frozenset({".lock", "results.csv", "receipt.json"})
"""Files that lie beside the runs of a study or a receipt, one of them before there is any run."""

OWN_FILES = OF_A_RUN | OF_A_STUDY
"""All of these."""

_ENDS = tuple(EXPLAINED.values())


def is_explanation(name: str) -> bool:
    """Return whether a file is called as an explanation of ``cnnzoo predict --explain`` is."""
    return name.endswith(_ENDS)
