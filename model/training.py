"""The state of a training run: one optimisation step, saving and resuming."""

import math
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.averaging import WeightAverage
from model.checkpoint import Checkpoint, current_commit, save_checkpoint, weights_of
from model.config import TrainConfig
from model.distributed import Group
from model.errors import ConfigError, TrainingError
from model.hyper import weight_sources
from model.layers import Classifier
from model.losses import contrastive_loss, cross_entropy, triplet_loss
from model.networks import Network, build_network
from model.progress import Figures
from model.resuming import changes
from model.sampler import Batch
from model.start import start_from

# On processors with bfloat16, torch 2.13 fills the gradient of a 3×3×3 convolution's weights with
# whatever was in memory when its input has exactly two steps of time. Other lengths are right.
WRONG_STEPS = 2


class Training:
    """Network, classifier and optimiser of a configuration, on the available device.

    `group` is this process's place among those that train together: it computes its own rows of
    each batch, and every process ends a step with the same weights.
    """

    def __init__(
        self, config: TrainConfig, subjects: tuple[str, ...], group: Group | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.subjects = subjects
        self.group = group or Group()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Network = build_network(config.network).to(self.device)
        for source in weight_sources(self.network):
            source.scale(config.meta_start)
        self.average = WeightAverage(self.network, config.average)
        parts, dimensions = config.network.parts, config.network.dimensions
        self.classifier = Classifier(parts, dimensions, len(subjects)).to(self.device)
        self.parameters = [*self.network.parameters(), *self.classifier.parameters()]
        rate, decay = config.optimiser.learning_rate, config.optimiser.weight_decay
        self.optimiser = torch.optim.Adam(self._by_rate(), lr=rate, weight_decay=decay)
        self.iteration = 0
        forward = self.network.forward_parts
        self._forward_parts = torch.compile(forward) if config.compile else forward

    def begin_from(self, path: Path) -> None:
        """Begin with the weights in `path`; see `start_from`."""
        start_from(path, self.network)
        self.average.load(self.network.state_dict())

    def step(self, batch: Batch) -> Figures:
        """Learn from one batch (paper, Eq. 9), of which `batch` holds this process's rows.

        Raises:
            TrainingError: the loss or a gradient is not finite; no weight was changed.

        """
        rate = self.config.optimiser.rate(self.iteration, self.config.iterations)
        for options in self.optimiser.param_groups:
            options["lr"] = rate * options.get("factor", 1.0)
        loss, figures = self._loss(batch)
        self._expect_finite("loss", figures.loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.group.add_up(self.network.parameters())
        self.group.average(self.classifier.parameters())
        self._clip()
        self.optimiser.step()
        self.iteration += 1
        self.average.update(self.iteration)
        return figures

    def save(self, path: Path, figures: Figures | None, *, pieces: bool = False) -> None:
        """Write a checkpoint; in distributed training only the first process does."""
        if self.group.rank:
            return
        checkpoint = Checkpoint(
            config=self.config,
            iteration=self.iteration,
            subjects=self.subjects,
            network=weights_of(self.network),
            average={key: value.cpu() for key, value in self.average.weights.items()},
            classifier=weights_of(self.classifier),
            optimiser=self.optimiser.state_dict(),
            random_state=torch.get_rng_state(),
            commit=current_commit(),
            metrics=asdict(figures) if figures else {},
        )
        save_checkpoint(checkpoint, path, pieces=pieces)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint, and print which settings have changed since.

        Raises:
            ConfigError: it is for another network or other subjects, or a changed setting could no
                longer have an effect.
            ModelFileError: it was trained with different preprocessing.

        """
        checkpoint.check_preprocessing()
        if self.config.start is None:  # its starting point is history, whether repeated here or not
            self.config = replace(self.config, start=checkpoint.config.start)
        changed = changes(checkpoint.config, self.config)
        if checkpoint.subjects != self.subjects:
            raise ConfigError(
                f"data: expected the checkpoint's {len(checkpoint.subjects)} subjects, "
                f"got {len(self.subjects)} others"
            )
        self.network.load_state_dict(checkpoint.network)
        self.average.load(checkpoint.average)
        self.classifier.load_state_dict(checkpoint.classifier)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        torch.set_rng_state(checkpoint.random_state)
        self.iteration = checkpoint.iteration
        if changed and not self.group.rank:
            print(changed, flush=True)

    def _clip(self) -> None:
        """Limit the gradient to the configuration's norm, if it sets one."""
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters if p.grad is not None]
        )
        self._expect_finite("gradient", float(norm))
        if self.config.optimiser.clip_norm:
            limit = self.config.optimiser.clip_norm
            torch.nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)

    def _expect_finite(self, what: str, value: float) -> None:
        # One such step would make every weight NaN for good, also in the next checkpoint.
        if not math.isfinite(value):
            raise TrainingError(
                f"expected a finite {what} in iteration {self.iteration + 1}, got {value}: "
                "go on from the last checkpoint with a lower learning rate, or in float32"
            )

    def _by_rate(self) -> list[dict[str, Any]]:
        """Group the parameters by the factor on their learning rate."""
        factor = self.config.optimiser.meta_rate
        meta = {p for source in weight_sources(self.network) for p in source.parameters()}
        if factor == 1 or not meta:
            return [{"params": self.parameters}]
        others = [p for p in self.parameters if p not in meta]
        slow = [p for p in self.parameters if p in meta]
        return [{"params": others}, {"params": slow, "factor": factor}]

    def _loss(self, batch: Batch) -> tuple[Tensor, Figures]:
        silhouettes, lengths, labels = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (batch.silhouettes, batch.lengths, batch.labels)
        )
        with self._precision(silhouettes.shape[1]):
            own = self._forward_parts(silhouettes, lengths)
        # From here on every process works on the whole batch, so that the neck's statistics and the
        # triplets are those of a single process.
        embedding = self.network.neck(self.group.gathered(own.float()))
        labels = self.group.gathered(labels)
        triplet = triplet_loss(embedding, labels, self.config.loss.margin)
        weight = self.config.loss.cross_entropy
        entropy = cross_entropy(self.classifier(embedding), labels) if weight else torch.zeros(())
        loss = triplet.loss + weight * entropy
        contrastive = torch.zeros(())
        if self.config.loss.contrastive:
            contrastive = contrastive_loss(embedding, labels, self.config.loss.temperature)
            loss = loss + self.config.loss.contrastive * contrastive
        return loss, Figures(
            loss=float(loss.detach()),
            triplet=float(triplet.loss.detach()),
            cross_entropy=float(entropy.detach()),
            nonzero=float(triplet.nonzero_share),
            distance=float(triplet.mean_distance),
            contrastive=float(contrastive.detach()),
        )

    def _precision(self, frames: int) -> AbstractContextManager[object]:
        narrow = computes_in_bfloat16(self.config.precision, self.device, frames)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=narrow)


def computes_in_bfloat16(precision: str, device: torch.device, frames: int) -> bool:
    """Return whether to compute clips of that many frames in bfloat16.

    "auto" does if the hardware supports it. bfloat16 has the range of float32, so the loss needs no
    scaling. float16 would, and is not used.
    """
    # The first layers make one step of three frames.
    if device.type == "cpu" and frames // 3 == WRONG_STEPS:
        return False
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch cannot tell; float32 is then the safe answer.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
