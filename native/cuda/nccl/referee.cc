// One thread polls all connections; nothing in it blocks but writing to a peer that takes nothing.
#include "cuda/nccl/referee.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace te::cuda {
namespace {

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds);
  return text;
}

}  // namespace

Referee::Referee(int listener, int size, double seconds)
    : listener_(listener),
      size_(size),
      seconds_(seconds),
      deadline_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))),
      thread_([this] { loop(); }) {}

Referee::~Referee() {
  // All were told before that the world ends, or have said that they leave.
  for (int i = 0; i < 100 && !stopped_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  stopped_ = true;
  thread_.join();
  close(listener_);
}

bool Referee::is_over() const {
  if (is_complete_ && left_.size() == static_cast<size_t>(size_)) return true;
  return is_broken_ && std::all_of(clients_.begin(), clients_.end(), [](const auto& c) { return c->is_gone; });
}

void Referee::loop() {
  while (!stopped_ && !is_over()) {
    std::vector<pollfd> ready{{listener_, POLLIN, 0}};
    std::vector<Client*> polled;
    for (const auto& client : clients_)
      if (!client->is_gone) ready.push_back({client->connection->socket(), POLLIN, 0}), polled.push_back(client.get());
    poll(ready.data(), ready.size(), 100);
    if (ready[0].revents) take_newcomer();
    for (size_t i = 0; i < polled.size(); ++i)
      if (ready[i + 1].revents) read(*polled[i]);
    if (!is_complete_ && !is_broken_ && Clock::now() > deadline_)
      end("initDistributed: " + missing() + " did not come within " + seconds_text(seconds_) +
          " s. Start as many processes as TE_WORLD says, each with a TE_RANK of its own (TE_COLLECTIVE_TIMEOUT sets "
          "how "
          "long to wait).");
  }
  stopped_ = true;
}

void Referee::take_newcomer() {
  const int s = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (s < 0) return;
  clients_.push_back(std::make_unique<Client>());
  clients_.back()->connection = std::make_unique<Connection>(s);
}

void Referee::read(Client& client) {
  const bool is_there = client.connection->receive();
  while (const auto frame = client.connection->next()) take(client, *frame);
  if (!is_there) lose(client);
}

// Strangers come and go; a process that said goodbye may. Of others all are told, also when the world has ended before:
// those that do not end by themselves are ended then.
void Referee::lose(Client& client) {
  client.is_gone = true;
  if (client.rank < 0 || left_.count(client.rank)) return;
  is_broken_ = true;
  Frame lost{Frame::Kind::lost};
  lost.rank = client.rank;
  tell_all(lost);
}

void Referee::take(Client& client, const Frame& frame) {
  if (frame.kind == Frame::Kind::hello) return hello(client, frame);
  if (client.rank < 0 || is_broken_) return;
  switch (frame.kind) {
    case Frame::Kind::meet:
      return meet(frame);
    case Frame::Kind::at:
      return compare(frame);
    case Frame::Kind::stuck:
      return explain(frame);
    case Frame::Kind::broken:
      return end(frame.what);
    case Frame::Kind::bye:
      left_.insert(client.rank);
      return;
    default:
      return;
  }
}

void Referee::hello(Client& client, const Frame& frame) {
  const std::string name = "rank " + std::to_string(frame.rank);
  std::string why;
  if (frame.size != size_)
    why = name + " was started as one of " + std::to_string(frame.size) + ", and rank 0 as one of " +
          std::to_string(size_) + ". Give all processes the same TE_WORLD.";
  else if (frame.rank < 0 || frame.rank >= size_ || ranks_.count(frame.rank))
    why = "two processes are " + name + ". Give each a TE_RANK of its own, 0 to " + std::to_string(size_ - 1) + ".";
  if (!why.empty()) {
    Frame refusal{Frame::Kind::broken};
    refusal.what = "initDistributed: " + why;
    client.connection->send(refusal);
    if (!is_complete_) end(refusal);  // a stranger that comes later ends nobody's work
    return;
  }
  client.rank = frame.rank;
  ranks_[frame.rank] = &client;
  if (ranks_.size() < static_cast<size_t>(size_)) return;
  is_complete_ = true;
  for (const auto& [rank, each] : ranks_) each->connection->send({Frame::Kind::welcome});
}

std::string Referee::missing() const {
  std::string text;
  int count = 0;
  for (int rank = 0; rank < size_; ++rank)
    if (!ranks_.count(rank) && ++count <= 8) text += (count == 1 ? "" : ", ") + std::to_string(rank);
  return (count == 1 ? "rank " : "ranks ") + text + (count > 8 ? ", ..." : "");
}

void Referee::meet(const Frame& frame) {
  where_[frame.rank] = frame.what;
  Meeting& meeting = meetings_[frame.key];
  meeting.arrived.insert(frame.rank);
  History& history = histories_[frame.key];
  history.ranks = frame.ranks;
  if (frame.rank == frame.ranks.front()) meeting.data = frame.data;
  meeting.ranks = frame.ranks;
  meeting.what = frame.what;
  if (meeting.arrived.size() < frame.ranks.size()) return check_order(meeting);
  Frame met{Frame::Kind::met};
  met.key = frame.key;
  met.data = std::move(meeting.data);
  meetings_.erase(frame.key);
  tell(frame.ranks, met);
}

// Those who come to the same number of a group's collectives must have the same ones behind them.
void Referee::compare(const Frame& frame) {
  where_[frame.rank] = frame.what;
  History& history = histories_[frame.key];
  const auto [at, is_new] =
      history.entries.try_emplace(frame.count, History::Entry{frame.digest, frame.rank, frame.what});
  const History::Entry& other = at->second;
  if (!is_new && other.digest != frame.digest)
    return end(frame.what + " on rank " + std::to_string(frame.rank) + ": rank " + std::to_string(other.rank) +
               " is at " + other.what + ": all processes must run the same programs in the same order.");
  history.last[frame.rank] = frame.count;
  for (const auto& [key, meeting] : meetings_) check_order(meeting);
  uint64_t least = frame.count;
  for (const int32_t rank : history.ranks) least = std::min(least, history.last[rank]);
  history.entries.erase(history.entries.begin(), history.entries.upper_bound(least));
}

// Who waits for others to come together has the same collectives behind it as they will have when they come.
void Referee::check_order(const Meeting& meeting) {
  for (const int waiting : meeting.arrived)
    for (const int32_t late : meeting.ranks) {
      if (meeting.arrived.count(late)) continue;
      for (auto& [key, history] : histories_) {
        const auto is_in = [&, &ranks = history.ranks](int rank) {
          return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
        };
        if (!is_in(waiting) || !is_in(late) || history.last[late] <= history.last[waiting]) continue;
        return end(meeting.what + " on rank " + std::to_string(waiting) + ": rank " + std::to_string(late) + " is at " +
                   where_[late] + ": all processes must run the same programs in the same order.");
      }
    }
}

// A process waits at a collective, or for a group to come together. Who is not there yet?
void Referee::explain(const Frame& frame) {
  History& history = histories_[frame.key];
  int late = -1;
  if (const auto meeting = meetings_.find(frame.key); meeting != meetings_.end()) {
    for (const int32_t rank : frame.ranks)
      if (late < 0 && !meeting->second.arrived.count(rank)) late = rank;
  } else {
    uint64_t least = frame.count;
    for (const int32_t rank : history.ranks)
      if (history.last[rank] < least) least = history.last[rank], late = rank;
  }
  const std::string start = frame.what + " on rank " + std::to_string(frame.rank) + ": ";
  const std::string for_seconds = " for " + seconds_text(seconds_) + " s";
  if (late < 0)
    return end(start + "nothing moved" + for_seconds +
               ", though all of its ranks have come to it (NCCL_DEBUG=INFO shows what NCCL does, TE_COLLECTIVE_TIMEOUT "
               "sets how long to wait).");
  const std::string where = where_.count(late) ? " It was last at " + where_[late] + "." : "";
  end(start + "rank " + std::to_string(late) + " did not come" + for_seconds +
      ": it does something else, or was stopped (TE_COLLECTIVE_TIMEOUT sets how long to wait)." + where);
}

void Referee::tell(const std::vector<int32_t>& ranks, const Frame& frame) {
  for (const int32_t rank : ranks)
    if (const auto client = ranks_.find(rank); client != ranks_.end() && !client->second->is_gone)
      client->second->connection->send(frame);
}

void Referee::end(const std::string& why) {
  Frame broken{Frame::Kind::broken};
  broken.what = why;
  end(broken);
}

void Referee::end(const Frame& reason) {
  if (is_broken_) return;
  is_broken_ = true;
  tell_all(reason);
}

void Referee::tell_all(const Frame& frame) {
  for (const auto& [rank, client] : ranks_)
    if (!client->is_gone) client->connection->send(frame);
}

}  // namespace te::cuda
