// The yardstick of products: the fastest of oneDNN.
// te: once
#ifdef TE_ONEDNN
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <dnnl.hpp>
#include <memory>
#include <unordered_map>
#include <vector>

#include "te/parallel.h"
#include "te/peak.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Sizes {
  int64_t m, n, k;
};

// Squares, and the products of a transformer layer with 2048 rows.
constexpr Sizes kSizes[] = {
    {1024, 1024, 1024}, {1536, 1536, 1536}, {2048, 2048, 2048}, {2048, 2048, 512}, {2048, 512, 2048}};

dnnl::memory ready(const dnnl::memory::desc& desc, const dnnl::engine& engine) {
  dnnl::memory memory(desc, engine);
  std::memset(memory.get_data_handle(), 0, desc.get_size());  // maps the pages; zeros multiply as fast as other numbers
  return memory;
}

// One product with the weights row-major or in the layout that oneDNN likes best.
class Product {
 public:
  Product(const Sizes& s, dnnl::memory::data_type type, bool blocked, const dnnl::engine& engine)
      : flops_(2.0 * s.m * s.n * s.k) {
    using tag = dnnl::memory::format_tag;
    const dnnl::memory::desc a({s.m, s.k}, type, tag::ab), b({s.k, s.n}, type, blocked ? tag::any : tag::ab),
        c({s.m, s.n}, type, tag::ab);
    dnnl::matmul::primitive_desc desc({a, b, c}, engine);
    primitive_ = dnnl::matmul(desc);
    args_ = {{DNNL_ARG_SRC, ready(desc.src_desc(), engine)},
             {DNNL_ARG_WEIGHTS, ready(desc.weights_desc(), engine)},
             {DNNL_ARG_DST, ready(desc.dst_desc(), engine)}};
  }

  double gflops(dnnl::stream& stream) {
    const Clock::time_point start = Clock::now();
    primitive_.execute(stream, args_);
    stream.wait();
    return flops_ / seconds_since(start) / 1e9;
  }

 private:
  double flops_;
  dnnl::matmul primitive_;
  std::unordered_map<int, dnnl::memory> args_;
};

}  // namespace

double measure_product_peak(DType dtype, double seconds) {
  if (dtype != DType::float32 && dtype != DType::bfloat16)
    throw Error("dtype", "productPeak: dtype must be float32 or bfloat16.");
  const auto type = dtype == DType::float32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
  omp_set_num_threads(num_threads());
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  std::vector<std::unique_ptr<Product>> products;
  for (const Sizes& sizes : kSizes) {
    for (bool blocked : {false, true}) products.push_back(std::make_unique<Product>(sizes, type, blocked, engine));
  }
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    for (const auto& product : products) best = std::max(best, product->gflops(stream));
  } while (seconds_since(start) < seconds);
  return best;
}

}  // namespace te
#endif
