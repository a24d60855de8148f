// Uploads copy into pinned blocks, which are used again behind the events of their copies; downloads end on a thread.
#include "cuda/transfers.h"

#include <algorithm>
#include <cstring>

#include "cuda/memory.h"
#include "te/copy.h"

namespace te::cuda {

FailurePtr failure_of(cudaError_t status) {
  if (status == cudaSuccess) return nullptr;
  const Error error = error_of(status, "the GPU");
  return std::make_shared<const Failure>(Failure{error.code, error.what()});
}

Transfers::Transfers(Context& context, Events& events) : context_(context), events_(events) {
  thread_ = std::thread([this] { loop(); });
}

Transfers::~Transfers() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// --- to the GPU ----------------------------------------------------------------------------------------------------

// Gives back the pinned blocks whose copies are done; `wait`: at least one.
void Transfers::reclaim(bool wait) {
  while (!uploading_.empty() && (wait || uploading_.front().mark.reached())) {
    Block& block = uploading_.front();
    if (wait) block.mark.wait();
    wait = false;
    pinned_pool().give(block.data, block.bytes);
    uploading_bytes_ -= block.bytes;
    uploading_.pop_front();
  }
}

void Transfers::upload(void* to, const void* from, size_t bytes) {
  const Using use(context_);
  std::lock_guard lock(upload_mutex_);
  for (size_t at = 0; at < bytes; at += kChunk) {
    const size_t part = std::min(kChunk, bytes - at);
    reclaim(uploading_bytes_ >= 16 * kChunk);
    void* staged = pinned_pool().take(part);
    copy_bytes(staged, static_cast<const char*>(from) + at, part);
    const cudaError_t status =
        cudaMemcpyAsync(static_cast<char*>(to) + at, staged, part, cudaMemcpyHostToDevice, context_.main);
    if (status != cudaSuccess) {
      pinned_pool().give(staged, part);
      check(status, "copy to the GPU");
    }
    uploading_.push_back({staged, part, Mark(events_, context_.main)});
    uploading_bytes_ += part;
  }
}

// --- from the GPU --------------------------------------------------------------------------------------------------

namespace {

bool is_pinned(const void* p) {
  cudaPointerAttributes attributes{};
  const bool known = cudaPointerGetAttributes(&attributes, p) == cudaSuccess;
  if (!known) cudaGetLastError();
  return known && attributes.type == cudaMemoryTypeHost;
}

}  // namespace

void Transfers::download(void* to, const void* from, size_t bytes, Done done) {
  const Using use(context_);
  const bool direct = is_pinned(to);
  const size_t chunk = direct ? bytes : kChunk;
  for (size_t at = 0; at < bytes; at += chunk) {
    const size_t part = std::min(chunk, bytes - at);
    char* const target = static_cast<char*>(to) + at;
    void* staged = direct ? nullptr : pinned_pool().take(part);
    const cudaError_t status = cudaMemcpyAsync(direct ? target : staged, static_cast<const char*>(from) + at, part,
                                               cudaMemcpyDeviceToHost, context_.main);
    if (status != cudaSuccess) {
      pinned_pool().give(staged, part);
      fence([done = std::move(done), failure = failure_of(status)](FailurePtr other) { done(failure); });
      return;
    }
    enqueue({Mark(events_, context_.main), target, staged, part, at + part == bytes ? std::move(done) : Done()});
  }
}

void Transfers::fence(Done done) {
  const Using use(context_);
  enqueue({Mark(events_, context_.main), nullptr, nullptr, 0, std::move(done)});
}

void Transfers::enqueue(Waiting waiting) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(waiting));
  changed_.notify_all();
}

void Transfers::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_.empty() && !working_; });
}

void Transfers::loop() {
  const Using use(context_);
  FailurePtr failure;  // of an earlier part of the same download
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopped_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Waiting item = std::move(waiting_.front());
    waiting_.pop_front();
    working_ = true;
    lock.unlock();
    if (FailurePtr own = failure_of(item.mark.wait())) failure = std::move(own);
    if (item.staged) {
      if (!failure) std::memcpy(item.to, item.staged, item.bytes);
      pinned_pool().give(item.staged, item.bytes);
    }
    if (item.done) item.done(std::exchange(failure, nullptr));
    item.done = nullptr;
    lock.lock();
    working_ = false;
    changed_.notify_all();
  }
}

}  // namespace te::cuda
