// Our declarations of NCCL say what NVIDIA's header says. The comparison is made where the header is: on the system, or
// where CPATH leads.
#include <cstdio>

#include "cuda/nccl/nccl.h"

#if __has_include(<nccl.h>)
#include <nccl.h>

namespace nccl = te::cuda::nccl;
static_assert(nccl::kSuccess == ncclSuccess && nccl::kInProgress == ncclInProgress);
static_assert(nccl::kByte == ncclUint8);
static_assert(sizeof(nccl::UniqueId) == sizeof(ncclUniqueId) && alignof(nccl::UniqueId) == alignof(ncclUniqueId));

// Functions take as many arguments of the same sizes: handles are pointers, enums are ints, the id goes by value.
template <class Result, class... A>
constexpr size_t sizes(Result (*)(A...)) {
  size_t all = sizeof(Result);
  ((all = all * 17 + sizeof(A)), ...);
  return all;
}
#define X(result, name, arguments)                                            \
  static_assert(sizes(static_cast<decltype(nccl::Library::name)>(nullptr)) == \
                sizes(static_cast<decltype(&nccl##name)>(nullptr)));
TE_NCCL_FUNCTIONS(X)
#undef X

int main() { std::printf("ok   the declarations of NCCL, against version %d\n", NCCL_VERSION_CODE); }
#else
int main() { std::printf("skipped: there is no nccl.h\n"); }
#endif
