// What the kernels of collectives share.
#include "cuda/collective/node.h"

#include <functional>

#include "cuda/nccl/world.h"

namespace te::cuda {

bool read_own_group(const Node& node, RankGroup* group, std::string* why) {
  return read_group(node, world_rank(), world_size(), group, why);
}

uint64_t digest_of(const Node& node) {
  std::string text = node.op + node.params.text("purpose") + dtype_name(node.inputs[0].dtype);
  if (node.params.has("reduction")) text += node.params.text("reduction");
  for (const char* name : {"sources", "targets"})
    if (node.params.has(name))
      for (const int64_t place : node.params.integers(name)) text += ";" + std::to_string(place);
  for (const int64_t d : node.inputs[0].shape) text += "," + std::to_string(d);
  uint64_t digest = 0xcbf29ce484222325;
  for (const char c : text) digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return digest;
}

void copy_on_gpu(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy on the GPU");
}

}  // namespace te::cuda
