// elementwise(inputs...): a fused chain of elementwise primitives, run block by block: the registers of a block stay in
// the first-level cache, and memory is read and written once.
#include <cstring>

#include "cpu/elementwise/plan.h"
#include "cpu/simd/stream.h"
#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

constexpr int64_t kMaxBlock = 1024, kMinBlock = 128;
constexpr int64_t kLongBlock = 8192;         // of nodes that only go from memory to memory
constexpr int64_t kRowBytes = 24 << 10;      // all rows of a block together
constexpr int64_t kWalkRows = 512;           // from this inner size on, a block stays inside one row
constexpr int64_t kPrefetched = 1 << 19;     // elements from which on operands are not in the second-level cache
constexpr int64_t kWorkPerThread = 1 << 16;  // element steps that pay for waking a thread

void load(DType dtype, const void* from, int64_t n, char* row) {
  if (dtype == DType::int32 || dtype == DType::uint32)
    std::memcpy(row, from, static_cast<size_t>(n) * 4);
  else if (dtype == DType::uint8 || dtype == DType::boolean)
    map_row<uint8_t, uint32_t>(from, n, row, [](uint8_t x) -> uint32_t { return x; });
  else
    load_row(dtype, from, n, reinterpret_cast<float*>(row));
}

// `rounds` says whether the row still has to be rounded; if not, storing a bfloat16 is a shift.
void store(DType dtype, const char* row, int64_t n, void* to, RowStep::Rounds rounds) {
  if (dtype_bytes(dtype) == 4)
    std::memcpy(to, row, static_cast<size_t>(n) * 4);
  else if (dtype == DType::bfloat16 && rounds == RowStep::Rounds::no)
    map_row<uint32_t, uint16_t>(row, n, to, [](uint32_t x) { return static_cast<uint16_t>(x >> 16); });
  else if (dtype == DType::uint8 || dtype == DType::boolean)
    map_row<uint32_t, uint8_t>(row, n, to, [](uint32_t x) { return static_cast<uint8_t>(x); });
  else
    store_row(dtype, reinterpret_cast<const float*>(row), n, to, rounds == RowStep::Rounds::saturating);
}

// The same past the caches. ahead: as for stream_row.
void stream(DType dtype, const char* row, int64_t n, void* to, RowStep::Rounds rounds, int64_t ahead) {
  const int64_t bytes = static_cast<int64_t>(dtype_bytes(dtype));
  if (bytes == 4) return copy_past_cache(to, row, 4 * n, ahead);
  if (rounds != RowStep::Rounds::no)
    return stream_row(dtype, reinterpret_cast<const float*>(row), n, to, rounds == RowStep::Rounds::saturating, ahead);
  alignas(64) char narrow[2 * kMaxBlock];
  for (int64_t i = 0; i < n; i += kMaxBlock) {
    const int64_t length = std::min(kMaxBlock, n - i);
    store(dtype, row + 4 * i, length, narrow, rounds);
    copy_past_cache(static_cast<char*>(to) + i * bytes, narrow, length * bytes);
  }
}

void fill(char* row, int64_t n, uint32_t bits) {
  uint32_t* to = reinterpret_cast<uint32_t*>(row);
  for (int64_t i = 0; i < n; ++i) to[i] = bits;
}

class Elementwise : public Kernel {
 public:
  Elementwise(const Node& node, Walk walk, const CodeReader& code, RowPlan plan, int64_t block,
              std::vector<bool> points, bool stream)
      : stream_(stream),
        prefetches_(static_cast<int64_t>(node.outputs[0].size()) >= kPrefetched && !plan.in_one_go()),
        walk_(std::move(walk)),
        registers_(code.registers),
        plan_(std::move(plan)),
        points_(std::move(points)),
        block_(block) {
    for (const Aval& aval : node.inputs) input_bytes_.push_back(static_cast<int64_t>(dtype_bytes(aval.dtype)));
    for (const Aval& aval : node.outputs) output_dtypes_.push_back(aval.dtype);
    for (size_t r = 0; r < registers_.size(); ++r) {
      const Register& reg = registers_[r];
      if (reg.constant || (reg.input >= 0 && walk_.inputs[reg.input].mode == InputPlan::Mode::scalar))
        fixed_.push_back(static_cast<int>(r));
      else if (points_[r])
        pointing_.push_back(static_cast<int>(r));
    }
    by_row_ = walk_.any_strided && walk_.inner() >= kWalkRows;
    const int64_t inner = walk_.inner();
    chunks_ = by_row_ ? (inner + block_ - 1) / block_ : 1;
    chunk_ = by_row_ ? (inner + chunks_ - 1) / chunks_ : block_;
    units_ = by_row_ ? walk_.total / inner * chunks_ : (walk_.total + block_ - 1) / block_;
    grain_ = std::max<int64_t>(1, kWorkPerThread / (chunk_ * static_cast<int64_t>(plan_.steps.size() + 2)));
    pointers_bytes_ = (registers_.size() * sizeof(char*) + 63) & ~size_t{63};
    thread_bytes_ = pointers_bytes_ + static_cast<size_t>(plan_.slots * block_ * 4);
    threads_ = num_threads();
  }

