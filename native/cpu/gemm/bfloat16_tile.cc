// Tiles of bfloat16 products, which are primitives of oneDNN on one thread each.
// te: once
#include <omp.h>

#include <atomic>
#include <cstring>
#include <dnnl.hpp>
#include <string>
#include <vector>

#include "cpu/gemm/tile.h"
#include "te/kernel.h"
#include "te/status.h"

namespace te {
namespace {

using dnnl::memory;

std::atomic<int> forced_choice{-1};

dnnl::engine& cpu_engine() {
  static dnnl::engine* engine = [] {
    // A lowered instruction set is meant for the products too. (Too late is no harm: results do not depend on it.)
    if (active_isa() < Isa::avx512)
      dnnl_set_max_cpu_isa(active_isa() == Isa::avx2 ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_sse41);
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every kernel
  }();
  return *engine;
}

// A primitive divides its work for the team size at its creation; a tile belongs to one thread.
class OneThread {
 public:
  OneThread() : team_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(team_); }

 private:
  int team_;
};

memory::data_type data_type(DType dtype) {
  return dtype == DType::bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// Reads the blocking that oneDNN chose for B. False when it is none of those that PanelLayout describes.
bool describe(const memory::desc& desc, int64_t columns, PanelLayout* layout) {
  const auto& blocking = desc.data.format_desc.blocking;
  const int64_t padded_depth = desc.data.padded_dims[0], padded_columns = desc.data.padded_dims[1];
  if (blocking.inner_nblks == 0) {  // row-major: one panel
    *layout = {columns, padded_depth, 1, 1};
    return blocking.strides[1] == 1 && blocking.strides[0] == columns;
  }
  if (blocking.inner_nblks != 3) return false;
  if (blocking.inner_idxs[0] != 0 || blocking.inner_idxs[1] != 1 || blocking.inner_idxs[2] != 0) return false;
  const int64_t width = blocking.inner_blks[1], stack = blocking.inner_blks[2];
  *layout = {width, padded_depth, stack, padded_columns / width};
  return blocking.strides[0] == blocking.inner_blks[0] * width * stack && blocking.strides[1] == padded_depth * width;
}

class PrimitiveTile : public TileProduct {
 public:
  PrimitiveTile(const dnnl::matmul::primitive_desc& desc, PanelLayout layout, int pieces)
      : primitive_(desc),
        name_(std::string("bfloat16 ") + desc.impl_info_str() + (layout.stack == 1 ? " rows" : " pairs")),
        layout_(layout),
        scratch_bytes_(desc.scratchpad_desc().get_size()) {
    for (int i = 0; i < pieces; ++i) {
      pieces_.push_back({dnnl::stream(cpu_engine()), memory(desc.src_desc(), cpu_engine(), DNNL_MEMORY_NONE),
                         memory(desc.weights_desc(), cpu_engine(), DNNL_MEMORY_NONE),
                         memory(desc.dst_desc(), cpu_engine(), DNNL_MEMORY_NONE),
                         memory(desc.scratchpad_desc(), cpu_engine(), DNNL_MEMORY_NONE)});
    }
  }

  PanelLayout layout() const override { return layout_; }
  std::string name() const override { return name_; }
  size_t scratch_bytes() const override { return scratch_bytes_; }

  void run(int piece, const void* a, const void* b, void* c, void* scratch) const override {
    const Piece& p = pieces_[static_cast<size_t>(piece)];
    p.a.set_data_handle(const_cast<void*>(a));
    p.b.set_data_handle(const_cast<void*>(b));
    p.c.set_data_handle(c);
    p.scratch.set_data_handle(scratch);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p.a.get()},
                                         {DNNL_ARG_WEIGHTS, p.b.get()},
                                         {DNNL_ARG_DST, p.c.get()},
                                         {DNNL_ARG_SCRATCHPAD, p.scratch.get()}};
    if (dnnl_primitive_execute(primitive_.get(), p.stream.get(), 4, arguments) != dnnl_success)
      throw Error("kernel", "dot: oneDNN failed to run a matrix product");
  }

 private:
  struct Piece {
    dnnl::stream stream;
    memory a, b, c, scratch;
  };
  dnnl::matmul primitive_;
  std::string name_;
  PanelLayout layout_;
  size_t scratch_bytes_;
  std::vector<Piece> pieces_;
};

// Runs a product of zeros, once in the process. oneDNN makes code that its products share (the configuration of tiles)
// when the first one runs, and unmaps it when the process ends: what it registers for that must come before what waits
// there for the thread that multiplies.
void run_first(const PrimitiveTile& tile, const dnnl::matmul::primitive_desc& desc) {
  static const bool ran = [&] {
    const auto zeros = [](const memory::desc& of) { return std::vector<char>(of.get_size() + 64); };
    std::vector<char> a = zeros(desc.src_desc()), b = zeros(desc.weights_desc()), c = zeros(desc.dst_desc());
    std::vector<char> scratch = zeros(desc.scratchpad_desc());
    tile.run(0, a.data(), b.data(), c.data(), scratch.data());
    return true;
  }();
  (void)ran;
}

std::unique_ptr<TileProduct> create_primitive(const TileSpec& spec, int pieces) {
  using tag = memory::format_tag;
  const memory::desc a({spec.rows, spec.depth}, memory::data_type::bf16, memory::dims{spec.a_row, 1});
  const memory::desc c({spec.rows, spec.columns}, data_type(spec.result), memory::dims{spec.c_row, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (spec.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
  for (tag right : {tag::any, tag::ab}) {
    const memory::desc b({spec.depth, spec.columns}, memory::data_type::bf16, right);
    const dnnl::matmul::desc operation(a, b, c);
    const dnnl::matmul::primitive_desc desc(operation, attributes, cpu_engine(), true);
    if (!desc) return nullptr;
    const std::string implementation = desc.impl_info_str();
    if (implementation.rfind("ref", 0) == 0) return nullptr;
    PanelLayout layout;
    if (!describe(desc.weights_desc(), spec.columns, &layout)) continue;
    auto tile = std::make_unique<PrimitiveTile>(desc, layout, pieces);
    run_first(*tile, desc);
    return tile;
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<TileProduct> create_bfloat16_tile(const TileSpec& spec, int pieces) {
  const OneThread guard;
  try {
    return create_primitive(spec, pieces);
  } catch (const dnnl::error&) {  // not something oneDNN does on this processor
    return nullptr;
  }
}

bool native_bfloat16() {
  const int forced = forced_choice.load();
  if (forced >= 0) return forced == 1;
  cpu_engine();
  static const bool native =
      (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
  return native;
}

void force_bfloat16_products(int choice) { forced_choice = choice; }

}  // namespace te
