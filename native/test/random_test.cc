// random_bits, random_split and random_fold_in against recorded draws of JAX, and against the scalar generator.
#include "cpu/threefry.h"
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct Recorded {
  uint32_t seed;
  Values split3, fold_in_7, fold_in_2_31, first8, last4;  // the last two of the 32-bit draw of 1000
  Values bytes8;                                          // first 8 of the 8-bit draw
};

const std::vector<Recorded> kRecorded = {
    {0,
     {1797259609, 2579123966, 928981903, 3453687069, 4146024105, 2718843009},
     {2716826189, 292468403},
     {917456828, 636652529},
     {4070199207, 4202968722, 1427181096, 2012915765, 2447653815, 710830403, 1332275837, 2961296638},
     {2454727774, 2054697865, 286292207, 1693790770},
     {167, 146, 40, 53, 183, 67, 125, 254}},
    {42,
     {1832780943, 270669613, 64467757, 2916123636, 2465931498, 255383827},
     {2547012911, 1371500959},
     {3181546281, 2228815013},
     {2098992034, 2919706841, 2646866425, 2409546199, 1935504149, 2516274904, 321304473, 3329172656},
     {2124857663, 1374368223, 4065364628, 1573048666},
     {162, 217, 249, 215, 21, 216, 153, 176}},
    {2147483647,
     {3894554595, 3657610310, 2391852627, 3342111533, 1746298583, 1015193934},
     {2576940018, 2245239479},
     {1036464008, 1052177778},
     {840997797, 1235506558, 1419036569, 1650994062, 3053628459, 3320296850, 38724216, 474700101},
     {725761611, 1702878737, 3988590489, 1922988078},
     {165, 126, 153, 142, 43, 146, 120, 69}}};

void set_key(Op& op, uint32_t k0, uint32_t k1) {
  op.inputs[0].as<uint32_t>()[0] = k0;
  op.inputs[0].as<uint32_t>()[1] = k1;
}

Values bits(uint32_t seed, int64_t n, int width) {
  Op op("random_bits");
  op.input(DType::uint32, {2}).output(width == 8 ? DType::uint8 : DType::uint32, {n}).param("width", width);
  set_key(op, 0, seed);
  op.run();
  return op.out(0);
}

void check(const Recorded& r) {
  Op split("random_split");
  split.input(DType::uint32, {2}).output(DType::uint32, {3, 2}).param("count", 3);
  set_key(split, 0, r.seed);
  split.run();
  expect_exact(split, "seed " + std::to_string(r.seed), 0, r.split3);
  for (uint32_t data : {7u, 2147483648u}) {
    Op fold("random_fold_in");
    fold.input(DType::uint32, {2}).input(DType::uint32, {}).output(DType::uint32, {2});
    set_key(fold, 0, r.seed);
    *fold.inputs[1].as<uint32_t>() = data;
    fold.run();
    expect_exact(fold, std::to_string(data), 0, data == 7 ? r.fold_in_7 : r.fold_in_2_31);
  }
  const Values wide = bits(r.seed, 1000, 32), half = bits(r.seed, 1000, 16), bytes = bits(r.seed, 1000, 8);
  expect(Values(wide.begin(), wide.begin() + 8) == r.first8, "first of 1000 draws");
  expect(Values(wide.end() - 4, wide.end()) == r.last4, "last of 1000 draws");
  expect(Values(bytes.begin(), bytes.begin() + 8) == r.bytes8, "8-bit draws");
  for (size_t i = 0; i < wide.size(); ++i) {
    expect(half[i] == std::fmod(wide[i], 65536), "16-bit draw " + std::to_string(i));
    expect(bytes[i] == std::fmod(wide[i], 256), "8-bit draw " + std::to_string(i));
  }
}

// Rows that begin anywhere, also where the low word of the counter wraps.
void check_rows() {
  for (uint64_t first : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 32) - 100, (uint64_t{7} << 32) + 3}) {
    std::vector<uint32_t> row(300);
    threefry_row(3, 4, first, 300, row.data(), [](uint32_t x) { return x; });
    for (uint64_t i = 0; i < 300; ++i)
      expect(row[i] == threefry_bits(3, 4, first + i), "counter " + std::to_string(first + i));
  }
}

// A part of a draw has the numbers that the draw has there, also beyond 2^32.
void check_part(const Shape& shape, const Shape& of, const Shape& start, int width) {
  Op op("random_bits");
  op.input(DType::uint32, {2}).output(width == 8 ? DType::uint8 : DType::uint32, shape).param("width", width);
  op.param("of", std::vector<double>(of.begin(), of.end()));
  op.param("start", std::vector<double>(start.begin(), start.end()));
  set_key(op, 5, 6);
  op.run();
  Values wanted(static_cast<size_t>(count(shape)));
  for (size_t i = 0; i < wanted.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), counter = 0, stride = 1;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d], stride *= of[d])
      counter += (rest % shape[d] + start[d]) * stride;
    const uint64_t bits = threefry_bits(5, 6, static_cast<uint64_t>(counter));
    wanted[i] = static_cast<double>(bits & ((uint64_t{1} << width) - 1));
  }
  expect_exact(op, label(DType::uint32, shape) + " of " + label(DType::uint32, of), 0, wanted);
}

}  // namespace

int main() {
  for (int width : {8, 16, 32}) {
    check_part({7, 5000}, {21, 5000}, {14, 0}, width);
    check_part({70, 300}, {70, 900}, {0, 600}, width);
    check_part({3, 4, 5}, {6, 9, 11}, {3, 5, 6}, width);
    check_part({300, 1}, {900, 4}, {600, 3}, width);
    check_part({2, 300}, {int64_t{1} << 24, 300}, {14316557, 0}, width);
    check_part({0, 3}, {4, 3}, {4, 0}, width);
  }
  for (const Recorded& r : kRecorded) check(r);
  for (int64_t n : {0, 1, 31, 33, 5000}) expect(bits(9, n, 32).size() == size_t(n), "sizes");
  check_rows();
  Op op("random_bits");
  op.input(DType::uint32, {2}).output(DType::uint32, {1 << 22}).param("width", 32);
  set_key(op, 1, 2);
  race(op, "4M words");
  return failures();
}
