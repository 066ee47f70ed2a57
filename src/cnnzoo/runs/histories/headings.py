"""The words of headings: what a column of any tool's history is, by its name, in several languages."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple


def _plain(text: str) -> str:
    """Return a text in lower case and without accents, so that all ways of writing a word are one."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


# What the words of headings mean: Keras' val_accuracy, Lightning's train_loss_epoch, timm's eval_top1, Ultralytics'
# metrics/accuracy_top1, the tutorial's train_loss_all, and what people write, in some of their languages: Chinese
# in both scripts, German, French, Spanish, Japanese, Korean, Russian.
_VOCABULARY = {
    "train": "train training trainings trained trn tr fit fitting 训练 entrainement entrenamiento 訓練 学習 훈련 학습 "
    "обучение обучения обучении обучающая тренировка",
    "val": "val valid validate validation vali va eval evaluation dev holdout 验证 validierung validierungs validacion "
    "驗證 検証 評価 검증 평가 валидация валидации проверка проверки",
    "test": "test testing tst te 测试 測試 テスト 테스트 тест теста тесте",
    "loss": "loss losses cost 损失 verlust perte perdida 損失 손실 потери потеря потерь",
    "acc": "acc accuracy top1 acc1 prec1 准确率 正确率 准确度 精度 genauigkeit exactitude exactitud 準確率 正確率 "
    "準確度 正解率 정확도 точность точности",
    "error": "error err errors 错误率 fehlerrate erreur 錯誤率 誤り率 오류율 ошибка ошибки",
    "epoch": "epoch epochs ep 轮次 轮数 轮 周期 epoche epoque epoca 輪次 輪數 週期 エポック 에포크 에폭 эпоха эпохи",
    "step": "step steps iter iters iteration iterations batch batches minibatch 步数 步 步數 迭代 ステップ 스텝 шаг "
    "шаги итерация итерации",
    "phase": "phase split mode stage subset type part partition 阶段 階段 フェーズ 단계 фаза",
    "curve": "fold folds kfold cv seed seeds run runs rep reps repeat repetition replicate trial experiment exp model "
    "models net network arch architecture backbone config configs configuration cfg variant job name 折 种子 模型 實驗 "
    "種子 モデル シード 모델 시드 модель запуск",
    "metrics": "metrics",
    "": "all avg average mean total overall final categorical sparse binary multiclass score rate value percent pct "
    "number num no nr n k idx index id uuid current global random trainer set dataset data of on in per the 集 函数 值 "
    "函數 値 関数 数 값 на функция",
}
_MEANINGS = {_plain(word): meaning for meaning, words in _VOCABULARY.items() for word in words.split()}
_LATIN_AND_CYRILLIC = re.compile(r"[\u0000-\u04ff]+").fullmatch
# Languages that write words without spaces between them; the longest first.
_UNSPACED = re.compile(
    "|".join(sorted((w for w in _MEANINGS if not _LATIN_AND_CYRILLIC(w)), key=len, reverse=True))
)
_GLUED = re.compile(
    r"(train|training|trainings|val|valid|validation|validierungs|test|eval)"
    r"(loss|acc|accuracy|error|err|verlust|genauigkeit|fehlerrate)"
)

FOREIGN_WORDS = tuple(
    word for words in _VOCABULARY.values() for word in words.split() if not word.isascii() and len(word) > 1
)
"""Words of headings that have other letters than A to Z: they tell the encoding of a file."""

# What measures are called, understood or not.
_LIKE_A_MEASURE = re.compile(
    r"loss|accura|error|precision|recall|perplexity|entropy|score|metric|损失|准确|精度|召回"
    r"|(?<![a-z])(acc|err|f1|f2|fbeta|auc|auroc|auprc|roc|ap|map|iou|miou|dice|jaccard|top|prec|rec|ppl|nll|"
    r"mse|rmse|mae|mape|kappa|mcc|bleu|rouge|psnr|ssim|sensitivity|specificity)[\d@]*(?![a-z])"
)

EPOCH, PLAIN, STEP = range(3)
"""Over what a column's values are, by its heading: an epoch, it does not say, a step."""


class Heading(NamedTuple):
    """What a heading says: whose measure, which (``loss``, ``acc`` or ``error``), and over what."""

    split: str | None
    kind: str
    span: int

    @property
    def place(self) -> tuple[str | None, str]:
        """What is drawn as one line: errors are accuracies turned round."""
        return self.split, "loss" if self.kind == "loss" else "acc"


def meanings(name: str) -> set[str] | None:
    """Return what the words of a heading mean, without those that add nothing; None if there are others."""
    name = _plain(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    name = re.sub(r"\btop[\W_]*1\b", "top1", _UNSPACED.sub(r" \g<0> ", name.replace("_", " ")))
    words = [part for word in re.findall(r"\w+", name) for part in _parts(word)]
    return {_MEANINGS[word] for word in words} - {""} if all(word in _MEANINGS for word in words) else None


def measure_of(words: set[str]) -> Heading | None:
    """Return what a heading of these meanings says, if that is a measure, and one alone."""
    splits, kinds = words & {"train", "val", "test"}, words & {"loss", "acc", "error"}
    if "error" in kinds:
        kinds -= {"acc"}  # top1 error
    if len(splits) > 1 or len(kinds) != 1 or words & {"phase", "curve"}:
        return None
    # What Ultralytics calls metrics is always of the validation.
    split = splits.pop() if splits else "val" if "metrics" in words else None
    span = STEP if "step" in words else EPOCH if "epoch" in words else PLAIN
    return Heading(split, kinds.pop(), span)


def is_like_a_measure(name: str) -> bool:
    """Return whether a heading looks like that of a measure, understood or not."""
    return _LIKE_A_MEASURE.search(name.casefold()) is not None


@lru_cache(1000)  # a log of a million steps says the same two words in every row
def split_of(cell: str) -> str | None:
    """Return "train", "val" or "test" for a word such as ``Training`` or ``eval``."""
    split = "".join(meanings(cell) or ())
    return split if split in ("train", "val", "test") else None


def shown_column(name: str) -> str:
    """Return a heading on one line, fit to be printed."""
    name = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return name if len(name) <= 40 else f"{name[:39]}…"


def _parts(word: str) -> tuple[str, ...]:
    glued = _GLUED.fullmatch(word)
    return (glued[1], glued[2]) if glued else (word,)