  size_t scratch_bytes() const override { return thread_bytes_ * static_cast<size_t>(threads_); }

  void run(const Call& call) override {
    if (walk_.total == 0) return;
    parallel_for(units_, grain_, [&](int64_t begin, int64_t end) {
      char* mine = static_cast<char*>(call.scratch) + thread_bytes_ * static_cast<size_t>(worker());
      char** row = reinterpret_cast<char**>(mine);
      for (size_t r = 0; r < registers_.size(); ++r)
        row[r] = plan_.slot[r] < 0 ? nullptr : mine + pointers_bytes_ + plan_.slot[r] * block_ * 4;
      fill_fixed(call, row);
      for (int64_t unit = begin; unit < end; ++unit) run_block(call, row, unit);
      if (stream_) finish_streaming();
    });
  }

 private:
  void fill_fixed(const Call& call, char** row) const {
    for (int r : fixed_) {
      if (!row[r]) continue;
      uint32_t bits = registers_[r].bits;
      if (registers_[r].input >= 0)
        load(registers_[r].dtype, call.in[registers_[r].input], 1, reinterpret_cast<char*>(&bits));
      fill(row[r], block_, bits);
    }
  }

  void run_block(const Call& call, char** row, int64_t unit) const {
    const int64_t line = by_row_ ? unit / chunks_ : 0, chunk = by_row_ ? unit % chunks_ : unit;
    const int64_t limit = by_row_ ? walk_.inner() : walk_.total;
    const int64_t column = chunk * chunk_, n = std::min(chunk_, limit - column);
    if (n <= 0) return;
    const int64_t start = line * walk_.inner() * (by_row_ ? 1 : 0) + column;
    if (prefetches_) prefetch_after(call, start + n, n);
    for (int r : pointing_) row[r] = const_cast<char*>(operand(call, registers_[r].input, start, line, column));
    for (size_t j = 0; j < plan_.outputs.size(); ++j)
      if (plan_.direct[j]) row[plan_.outputs[j]] = call.output<char>(static_cast<int>(j)) + start * 4;
    for (const BlockStep& block : plan_.steps) {
      const RowStep& s = block.step;
      if (block.load >= 0)
        load_input(call, block.load, registers_[s.out].dtype, start, line, column, n, row[s.out]);
      else
        s.run(row[s.a], s.b < 0 ? nullptr : row[s.b], s.c < 0 ? nullptr : row[s.c], row[s.out], n);
    }
    for (size_t j = 0; j < plan_.outputs.size(); ++j) {
      if (plan_.direct[j]) continue;
      const DType dtype = output_dtypes_[j];
      char* to = call.output<char>(static_cast<int>(j)) + start * static_cast<int64_t>(dtype_bytes(dtype));
      if (stream_)
        stream(dtype, row[plan_.outputs[j]], n, to, plan_.rounds[j], plan_.in_one_go() ? kAhead : 0);
      else
        store(dtype, row[plan_.outputs[j]], n, to, plan_.rounds[j]);
    }
  }

  // Asks for the next block of operands in memory: the processor's own prefetching stops at the end of a page. (Behind
  // the last block it does no harm.)
  void prefetch_after(const Call& call, int64_t next, int64_t n) const {
    for (size_t i = 0; i < walk_.inputs.size(); ++i)
      if (walk_.inputs[i].mode == InputPlan::Mode::full)
        prefetch_bytes(call.input<char>(static_cast<int>(i)) + next * input_bytes_[i], n * input_bytes_[i]);
  }

