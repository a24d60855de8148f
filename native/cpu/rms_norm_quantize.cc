// rms_norm_quantize: the norm of rms_norm with its result in float8. See norm_quantize.h.
#include "cpu/norm_quantize.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

TE_KERNEL(rms_norm_quantize, prepare_norm_quantize<false>);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
