"""Sends every step's figures to the sinks, the progress record and the log. On rank 0 only. Test: tests/trainer/rank/test_hooks.py."""

from collections.abc import Callable

from finetune.api.metrics import MetricName
from trainer.rank.ledger import Ledger
from trainer.reporting.messages import Sender
from trainer.reporting.sinks import MetricsSink
from trainer.training.figures import StepResult


class LogFigures:
    """Logs the figures of each step; `write_line` gets one line per step."""

    def __init__(self, ledger: Ledger, sinks: MetricsSink, sender: Sender, write_line: Callable[[str], None]) -> None:
        self._ledger, self._sinks, self._sender, self._write_line = ledger, sinks, sender, write_line

    def note(self, result: StepResult) -> None:
        """Send the step's figures to sinks, driver and log."""
        advance = result.progress
        values = {"trainLoss": result.train_loss, "gradientNorm": result.gradient_norm, "learningRate": result.learning_rate,
                  "lossTokens": float(result.loss_tokens), "tokensSeen": float(advance.tokens_seen)}  # fmt: skip
        if advance.tokens_per_second is not None:
            values["tokensPerSecond"] = advance.tokens_per_second
        scaled = ""
        if result.scaling is not None:
            values["lossScale"], values["repeatedSteps"] = result.scaling.loss_scale, float(result.scaling.repeated_steps)
            scaled = f"  loss scale {result.scaling.loss_scale:g}  repeated steps {result.scaling.repeated_steps}"
        self._sinks.log(advance.step, values)
        self._ledger.latest({MetricName.TRAIN_LOSS: result.train_loss})
        self._sender.send(progress=advance, metrics=self._ledger.metrics)
        rate = f"{advance.tokens_per_second:8.0f}" if advance.tokens_per_second else "       -"
        self._write_line(
            f"step {advance.step}/{advance.total_steps}  loss {result.train_loss:.4f}  gradient norm {result.gradient_norm:.3f}  "
            f"learning rate {result.learning_rate:.2e}  tokens/s {rate}{scaled}"
        )
