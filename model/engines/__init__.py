"""Inference engines behind one `Encoder`: ONNX Runtime (CPU, CUDA, TensorRT), OpenVINO (CPU)."""

import onnxruntime

__all__ = ["onnxruntime"]
