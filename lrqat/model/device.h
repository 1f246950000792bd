// The device that --device names. NVIDIA's part of LibTorch is never linked (cmake/FindTorchWheel.cmake), so
// that a program for the CPU starts without its gigabyte of libraries; it is loaded here, when a GPU is asked
// for.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace lrqat::model {

// "cpu", "cuda" or "cuda:N" as a device that can be used. Throws UsageError for another name, Error where the
// device is not there, with what to install. Call it before anything asks ATen about CUDA: ATen remembers the
// first answer.
at::Device open_device(const std::string& name);

}  // namespace lrqat::model
