// What the processes that train one model together exchange. Everything else they do alike: they prepare the
// same student and draw the same sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lrqat::train {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual std::int64_t rank() const = 0;  // of this process, 0 to size() - 1
  virtual std::int64_t size() const = 0;  // processes
  // Each tensor becomes its sum over all processes, the same bits in all of them. All processes call it in
  // the same order, with tensors of the same shapes.
  virtual void all_reduce(const std::vector<at::Tensor>& tensors) = 0;
};

// One process alone: a sum of one.
class SingleProcess final : public Communicator {
 public:
  std::int64_t rank() const override { return 0; }
  std::int64_t size() const override { return 1; }
  void all_reduce(const std::vector<at::Tensor>&) override {}
};

}  // namespace lrqat::train
