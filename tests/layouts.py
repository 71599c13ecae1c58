"""Tiny datasets in every layout that is known, and the cache made of one."""

from pathlib import Path

import numpy as np

from model.dataset import Dataset, layout_of, open_packed, pack
from tests.datasets import png, walk, write_sample, write_tar


def packed_tree(
    root: Path, out: Path, size: tuple[int, int] = (64, 44), layout: str | None = None
) -> Dataset:
    kind = layout_of(root, layout)
    pack(kind.scan(root), out, size, layout=kind)
    return open_packed(out)


def tree(root: Path) -> dict[str, list[np.ndarray]]:
    """Three subjects of any id/type/view tree, and the frames of each sample."""
    samples = {
        f"{subject}/walk/{view}": walk(first=20 + 3 * number)
        for number, (subject, view) in enumerate(
            (s, v) for s in ("ann", "bob", "cy") for v in ("front", "side")
        )
    }
    for name, frames in samples.items():
        write_sample(root, name, frames)
    return samples


def as_archives(root: Path) -> dict[str, list[np.ndarray]]:
    samples = {f"{s}/nm-01/{v}": walk(first=20) for s in ("001", "002") for v in ("000", "090")}
    for subject in ("001", "002"):
        write_tar(
            root / f"{subject}.tar.gz",
            {
                f"{name}/{name.replace('/', '-')}-{number:03}.png": png(frame)
                for name, frames in samples.items()
                if name.startswith(subject)
                for number, frame in enumerate(frames)
            },
        )
    return samples


def as_casia_b(root: Path) -> dict[str, list[np.ndarray]]:
    samples = {f"{s}/{c}/090": walk(first=22) for s in ("001", "124") for c in ("nm-01", "cl-02")}
    for name, frames in samples.items():
        write_sample(root, name, frames)
    return samples


def as_ou_mvlp_tree(root: Path) -> dict[str, list[np.ndarray]]:
    """OU-MVLP as OpenGait puts it in order, `<id>/<sequence>/<view>`."""
    samples = {
        f"{subject}/{sequence}/{view}": walk(first=24 + int(view) // 30)
        for subject in ("00001", "00002")
        for sequence in ("00", "01")
        for view in ("000", "270")
    }
    for name, frames in samples.items():
        write_sample(root, name, frames)
    return samples


def as_ou_mvlp(root: Path) -> dict[str, list[np.ndarray]]:
    samples = as_ou_mvlp_tree(root.with_name(f"{root.name}-in-order"))
    for name, frames in samples.items():
        subject, sequence, view = name.split("/")
        write_sample(root, f"Silhouette_{view}-{sequence}/{subject}", frames)
    return samples
