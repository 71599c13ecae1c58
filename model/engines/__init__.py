"""Engines behind one `Encoder`: ONNX Runtime (CPU, CUDA, TensorRT) and OpenVINO (CPU)."""

import onnxruntime

__all__ = ["onnxruntime"]
