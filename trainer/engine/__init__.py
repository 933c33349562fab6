"""How a model is sharded, differentiated and stepped over ranks: DeepSpeed ZeRO 0-3, or plain DDP, behind one interface.

Needs a process group that is already up. Tests: tests/trainer/engine/.
"""

from trainer.engine.base import Engine, EngineState, OptimizerSettings
from trainer.engine.factory import build_engine

__all__ = ["Engine", "EngineState", "OptimizerSettings", "build_engine"]
