// The places that may report a wrong value, and the words for it.
#include "cuda/report.h"

#include <memory>
#include <mutex>
#include <unordered_map>

namespace te::cuda {
namespace {

struct Sites {
  std::mutex mutex;
  std::unordered_map<unsigned, std::shared_ptr<const Site::Explain>> all;
  unsigned next = 0;
};
Sites& sites() {
  static auto* sites = new Sites;  // outlives every static
  return *sites;
}

}  // namespace

Site::Site(Explain explain) {
  Sites& s = sites();
  std::lock_guard lock(s.mutex);
  while (s.next == ~0u || s.all.count(s.next)) ++s.next;
  id_ = s.next++;
  s.all.emplace(id_, std::make_shared<const Explain>(std::move(explain)));
}

Site::~Site() {
  Sites& s = sites();
  std::lock_guard lock(s.mutex);
  s.all.erase(id_);
}

FailurePtr failure_of(const Status& status) {
  if (status.site == ~0u) return nullptr;
  std::shared_ptr<const Site::Explain> explain;
  {
    Sites& s = sites();
    std::lock_guard lock(s.mutex);
    if (const auto found = s.all.find(status.site); found != s.all.end()) explain = found->second;
  }
  if (!explain) return std::make_shared<const Failure>(Failure{"backend", "a kernel that is gone reported a value"});
  return std::make_shared<const Failure>(
      (*explain)(static_cast<int64_t>(status.where >> 32), static_cast<int32_t>(status.where & 0xffffffff)));
}

}  // namespace te::cuda
