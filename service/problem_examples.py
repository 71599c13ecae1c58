"""Example texts of every problem code, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

REQUEST_ID = "b2b6c0c9f0a14d2e8f7f6f1f0c9e7d11"
_SAMPLE_ID = "9f3a5c0e1b2d4f6a8c0e1b2d4f6a8c0e"

# Sentences of the service with other names and numbers. A test compares two in three, those whose
# requests it can make, with real answers; the others are copied from the code that says them.
DETAILS: Mapping[str, str] = {
    "malformed_upload": "expected a body of multipart/form-data, or of "
    "application/vnd.metagait.packed, application/zip, application/octet-stream, got 'text/plain'",
    "caller_gone": "The caller left",
    "unauthenticated": "expected the header `Authorization: Bearer mg_<id>_<secret>`, got none",
    "missing_scope": "expected a key with the scope `erase`, got one without it",
    "foreign_gallery": "expected a key for the gallery that is asked for, got one for others: name "
    "one of those with `?gallery=`",
    "cross_origin": "expected a loopback address or `localhost` in the header Host while there is "
    "no API key, got another name: make a key with `metagait keys create` to be reached by it",
    "unknown_model": "expected the id of a model that the gallery had, or the name of an .onnx "
    "file in the folder METAGAIT_MODELS, got 'new.onnx'",
    "job_not_found": f"expected a job of the gallery main, got '{_SAMPLE_ID}', which does "
    "not exist",
    "gallery_not_found": "expected a gallery of this store, got 'lab', which does not exist",
    "receipt_not_found": f"expected a receipt of the gallery main, got '{_SAMPLE_ID}', "
    "which does not exist",
    "subject_not_found": "expected a subject of the gallery main, got 'p-017', who is not in it",
    "sample_not_found": f"expected a sample of the gallery main, got '{_SAMPLE_ID}', which is not "
    "in it",
    "silhouettes_not_kept": f"expected silhouettes of the sample {_SAMPLE_ID}, got a sample of "
    "which the embedding alone is kept",
    "upload_timeout": "expected the whole body within 60 seconds",
    "idempotency_conflict": "expected the same request as the first with this Idempotency-Key, "
    "got another",
    "request_in_work": "the first request with this Idempotency-Key is still in work",
    "calibration_refused": "expected at least 300 subjects to promise an FPIR of 0.01 (3 / FPIR, "
    "as each subject is one independent search), got 120",
    "enrolment_conflict": "expected a walk of 'p-017' nearest to their own samples, at 0.7312, got "
    "one nearer to 'p-004', at 0.3121: this gallery is set to refuse that",
    "job_running": f"expected one rebuild at a time, got a second one while {_SAMPLE_ID} runs",
    "own_gallery": "expected another gallery than main, which this service was started for",
    "gallery_not_empty": "expected the gallery lab without people, got 3 subjects in it: erase "
    "them first, each with its receipt",
    "rebuild_refused": "expected an earlier generation to return to, got a gallery that keeps none",
    "model_mismatch": "expected a gallery embedded by metagait-2-0123456789ab, got one embedded by "
    "metagait-1-ba9876543210: run `metagait rebuild --model FILE` with the file of "
    "metagait-2-0123456789ab, or start with the model metagait-1-ba9876543210",
    "upload_too_large": "expected a body of at most 67,108,864 bytes",
    "unsupported_format": "expected a walk as .zip of PNG or JPEG, .npy, .npz, packed, .mp4 or "
    ".avi, got text",
    "invalid_field": "expected the field `subject` in the form, or in the query beside a bare "
    "body, got none",
    "damaged_upload": "frame 19: expected a whole frame, got an early end",
    "unsafe_archive": "expected names inside the archive, got '../1.png'",
    "frame_too_large": "'1.png': expected a frame of at most 8,294,400 pixels and 8,192 a side, "
    "got 9,000×7,000",
    "too_many_frames": "expected at most 1,000 frames in a walk, got 1,001 or more: cut the walk "
    "into shorter ones",
    "too_few_frames": "expected at least 5 frames with a body, got 2 in 2",
    "poor_quality": "expected a walk of good quality, got one with TOO_FEW_FRAMES; a key with the "
    "scope `review` may enrol it all the same with `force=true`",
    "no_body": "expected at least one frame with a body, white (255 or 1) on black, got 30 frames "
    "of which none has one",
    "invalid_subject": "expected a subject id of printable characters with no space at either end, "
    "got 'p-017 '",
    "invalid_metadata": "expected metadata of at most 16384 bytes of JSON, got 20011 bytes",
    "invalid_setting": "expected nearest_samples from 1 to 16, got 0",
    "unusable_model": "expected new.onnx to hold its weights itself, got one that refers to other "
    "files",
    "invalid_gallery_name": "expected a name of 1 to 64 letters, digits, `.`, `_` and `-` that "
    "begins with a letter or a digit, got '-lab'",
    "invalid_consent": "expected a consent's basis of 1 to 64 printable characters",
    "invalid_text": "expected what the database can hold, got: PostgreSQL text fields cannot "
    "contain NUL (0x00) bytes",
    "invalid_capture": "expected a capture time with a time zone, got 2026-03-01T08:00:00",
    "invalid_request": "query.limit: Input should be greater than or equal to 1",
    "rate_limited": "expected at most 60 requests a minute with this key, got more",
    "internal_error": "something failed inside the service; its log says what",
    "sample_damaged": f"the silhouettes of the sample {_SAMPLE_ID} cannot be read: expected what "
    "was sealed, got other bytes: erase that sample by its id and enrol its walk again, or restore "
    "a backup",
    "receipt_damaged": f"the receipt {_SAMPLE_ID} cannot be read any more: a backup has it, or "
    "whoever asked for the erasure",
    "busy": "64 walks are in work already; try again in a moment",
    "deadline_passed": "the encoder was busy for 10 seconds; try again in a moment",
    "not_ready": "expected a running service, got one that is stopping",
    "index_unavailable": "The search engine does not answer; the service's log says why",
    "store_unavailable": "The store does not answer; the service's log says why",
    "store_full": "The store is full; the service's log says why",
}
# The additional members of problems with these codes.
BESIDE: Mapping[str, dict[str, Any]] = {
    "poor_quality": {"reasons": ["TOO_FEW_FRAMES"]},
    "invalid_request": {
        "errors": [
            {"where": "query.limit", "message": "Input should be greater than or equal to 1"}
        ]
    },
}
