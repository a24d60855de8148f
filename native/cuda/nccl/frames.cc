// Frames as bytes: numbers as they lie in memory, for all processes run the same program on machines of one kind.
#include "cuda/nccl/frames.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "te/status.h"

namespace te::cuda {
namespace {

constexpr uint32_t kMagic = 0x31434e54;    // "TNC1"
constexpr uint32_t kMostBytes = 1u << 20;  // of a frame
constexpr timeval kPatience = {10, 0};     // for a peer that takes nothing
// Of a machine that is gone TCP hears nothing: after 10 s of silence it is asked three times.
constexpr int kSilence = 10, kBetween = 5, kTries = 3;

template <class T>
void put(std::string* to, const T& value) {
  to->append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_text(std::string* to, const std::string& text) {
  put(to, static_cast<uint32_t>(text.size()));
  *to += text;
}

// Reads values one after another; `good` stays true while there are enough bytes.
struct Reader {
  const char* at;
  size_t left;
  bool good = true;
  template <class T>
  void get(T* value) {
    if (!has(sizeof(T))) return;
    std::memcpy(value, at, sizeof(T));
    skip(sizeof(T));
  }
  void get_text(std::string* text) {
    uint32_t n = 0;
    get(&n);
    if (!has(n)) return;
    text->assign(at, n);
    skip(n);
  }
  bool has(size_t n) { return good = good && n <= left; }
  void skip(size_t n) { at += n, left -= n; }
};

std::string packed(const Frame& f) {
  std::string body;
  put(&body, f.kind), put(&body, f.rank), put(&body, f.size);
  put(&body, f.key), put(&body, f.count), put(&body, f.digest);
  put(&body, static_cast<uint32_t>(f.ranks.size()));
  for (const int32_t rank : f.ranks) put(&body, rank);
  put_text(&body, f.what), put_text(&body, f.data);
  std::string all;
  put(&all, kMagic), put_text(&all, body);
  return all;
}

bool unpack(Reader r, Frame* f) {
  uint32_t ranks = 0;
  r.get(&f->kind), r.get(&f->rank), r.get(&f->size);
  r.get(&f->key), r.get(&f->count), r.get(&f->digest);
  r.get(&ranks);
  if (!r.has(size_t{ranks} * 4)) return false;
  f->ranks.resize(ranks);
  for (int32_t& rank : f->ranks) r.get(&rank);
  r.get_text(&f->what), r.get_text(&f->data);
  return r.good;
}

void set_options(int s) {
  const int on = 1;
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &kSilence, sizeof kSilence);
  setsockopt(s, IPPROTO_TCP, TCP_KEEPINTVL, &kBetween, sizeof kBetween);
  setsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &kTries, sizeof kTries);
  setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
}

// -1: not now.
int try_connect(const addrinfo& to) {
  const int s = socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s < 0) return -1;
  pollfd ready{s, POLLOUT, 0};
  int error = 0;
  socklen_t length = sizeof error;
  const bool good = (connect(s, to.ai_addr, to.ai_addrlen) == 0 || errno == EINPROGRESS) &&
                    poll(&ready, 1, 2000) == 1 && getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &length) == 0 &&
                    error == 0;
  if (!good) return close(s), -1;
  fcntl(s, F_SETFL, fcntl(s, F_GETFL) & ~O_NONBLOCK);
  return s;
}

}  // namespace

Connection::Connection(int socket) : socket_(socket) { set_options(socket); }
Connection::~Connection() { close(socket_); }

bool Connection::send(const Frame& frame) {
  const std::string bytes = packed(frame);
  std::lock_guard lock(sending_);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

bool Connection::receive() {
  char some[16384];
  const ssize_t n = recv(socket_, some, sizeof some, MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (n == 0) return false;
  read_.erase(0, at_);
  at_ = 0;
  read_.append(some, static_cast<size_t>(n));
  uint32_t head[2] = {kMagic, 0};
  std::memcpy(head, read_.data(), std::min(read_.size(), sizeof head));
  return head[0] == kMagic && head[1] <= kMostBytes;
}

std::optional<Frame> Connection::next() {
  Reader r{read_.data() + at_, read_.size() - at_};
  uint32_t magic = 0, bytes = 0;
  r.get(&magic), r.get(&bytes);
  Frame frame{};
  if (!r.has(bytes) || magic != kMagic || !unpack({r.at, bytes}, &frame)) return std::nullopt;
  at_ = static_cast<size_t>(r.at - read_.data()) + bytes;
  return frame;
}

void Connection::shut() { shutdown(socket_, SHUT_RDWR); }

Address parse_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  Address address;
  if (colon != std::string::npos) address = {text.substr(0, colon), text.substr(colon + 1)};
  if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']')
    address.host = address.host.substr(1, address.host.size() - 2);
  const bool is_number = !address.port.empty() && address.port.size() <= 5 &&
                         address.port.find_first_not_of("0123456789") == std::string::npos;
  if (address.host.empty() || !is_number || std::stoi(address.port) < 1 || std::stoi(address.port) > 65535)
    throw Error("option", "initDistributed: TE_COORDINATOR must be host:port, got \"" + text + "\".");
  return address;
}

int listen_at(const std::string& port, std::string* given) {
  // One socket for both kinds of addresses, where the machine has both.
  int s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool has_v6 = s >= 0;
  if (!has_v6) s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1, off = 0;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto number = static_cast<uint16_t>(std::stoi(port));
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  v6.sin6_family = AF_INET6, v6.sin6_addr = in6addr_any, v6.sin6_port = htons(number);
  v4.sin_family = AF_INET, v4.sin_addr.s_addr = htonl(INADDR_ANY), v4.sin_port = htons(number);
  if (has_v6) setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  const auto* address = has_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
  socklen_t length = has_v6 ? sizeof v6 : sizeof v4;
  if (bind(s, address, length) != 0 || listen(s, 1024) != 0) {
    const std::string why = std::strerror(errno);
    close(s);
    throw Error("backend", "initDistributed: rank 0 cannot listen at port " + port + " of this machine: " + why +
                               ". Another program has it, or two processes have rank 0; choose a free one in "
                               "TE_COORDINATOR.");
  }
  sockaddr_in6 bound{};
  length = sizeof bound;
  getsockname(s, reinterpret_cast<sockaddr*>(&bound), &length);  // the port lies at one place in both kinds
  *given = std::to_string(ntohs(bound.sin6_port));
  return s;
}

int connect_to(const Address& address, Clock::time_point deadline, double seconds) {
  std::string why = "it does not answer";
  do {
    addrinfo wanted{}, *found = nullptr;
    wanted.ai_socktype = SOCK_STREAM;
    if (const int code = getaddrinfo(address.host.c_str(), address.port.c_str(), &wanted, &found); code != 0)
      why = gai_strerror(code);
    int s = -1;
    for (const addrinfo* to = found; to && s < 0; to = to->ai_next) s = try_connect(*to);
    if (found) freeaddrinfo(found);
    if (s >= 0) return s;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  } while (Clock::now() < deadline);
  char waited[32];
  std::snprintf(waited, sizeof waited, "%g", seconds);
  throw Error("backend", "initDistributed: rank 0 was not found at " + address.host + ":" + address.port + " for " +
                             waited + " s: " + why +
                             ". Start it, and give all processes the same TE_COORDINATOR (TE_COLLECTIVE_TIMEOUT sets "
                             "how long to wait).");
}

}  // namespace te::cuda
