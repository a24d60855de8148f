// Communicators by group; what is begun is told to the world, what the GPU is at can be seen while it works.
#include "cuda/nccl/communicators.h"

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "cuda/nccl/nccl.h"
#include "cuda/nccl/progress.h"
#include "te/status.h"

namespace te::cuda {

struct Communicator {
  std::vector<int32_t> ranks;
  uint64_t key = 0;
  nccl::Comm comm = nullptr;
  std::atomic<uint64_t> count{0};  // of collectives that were begun
  uint64_t digest = 0;             // of all of them, in order
};

namespace {

uint64_t mix(uint64_t digest, uint64_t value) {
  for (int i = 0; i < 8; ++i) digest = (digest ^ (value >> 8 * i & 0xff)) * 0x100000001b3;
  return digest;
}
uint64_t key_of(const std::vector<int>& ranks) {
  uint64_t key = 0xcbf29ce484222325;
  for (const int rank : ranks) key = mix(key, static_cast<uint64_t>(rank));
  return key | uint64_t{1} << 63;  // apart from those of the world's own meetings
}

// All communicators of this process, and the collectives that go through them.
class Communicators : public Guarded {
 public:
  const nccl::Library* nccl = nullptr;
  Context* gpu = nullptr;
  Progress progress;

  std::shared_ptr<Communicator> of(const RankGroup& group, const std::string& what) {
    const uint64_t key = key_of(group.ranks);
    {
      std::lock_guard lock(mutex_);
      if (const auto known = all_.find(key); known != all_.end()) return known->second;
    }
    auto made = std::make_shared<Communicator>();
    made->ranks.assign(group.ranks.begin(), group.ranks.end());
    made->key = key;
    make(made.get(), static_cast<int>(group.place), what);
    std::lock_guard lock(mutex_);
    all_[key] = made;
    return made;
  }

  uint32_t add_place(Place place, std::weak_ptr<Communicator> communicator) {
    std::lock_guard lock(mutex_);
    places_[++last_place_] = {std::move(place), std::move(communicator)};
    return last_place_;
  }
  void set_communicator(uint32_t place, const std::shared_ptr<Communicator>& communicator) {
    std::lock_guard lock(mutex_);
    places_[place].second = communicator;
  }
  void drop_place(uint32_t place) {
    std::lock_guard lock(mutex_);
    places_.erase(place);
  }

  void add_sent(const std::string& what, uint64_t bytes) {
    std::lock_guard lock(mutex_);
    sent_[what.substr(0, what.find(' '))] += bytes;
  }
  std::map<std::string, uint64_t> sent() {
    std::lock_guard lock(mutex_);
    return sent_;
  }

  uint64_t at() override { return progress.at(); }
  Place place(uint64_t at) override {
    std::lock_guard lock(mutex_);
    const auto known = places_.find(Progress::place_of(at));
    if (known == places_.end()) return {0, 0, {}, "a collective"};
    Place place = known->second.first;
    if (const auto communicator = known->second.second.lock()) place.count = communicator->count;
    return place;
  }
  std::string problem() override {
    std::lock_guard lock(mutex_);
    for (const auto& [key, each] : all_) {
      int status = nccl::kSuccess;
      if (nccl->CommGetAsyncError(each->comm, &status) != nccl::kSuccess) continue;
      if (status != nccl::kSuccess && status != nccl::kInProgress) return nccl->GetErrorString(status);
    }
    return "";
  }
  void abort() override {
    std::lock_guard lock(mutex_);
    if (was_aborted_) return;
    was_aborted_ = true;
    for (const auto& [key, each] : all_) nccl->CommAbort(each->comm);
  }

 private:
  // NCCL waits for the members without end. So a thread does, which is left alone when they do not come.
  void make(Communicator* made, int place, const std::string& what) {
    nccl::UniqueId id{};
    if (place == 0) nccl::check(*nccl, nccl->GetUniqueId(&id), "ncclGetUniqueId");
    const std::string data = meet(made->key, made->ranks, what, std::string(id.data, sizeof id.data));
    data.copy(id.data, sizeof id.data);
    progress.start();
    const auto outcome = std::make_shared<std::promise<std::pair<nccl::Comm, std::string>>>();
    auto result = outcome->get_future();
    std::thread([outcome, id, place, size = static_cast<int>(made->ranks.size()), gpu = gpu, nccl = nccl] {
      std::pair<nccl::Comm, std::string> made{};
      try {
        const Using use(*gpu);
        nccl::check(*nccl, nccl->CommInitRank(&made.first, size, id, place), "ncclCommInitRank");
      } catch (const Error& error) {
        made.second = error.what();
      }
      outcome->set_value(made);
    }).detach();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(world_timeout());
    while (result.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) {
      if (std::chrono::steady_clock::now() > deadline)
        break_world(what + " on rank " + std::to_string(world_rank()) + ": NCCL did not connect its ranks in time.");
      if (const FailurePtr failure = world_failure(what)) throw Error(failure->code, failure->message);
    }
    const auto [comm, why] = result.get();
    if (!why.empty()) throw Error("backend", what + " on rank " + std::to_string(world_rank()) + ": " + why + ".");
    made->comm = comm;
  }

