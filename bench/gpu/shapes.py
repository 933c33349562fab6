"""The models that are measured: real shapes with random weights, and small ones that show on a CPU that the script works.

Pure. Test: tests/bench/gpu/test_shapes.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

LLAMA_8B = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 8192, "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_1B = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 8192, "rope_theta": 500000.0, "tie_word_embeddings": True,
}  # fmt: skip
SMOLLM_135M = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 8192, "rope_theta": 100000.0, "tie_word_embeddings": True,
}  # fmt: skip
SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 8192, "rope_theta": 10000.0, "tie_word_embeddings": True,
}  # fmt: skip
PEAK_FLOPS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}
"""Dense bfloat16 arithmetic of the SXM cards, from NVIDIA's data sheets; other cards get no MFU."""


@dataclass(frozen=True)
class Shape:
    """One job: a model's sizes, what is trained of it, and the rows."""

    name: str
    model: dict[str, Any]
    lora: bool
    length: int
    """Longest row in tokens."""
    micro_batch: int
    batch: int
    """Rows of a step."""
    chat: bool = False
    """Short conversations of many lengths, packed; otherwise plain text, whose rows are all full."""
    recompute: bool = False
    """Activations are computed again in backward, in every program: without it they would not fit beside the weights."""
    steps: int = 10
    seconds: float = 60.0
    """Time that each program may take, loading included."""

    @property
    def parameters(self) -> int:
        """Number of weights of a Llama of these sizes; tied ones count once."""
        sizes = self.model
        hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
        keys = hidden * sizes["num_key_value_heads"] // sizes["num_attention_heads"]
        layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
        ends = sizes["vocab_size"] * hidden * (1 if sizes["tie_word_embeddings"] else 2)
        return int(sizes["num_hidden_layers"] * layer + ends + hidden)

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations of a token, without attention and recomputation: 6 for each weight, 4 where weights are frozen.

        A frozen weight takes part in forward (2) and in the gradient of its input (2), not in a gradient of its own (2).
        """
        return (4.0 if self.lora else 6.0) * self.parameters

    def config(self, folder: Path, output: Path, *, gpus: int) -> dict[str, Any]:
        """Return the trainer's configuration, in wire form, for the files in `folder`; a checkpoint is saved before the last steps."""
        training: dict[str, Any] = {
            "maxSteps": self.steps, "globalBatchSize": self.batch, "microBatchSize": self.micro_batch, "learningRate": 1e-5,
            "scheduler": "constant", "warmupRatio": 0, "maxSequenceLength": self.length, "precision": "bfloat16",
            "gradientCheckpointing": "always" if self.recompute else "never", "packing": "always" if self.chat else "never",
        }  # fmt: skip
        return {
            "job": {"name": "gpu"},
            "task": "chat" if self.chat else "language-modeling",
            "model": {"path": str(folder / "model")},
            "data": {"train": [{"path": str(folder / "rows.jsonl")}]},
            "method": {"lora": {"rank": 16, "alpha": 32}} if self.lora else {"full": {}},
            "training": training,
            "workers": {"workers": 1, "gpusPerWorker": gpus},
            "checkpoint": {"everySteps": self.steps - 3, "keep": 1},
            "output": {"directory": str(output), "export": []},
            "progress": {"file": str(output / "progress.json")},
        }


SHAPES = (
    Shape("SmolLM2-135M LoRA, packed conversations", SMOLLM_135M, lora=True, length=512, micro_batch=64, batch=128, chat=True, seconds=40),
    Shape("Llama-3-8B LoRA, rows of 4,096 tokens", LLAMA_8B, lora=True, length=4096, micro_batch=2, batch=2, recompute=True),
    Shape("Llama-3.2-1B full, rows of 4,096 tokens", LLAMA_1B, lora=False, length=4096, micro_batch=2, batch=4, seconds=75),
)
SMALL_SHAPES = (
    Shape("small LoRA", SMALL, lora=True, length=64, micro_batch=2, batch=2, recompute=True, steps=8),
    Shape("small full", SMALL, lora=False, length=64, micro_batch=2, batch=4, steps=8),
    Shape("small LoRA, packed conversations", SMALL, lora=True, length=64, micro_batch=4, batch=8, chat=True, steps=8),
)


def peak_flops(card: str) -> float | None:
    """Return a card's bfloat16 arithmetic per second; None for one that is not listed."""
    return next((flops for name, flops in PEAK_FLOPS.items() if name in card), None)
