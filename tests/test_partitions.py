"""Who trains and who is tested."""

from dataclasses import replace

import pytest

from model.dataset import Report, first_subjects, listed_subjects, named_partition
from model.dataset.layouts import OU_MVLP
from model.errors import DatasetError
from tests.datasets import numbered


def test_partitions_of_casia_b_go_by_number() -> None:
    # 005 is not there, and 006 does not take its place among the first.
    ids = [f"{number:03}" for number in range(1, 125) if number != 5]
    dataset = numbered(*ids)
    for name, last in (("st", 24), ("mt", 62), ("lt", 74)):
        train, test = named_partition(name).train(dataset), named_partition(name).test(dataset)
        assert train.subjects == tuple(i for i in ids if int(i) <= last)
        assert test.subjects == tuple(i for i in ids if int(i) > last)


def test_ou_mvlp_trains_on_odd_ids_but_the_last() -> None:
    dataset = numbered(*OU_MVLP.subjects)
    train = named_partition("oumvlp").train(dataset).subjects
    test = named_partition("oumvlp").test(dataset).subjects
    # The sizes that Takemura et al. and the paper give; half of 10,307 leaves one over.
    assert (len(train), len(test)) == (5_153, 5_154)
    assert (train[0], train[1], train[-1]) == ("00001", "00003", "10305")
    assert (test[0], test[1], test[-2], test[-1]) == ("00002", "00004", "10306", "10307")


def test_other_partitions_are_a_count_or_a_list() -> None:
    dataset = numbered("ann", "bob", "cy")
    assert first_subjects(2).train(dataset).subjects == ("ann", "bob")
    assert first_subjects(2).test(dataset).subjects == ("cy",)
    listed = listed_subjects(("cy", "zoe"))
    assert listed.train(dataset).subjects == ("cy",)
    assert listed.test(dataset).subjects == ("ann", "bob")
    assert listed.test(dataset).report.missing_subjects == ("zoe",)
    known = replace(dataset, report=Report(missing_subjects=("zoe",)))
    assert listed.train(known).report.missing_subjects == ("zoe",)


def test_partitions_that_do_not_fit_say_why() -> None:
    with pytest.raises(DatasetError, match=r"st, mt, lt, oumvlp.*'xl'"):
        named_partition("xl")
    with pytest.raises(DatasetError, match=r"numbers .* got ann"):
        named_partition("lt").train(numbered("ann", "001"))
    with pytest.raises(DatasetError, match="test by the partition lt"):
        named_partition("lt").test(numbered("001"))
    with pytest.raises(DatasetError, match="test by the partition of the first 2"):
        first_subjects(2).test(numbered("001"))
