// Kernels register themselves at load time; prepare_kernel asks the best instruction set first.
#include <algorithm>
#include <iterator>
#include <string>
#include <unordered_map>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "te/kernel.h"
#include "te/settings.h"
#include "te/status.h"

namespace te {
namespace {

struct Entry {
  Isa isa;
  Prepare prepare;
};

std::unordered_map<std::string, std::vector<Entry>>& registry() {
  static auto* entries = new std::unordered_map<std::string, std::vector<Entry>>;  // outlives every static
  return *entries;
}

#if defined(__aarch64__)
constexpr const char* kNames[] = {"scalar", "neon", "neon_bf16"};
#else
constexpr const char* kNames[] = {"scalar", "avx2", "avx512", "avx512_bf16", "amx"};
#endif
constexpr int kLevels = std::size(kNames);

// "scalar, neon or neon_bf16"
std::string all_names() {
  std::string text = kNames[0];
  for (int level = 1; level < kLevels; ++level) {
    text += level + 1 < kLevels ? ", " : " or ";
    text += kNames[level];
  }
  return text;
}

#if defined(__x86_64__)
// Linux gives the registers of the matrix unit, 8 KiB a thread, to processes that ask for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa detect_isa() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
    return Isa::scalar;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return Isa::avx2;
  if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512;
  const bool tiles = __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16");
  return tiles && may_use_tiles() ? Isa::amx : Isa::avx512_bf16;
}
#elif defined(__aarch64__)
Isa detect_isa() {
#if defined(__linux__)
  constexpr unsigned long kBfloat16 = 1ul << 14;  // HWCAP2_BF16, which older headers lack
  if (getauxval(AT_HWCAP2) & kBfloat16) return Isa::neon_bf16;
#endif
  return Isa::neon;
}
#else
Isa detect_isa() { return Isa::scalar; }
#endif

Isa wanted_isa() {
  const Isa best = best_isa();
  const std::string wish = setting("TE_CPU_ISA");
  if (wish.empty()) return best;
  const std::string used = std::string("; ") + isa_name(best) + " is used.";
  for (int level = 0; level < kLevels; ++level) {
    if (wish != kNames[level]) continue;
    const Isa isa = static_cast<Isa>(level);
    if (isa > best) note_problem("TE_CPU_ISA: this processor has no " + wish + used);
    return std::min(best, isa);
  }
  note_problem("TE_CPU_ISA must be " + all_names() + ", got \"" + wish + "\"" + used);
  return best;
}

}  // namespace

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa best_isa() {
  static const Isa isa = detect_isa();
  return isa;
}

Isa active_isa() {
  static const Isa isa = wanted_isa();
  return isa;
}

Registration::Registration(const char* op, Isa isa, Prepare prepare) {
  auto& list = registry()[op];
  list.push_back({isa, prepare});
  std::stable_sort(list.begin(), list.end(), [](const Entry& a, const Entry& b) { return a.isa > b.isa; });
}

bool has_kernel(const std::string& op) { return registry().count(op) != 0; }

std::unique_ptr<Kernel> prepare_kernel(const Node& node, std::string* why) {
  const auto found = registry().find(node.op);
  if (found == registry().end()) {
    *why = "there is no kernel of this name";
    return nullptr;
  }
  for (const auto* list : {&node.inputs, &node.outputs})
    for (const Aval& aval : *list)
      if (aval.present && aval.dtype == DType::float64) {
        *why = "float64 is a format of the reference evaluator only";
        return nullptr;
      }
  why->clear();
  for (const Entry& entry : found->second) {
    if (entry.isa > active_isa()) continue;
    std::string reason;
    if (auto kernel = entry.prepare(node, &reason)) return kernel;
    if (why->empty()) *why = reason;
  }
  if (why->empty()) *why = "no reason given";
  return nullptr;
}

}  // namespace te
