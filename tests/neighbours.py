"""fastsoftmax in one process with PyTorch and NumPy's BLAS; PyTorch must be installed.

    python tests/neighbours.py

Each script runs in a process of its own: each library imported first, in turn, in several threads
at once, and across a fork. Results must agree, and the others' thread counts must stay as they are.
"""

import sys

from subprocesses import run_python

COMPUTE = """
import numpy as np
x = np.random.default_rng(0).normal(size=(600, 700)).astype(np.float32)

def ours():
    return F.softmax(x, 1), F.softmax(x, 0)

def theirs():
    return [torch.softmax(torch.from_numpy(x), dim).numpy() for dim in (1, 0)]

def blas():
    return x @ x.T

def once():
    for a, b in zip(ours(), theirs()):
        assert np.abs(a - b).max() < 1e-6
    assert all(np.array_equal(a, b) for a, b in zip(ours(), wanted))
    assert np.abs(blas() - product).max() < 1e-3

wanted, product = ours(), blas()
settings = torch.get_num_threads(), torch.get_num_interop_threads()
"""

IMPORTS = {
    "fastsoftmax first": "import fastsoftmax\nimport fastsoftmax.functional as F\nimport torch\n",
    "PyTorch first": "import torch\nimport fastsoftmax\nimport fastsoftmax.functional as F\n",
}

WAYS = {
    "in turn": """
for _ in range(30):
    once()
""",
    "in threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    for done in [pool.submit(once) for _ in range(30)]:
        done.result()
""",
    "across a fork": """
import os
once()
pid = os.fork()
if pid == 0:  # PyTorch's teams do not survive the fork, so only ours and one thread of theirs
    torch.set_num_threads(1)
    assert fastsoftmax.get_num_threads() == 1
    once()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
once()
""",
    "limits": """
import threadpoolctl
with threadpoolctl.threadpool_limits(1):
    assert fastsoftmax.get_num_threads() == 1
    once()
torch.set_num_threads(1)
once()
torch.set_num_threads(settings[0])
with fastsoftmax.num_threads(1):
    assert torch.get_num_threads() == settings[0]
    once()
""",
}

END = """
assert (torch.get_num_threads(), torch.get_num_interop_threads()) == settings
print(torch.__version__, np.__version__)
"""


def main():
    for first, imports in IMPORTS.items():
        for way, script in WAYS.items():
            for isa in run_python(
                "from fastsoftmax import _core; print(*_core._isa_available())"
            ).stdout.split():
                environment = {"OMP_NUM_THREADS": "2", "FASTSOFTMAX_ISA": isa}
                done = run_python(imports + COMPUTE + script + END, environment=environment)
                print(f"{first}, {way}, {isa}: right; PyTorch and NumPy", done.stdout.strip())


if __name__ == "__main__":
    sys.exit(main())
