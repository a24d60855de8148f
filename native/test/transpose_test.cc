// transpose against an index loop, every element width, then its speed.
#include "test/harness.h"

using namespace te;

namespace {

void check(DType dtype, const Shape& shape, const std::vector<double>& perm) {
  Shape to;
  for (double axis : perm) to.push_back(shape[static_cast<size_t>(axis)]);
  test::Op op("transpose");
  op.input(dtype, shape).output(dtype, to).param("perm", perm);
  const size_t bytes = dtype_bytes(dtype);
  std::mt19937 random(7);
  for (size_t i = 0; i < op.inputs[0].size; ++i) op.inputs[0].as<uint8_t>()[i] = static_cast<uint8_t>(random());
  op.run();
  std::vector<int64_t> stride(shape.size(), 1), index(shape.size(), 0);
  for (size_t i = shape.size(); i-- > 1;) stride[i - 1] = stride[i] * shape[i];
  bool same = true;
  for (int64_t i = 0; i < count(to); ++i) {
    int64_t rest = i, from = 0;
    for (size_t axis = to.size(); axis-- > 0; rest /= to[axis])
      from += rest % to[axis] * stride[static_cast<size_t>(perm[axis])];
    same = same && std::memcmp(op.outputs[0].as<uint8_t>() + static_cast<size_t>(i) * bytes,
                               op.inputs[0].as<uint8_t>() + static_cast<size_t>(from) * bytes, bytes) == 0;
  }
  std::string what = "transpose " + std::string(dtype_name(dtype)) + " [";
  for (int64_t d : shape) what += std::to_string(d) + " ";
  what += "] by [";
  for (double axis : perm) what += std::to_string(static_cast<int>(axis)) + " ";
  test::expect(same, what + "]");
}

void speed(DType dtype, const Shape& shape, const std::vector<double>& perm, const char* what) {
  Shape to;
  for (double axis : perm) to.push_back(shape[static_cast<size_t>(axis)]);
  test::Op op("transpose");
  op.input(dtype, shape).output(dtype, to).param("perm", perm);
  op.time(what, op.bytes());
}

}  // namespace

int main(int argc, char**) {
  for (DType dtype : {DType::uint8, DType::bfloat16, DType::float32}) {
    for (const auto& shape : {Shape{120, 2080}, {8, 8}, {1, 3221}, {2333, 1}, {1481, 677}, {3, 500}, {500, 3}, {0, 5}})
      check(dtype, shape, {1, 0});
    check(dtype, {2, 64, 8, 64}, {0, 2, 1, 3});
    check(dtype, {2, 65, 7, 33}, {0, 2, 3, 1});
    check(dtype, {2, 65, 7, 33}, {3, 1, 0, 2});
    check(dtype, {5, 6, 7}, {0, 1, 2});
    check(dtype, {40, 50, 2}, {1, 0, 2});
    check(dtype, {40, 50, 4}, {1, 0, 2});
    check(dtype, {9, 50, 8}, {1, 0, 2});
    check(dtype, {4, 3, 2, 5, 2, 3}, {5, 1, 3, 0, 2, 4});
    check(dtype, {}, {});
  }
  test::Op wrong("transpose");
  wrong.input(DType::float32, {2, 3}).output(DType::float32, {2, 3}).param("perm", std::vector<double>{0, 0});
  test::expect(!wrong.declined().empty(), "transpose declines a perm that repeats an axis");
  if (argc > 1) {
    speed(DType::float32, {2048, 2048}, {1, 0}, "f32 2048x2048");
    speed(DType::float32, {1481, 677}, {1, 0}, "f32 1481x677");
    speed(DType::float32, {4096, 4000}, {1, 0}, "f32 4096x4000");
    speed(DType::bfloat16, {2048, 2048}, {1, 0}, "bf16 2048x2048");
    speed(DType::bfloat16, {4096, 4000}, {1, 0}, "bf16 4096x4000");
    speed(DType::uint8, {2048, 2048}, {1, 0}, "8-bit 2048x2048");
    speed(DType::float32, {8, 256, 8, 64}, {0, 2, 1, 3}, "f32 heads 8x256x8x64");
    speed(DType::bfloat16, {8, 256, 8, 64}, {0, 2, 1, 3}, "bf16 heads 8x256x8x64");
    speed(DType::bfloat16, {8, 256, 8, 64}, {0, 2, 3, 1}, "bf16 heads to 8x8x64x256");
  }
  return test::failures();
}
