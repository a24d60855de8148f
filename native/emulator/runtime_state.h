// What the emulated runtime holds: streams with their queues, events, graphs and memory. Inside of the emulator.
#pragma once
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "emulator/runtime.h"

namespace te::emu {

using Work = std::function<void()>;

struct Capture;

struct EventState {
  uint64_t recorded = 0, reached = 0;  // how often
  std::chrono::steady_clock::time_point time;
  bool was_captured = false;   // when last recorded
  Capture* capture = nullptr;  // which one, while it is under way
};

struct Item {
  Work work;
  EventState* await = nullptr;  // goes on when `reached` is at least `count`
  uint64_t count = 0;
  std::function<bool()> ready = nullptr;  // asked until it says so: what it waits for is outside of this process
};

// What a captured graph does, branch by branch: the first is that of the stream that began the capture. `records` and
// `awaits` are events of the graph, by number; -1: none.
struct GraphItem {
  size_t branch;
  Item item;
  int records = -1, awaits = -1;
};
struct GraphState {
  std::vector<GraphItem> items;
  size_t branches = 1;
  int events = 0;
};

struct StreamState {
  std::deque<Item> queue;
  Capture* capture = nullptr;
  size_t branch = 0;  // of the capture
};

constexpr size_t kArena = size_t{16} << 30;

extern std::recursive_mutex mutex;  // one thread at a time works for the device
extern std::string failure_text;
extern cudaError_t sticky;  // a failed kernel: everything fails from now on, as on a GPU

// The status of a call, which cudaGetLastError tells later.
cudaError_t result(cudaError_t e);

// --- streams
StreamState* state(cudaStream_t s);
void add_stream(StreamState* s);
void remove_stream(StreamState* s);
// What a call on a stream that captures adds to its graph.
void capture_work(StreamState* s, Item item);
cudaError_t capture_record(StreamState* s, EventState* event);
cudaError_t capture_wait(StreamState* s, EventState* event);
// Whether calls of this thread are restricted by the capture of the stream, and that one was made all the same.
bool restricts(const StreamState* s);
void break_capture(StreamState* s);
// A call that is not allowed while some stream captures. It breaks the capture.
bool forbidden();
cudaError_t enqueue(StreamState* s, Item item);
// Runs the first thing in the queue. False when it has to wait for an event, or there is none.
bool advance(StreamState* s);
// Runs things of all streams in a random order until `done`.
void run_until(const std::function<bool()>& done);
void drain(StreamState* s);
void drain_all();

// --- memory
size_t memory_limit();
bool inside(const void* p, size_t bytes);  // of one allocation
void copy(void* to, const void* from, size_t bytes);

// With TE_EMU_GUARD=1 the pages of device memory can be touched only while an OpenArena lives. It costs system calls.
class OpenArena {
 public:
  OpenArena();
  ~OpenArena();
};

}  // namespace te::emu
