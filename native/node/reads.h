// What JavaScript waits for: promises of contents, and the arrays that uploads still read.
#pragma once
#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "node/js.h"
#include "te/buffer.h"
#include "te/pool.h"

namespace te {

// Belongs to one environment and its thread, but for `finished` and `uploaded`, which any thread calls.
class Reads {
 public:
  Reads(napi_env env, const std::string& name, Pool& host);

  // A new promise. It settles when finished(*token, ...) is called, with an ArrayBuffer of `bytes` where that brings
  // memory, else with undefined. `array` is kept until then; it may be nullptr.
  napi_value open(napi_value array, size_t bytes, uint64_t* token);
  // `memory` is of the host's pool and goes back to it.
  void finished(uint64_t token, FailurePtr failure, void* memory);

  // For a thread that blocks: close_gate, have finished(kGate, ...) called, and wait at it.
  static constexpr uint64_t kGate = 0;
  void close_gate() { gate_open_ = false; }
  void wait_at_gate();

  // Keeps an array until uploaded() is called with what this gives.
  void* keep(napi_value array);
  void uploaded(void* source);
  void forget_sources();

  // When nothing will finish any more.
  void close();

 private:
  struct Pending {
    napi_deferred deferred;
    napi_ref array;
    size_t bytes;
  };
  struct Finished {
    uint64_t token;
    FailurePtr failure;
    void* memory;
  };
  void settle();
  void settle(const Pending& pending, Finished& finished) noexcept;
  napi_value result(const Pending& pending, Finished& finished);
  void wake();

  napi_env env_;
  Pool& host_;
  napi_threadsafe_function wake_ = nullptr;
  uint64_t next_token_ = kGate + 1;
  std::unordered_map<uint64_t, Pending> pending_;

  std::mutex mutex_;  // of all below
  std::condition_variable gate_;
  bool gate_open_ = false;
  std::vector<Finished> finished_;
  std::vector<napi_ref> sources_;  // of uploads that are done
};

}  // namespace te
