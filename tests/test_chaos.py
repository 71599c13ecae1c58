"""A few rounds of `tests.chaos`, and a gallery beside a dictionary that must agree."""

import os
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gallery import Gallery, SubjectNotFound, audit
from gallery.packing import sample_id
from tests.chaos import run_rounds

LENGTH = 4
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))


def test_nothing_acknowledged_is_lost_and_nothing_erased_returns(location):
    expected = run_rounds(location, ROUNDS)
    assert expected.acknowledged > 0


WHO = st.sampled_from(["anna", "ben", "cem"])
SEED = st.integers(0, 5)


def embedding(seed):
    return np.random.default_rng(seed).normal(size=LENGTH).astype(np.float32)


class Machine(RuleBasedStateMachine):
    """A gallery beside a dictionary of sets."""

    location = None

    def __init__(self):
        super().__init__()
        self.name = uuid4().hex  # a gallery of its own for each run
        self.gallery = self.open()
        self.model = {}
        self.entries = 0

    def open(self):
        return Gallery.open(
            self.location, model_id="model-a", embedding_length=LENGTH, name=self.name
        )

    @rule(who=WHO, seed=SEED)
    def enroll(self, who, seed):
        enrolment = self.gallery.enroll(who, embedding(seed), silhouettes=None)
        assert enrolment.duplicate == (seed in self.model.get(who, set()))
        assert enrolment.created_subject == (who not in self.model)
        self.model.setdefault(who, set()).add(seed)
        self.entries += 1

    @rule(who=WHO)
    def erase(self, who):
        if who not in self.model:
            with pytest.raises(SubjectNotFound):
                self.gallery.erase_subject(who)
            return
        erasure = self.gallery.erase_subject(who)
        proof = erasure.receipt.proof
        assert erasure.samples == len(self.model.pop(who))
        assert (proof.rows, proof.found, proof.indexed) == (0, 0, 0)
        assert self.gallery.receipt(erasure.receipt.receipt_id) == erasure.receipt
        self.entries += 1

    @rule(who=WHO)
    def erase_one(self, who):
        if who in self.model:
            oldest = self.gallery.subject(who).samples[0]
            seeds = self.model[who]
            gone = next(s for s in seeds if self.gallery_id(who, s) == oldest.sample_id)
            whole = self.gallery.erase_sample(oldest.sample_id).receipt.subject_erased
            seeds.remove(gone)
            assert whole == (not seeds)
            if whole:
                del self.model[who]
            self.entries += 1

    def gallery_id(self, who, seed):
        return sample_id(who, embedding(seed))

    @rule(seed=SEED)
    def identify(self, seed):
        found = self.gallery.identify(embedding(seed), limit=10)
        expected = {
            who: min(float(np.linalg.norm(embedding(s) - embedding(seed))) for s in seeds)
            for who, seeds in self.model.items()
        }
        assert {c.subject: pytest.approx(c.distance, abs=1e-3) for c in found} == expected

    @rule()
    def restart(self):
        self.gallery.close()
        self.gallery = self.open()

    @invariant()
    def index_equals_store_and_the_log_is_whole(self):
        status = self.gallery.status()
        assert status.in_sync
        assert status.samples == sum(map(len, self.model.values()))
        with self.gallery._store.database.reading() as connection:
            assert audit.verify(connection, self.name).rows == self.entries

    def teardown(self):
        self.gallery.close()


def test_a_gallery_agrees_with_a_dictionary(location):
    class Here(Machine):
        pass

    Here.location = location
    run_state_machine_as_test(
        Here, settings=settings(max_examples=8, stateful_step_count=15, deadline=None)
    )
