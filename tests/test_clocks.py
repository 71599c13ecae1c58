"""Clocks add up: what is timed goes on where a clock stood."""

from collections.abc import Iterator

import pytest

from service.clocks import TOGETHER, Clock, Timed


def test_what_making_items_took_is_added_to_a_clock_that_ran_before() -> None:
    clock = Clock(wall_s=1.0, processor_s=0.5)
    timed = Timed(iter(["a", "b"]), len, clock)
    assert list(timed) == ["a", "b"]
    assert timed.clock is clock
    assert clock.wall_s > 1
    assert clock.processor_s >= 0.5
    alone = Timed(iter("ab"), len)
    assert next(alone) == "a"
    assert 0 < alone.clock.wall_s < 1


def test_items_are_made_together_up_to_a_number_of_bytes() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    timed = Timed(items(), lambda _: TOGETHER // 3)
    assert (next(timed), made) == (0, [0, 1, 2, 3])
    assert [next(timed) for _ in range(3)] == [1, 2, 3]
    assert made == [0, 1, 2, 3]
    assert [*timed] == [4, 5, 6, 7, 8, 9]
    large = Timed(items(), lambda _: TOGETHER + 1)
    made.clear()
    assert (next(large), made) == (0, [0])


def test_what_goes_wrong_with_an_item_is_raised_and_timed() -> None:
    def items() -> Iterator[str]:
        yield "a"
        raise ValueError("expected a frame")

    timed = Timed(items(), len)
    with pytest.raises(ValueError, match="expected a frame"):
        next(timed)
    assert timed.clock.wall_s > 0


def test_what_is_left_is_never_less_than_nothing() -> None:
    # A part that was added up in pieces may pass the whole by a rounding error.
    left = Clock(0.3, 0.3) - Clock(0.1 + 0.2, 0.1 + 0.2)
    assert (left.wall_s, left.processor_s) == (0, 0)
