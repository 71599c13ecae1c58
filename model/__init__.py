"""Learns and runs the gait network."""

import os
import sys

# Nobody is told who runs this where. Both opt-outs count only before the first import of what they
# are for, so whoever needs one of the two imports something of `model` before it.
#
# ONNX Runtime's wheels, since 1.29, send Microsoft what ran, from threads and a queue on disk of
# their own.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# openvino tells Google Analytics of each import, unless the package by which it does is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
