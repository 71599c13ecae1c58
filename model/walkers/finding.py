"""One line of the table that `metagait walkers --check` prints."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A measured value and its expected range."""

    what: str
    measured: float
    low: float
    high: float

    @property
    def good(self) -> bool:
        """Whether the value lies within the range."""
        return self.low <= self.measured <= self.high

    def line(self, width: int) -> str:
        """Format the finding, with `width` characters for its description."""
        verdict = "ok  " if self.good else "FAIL"
        expected = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"{verdict}  {self.what:{width}s}  {self.measured:8.2f}  expected {expected}"
