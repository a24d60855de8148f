// Runs of a program as recordings of its device. A recording holds pointers. So operands that come at another address
// in every run live in slots of the program and are copied in and out. Small ones get a slot when they first move;
// weights and donated memory stay where they are from run to run. Large ones get theirs when more recordings than are
// kept would be needed, as where results are left to the garbage collector. The first run over some memory goes kernel
// by kernel, for many programs run once and libraries do their one-time work in the first; the second is recorded.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "te/device.h"

namespace te {

class Replays {
 public:
  static constexpr size_t kSlotBytes = size_t{4} << 20;  // of a small operand, at most
  static constexpr size_t kKept = 8;                     // recordings

  // `bytes`: of the operands that may have slots, 0 for the others.
  Replays(Device& device, const std::vector<size_t>& bytes);
  ~Replays();
  Replays(const Replays&) = delete;

  // Before a run: gives slots to large operands that were found to need them.
  void begin();
  // Where a run must put the operand that comes at `data`: there, or in its slot.
  void* place(size_t operand, void* data);
  // nullptr: the operand has none.
  void* slot(size_t operand) const { return slots_[operand].data; }

  // Enqueues what body(part) enqueues, for a part of the program that uses the memory at `pointers`: by a recording, by
  // body after recording it, or by body alone.
  void run(size_t part, const std::vector<void*>& pointers, const std::function<void()>& body);

  // Of this process: parts that were replayed, and those that ran kernel by kernel.
  static inline std::atomic<uint64_t> replayed{0}, executed{0};

 private:
  struct Slot {
    void* data = nullptr;
    size_t bytes = 0;      // 0: never
    void* last = nullptr;  // where the operand came in the last run
    bool moved = false;    // it came somewhere else in the run before
  };
  struct Entry {
    size_t part;
    std::vector<void*> pointers;
    std::unique_ptr<Recording> recording;
    bool refused = false;
  };
  bool give(Slot& slot);
  Entry* find(size_t part, const std::vector<void*>& pointers);

  Device& device_;
  std::vector<Slot> slots_;
  size_t slot_bytes_ = 0;       // of the large slots
  bool wants_slots_ = false;    // a run came with new memory when as many recordings as are kept were there
  std::vector<Entry> entries_;  // the oldest first
};

}  // namespace te
