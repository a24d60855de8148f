// How the processes of a world end where nothing but themselves ends them: one does nothing more, is stopped, or
// killed.
#include "cuda/nccl/world.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/nccl/frames.h"
#include "te/status.h"

using namespace te;

namespace {

int failed = 0;
void expect(bool ok, const std::string& what) {
  if (ok) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failed;
}

// A GPU that is at no collective.
class Idle : public cuda::Guarded {
 public:
  uint64_t at() override { return 0; }
  Place place(uint64_t) override { return {}; }
  std::string problem() override { return ""; }
  void abort() override {}
};

enum class Fault { none, hang, stop, die };

// A fault comes after kBefore seconds, when the others have joined; who waits gives up after kTimeout. On a busy
// machine both come late: nobody may have given up before the fault.
constexpr unsigned kBefore = 1, kTimeout = 4;

[[noreturn]] void live(const cuda::Seat& seat, Fault fault) {
  alarm(60);
  static Idle idle;
  try {
    cuda::join(seat, idle);
    if (fault == Fault::stop || fault == Fault::die) sleep(kBefore);
    if (fault == Fault::stop) raise(SIGSTOP);
    if (fault == Fault::die) raise(SIGKILL);
    if (fault != Fault::none)
      for (;;) pause();
    cuda::leave();
    _exit(0);
  } catch (const Error& error) {
    std::fprintf(stderr, "TeError: %s\n", error.what());
    cuda::desert();
    _exit(1);
  }
}

// Processes that run beside this one, and what they say.
class Processes {
 public:
  explicit Processes(const std::vector<Fault>& faults) : faults_(faults) {
    std::string port;
    const int listener = cuda::listen_at("0", &port);
    std::fflush(stdout);
    for (size_t rank = 0; rank < faults.size(); ++rank) {
      said_.push_back(std::tmpfile());
      const pid_t pid = fork();
      if (pid == 0) {
        dup2(fileno(said_.back()), STDERR_FILENO);
        if (rank > 0) close(listener);
        live({static_cast<int>(rank), static_cast<int>(faults.size()), "localhost:" + port, kTimeout,
              rank ? -1 : listener},
             faults[rank]);
      }
      pids_.push_back(pid);
    }
    close(listener);
  }

  // "1 Rank 1 of 2 …" for each: its status, or the signal that ended it below 0, and what it said. A process that was
  // stopped goes on when the others have ended.
  std::vector<std::string> ended() {
    std::vector<std::string> all(pids_.size());
    for (const bool stopped : {false, true})
      for (size_t rank = 0; rank < pids_.size(); ++rank) {
        if ((faults_[rank] == Fault::stop) != stopped) continue;
        if (stopped) kill(pids_[rank], SIGCONT);
        int status = 0;
        waitpid(pids_[rank], &status, 0);
        all[rank] = std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status)) + " " + read(rank);
      }
    return all;
  }

 private:
  std::string read(size_t rank) const {
    std::rewind(said_[rank]);
    std::string text(4096, 0);
    text.resize(std::fread(text.data(), 1, text.size(), said_[rank]));
    std::fclose(said_[rank]);
    return text;
  }

  std::vector<Fault> faults_;
  std::vector<pid_t> pids_;
  std::vector<std::FILE*> said_;
};

void expect_begins(const std::string& text, const std::string& start, const std::string& what) {
  expect(text.compare(0, start.size(), start) == 0, what + ": \"" + start + "\", not \"" + text + "\"");
}

const std::string kSeconds = " for " + std::to_string(kTimeout) + " s";
const std::string kLate = " did not come" + kSeconds + ": it does something else, or was stopped";

}  // namespace

int main() {
  // All at once: they wait most of the time.
  Processes good({Fault::none, Fault::none}), hang({Fault::none, Fault::hang}), hang_first({Fault::hang, Fault::none}),
      stop({Fault::none, Fault::stop}), stop_first({Fault::stop, Fault::none}),
      die({Fault::hang, Fault::die, Fault::hang});
  expect(good.ended() == std::vector<std::string>{"0 ", "0 "}, "processes without a fault end without a word");

  auto said = hang.ended();
  expect_begins(said[0], "1 TeError: the end on rank 0: rank 1" + kLate, "the others name the rank that hangs");
  expect_begins(said[1], "1 Rank 1 of 2 did not end with rank 0, and is ended now: the end on rank 0: rank 1" + kLate,
                "one that hangs is ended");
  said = hang_first.ended();
  expect_begins(said[1], "1 TeError: the end on rank 1: rank 0" + kLate, "the others name rank 0 when it hangs");
  expect_begins(said[0], "1 Rank 0 of 2 did not end with rank 1, and is ended now: the end on rank 1: rank 0" + kLate,
                "rank 0 is ended when it hangs");

  said = stop.ended();
  expect_begins(said[0], "1 TeError: the end on rank 0: rank 1" + kLate, "the others name the rank that was stopped");
  expect_begins(said[1], "1 Rank 1 of 2 did not end with rank 0", "one that was stopped is ended when it goes on");
  said = stop_first.ended();
  expect_begins(said[1],
                "1 TeError: the end on rank 1: rank 0 sent nothing" + kSeconds + ": it was stopped, or cannot be",
                "the others name rank 0 when it was stopped");
  expect_begins(said[0], "1 Rank 0 of 2 did not end with rank 1", "rank 0 is ended when it goes on");

  said = die.ended();
  expect_begins(said[0], "1 Rank 0 of 3 did not end with rank 1, and is ended now: rank 1 has ended.",
                "one that hangs is ended with one that is killed");
  expect(said[1] == "-9 ", "a process that is killed says nothing");
  expect_begins(said[2], "1 Rank 2 of 3 did not end with rank 1", "so are all that hang");
  return failed;
}
