#include "lrqat/ops/block_core.h"

#include <ATen/native/CPUBlas.h>

#include <atomic>

#include "lrqat/base/cpu.h"

namespace lrqat::ops {
namespace {

std::atomic<bool> allowed{true};

// [1 2; 3 4] in both operands; another layout than ours, or another product, gives other numbers.
bool works(ComputeType compute) {
  try {
    float c[4] = {};
    if (compute == ComputeType::float32) {
      const float a[4] = {1, 2, 3, 4};
      multiply_block(2, 2, 2, a, 2, a, 2, c, 2, false);
    } else {
      const at::BFloat16 a[4] = {1.0F, 2.0F, 3.0F, 4.0F};
      const std::uint32_t b[2] = {0x40403f80U, 0x40804000U};  // 1 and 3, 2 and 4
      multiply_block(2, 2, 2, a, 2, b, 2, c, 2, false);
    }
    return c[0] == 7.0F && c[1] == 10.0F && c[2] == 15.0F && c[3] == 22.0F;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

at::ScalarType scalar_type(ComputeType compute) {
  return compute == ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
}

bool block_products(ComputeType compute) {
  static const bool float32 = works(ComputeType::float32);
  static const bool bfloat16 = has_fast_bfloat16() && works(ComputeType::bfloat16);
  return allowed.load(std::memory_order_relaxed) && (compute == ComputeType::float32 ? float32 : bfloat16);
}

ComputeType compute_of(const at::Tensor& operand) {
  return operand.scalar_type() == at::kBFloat16 ? ComputeType::bfloat16 : ComputeType::float32;
}

void allow_block_products(bool allow) { allowed.store(allow); }

void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
                    const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
}

void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, const at::BFloat16* a, std::int64_t lda,
                    const std::uint32_t* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, reinterpret_cast<const at::BFloat16*>(b), c,
                              /*is_vnni=*/true);
}

void release_block_product(bool bfloat16) { at::native::cpublas::brgemm_release(bfloat16); }

std::vector<at::Tensor> column_panels(const at::Tensor& x, std::int64_t width) {
  constexpr std::int64_t kAliasing = 2048;  // bytes
  const bool copies = x.stride(0) * x.element_size() % kAliasing == 0 && x.size(1) > width;
  std::vector<at::Tensor> panels((x.size(1) + width - 1) / width);
  at::parallel_for(0, static_cast<std::int64_t>(panels.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const at::Tensor panel = x.narrow(1, i * width, std::min(width, x.size(1) - i * width));
      panels[i] = copies ? panel.contiguous() : panel;
    }
  });
  return panels;
}

}  // namespace lrqat::ops
