"""The script of the references says what a word is; what they leave undefined is named with the reason."""

import pytest

from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.references import long_enough, writing_of
from trainer.evaluation.metrics.registry import undefined

ENGLISH, CHINESE, JAPANESE = "The cat sat on the mat.", "猫坐在垫子上。", "猫がマットの上に座った。"


@pytest.mark.parametrize(
    ("texts", "tokenization"),
    [
        pytest.param([ENGLISH], "13a", id="English"),
        pytest.param(["모델이 질문에 답합니다"], "13a", id="Korean"),
        pytest.param(["नमस्ते दुनिया"], "13a", id="Hindi"),
        pytest.param(["مرحبا بالعالم"], "13a", id="Arabic"),
        pytest.param(["The word 你好 means hello to all"], "13a", id="English with a Chinese word"),
        pytest.param([CHINESE], "zh", id="Chinese"),
        pytest.param(["请用 kubectl get ftj 查看训练任务的状态"], "zh", id="Chinese with a command"),
        pytest.param(["喝の茶很好，大家都喜欢这个牌子。"], "zh", id="Chinese with a borrowed sign"),
        pytest.param([JAPANESE], "char", id="Japanese"),
        pytest.param(["東京大学", "京都", "はい、そうです"], "char", id="Japanese, some of it without syllable signs"),
        pytest.param(["ﾊﾝｶｸｶﾅ"], "char", id="half-width"),
        pytest.param(["བོད་སྐད་དུ་སྨྲའོ"], "char", id="Tibetan"),
        pytest.param(["42", "3.14", "?"], "13a", id="no letters"),
        pytest.param(["42", "7", CHINESE], "zh", id="numbers have no say"),
        pytest.param([ENGLISH, ENGLISH, CHINESE], "13a", id="most are English"),
        pytest.param([ENGLISH, CHINESE, CHINESE], "zh", id="most are Chinese"),
    ],
)
def test_tokens_follow_from_how_most_references_are_written(texts: list[str], tokenization: str) -> None:
    assert writing_of(texts).tokenization == tokenization


def test_a_set_in_two_kinds_of_scripts_is_called_mixed() -> None:
    assert writing_of([ENGLISH, CHINESE, "42"]).mixed
    assert not writing_of([ENGLISH, "42"]).mixed
    assert not writing_of([CHINESE, JAPANESE]).mixed


def test_references_are_long_enough_by_the_tokens_of_their_script() -> None:
    assert long_enough(["Yes.", "No, thank you"], "13a") == 1
    assert long_enough(["猫坐在", "猫坐在垫"], "zh") == 1
    assert long_enough(["はいはい", "はい"], "char") == 1


@pytest.mark.parametrize(
    ("references", "names"),
    [
        pytest.param([ENGLISH], set(), id="sentences"),
        pytest.param(["Yes."], {"bleu"}, id="short"),
        pytest.param([CHINESE], {"wer"}, id="without spaces"),
        pytest.param(["?", "!"], {"bleu", "wer"}, id="punctuation"),
        pytest.param(["", " "], {"bleu", "chrf", "wer"}, id="empty"),
        pytest.param(["Yes."] * 9 + [ENGLISH], set(), id="one of ten is long"),
        pytest.param(["Yes."] * 10 + [ENGLISH], {"bleu"}, id="one of eleven is long"),
    ],
)
def test_a_metric_is_undefined_where_the_references_have_nothing_to_measure(references: list[str], names: set[str]) -> None:
    assert set(undefined([[text] for text in references], (MetricName.BLEU, MetricName.CHRF, MetricName.WER))) == names


def test_only_metrics_that_are_asked_for_are_named() -> None:
    assert undefined([["?"]], (MetricName.CHRF,)) == {}
