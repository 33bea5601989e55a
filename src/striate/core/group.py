"""The processes that train one network together; one process alone is the usual case.

Started by `torchrun` or `striate train --procs N`, which set RANK, WORLD_SIZE and the address to
meet at. Everything that is written or decided comes from rank 0; the others follow.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from striate.core.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: rank 0 may be reading a large data set meanwhile."""
_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 5.0


@dataclass(frozen=True)
class Group:
    """This process among `size`, as number `rank`. Alone every method is the identity."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and decides."""
        return self.rank == 0

    def shard(self, ids: NDArray[Any]) -> NDArray[Any]:
        """This process's share of a batch."""
        return ids[self.rank :: self.size]

    def parallel(
        self, net: nn.Module, device: torch.device, *, sync_norm: bool = False
    ) -> nn.Module:
        """The network whose backward pass averages the gradients of all processes; with `sync_norm`
        batch norm layers see all processes' images."""
        if self.size == 1 or not any(p.requires_grad for p in net.parameters()):
            return net
        import torch
        from torch.nn.parallel import DistributedDataParallel

        if sync_norm:
            net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        where = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            net, device_ids=where, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def sum(self, tensor: Tensor) -> Tensor:
        """Of all processes' tensors, in place."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def average_buffers(self, net: nn.Module) -> None:
        """Each process normalises by its own share of a batch; the running statistics that are
        kept for evaluation are the mean over the processes."""
        if self.size == 1:
            return
        import torch

        floats = [b for b in net.buffers() if b.is_floating_point()]
        if floats:
            flat = self.sum(torch.cat([b.flatten() for b in floats])) / self.size
            at = 0
            for buffer in floats:
                buffer.copy_(flat[at : at + buffer.numel()].view_as(buffer))
                at += buffer.numel()

    def any(self, flag: bool) -> bool:
        """Whether it is true in one process; all get the same answer."""
        if self.size == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor([float(flag)])).item() > 0)

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value (of JSON's kinds), in every process."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        text = json.dumps(value).encode() if self.is_main else b""
        length = int(self.sum(torch.tensor([len(text)])))
        data = torch.zeros(length, dtype=torch.uint8)
        if self.is_main:
            data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def all_gather(self, rows: Tensor, count: int) -> Tensor:
        """All `count` rows (on the CPU), of which each process has those at rank, rank + size, …"""
        if self.size == 1:
            return rows
        whole = rows.new_zeros((count, *rows.shape[1:]))
        whole[self.rank :: self.size] = rows
        return self.sum(whole)

    def all_ranks(self, rows: Tensor) -> list[Tensor]:
        """The rows (on the CPU) of every process, in the order of their ranks; each may have
        another number of rows."""
        import torch

        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        ends = self.sum(counts).cumsum(0).tolist()
        whole = rows.new_zeros((ends[-1], *rows.shape[1:]))
        whole[ends[self.rank] - len(rows) : ends[self.rank]] = rows
        self.sum(whole)
        return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def decide_on_main(self, decide: Callable[[], T]) -> T:
        """What `decide` gives (of JSON's kinds) in rank 0; if it raises there, the others end
        without a word of their own."""
        if self.size == 1:
            return decide()
        if not self.is_main:
            answer = self.broadcast(None)
            if "failed" in answer:
                raise SystemExit(answer["failed"])
            value: T = answer["value"]
            return value
        try:
            value = decide()
        except BaseException:
            self.tell_failure()
            raise
        self.broadcast({"value": value})
        return value

    def tell_failure(self) -> None:
        """From rank 0 to the others, which wait for a decision: there will be none."""
        self.broadcast({"failed": 2})


ALONE = Group()


def join() -> Group:
    """The group that the environment names; joined once. Raises TrainingError if it does not meet.

    Small tensors go through gloo on the CPU, gradients of GPUs through nccl.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        if "TORCHELASTIC_RUN_ID" in os.environ:
            _watch(os.getppid())
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"the {size} processes did not meet: {reason}",
                "torchrun and `striate train --procs` set RANK, WORLD_SIZE, MASTER_ADDR.",
            ) from None
    return Group(dist.get_rank(), size)


_watchers: list[tuple[threading.Event, threading.Thread]] = []


def _watch(launcher: int) -> None:
    """torchrun cannot end its workers if it is killed itself (F4): they notice, save, and end; what
    does not end by itself is ended."""
    left = threading.Event()

    def look() -> None:
        while os.getppid() == launcher:
            if left.wait(_LOOK_SECONDS):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        if not left.wait(_GRACE_SECONDS):
            os.kill(os.getpid(), signal.SIGKILL)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    _watchers.append((left, thread))


def leave() -> None:
    """Close the group's connections. A thread that outlives the interpreter may abort it, so the
    watcher is waited for."""
    while _watchers:
        left, thread = _watchers.pop()
        left.set()
        thread.join()
    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