  // Offset of an input's first element of a line of the output, in elements.
  int64_t line_offset(const InputPlan& plan, int64_t line) const {
    int64_t offset = 0;
    for (int d = static_cast<int>(walk_.sizes.size()) - 2; d >= 0; --d) {
      offset += line % walk_.sizes[d] * plan.strides[d];
      line /= walk_.sizes[d];
    }
    return offset;
  }

  const char* operand(const Call& call, int input, int64_t start, int64_t line, int64_t column) const {
    const InputPlan& plan = walk_.inputs[input];
    const int64_t at = plan.mode == InputPlan::Mode::full ? start : line_offset(plan, line) + column;
    return call.input<char>(input) + at * input_bytes_[input];
  }

  void load_input(const Call& call, int input, DType dtype, int64_t start, int64_t line, int64_t column, int64_t n,
                  char* row) const {
    const InputPlan& plan = walk_.inputs[input];
    const char* from = call.input<char>(input);
    if (plan.mode == InputPlan::Mode::full) return load(dtype, from + start * input_bytes_[input], n, row);
    const int64_t inner = walk_.inner();
    if (!by_row_) line = start / inner, column = start % inner;
    while (n > 0) {  // one piece per line that the block touches
      const int64_t piece = std::min(n, inner - column), base = line_offset(plan, line);
      if (plan.strides.back() != 0) {
        load(dtype, from + (base + column) * input_bytes_[input], piece, row);
      } else {
        uint32_t bits = 0;
        load(dtype, from + base * input_bytes_[input], 1, reinterpret_cast<char*>(&bits));
        fill(row, piece, bits);
      }
      row += piece * 4;
      n -= piece;
      ++line;
      column = 0;
    }
  }

  bool stream_, prefetches_;
  Walk walk_;
  std::vector<Register> registers_;
  RowPlan plan_;
  std::vector<bool> points_;
  std::vector<int> fixed_, pointing_;
  std::vector<int64_t> input_bytes_;
  std::vector<DType> output_dtypes_;
  int64_t block_, chunk_ = 0, chunks_ = 1, units_ = 0, grain_ = 1;
  bool by_row_ = false;
  size_t pointers_bytes_ = 0, thread_bytes_ = 0;
  int threads_ = 1;
};

std::unique_ptr<Kernel> prepare_elementwise(const Node& node, std::string* why) {
  if (!node.params.only({"code", "outputs"}, why)) return nullptr;
  CodeReader code(node, why);
  for (const std::string& line : node.params.texts("code"))
    if (!code.read(line)) return nullptr;
  std::vector<DType> dtypes, output_dtypes;
  for (const Register& reg : code.registers) dtypes.push_back(reg.dtype);
  std::vector<int> outputs = output_registers(node, dtypes, why);
  if (outputs.empty()) return nullptr;
  for (int& r : outputs) {
    const Register& reg = code.registers[r];
    output_dtypes.push_back(reg.dtype);
    if (reg.input >= 0 || reg.constant) r = code.copy_of(r);
  }
  Walk walk;
  if (!plan_walk(node, &walk, why)) return nullptr;
  // A 4-byte input is read in place, unless a block gathers it from several lines.
  std::vector<bool> points(code.registers.size(), false), fixed(code.registers.size(), false);
  for (size_t r = 0; r < code.registers.size(); ++r) {
    const Register& reg = code.registers[r];
    fixed[r] = reg.constant;
    if (reg.input < 0) continue;
    const InputPlan& input = walk.inputs[reg.input];
    fixed[r] = input.mode == InputPlan::Mode::scalar;
    points[r] = dtype_bytes(reg.dtype) == 4 &&
                (input.mode == InputPlan::Mode::full ||
                 (input.mode == InputPlan::Mode::strided && walk.inner() >= kWalkRows && input.strides.back() == 1));
  }
  const bool stream = static_cast<int64_t>(node.outputs[0].bytes()) >= kStreamBytes;
  RowPlan plan = plan_rows(code, outputs, points, fixed, output_dtypes, stream);
  const int64_t fitting =
      plan.in_one_go() ? kLongBlock
                       : std::clamp(kRowBytes / (4 * std::max(plan.slots, 1)) & ~int64_t{63}, kMinBlock, kMaxBlock);
  // Not longer than the operands, because constants fill a whole block.
  const int64_t block = std::clamp((walk.total + 63) & ~int64_t{63}, int64_t{64}, fitting);
  return std::make_unique<Elementwise>(node, std::move(walk), code, std::move(plan), block, std::move(points), stream);
}

}  // namespace

TE_KERNEL(elementwise, prepare_elementwise);

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
