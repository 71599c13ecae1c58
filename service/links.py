"""Links of the OpenAPI document: which operations take the ids in an answer."""

from typing import Any


def links(**operations: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Describe the operations that an answer leads to.

    Args:
        operations: by operation id, its parameters, each with its place in the answer's body
            (a JSON pointer, RFC 6901).

    """
    return {
        operation: {
            "operationId": operation,
            "parameters": {name: f"$response.body#{place}" for name, place in parameters.items()},
        }
        for operation, parameters in operations.items()
    }


_SUBJECT = {"subject": "/subject"}
_SAMPLE = {"sample_id": "/sample_id"}

ENROLLED = links(
    read_subject=_SUBJECT,
    record_consent=_SUBJECT,
    read_walk=_SAMPLE,
    erase_sample=_SAMPLE,
    erase_subject=_SUBJECT,
)
ERASED = links(read_receipt={"receipt_id": "/receipt/receipt_id"})
FIRST_LISTED = links(
    read_subject={"subject": "/subjects/0/subject"},
    erase_subject={"subject": "/subjects/0/subject"},
)
FIRST_SAMPLE = links(
    read_walk={"sample_id": "/samples/0/sample_id"},
    erase_sample={"sample_id": "/samples/0/sample_id"},
)
JOB = links(read_job={"job_id": "/job_id"}, cancel_job={"job_id": "/job_id"})
