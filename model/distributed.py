"""Data-parallel training: `torchrun --nproc-per-node 2 -m metagait train …`.

Each process computes its own rows of the global batch up to the neck. The parts of all rows are
then gathered, and each process computes the neck and the losses on the whole batch, so the neck's
statistics and the triplets are those of a single process. Gradients flow only through a process's
own rows; their sum over the processes is the gradient of the whole batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.errors import ConfigError

_PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, as the first one may be generating walkers."""


@dataclass(frozen=True)
class Group:
    """This process's place among those that train together; by default it is alone."""

    rank: int = 0
    world: int = 1

    def rows(self, batch: int) -> range:
        """Return this process's rows of a global batch.

        Raises:
            ConfigError: the batch cannot be shared out evenly.

        """
        if batch % self.world:
            raise ConfigError(
                f"sampler: expected clips that {self.world} processes can share, got {batch}"
            )
        each = batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def gathered(self, own: Tensor) -> Tensor:
        """Return all processes' rows in global batch order; only this process's have gradients."""
        if self.world == 1:
            return own
        rows = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(rows, own.detach().contiguous())
        rows[self.rank] = own
        return torch.cat(rows)

    def add_up(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients that each process computed for its own rows."""
        if self.world > 1:
            self._all_reduce([p.grad for p in parameters if p.grad is not None])

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients that every process computed for all rows.

        They are equal except for rounding, which must not let the copies drift apart.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        # The classifier has no gradients if the cross-entropy has weight 0.
        if self.world > 1 and gradients:
            self._all_reduce(gradients)
            torch._foreach_div_(gradients, float(self.world))

    def any(self, here: bool, device: torch.device) -> bool:
        """Return whether `here` is true in any process."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)], device=device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run the block alone, and the others after it."""
        if self.world > 1 and self.rank:
            dist.barrier()
        yield
        if self.world > 1 and not self.rank:
            dist.barrier()

    @staticmethod
    def _all_reduce(gradients: list[Tensor]) -> None:
        """Sum all gradients in one message instead of one per parameter."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


@contextmanager
def joined() -> Iterator[Group]:
    """Join the processes started by `torchrun`; without it, yield a group of one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()
