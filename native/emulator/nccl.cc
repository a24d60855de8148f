// NCCL without GPUs: communicators of processes of one machine, who exchange through sockets. What is queued on a
// stream is done when the stream comes to it and the peers have come to theirs. Peers are told what they send each
// other; what differs, and a peer that is gone, is an asynchronous error, after which the stream stands still until the
// communicator is aborted. Built as a library of its own that is opened as NVIDIA's is.
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

// Of the emulated runtime.
extern "C" cudaError_t te_emu_queue_library_wait(cudaStream_t, bool (*ready)(void*), void (*release)(void*), void*);
extern "C" void te_emu_go_on();
extern "C" bool te_emu_inside(const void*, size_t);
extern "C" void te_emu_written(void*, size_t);

namespace {

constexpr int kSuccess = 0, kCudaError = 1, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6;
constexpr auto kPatience = std::chrono::seconds(60);  // for peers to join

thread_local std::string last_error;
int fail(int status, const std::string& text) { return last_error = text, status; }

struct UniqueId {
  char data[128];
};

struct Comm {
  int size, rank;
  std::vector<int> sockets;  // to each peer
  std::atomic<int> error{kSuccess};
  std::atomic<bool> aborted{false};
};

// --- streams that go on by themselves -------------------------------------------------------------------------------

class Driver {
 public:
  void start() {
    std::lock_guard lock(mutex_);
    if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  }
  ~Driver() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void loop() {
    while (!stopped_) {
      te_emu_go_on();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  std::mutex mutex_;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};
Driver driver;

// --- joining: every rank listens under a name of its own, and calls those before it
// -----------------------------------

sockaddr_un address_of(const UniqueId& id, int rank, socklen_t* length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int n = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "te-nccl-%s-%d", id.data, rank);
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(n));
  return address;
}

int connect_to(const UniqueId& id, int peer, int rank) {
  socklen_t length;
  const sockaddr_un address = address_of(id, peer, &length);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(s, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
        send(s, &rank, sizeof rank, MSG_NOSIGNAL) == sizeof rank)
      return s;
    close(s);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return -1;
}

bool accept_one(int listener, Comm* comm) {
  timeval patience{std::chrono::seconds(kPatience).count(), 0};
  setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const int s = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  int peer = -1;
  if (s < 0 || recv(s, &peer, sizeof peer, MSG_WAITALL) != sizeof peer) return false;
  if (peer <= comm->rank || peer >= comm->size) return false;
  comm->sockets[static_cast<size_t>(peer)] = s;
  return true;
}

// --- messages -------------------------------------------------------------------------------------------------------

struct Message {
  int peer;
  bool sends;
  char* data;
  uint64_t bytes;
  uint64_t told = 0;   // what the peer says that it sends
  uint64_t moved = 0;  // of these 8 bytes, and then of the data
  bool is_done() const { return moved == sizeof told + bytes; }
};

// What one group of calls does. A captured one is done again and again.
struct Group {
  Comm* comm = nullptr;
  std::vector<Message> messages;
  const void* from = nullptr;  // of an all-gather: the own part and its place
  void* to = nullptr;
  size_t bytes = 0;
};

// Moves what can be moved now. False: nothing.
bool move_some(Comm* comm, Message* m) {
  const int s = comm->sockets[static_cast<size_t>(m->peer)];
  const uint64_t head = sizeof m->told;
  if (m->sends) m->told = m->bytes;
  const bool in_head = m->moved < head;
  char* at = in_head ? reinterpret_cast<char*>(&m->told) + m->moved : m->data + (m->moved - head);
  const uint64_t left = in_head ? head - m->moved : head + m->bytes - m->moved;
  const ssize_t n = m->sends ? send(s, at, left, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(s, at, left, MSG_DONTWAIT);
  if (n > 0) {
    m->moved += static_cast<uint64_t>(n);
    if (!m->sends && m->moved == head && m->told != m->bytes) comm->error = kInvalidUsage;
    return true;
  }
  if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) comm->error = kRemoteError;
  return false;
}

// Of the messages of one direction to a peer, the first that is not done moves.
bool advance(Group* group) {
  bool moved = false;
  std::vector<bool> busy(static_cast<size_t>(group->comm->size) * 2);
  for (Message& m : group->messages) {
    const size_t line = static_cast<size_t>(m.peer) * 2 + m.sends;
    if (m.is_done() || busy[line]) continue;
    while (group->comm->error == kSuccess && !m.is_done() && move_some(group->comm, &m)) moved = true;
    busy[line] = !m.is_done();
  }
  return moved;
}

bool is_ready(void* data) {
  auto* group = static_cast<Group*>(data);
  if (group->comm->aborted) return true;
  if (group->comm->error != kSuccess) return false;
  for (const Message& m : group->messages) {
    if (m.bytes == 0 || te_emu_inside(m.data, m.bytes)) continue;
    std::fprintf(stderr, "te emulator: NCCL: %llu bytes leave their allocation\n",
                 static_cast<unsigned long long>(m.bytes));
    std::abort();
  }
  advance(group);
  for (const Message& m : group->messages)
    if (!m.is_done()) return false;
  if (group->from != group->to) {
    std::memcpy(group->to, group->from, group->bytes);
    te_emu_written(group->to, group->bytes);
  }
  for (Message& m : group->messages) {
    if (!m.sends && m.bytes > 0) te_emu_written(m.data, m.bytes);
    m.moved = 0;
  }
  return true;
}

thread_local int depth = 0;
thread_local Group pending;
thread_local cudaStream_t pending_stream = nullptr;
thread_local bool mixed = false;

int flush() {
  auto group = std::make_unique<Group>(std::move(pending));
  const bool bad = mixed;
  pending = {};
  mixed = false;
  const Comm* comm = group->comm;
  if (!comm) return kSuccess;
  if (bad) return fail(kInvalidUsage, "a group of several communicators or streams");
  if (comm->error != kSuccess) return comm->error;
  if (comm->aborted) return fail(kInvalidUsage, "the communicator was aborted");
  const cudaError_t status = te_emu_queue_library_wait(
      pending_stream, is_ready, [](void* g) { delete static_cast<Group*>(g); }, group.release());
  return status == cudaSuccess ? kSuccess : fail(kCudaError, "the stream takes no work");
}

int add(Comm* comm, cudaStream_t stream, int type, Message message) {
  if (!comm || type != 1 || message.peer < 0 || message.peer >= comm->size || message.peer == comm->rank)
    return fail(kInvalidArgument, "a bad communicator, type or peer");
  mixed = mixed || (pending.comm && (pending.comm != comm || pending_stream != stream));
  pending.comm = comm;
  pending_stream = stream;
  pending.messages.push_back(message);
  return depth > 0 ? kSuccess : flush();
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API int ncclGetVersion(int* version) { return *version = 22703, kSuccess; }
API const char* ncclGetErrorString(int status) {
  switch (status) {
    case kSuccess:
      return "no error";
    case kCudaError:
      return "unhandled cuda error";
    case kSystemError:
      return "unhandled system error";
    case kInvalidArgument:
      return "invalid argument";
    case kInvalidUsage:
      return "invalid usage";
    case kRemoteError:
      return "remote process exited or there was a network error";
    default:
      return "internal error";
  }
}
API const char* ncclGetLastError(Comm*) { return last_error.c_str(); }

API int ncclGetUniqueId(UniqueId* id) {
  std::random_device random;
  *id = {};
  std::snprintf(id->data, sizeof id->data, "%d-%08x%08x", getpid(), random(), random());
  return kSuccess;
}

API int ncclCommInitRank(Comm** out, int size, UniqueId id, int rank) {
  auto* comm = new Comm{size, rank, std::vector<int>(static_cast<size_t>(size), -1)};
  socklen_t length;
  const sockaddr_un address = address_of(id, rank, &length);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(listener, size) != 0)
    return close(listener), delete comm, fail(kInvalidUsage, "two processes have one rank");
  bool good = true;
  for (int peer = 0; peer < rank && good; ++peer)
    good = (comm->sockets[static_cast<size_t>(peer)] = connect_to(id, peer, rank)) >= 0;
  for (int peer = rank + 1; peer < size && good; ++peer) good = accept_one(listener, comm);
  close(listener);
  if (!good) return fail(kSystemError, "a peer did not join");
  driver.start();
  *out = comm;
  return kSuccess;
}

// The sockets stay open for as long as there may be work that was queued before.
API int ncclCommAbort(Comm* comm) { return comm->aborted = true, kSuccess; }
API int ncclCommGetAsyncError(Comm* comm, int* status) { return *status = comm->error, kSuccess; }

API int ncclGroupStart() { return ++depth, kSuccess; }
API int ncclGroupEnd() { return --depth > 0 ? kSuccess : flush(); }

API int ncclSend(const void* from, size_t bytes, int type, int peer, Comm* comm, cudaStream_t stream) {
  return add(comm, stream, type, {peer, true, static_cast<char*>(const_cast<void*>(from)), bytes});
}
API int ncclRecv(void* to, size_t bytes, int type, int peer, Comm* comm, cudaStream_t stream) {
  return add(comm, stream, type, {peer, false, static_cast<char*>(to), bytes});
}

API int ncclAllGather(const void* from, void* to, size_t bytes, int type, Comm* comm, cudaStream_t stream) {
  const auto slot = [&](int k) { return static_cast<char*>(to) + static_cast<size_t>(k) * bytes; };
  ncclGroupStart();
  int status = kSuccess;
  for (int peer = 0; peer < comm->size && status == kSuccess; ++peer) {
    if (peer == comm->rank) continue;
    status = ncclSend(from, bytes, type, peer, comm, stream);
    if (status == kSuccess) status = ncclRecv(slot(peer), bytes, type, peer, comm, stream);
  }
  pending.from = from, pending.to = slot(comm->rank), pending.bytes = bytes;
  const int ended = ncclGroupEnd();
  return status == kSuccess ? ended : status;
}
