// Promises are settled on JavaScript's thread, which whoever finishes something wakes.
#include "node/reads.h"

#include <cstring>
#include <memory>
#include <utility>

namespace te {

Reads::Reads(napi_env env, const std::string& name, Pool& host) : env_(env), host_(host) {
  const auto call_js = [](napi_env e, napi_value, void* context, void*) {
    if (e) static_cast<Reads*>(context)->settle();
  };
  ask(napi_create_threadsafe_function(env, nullptr, nullptr, js_text(env, name), 0, 1, nullptr, nullptr, this, call_js,
                                      &wake_));
  napi_unref_threadsafe_function(env, wake_);  // only a pending promise keeps the process alive
}

void Reads::close() {
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  for (const Finished& finished : finished_)
    if (finished.memory) host_.give(finished.memory, pending_.at(finished.token).bytes);
}

napi_value Reads::open(napi_value array, size_t bytes, uint64_t* token) {
  Pending pending{nullptr, nullptr, bytes};
  napi_value promise;
  ask(napi_create_promise(env_, &pending.deferred, &promise));
  if (array) ask(napi_create_reference(env_, array, 1, &pending.array));  // the memory must outlive the copy
  if (pending_.empty()) napi_ref_threadsafe_function(env_, wake_);
  *token = next_token_++;
  pending_.emplace(*token, pending);
  return promise;
}

void Reads::finished(uint64_t token, FailurePtr failure, void* memory) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    if (token == kGate) {
      gate_open_ = true;
      gate_.notify_one();
      return;
    }
    first = finished_.empty();
    finished_.push_back({token, std::move(failure), memory});
  }
  if (first) wake();
}

void Reads::wake() { napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking); }

void Reads::wait_at_gate() {
  std::unique_lock lock(mutex_);
  gate_.wait(lock, [this] { return gate_open_; });
}

void* Reads::keep(napi_value array) {
  napi_ref source;
  ask(napi_create_reference(env_, array, 1, &source));
  return source;
}

void Reads::uploaded(void* source) {
  {
    std::lock_guard lock(mutex_);
    sources_.push_back(static_cast<napi_ref>(source));
  }
  wake();
}

void Reads::forget_sources() {
  std::lock_guard lock(mutex_);
  for (napi_ref source : sources_) napi_delete_reference(env_, source);
  sources_.clear();
}

// An array over the memory, which goes back to the pool with it.
napi_value Reads::result(const Pending& pending, Finished& finished) {
  napi_value value;
  if (!finished.memory) {
    ask(napi_get_undefined(env_, &value));
    return value;
  }
  struct Block {
    Pool& host;
    void* data;
    size_t bytes;
    ~Block() { host.give(data, bytes); }
  };
  std::unique_ptr<Block> block(new Block{host_, std::exchange(finished.memory, nullptr), pending.bytes});
  const auto finalize = [](napi_env, void*, void* hint) noexcept { delete static_cast<Block*>(hint); };
  const napi_status status =
      napi_create_external_arraybuffer(env_, block->data, block->bytes, finalize, block.get(), &value);
  if (status == napi_no_external_buffers_allowed) {
    void* to;
    ask(napi_create_arraybuffer(env_, block->bytes, &to, &value));
    std::memcpy(to, block->data, block->bytes);
    return value;
  }
  ask(status);
  block.release();
  return value;
}

// What is refused here belongs to an environment that ends.
void Reads::settle(const Pending& pending, Finished& finished) noexcept {
  try {
    const HandleScope scope(env_);
    const Failure* failure = finished.failure.get();
    if (failure && finished.memory) host_.give(std::exchange(finished.memory, nullptr), pending.bytes);
    ask(failure ? napi_reject_deferred(env_, pending.deferred, js_error(env_, failure->code, failure->message))
                : napi_resolve_deferred(env_, pending.deferred, result(pending, finished)));
  } catch (const Refused&) {
  }
}

void Reads::settle() {
  std::vector<Finished> all;
  {
    std::lock_guard lock(mutex_);
    std::swap(all, finished_);
  }
  forget_sources();
  for (Finished& finished : all) {
    const auto found = pending_.find(finished.token);
    if (found == pending_.end()) continue;
    const Pending pending = found->second;
    pending_.erase(found);
    if (pending.array) napi_delete_reference(env_, pending.array);
    settle(pending, finished);
  }
  if (pending_.empty()) napi_unref_threadsafe_function(env_, wake_);
}

}  // namespace te
