"""Trains and runs the gait network.

Training leads from `dataset` and `walkers` through `sampler`, `network` and `losses`, tied together
by `train` and `training`, to a `checkpoint`. `evaluate` scores it, and `export` writes it as the
ONNX file that `encoder` runs. Serving imports only `silhouettes`, `outline`, `quality`, `encoder`
and `errors`, all of which work without torch.
"""

import os
import sys

# Two dependencies phone home. Both opt-outs work only if they run before the first import of the
# package in question, so code that needs either package must import something from `model` first.
#
# Since 1.29, ONNX Runtime's wheels report what was run to Microsoft, using threads and an on-disk
# queue of their own.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# openvino reports each import to Google Analytics unless the package it uses for that is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
