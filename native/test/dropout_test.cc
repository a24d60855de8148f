// dropout: the mask element by element from the generator, broadcast axes, the extremes of the rate.
#include "cpu/threefry.h"
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

Op dropout(DType t, const Shape& shape, double rate, std::vector<double> broadcast) {
  Op op("dropout");
  op.input(t, shape)
      .input(DType::uint32, {2})
      .output(t, shape)
      .param("rate", rate)
      .param("broadcastDims", std::move(broadcast));
  op.inputs[1].as<uint32_t>()[0] = 1;
  op.inputs[1].as<uint32_t>()[1] = 42;
  if (count(shape) > 0) op.normal(0);
  return op;
}

// of and start: the whole tensor, and where this part of it begins.
void check_part(DType t, const Shape& shape, double rate, const std::vector<double>& broadcast, const Shape& of,
                const Shape& start) {
  Op op = dropout(t, shape, rate, broadcast);
  op.param("of", std::vector<double>(of.begin(), of.end()));
  op.param("start", std::vector<double>(start.begin(), start.end()));
  op.run();
  Values wanted = op.in(0);
  int64_t dropped = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), mask = 0, stride = 1;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
      if (std::count(broadcast.begin(), broadcast.end(), double(d))) continue;
      mask += (rest % shape[d] + (start.empty() ? 0 : start[d])) * stride;
      stride *= of.empty() ? shape[d] : of[d];
    }
    const bool keep = uniform_from_bits(threefry_bits(1, 42, static_cast<uint64_t>(mask))) < float(1 - rate);
    wanted[i] = keep ? wanted[i] / (1 - rate) : 0;
    dropped += !keep;
  }
  expect_rounded(op, label(t, shape) + " rate " + std::to_string(rate), 0, wanted);
  const double n = static_cast<double>(wanted.size());
  if (broadcast.empty() && n > 1000)
    expect(std::abs(dropped - rate * n) <= 4 * std::sqrt(n * rate * (1 - rate)), "share of dropped elements");
}

void check(DType t, const Shape& shape, double rate, const std::vector<double>& broadcast) {
  check_part(t, shape, rate, broadcast, {}, {});
}

}  // namespace

int main() {
  for (DType t : kFloats) {
    for (int64_t width : kWidths) check(t, {5, width}, 0.1, {});
    for (double rate : {0.0, 0.1, 0.5, 1.0})
      for (const std::vector<double>& broadcast :
           std::vector<std::vector<double>>{{}, {0}, {1, 2}, {0, 2}, {1}, {0, 1, 2}})
        check(t, {3, 17, 33}, rate, broadcast);
    check_part(t, {2, 7, 33}, 0.5, {}, {6, 7, 33}, {4, 0, 0});
    check_part(t, {2, 7, 33}, 0.5, {}, {6, 9, 33}, {4, 2, 0});
    check_part(t, {2, 7, 33}, 0.5, {1}, {6, 9, 99}, {1, 2, 66});
    check_part(t, {40, 1}, 0.5, {}, {80, 7}, {40, 6});
    check_part(t, {3, 40}, 0.5, {1}, {5, 80}, {2, 40});
    check_part(t, {1, 2500}, 0.5, {}, {int64_t{1} << 22, 2500}, {(int64_t{1} << 22) - 1, 0});
    check(t, {4, 1, 2500}, 0.5, {0});
    check(t, {}, 0.5, {});
    check(t, {0, 3}, 0.5, {});
  }
  Op op = dropout(DType::float32, {100}, 0.5, {});
  op.fill(0, [](int64_t) { return NAN; }).run();
  int zeros = 0;
  for (double y : op.out(0)) zeros += y == 0;
  expect(zeros > 20 && zeros < 80, "dropped NaN is 0, kept NaN stays");
  for (DType t : {DType::float32, DType::bfloat16}) {
    Op timed = dropout(t, {2048, 2048}, 0.1, {});
    race(timed, label(t, {2048, 2048}));
  }
  return failures();
}
