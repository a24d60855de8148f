// Handles whose JavaScript objects were collected: when a session looks for them, and what it releases.
#include <ctime>

#include "node/session.h"

namespace te {

namespace {
constexpr int64_t kBeyond = int64_t{1} << 44;  // more memory than any limit of V8 allows

double thread_ms() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}
}  // namespace

size_t Session::held() const { return live_ + program_bytes_ + buffers_.size() * kPerBuffer; }

bool Session::own(int32_t handle, napi_value object) {
  Buffer& buffer = buffers_.at(handle);
  if (buffer.reference) throw Error("state", "own: the tensor has an owner.");
  const auto finalize = [](napi_env, void* data, void* session) noexcept {
    static_cast<Session*>(session)->release(static_cast<Buffer*>(data)->handle);
  };
  napi_ref reference;
  ask(napi_add_finalizer(env_, object, &buffer, finalize, this, &reference));
  buffer.reference = reference;
  return pressure_.due(held());
}

bool Session::own_program(int32_t handle, napi_value object) {
  Program& program = programs_.at(handle);
  if (program.reference) throw Error("state", "ownProgram: the program has an owner.");
  const auto finalize = [](napi_env, void* data, void* session) noexcept {
    static_cast<Session*>(session)->destroy(static_cast<Program*>(data)->id);
  };
  napi_ref reference;
  ask(napi_add_finalizer(env_, object, &program, finalize, this, &reference));
  program.reference = reference;
  return pressure_.due(held());
}

// A weak reference is empty as soon as V8 has collected its object.
bool Session::collected(void* reference) const {
  napi_value object = nullptr;
  return reference && napi_get_reference_value(env_, static_cast<napi_ref>(reference), &object) == napi_ok && !object;
}

void Session::release_collected() {
  const HandleScope scope(env_);
  buffers_.for_each([this](Buffer& buffer) {
    if (collected(buffer.reference)) release(buffer.handle);
  });
  programs_.for_each([this](Program& program) {
    if (collected(program.reference)) destroy(program.id);
  });
  reads_.forget_sources();
}

bool Session::sweep() {
  release_collected();
  return pressure_.relieved(held());
}

void Session::collect() {
  if (!pressure_.all_due(held())) return pressure_.rebase(held());
  const double start = thread_ms();
  // V8 collects when it is told of more memory than it may have.
  int64_t total;
  napi_adjust_external_memory(env_, kBeyond, &total);
  napi_adjust_external_memory(env_, -kBeyond, &total);
  release_collected();
  pressure_.looked_at_all(held(), thread_ms() - start);
}

}  // namespace te
