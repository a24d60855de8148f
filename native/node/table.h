// Objects behind integer handles. A handle holds the place in the table and a generation, so that one that was released
// is an error and never someone else's memory.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "te/status.h"

namespace te {

template <class T>
class Table {
 public:
  explicit Table(const char* what) : what_(what) {}

  int32_t add(T* object) {
    uint32_t place;
    if (free_.size() > kRest) {  // a released place rests for a while, so that a stale handle is noticed for longer
      place = free_.front();
      free_.pop_front();
    } else {
      place = static_cast<uint32_t>(slots_.size());
      if (place >= (1u << kPlaceBits))
        throw Error("memory",
                    std::string("there are more than 2097152 ") + what_ + "s. Dispose those that are not needed.");
      slots_.emplace_back();
    }
    slots_[place].object = object;
    ++size_;
    return static_cast<int32_t>(place | slots_[place].generation << kPlaceBits);
  }

  // nullptr for a handle that was released.
  T* find(int32_t handle) const {
    const uint32_t place = static_cast<uint32_t>(handle) & ((1u << kPlaceBits) - 1);
    const uint32_t generation = static_cast<uint32_t>(handle) >> kPlaceBits;
    if (place >= slots_.size() || slots_[place].generation != generation) return nullptr;
    return slots_[place].object;
  }

  T& at(int32_t handle) const {
    T* object = find(handle);
    if (!object)
      throw Error("disposed", std::string("the ") + what_ + " was released, or never existed (handle " +
                                  std::to_string(handle) + ").");
    return *object;
  }

  T* remove(int32_t handle) {
    T* object = &at(handle);
    const uint32_t place = static_cast<uint32_t>(handle) & ((1u << kPlaceBits) - 1);
    slots_[place].object = nullptr;
    --size_;
    slots_[place].generation = (slots_[place].generation + 1) & ((1u << (31 - kPlaceBits)) - 1);
    free_.push_back(place);
    return object;
  }

  std::vector<T*> remove_all() {
    std::vector<T*> all;
    for (Slot& slot : slots_)
      if (slot.object) all.push_back(std::exchange(slot.object, nullptr));
    size_ = 0;
    return all;
  }

  size_t size() const { return size_; }

  // Calls body(object) on all; body may remove that object.
  template <class Body>
  void for_each(const Body& body) const {
    for (size_t place = 0; place < slots_.size(); ++place)
      if (slots_[place].object) body(*slots_[place].object);
  }

 private:
  static constexpr int kPlaceBits = 21;
  static constexpr size_t kRest = 256;
  struct Slot {
    T* object = nullptr;
    uint32_t generation = 0;
  };
  const char* what_;
  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
  size_t size_ = 0;
};

}  // namespace te
