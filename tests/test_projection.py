"""Discriminants: directions in which people differ and one person does not."""

import numpy as np
import pytest

from model.errors import ExportError
from model.projection import Embeddings, discriminants

PEOPLE, WALKS, NUMBERS = 12, 6, 20


@pytest.fixture(scope="module")
def population() -> tuple[Embeddings, np.ndarray]:
    """People who differ in four numbers, seen through much noise in four others."""
    generator = np.random.default_rng(3)
    people = np.zeros((PEOPLE, NUMBERS))
    people[:, :4] = generator.normal(size=(PEOPLE, 4))
    noise = np.full(NUMBERS, 0.2)
    noise[4:8] = 3.0
    walks = np.repeat(people, WALKS, axis=0)
    walks += noise * generator.normal(size=walks.shape)
    subjects = np.repeat([f"{number:02d}" for number in range(PEOPLE)], WALKS)
    return walks.astype(np.float32), subjects


def test_the_directions_solve_the_generalised_problem(
    population: tuple[Embeddings, np.ndarray],
) -> None:
    embeddings, subjects = population
    found = discriminants(embeddings, subjects, 5, shrinkage=0.5)
    within = between = np.zeros((NUMBERS, NUMBERS))
    mean = embeddings.mean(axis=0)
    for subject in np.unique(subjects):  # the definition, person by person
        own = embeddings[subjects == subject].astype(np.float64)
        centre = own.mean(axis=0)
        within = within + (own - centre).T @ (own - centre) / len(embeddings)
        between = between + len(own) / len(embeddings) * np.outer(centre - mean, centre - mean)
    within = within + 0.5 * np.trace(within) / NUMBERS * np.eye(NUMBERS)
    rows = found.rows.astype(np.float64)
    np.testing.assert_allclose(rows @ within @ rows.T, np.eye(5), atol=1e-4)
    strengths = np.diag(rows @ between @ rows.T)
    np.testing.assert_allclose(rows @ between @ rows.T, np.diag(strengths), atol=1e-3)
    assert (np.diff(strengths) <= 0).all()
    best = np.sort(np.linalg.eigvals(np.linalg.solve(within, between)).real)[::-1]
    np.testing.assert_allclose(strengths, best[:5], rtol=1e-3, atol=1e-4)


def test_people_are_told_apart_through_noise(population: tuple[Embeddings, np.ndarray]) -> None:
    embeddings, subjects = population
    found = discriminants(embeddings, subjects, 4, shrinkage=0.01)(embeddings)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert _nearest_is_own(found, subjects) > 0.95 > _nearest_is_own(embeddings, subjects) + 0.3


def test_too_few_people_are_refused() -> None:
    made = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    with pytest.raises(ExportError, match="expected more than 3 subjects"):
        discriminants(made, np.array(["a", "b", "c"] * 2), 3)
    with pytest.raises(ExportError, match="several walks"):
        discriminants(made, np.array(list("abcdef")), 2)
    with pytest.raises(ExportError, match="0 dimensions"):
        discriminants(made, np.array(["a", "b", "c"] * 2), 0)


def _nearest_is_own(embeddings: np.ndarray, subjects: np.ndarray) -> float:
    distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((subjects[distances.argmin(axis=1)] == subjects).mean())
