"""How a model is sharded, differentiated and stepped over ranks: DeepSpeed ZeRO 0-3, or plain DDP, behind one interface.

Needs a process group that is already up. Tests: tests/trainer/engine/.
"""
