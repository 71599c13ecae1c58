"""The page has words for every reason that the service may give, and for no other."""

import re
from typing import get_args

from model.quality import FAULTS
from service.decision import Reason
from service.routes.page import WEB


def reasons_of_the_page() -> set[str]:
    text = (WEB / "reasons.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"const REASONS = \{(.*?)\n\};", text, re.DOTALL)
    return set(re.findall(r'^  ([A-Z_]+): "\w', listed, re.MULTILINE))


def reasons_of_the_service() -> set[str]:
    faults, others = get_args(Reason)
    return {*get_args(faults), *get_args(others)}


def test_the_page_knows_every_reason_and_no_other() -> None:
    assert set(FAULTS) < reasons_of_the_service()
    assert reasons_of_the_page() == reasons_of_the_service()
