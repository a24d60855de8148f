// Slots, and the recordings that are kept.
#include "core/replay.h"

#include <utility>

#include "te/status.h"

namespace te {

Replays::Replays(Device& device, const std::vector<size_t>& bytes) : device_(device), slots_(bytes.size()) {
  for (size_t k = 0; k < bytes.size(); ++k) slots_[k].bytes = bytes[k];
}

Replays::~Replays() {
  entries_.clear();
  for (const Slot& slot : slots_) device_.memory.give(slot.data, slot.bytes);
}

void Replays::begin() {
  if (!std::exchange(wants_slots_, false)) return;
  bool given = false;
  for (Slot& slot : slots_)
    if (slot.moved && give(slot)) given = true;
  if (given) entries_.clear();
}

// Where there is room: all slots take an eighth of the memory at most.
bool Replays::give(Slot& slot) {
  if (slot.data || slot_bytes_ + slot.bytes > device_.memory.capacity() / 8) return false;
  try {
    slot.data = device_.memory.take(slot.bytes);
  } catch (const Error&) {
    return false;
  }
  slot_bytes_ += slot.bytes;
  return true;
}

void* Replays::place(size_t operand, void* data) {
  Slot& slot = slots_[operand];
  if (slot.data) return slot.data;
  slot.moved = slot.bytes > 0 && slot.last && slot.last != data;
  slot.last = data;
  if (slot.moved && slot.bytes <= kSlotBytes && give(slot)) return slot.data;
  return data;
}

Replays::Entry* Replays::find(size_t part, const std::vector<void*>& pointers) {
  for (Entry& entry : entries_)
    if (entry.part == part && entry.pointers == pointers) return &entry;
  return nullptr;
}

void Replays::run(size_t part, const std::vector<void*>& pointers, const std::function<void()>& body) {
  Entry* entry = find(part, pointers);
  if (!entry) {
    if (entries_.size() >= kKept) {
      entries_.erase(entries_.begin());
      wants_slots_ = true;
    }
    entries_.push_back({part, pointers, nullptr});
    ++executed;
    return body();
  }
  if (!entry->recording && !entry->refused) {
    entry->recording = device_.record(body);
    entry->refused = !entry->recording;
  }
  ++(entry->recording ? replayed : executed);
  entry->recording ? entry->recording->replay() : body();
}

}  // namespace te
