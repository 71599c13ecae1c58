"""The decision threshold of a model, measured on validation walkers that it never saw."""

from pathlib import Path

import numpy as np

from model.caches import VALIDATION, walkers_dataset
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import Embedded, Encode, embed
from model.encoder import Threshold
from model.errors import DatasetError
from model.protocols import GALLERY, nearest, open_set


def calibrate(
    encode: Encode, dataset: Dataset, *, target_fpir: float = 0.01, samples_each: int = 4
) -> Threshold:
    """Choose the threshold that names a stranger in at most `target_fpir` of the searches.

    Every other subject of the dataset is enrolled with up to `samples_each` samples in the
    conditions NM#1-4, at views drawn once with a fixed seed. All samples in other conditions are
    searched; the subjects that are not enrolled are the strangers. A search's distance is that of
    its nearest sample, flattened embeddings, Euclidean, as in the gallery.

    Raises:
        DatasetError: too few strangers' samples for the target, or nobody to enrol.

    """
    embedded = embed(dataset, encode)
    enrolled = _enrolled(embedded, dataset.subjects[::2], samples_each)
    searched = [i for i, s in enumerate(embedded.samples) if s.condition not in GALLERY]
    if not len(enrolled) or not searched:
        raise DatasetError("expected samples in NM#1-4 to enrol and others to search, got none")
    subjects = np.array([sample.subject for sample in embedded.samples], np.str_)
    distances = flat_distances(embedded.embeddings[searched], embedded.embeddings[enrolled])
    mated, nonmated = nearest(distances, subjects[searched], subjects[enrolled])
    chosen = open_set(mated, nonmated, target_fpir)
    gallery = len(set(subjects[enrolled]))
    return Threshold(
        distance=chosen.threshold,
        target_fpir=target_fpir,
        fnir=chosen.fnir,
        gallery_subjects=gallery,
        searches=chosen.nonmated,
        source=f"validation samples, {samples_each} enrolled for each of {gallery} subjects",
    )


def calibrate_on_walkers(encode: Encode, runs: Path, target_fpir: float = 0.01) -> Threshold:
    """Calibrate on the project's validation walkers, generated under `runs` when they are new."""
    dataset = walkers_dataset(VALIDATION, runs, "validation")
    return calibrate(encode, dataset, target_fpir=target_fpir)


def _enrolled(embedded: Embedded, subjects: tuple[str, ...], samples_each: int) -> list[int]:
    """Places of the samples to enrol; the draw depends on the names alone, not on their order."""
    generator = np.random.default_rng(20)
    places: list[int] = []
    for subject in subjects:
        own = [
            (sample.name, place)
            for place, sample in enumerate(embedded.samples)
            if sample.subject == subject and sample.condition in GALLERY
        ]
        drawn = generator.permutation(len(own))[:samples_each]
        places += [place for _, place in (sorted(own)[i] for i in drawn)]
    return places
