#pragma once
namespace te::cuda {
struct AttentionProblem {
  int batch, queries, keys, heads, kv_heads, d;
  float scale;
  bool causal, bottom_right;
};
// False where no kernel takes the problem. Pointers are the device's; [batch, sequence, heads, d], lse [batch, heads,
// queries].
bool attention_forward(const AttentionProblem& p, const void* q, const void* k, const void* v, void* o, float* lse);
}  // namespace te::cuda
