// Algorithms by problem, in memory and in a file of one line for each problem that was timed.
#include "cuda/gemm/choices.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "cuda/gemm/settings.h"
#include "cuda/gemm/tune_file.h"
#include "te/status.h"

namespace te::cuda {
namespace {

using Tune = ProductSettings::Tune;
constexpr int kCandidates = 12, kRounds = 3, kRuns = 4;

struct Choices {
  std::mutex mutex;
  std::map<std::string, lt::Algo> recommended, timed;
  bool read = false;
};

Choices& choices() {
  static auto* all = new Choices;  // outlives every static
  return *all;
}

// Under the lock.
void read_file_once(Choices& all) {
  if (all.read || product_settings().tune == Tune::no_file) return;
  all.read = true;
  all.timed.merge(read_tune_file(product_settings().tune_file));
}

class Timer {
 public:
  Timer() {
    check(cudaEventCreate(&from_), "event");
    check(cudaEventCreate(&to_), "event");
  }
  ~Timer() { cudaEventDestroy(from_), cudaEventDestroy(to_); }
  // Milliseconds of what `body` queues.
  template <class Body>
  float operator()(Body&& body) {
    check(cudaEventRecord(from_, stream()), "event");
    body();
    check(cudaEventRecord(to_, stream()), "event");
    check(cudaEventSynchronize(to_), "the timing of products");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, from_, to_), "event");
    return ms;
  }

 private:
  cudaEvent_t from_ = nullptr, to_ = nullptr;
};

}  // namespace

std::optional<lt::Algo> known_choice(const Matmul& matmul) {
  Choices& all = choices();
  const std::string key = matmul.shape().key();
  std::lock_guard lock(all.mutex);
  read_file_once(all);
  if (const auto found = all.timed.find(key); found != all.timed.end()) {
    if (matmul.accepts(found->second)) return found->second;
    all.timed.erase(found);
  }
  if (const auto found = all.recommended.find(key); found != all.recommended.end()) return found->second;
  const std::vector<lt::Algo> algos = matmul.recommended(1);
  if (algos.empty()) return std::nullopt;
  return all.recommended[key] = algos[0];
}

bool wants_timing(const Matmul& matmul) {
  if (product_settings().tune != Tune::time) return false;
  Choices& all = choices();
  std::lock_guard lock(all.mutex);
  return all.timed.count(matmul.shape().key()) == 0;
}

lt::Algo time_choices(Matmul& matmul, const MatmulCall& call) {
  const std::vector<lt::Algo> algos = matmul.recommended(kCandidates);
  if (algos.empty()) throw Error("backend", "cuBLASLt takes back what it recommended");
  Timer timer;
  constexpr float kNever = std::numeric_limits<float>::infinity();
  std::vector<float> best(algos.size(), kNever);
  std::vector<bool> fails(algos.size(), false);
  for (int round = 0; round <= kRounds; ++round) {  // the first warms up
    for (size_t i = 0; i < algos.size(); ++i) {
      if (fails[i]) continue;
      try {
        const float ms = timer([&] {
          for (int run = 0; run < kRuns; ++run) matmul.run(call, algos[i]);
        });
        if (round > 0) best[i] = std::min(best[i], ms);
      } catch (const Error&) {  // recommended, and refused with these operands
        fails[i] = true;
        best[i] = kNever;
      }
    }
  }
  const auto fastest = static_cast<size_t>(std::min_element(best.begin(), best.end()) - best.begin());
  Choices& all = choices();
  std::lock_guard lock(all.mutex);
  all.timed[matmul.shape().key()] = algos[fastest];
  add_to_tune_file(product_settings().tune_file, matmul.shape().key(), algos[fastest]);
  return algos[fastest];
}

}  // namespace te::cuda
