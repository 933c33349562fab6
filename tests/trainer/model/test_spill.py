"""A spilled tensor is the same one, in a file that nobody sees and that is gone with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.repository import REPOSITORY
from trainer.model.spill import Spill


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 4)])
def test_a_spilled_tensor_has_the_values_type_and_shape_of_the_one_it_is_made_from(
    tmp_path: Path, dtype: torch.dtype, shape: tuple
) -> None:
    tensor = torch.randn(shape).to(dtype)
    found = Spill(tmp_path)(tensor)
    assert (found.dtype, found.shape) == (dtype, tensor.shape)
    assert torch.equal(found, tensor)
    assert not list(tmp_path.iterdir())


def test_a_turned_tensor_is_spilled_as_it_reads(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3).T
    assert torch.equal(Spill(tmp_path)(tensor), tensor)


ANONYMOUS = """
import sys
from pathlib import Path
import torch

from trainer.model.spill import Spill

def anonymous():
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

spill, count = Spill(Path(sys.argv[1])), 8
spill(torch.ones(2))
before = anonymous()
kept = [spill(torch.full((2**24,), float(number))) for number in range(count)]  # 64 MiB each
after = anonymous()
assert [float(tensor[-1]) for tensor in kept] == [float(number) for number in range(count)]
print(after - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell memory of files from other memory")
def test_spilled_tensors_take_no_memory_but_that_of_files(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", ANONYMOUS, str(tmp_path)], env=env, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024, "in KiB, of 512 MiB"


MANY = """
import resource, sys
from pathlib import Path
import torch

from trainer.model.spill import Spill

spill = Spill(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = [spill(torch.full((3,), float(number))) for number in range(200)]
assert [float(tensor[-1]) for tensor in kept] == [float(number) for number in range(200)]
"""


def test_more_tensors_are_spilled_than_a_process_may_have_open_files(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_more_is_an_error_and_kills_nobody() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.NamedTemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
        with pytest.raises(OSError, match="No space left on device"):
            Spill(Path("/"))(torch.ones(2**20))
