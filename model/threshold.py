"""The decision threshold of a model, measured on validation walkers that it never saw."""

from pathlib import Path

from model.caches import VALIDATION, walkers_dataset
from model.dataset import Dataset
from model.distances import flat_distances
from model.embed import Encode, embed
from model.encoder import Threshold
from model.open_set import open_set, search, splits


def calibrate(
    encode: Encode, dataset: Dataset, *, target_fpir: float = 0.01, samples_each: int = 4
) -> Threshold:
    """Choose the threshold that names a stranger in at most `target_fpir` of the searches.

    The searches are those of `metagait evaluate --open-set`: one half of the subjects is enrolled
    and the other half are strangers, then the other way round; flattened embeddings, Euclidean, as
    in the gallery.

    Raises:
        DatasetError: too few strangers' searches for the target, or nobody to enrol.

    """
    embedded = embed(dataset, encode)
    first, second = splits(embedded.embeddings, embedded.labels, samples_each=samples_each)
    searches = search(flat_distances, first).joined(search(flat_distances, second))
    chosen = open_set(searches, target_fpir)
    return Threshold(
        distance=chosen.threshold,
        target_fpir=target_fpir,
        fnir=chosen.fnir,
        gallery_subjects=searches.gallery_subjects,
        searches=chosen.nonmated,
        source=f"validation samples, {samples_each} enrolled for each of "
        f"{searches.gallery_subjects} subjects",
    )


def calibrate_on_walkers(encode: Encode, runs: Path, target_fpir: float = 0.01) -> Threshold:
    """Calibrate on the project's validation walkers, generated under `runs` when they are new."""
    dataset = walkers_dataset(VALIDATION, runs, "validation")
    return calibrate(encode, dataset, target_fpir=target_fpir)
