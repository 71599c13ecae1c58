"""The contestants of `benchmarks/encode.py`: ways to turn a walk into an embedding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.encoder import Encoder, EngineChoice, open_encoder
from model.errors import ProviderError
from model.network import MetaGait, NetworkConfig

Walk = NDArray[np.uint8]
Encode = Callable[[Sequence[Walk]], NDArray[np.float32]]
EAGER, BASELINE = "torch eager", "GaitGL, torch eager"


@dataclass(frozen=True)
class Contestant:
    """One way to embed walks.

    Attributes:
        name: of the row; unique together with the precision.
        precision: of its convolutions; it is compared with the ceiling of this precision.
        encode: embeds walks uint8 `[T, H, W]` as float32 `[N, P*D]`.
        callers: number of concurrent calls.
        encoder: the engine behind it; None for torch.

    """

    name: str
    precision: str
    encode: Encode
    callers: int = 1
    encoder: Encoder | None = None


def of_torch(config: NetworkConfig, device: torch.device, threads: int) -> Iterator[Contestant]:
    """Yield torch networks with random weights (enough for speed): eager, and all else on a GPU."""
    torch.manual_seed(0)
    baseline = replace(config, attention=(), pooling=("max",), pooling_weights="none")
    network, trunk = (MetaGait(c).eval().to(device) for c in (config, baseline))
    yield Contestant(EAGER, "float32", in_torch(network, device, threads))
    yield Contestant(BASELINE, "float32", in_torch(trunk, device, threads))
    if device.type != "cuda":
        return
    for half in (None, torch.float16, torch.bfloat16):
        name = "float32" if half is None else str(half).removeprefix("torch.")
        last = MetaGait(config).eval().to(device).channels_last()
        yield Contestant("torch channels-last", name, in_torch(last, device, threads, half))
        compiled: Any = torch.compile(network, dynamic=False)
        yield Contestant("torch compiled", name, in_torch(compiled, device, threads, half))
        yield Contestant("torch CUDA graph", name, Graphed(network, device, half))


def of_engines(models: Sequence[Path], provider: str, threads: int) -> Iterator[Contestant]:
    """Yield every engine and precision of every model file that runs here."""
    plain = EngineChoice(engine="onnxruntime", provider="cpu", threads=threads)
    vino = replace(plain, engine="openvino")
    choices = [plain, vino, replace(vino, precision="bfloat16")]
    if provider == "cuda":
        choices = [replace(plain, provider="cuda"), replace(plain, provider="tensorrt")]
    if threads > 1:
        choices += [replace(choice, mode="throughput") for choice in choices]
    for path in models:
        for choice in choices:
            try:
                encoder = open_encoder(path, choice)
            except ProviderError as error:
                print(f"left out: {error}")
                continue
            if choice.precision not in ("model", encoder.runtime.precision):
                encoder.close()  # a model that is already narrower gains nothing from bfloat16
                continue
            yield _of_encoder(path, encoder)


def _of_encoder(path: Path, encoder: Encoder) -> Contestant:
    runs = encoder.runtime
    name = f"{path.stem}, {runs.engine}"
    if "CPU" not in runs.provider:
        name += f" {runs.provider.removesuffix('ExecutionProvider')}"
    if runs.callers > 1:
        name += f", {runs.callers} callers"
    return Contestant(name, runs.precision, encoder.encode, runs.callers, encoder)


def in_torch(
    network: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    threads: int,
    half: torch.dtype | None = None,
) -> Encode:
    """Embed with a torch network as it is; `half` is the precision of its convolutions."""

    def encode(walks: Sequence[Walk]) -> NDArray[np.float32]:
        torch.set_num_threads(threads)
        silhouettes, lengths = (array.to(device) for array in arrays(walks))
        autocast = nullcontext() if half is None else torch.autocast(device.type, half)
        with torch.inference_mode(), autocast:
            embedding = network(silhouettes, lengths)
        flat: NDArray[np.float32] = embedding.flatten(1).float().cpu().numpy()
        return flat

    return encode


class Graphed:
    """A network as CUDA graphs, one per shape, so that a call is a single launch."""

    def __init__(self, network: MetaGait, device: torch.device, half: torch.dtype | None) -> None:
        self._network, self._device, self._half = network, device, half
        self._graphs: dict[torch.Size, tuple[Any, Tensor, Tensor, Tensor]] = {}

    def __call__(self, walks: Sequence[Walk]) -> NDArray[np.float32]:
        """Embed walks."""
        silhouettes, lengths = arrays(walks)
        if silhouettes.shape not in self._graphs:
            self._graphs[silhouettes.shape] = self._captured(silhouettes, lengths)
        graph, taken, counted, given = self._graphs[silhouettes.shape]
        taken.copy_(silhouettes)
        counted.copy_(lengths)
        graph.replay()
        flat: NDArray[np.float32] = given.flatten(1).float().cpu().numpy()
        return flat

    def _captured(self, silhouettes: Tensor, lengths: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        taken, counted = silhouettes.to(self._device), lengths.to(self._device)
        # The cache of cast weights must not outlive a capture.
        autocast = (
            nullcontext()
            if self._half is None
            else torch.autocast("cuda", self._half, cache_enabled=False)
        )
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.inference_mode(), autocast:
            with torch.cuda.stream(side):  # lets cuDNN choose its kernels before the capture
                for _ in range(3):
                    self._network(taken, counted)
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                given = self._network(taken, counted)
        return graph, taken, counted, given


def arrays(walks: Sequence[Walk]) -> tuple[Tensor, Tensor]:
    """Pad walks to a batch: uint8 `[N, T, H, W]` and lengths int64 `[N]`."""
    longest = max(map(len, walks))
    padded = np.zeros((len(walks), longest, *walks[0].shape[1:]), np.uint8)
    for row, walk in zip(padded, walks, strict=True):
        row[: len(walk)] = walk
    return torch.from_numpy(padded), torch.tensor([len(walk) for walk in walks])
