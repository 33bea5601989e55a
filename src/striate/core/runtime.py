"""The machine: device, precision, threads, allocator. The identity on one plain CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.core.errors import RecipeError, perhaps
from striate.core.group import ALONE, Group

if TYPE_CHECKING:
    import torch

_LONG = 0.5
BFLOAT16_GAIN = 1.5
"""bfloat16 is used where its matrix product is at least this much faster than float32's."""


@dataclass(frozen=True)
class Runtime:
    """Where tensors live and in which arithmetic products are taken."""

    device: torch.device
    precision: str
    group: Group = ALONE
    """The processes that train together."""

    def autocast(self) -> torch.autocast:
        """Products and convolutions in bfloat16 where that was chosen; weights stay float32."""
        import torch

        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )

    @property
    def product_type(self) -> torch.dtype:
        """The type in which products are taken."""
        import torch

        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def on_device(self, array: Any) -> torch.Tensor:
        """An array or tensor as a tensor there; to a GPU through pinned memory, without waiting."""
        import torch

        if isinstance(array, torch.Tensor):
            tensor = array
        else:
            tensor = torch.from_numpy(array if array.flags.c_contiguous else array.copy())
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def staged(self, array: Any) -> Any:
        """The array where `on_device` need not copy it first: for a GPU in pinned memory."""
        import torch

        if self.device.type != "cuda":
            return array
        pinned = torch.empty(array.shape, dtype=torch.from_numpy(array[:0]).dtype, pin_memory=True)
        pinned.copy_(torch.from_numpy(array))
        return pinned.numpy()

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the CPU. A GPU is not waited for: `marker` tells when it has come."""
        import torch

        if self.device.type != "cuda":
            return tensor.cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def marker(self) -> Callable[[], None]:
        """What waits until the device has done all that it was given so far."""
        import torch

        if self.device.type != "cuda":
            return lambda: None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return event.synchronize


def usable_cores() -> int:
    """Cores that this process may use (affinity and container quota), not those that exist."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def choose_device(wanted: str) -> torch.device:
    """The torch device for `wanted`; "auto" is the first accelerator, else the CPU."""
    import torch

    if wanted in ("auto", "cuda") and torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        return device
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        known = wanted.partition(":")[0] in ("cpu", "cuda", "mps")
        hint = "" if known else perhaps(wanted, ["cpu", "cuda", "mps"]) + " "
        raise RecipeError(
            f"device.device: '{wanted}' cannot be used here: {first}",
            f"{hint}`striate env` lists what is here; --device auto takes the best of it.",
        ) from None
    return device


def choose_precision(device: torch.device) -> tuple[str, str]:
    """(precision, why) by timing a matrix product in both formats."""
    import torch

    if device.type == "cuda":
        good = torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bfloat16", "tensor cores") if good else ("float32", "no bfloat16 units")
    if device.type != "cpu":
        return "float32", f"bfloat16 is not measured on {device.type}"
    gain = bfloat16_gain()
    why = f"bfloat16 products are {gain:.1f}× float32's here"
    return ("bfloat16" if gain >= BFLOAT16_GAIN else "float32"), why


_FEW_ROWS, _HOPELESS = 16, 4


def bfloat16_gain(size: int = 512, repeats: int = 6) -> float:
    """How much faster a bfloat16 matrix product is than a float32 one, on one CPU thread.

    Measured in the thread's own CPU time, in turn, best of `repeats`: other programs that are
    running must not change the choice, or the same seed would give other weights.
    """
    import torch

    pairs = {d: torch.ones(2, size, size, dtype=d) for d in (torch.float32, torch.bfloat16)}
    with one_thread():
        best: dict[torch.dtype, float] = {}
        for rows in (_FEW_ROWS, size):
            best = dict.fromkeys(pairs, float("inf"))
            for _ in range(repeats):
                for dtype, (a, b) in pairs.items():
                    start = time.thread_time()
                    a[:rows] @ b
                    best[dtype] = min(best[dtype], time.thread_time() - start)
            if best[torch.bfloat16] > _HOPELESS * best[torch.float32]:
                break  # without units for it; the larger product would take a second
    return best[torch.float32] / max(best[torch.bfloat16], 1e-9)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def product_gflops(dtype: torch.dtype, size: int = 768, repeats: int = 5) -> float:
    """Best rate of a size×size matrix product on the CPU, in 10⁹ operations a second."""
    import torch

    a, b = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    rows, best = _FEW_ROWS, float("inf")
    for number in range(repeats + 2):
        start = time.perf_counter()
        a[:rows] @ b
        best = min(best, time.perf_counter() - start)
        if number == 1:  # a format without units here: a few rows tell enough
            if best * size / rows > _LONG:
                break
            rows, best = size, float("inf")
    return 2e-9 * rows * size**2 / best


def keep_pages() -> bool:
    """Ask glibc to keep freed pages, so that each step does not fault its activations in again.

    Sets M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, and M_ARENA_MAX to 1 (mallopt(3)): the arenas of
    threads keep nothing large. False where there is no glibc. The cost is that memory once used
    stays with the process.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    m_trim_threshold, m_mmap_threshold, m_arena_max, one_gigabyte = -1, -3, -8, 1 << 30
    libc = ctypes.CDLL(None)
    libc.mallopt(m_arena_max, 1)
    kept = libc.mallopt(m_mmap_threshold, one_gigabyte)
    return bool(kept and libc.mallopt(m_trim_threshold, 2**31 - 1))


def free_memory() -> int:
    """Bytes that can be taken without swapping; 4 GB where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30


def device_memory(device: str) -> int:
    """Bytes that are free where a network is trained."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


def describe() -> dict[str, Any]:
    """Versions, hardware, git revision and command line, for environment.json."""
    import torch

    packages = ("striate", "torch", "torchvision", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": usable_cores(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": {name: version_of(name) for name in packages},
        "git": _git_revision(),
        "command": sys.argv,
    }


def version_of(package: str) -> str | None:
    """Installed version, None if it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _quota() -> int | None:
    """Cores granted by a container's CPU quota (cgroup v2)."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):
        return None


def _git_revision() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