  std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Communicator>> all_;  // by key
  std::map<uint32_t, std::pair<Place, std::weak_ptr<Communicator>>> places_;
  std::map<std::string, uint64_t> sent_;  // bytes, by kind
  uint32_t last_place_ = 0;
  bool was_aborted_ = false;
};

Communicators& communicators() {
  static auto* all = new Communicators;  // outlives every static
  return *all;
}

thread_local Notes* noting = nullptr;
thread_local std::string begun;

void require_world(const std::string& what) {
  if (const FailurePtr failure = world_failure(what)) throw Error(failure->code, failure->message);
  if (!has_joined()) throw Error("backend", what + ": this process is in no world, or has left it.");
}

}  // namespace

void join_over_nccl(const Seat& seat, const std::string& library, Context& gpu) {
  Communicators& all = communicators();
  all.nccl = &nccl::library(library);
  all.gpu = &gpu;
  join(seat, all);
}

std::string tell_first(const RankGroup& group, const std::string& what, const std::string& data) {
  require_world(what);
  return meet(key_of(group.ranks) ^ 1, {group.ranks.begin(), group.ranks.end()}, what, data);
}

void begin_again(const Notes& notes) {
  std::vector<const Note*> last;  // of each communicator
  for (const Note& note : notes) {
    if (last.empty()) require_world(note.what);
    Communicator& c = *note.communicator;
    ++c.count;
    c.digest = mix(c.digest, note.digest);
    communicators().add_sent(note.what, note.sent);
    bool is_new = true;
    for (const Note*& each : last)
      if (each->communicator == note.communicator) each = &note, is_new = false;
    if (is_new) last.push_back(&note);
  }
  for (const Note* note : last)
    tell_at(note->communicator->key, note->communicator->count, note->communicator->digest, note->what);
  if (!notes.empty()) begun = notes.front().what;
}

std::map<std::string, uint64_t> bytes_over_nccl() { return communicators().sent(); }

std::string take_begun() { return std::exchange(begun, {}); }

Noting::Noting(Notes& notes) : before_(std::exchange(noting, &notes)) {}
Noting::~Noting() { noting = before_; }

Collective::Collective(const RankGroup& group, uint64_t digest)
    : group_(group), what_(describe(group.purpose)), digest_(mix(digest, group.purpose.program)) {
  std::vector<int32_t> ranks(group.ranks.begin(), group.ranks.end());
  place_ = communicators().add_place({key_of(group.ranks), 0, std::move(ranks), what_}, {});
}

Collective::~Collective() { communicators().drop_place(place_); }

void Collective::run(const std::function<void()>& body) {
  Communicators& all = communicators();
  require_world(what_);
  if (&context() != all.gpu)
    throw Error("backend", what_ + ": a process exchanges on one GPU, that of initDistributed.");
  if (!communicator_) {
    communicator_ = all.of(group_, what_);
    all.set_communicator(place_, communicator_);
  }
  const Note note{communicator_, digest_, what_, 0};
  noting ? noting->push_back(note) : begin_again({note});
  try {
    all.progress.queue(place_);
    body();
    all.progress.queue(0);
  } catch (const Error& error) {
    // A peer that is gone shows here first; its name comes a moment later.
    for (int i = 0; i < 100 && !world_failure(what_); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    break_world(what_ + " on rank " + std::to_string(world_rank()) + ": " + error.what() + ".");
    require_world(what_);
    throw;
  }
}

void Collective::count(uint64_t sent) const {
  noting ? void(noting->back().sent += sent) : communicators().add_sent(what_, sent);
}

void Collective::exchange(const std::vector<Parcel>& parcels) {
  const nccl::Library& nccl = *communicators().nccl;
  const nccl::Comm comm = communicator_->comm;
  nccl::check(nccl, nccl.GroupStart(), "ncclGroupStart", comm);
  int status = nccl::kSuccess;
  uint64_t sent = 0;
  for (const Parcel& p : parcels) {
    sent += p.send_bytes;
    const int to = static_cast<int>(p.to);
    if (p.send_bytes > 0 && status == nccl::kSuccess)
      status = nccl.Send(p.send, p.send_bytes, nccl::kByte, to, comm, stream());
    if (p.receive_bytes > 0 && status == nccl::kSuccess)
      status = nccl.Recv(p.receive, p.receive_bytes, nccl::kByte, to, comm, stream());
  }
  const int ended = nccl.GroupEnd();
  nccl::check(nccl, status, "ncclSend, ncclRecv", comm);
  nccl::check(nccl, ended, "ncclGroupEnd", comm);
  count(sent);
}

void Collective::all_gather(const void* from, void* to, size_t bytes) {
  const nccl::Library& nccl = *communicators().nccl;
  const nccl::Comm comm = communicator_->comm;
  nccl::check(nccl, nccl.AllGather(from, to, bytes, nccl::kByte, comm, stream()), "ncclAllGather", comm);
  count(bytes * (group_.ranks.size() - 1));
}

}  // namespace te::cuda
