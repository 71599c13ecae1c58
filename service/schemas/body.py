"""What every body of an answer has in common."""

from pydantic import BaseModel, ConfigDict

SAMPLE_ID = "5f0c6a2e9d3b4871a6e0c1d2f3b4a596"
"""The example of a sample's id."""


class Body(BaseModel):
    """Read from records by their attributes, and not changed afterwards."""

    model_config = ConfigDict(frozen=True, from_attributes=True, protected_namespaces=())
