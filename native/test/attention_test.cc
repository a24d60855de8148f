// attention, attention_backward and attention_bias_backward against double precision, and their repeatability.
#include "cpu/gemm/bfloat16_unit.h"
#include "test/attention_trio.h"

using namespace te;
using namespace te::test;

namespace {

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all;
  const auto add = [&](const char* name, auto change) {
    AttentionCase c;
    c.name = name;
    change(c);
    all.push_back(c);
  };
  add("plain", [](auto& c) {});
  add("causal", [](auto& c) { c.causal = true; });
  add("several blocks and chunks", [](auto& c) {
    c.batch = 1;
    c.queries = 150;
    c.keys = 531;
    c.depth = 40;
    c.value_depth = 24;
  });
  add("causal, several blocks", [](auto& c) {
    c.queries = c.keys = 300;
    c.batch = 1;
    c.causal = true;
    c.depth = 64;
  });
  add("causal bottom right", [](auto& c) {
    c.queries = 70;
    c.keys = 290;
    c.causal = c.bottom_right = true;
  });
  add("bottom right, more queries than keys", [](auto& c) {
    c.queries = 40;
    c.keys = 9;
    c.causal = c.bottom_right = true;
  });
  add("window 16 0", [](auto& c) {
    c.queries = c.keys = 130;
    c.left = 16;
    c.right = 0;
  });
  add("window 2 2", [](auto& c) {
    c.queries = c.keys = 130;
    c.left = c.right = 2;
  });
  add("window 0 0", [](auto& c) { c.left = c.right = 0; });
  add("window -1 3", [](auto& c) {
    c.right = 3;
    c.keys = 29;
  });
  add("window bottom right", [](auto& c) {
    c.left = 5;
    c.right = 1;
    c.bottom_right = true;
    c.keys = 50;
  });
  add("grouped heads", [](auto& c) {
    c.heads = 12;
    c.groups = 3;
    c.depth = 33;
    c.value_depth = 17;
    c.causal = true;
  });
  add("one group, many rows", [](auto& c) {
    c.heads = 8;
    c.groups = 1;
    c.queries = 140;
    c.keys = 64;
    c.batch = 1;
  });
  add("one query", [](auto& c) {
    c.heads = 8;
    c.groups = 4;
    c.queries = 1;
    c.keys = 700;
  });
  add("mask", [](auto& c) { c.mask = {2, 1, 33}; });
  add("mask per head, causal", [](auto& c) {
    c.mask = {1, 2, 33};
    c.causal = true;
    c.queries = 33;
    c.keys = 80;
  });
  add("mask of keys", [](auto& c) {
    c.mask = {2, 1, 1};
    c.keys = 300;
  });
  add("hidden rows", [](auto& c) {
    c.mask = {1, 1, 33};
    c.hidden_from = 20;
  });
  add("pre scale", [](auto& c) {
    c.bias_type = "pre_scale";
    c.bias = {1, 2};
  });
  add("post scale", [](auto& c) {
    c.bias_type = "post_scale";
    c.bias = {2, 2};
    c.causal = true;
  });
  add("post scale, one bias", [](auto& c) {
    c.bias_type = "post_scale";
    c.bias = {1, 1};
    c.queries = 70;
    c.keys = 300;
  });
  add("bias of a sample", [](auto& c) {
    c.bias_type = "pre_scale";
    c.bias = {2, 1};
    c.heads = 4;
  });
  add("off by one", [](auto& c) {
    c.softmax = "off_by_one";
    c.mask = {1, 1, 33};
    c.hidden_from = 30;
  });
  add("learnable", [](auto& c) {
    c.softmax = "learnable";
    c.causal = true;
  });
  add("dropout", [](auto& c) {
    c.dropout = 0.1;
    c.keys = 300;
  });
  add("dropout of a part", [](auto& c) {
    c.dropout = 0.4;
    c.heads = 4;
    c.groups = 2;
    c.keys = 300;
    c.weights_of = {5, 3, 4, 66, 300};
    c.weights_start = {3, 1, 0, 33, 0};
  });
  add("dropout of every other head", [](auto& c) {
    c.dropout = 0.4;
    c.heads = 4;
    c.groups = 2;
    c.weights_of = {2, 2, 4, 33, 99};
    c.weights_start = {0, 0, 2, 0, 66};
  });
  add("dropout, causal", [](auto& c) {
    c.dropout = 0.5;
    c.causal = true;
    c.bias = {1, 2};
    c.bias_type = "post_scale";
  });
  add("segments", [](auto& c) {
    c.segments = true;
    c.queries = c.keys = 300;
    c.batch = 1;
  });
  add("segments and positions", [](auto& c) {
    c.segments = c.q_positions = c.kv_positions = c.causal = true;
    c.left = 9;
  });
  add("positions of queries", [](auto& c) {
    c.q_positions = c.causal = true;
    c.keys = 50;
  });
  add("sequence first", [](auto& c) {
    c.layout = "sbhd";
    c.keys = 40;
    c.groups = 1;
    c.value_depth = 20;
  });
  add("packed qkv", [](auto& c) {
    c.packing = "qkv";
    c.causal = true;
  });
  add("packed qkv, sequence first", [](auto& c) {
    c.packing = "qkv";
    c.layout = "sbhd";
    c.depth = c.value_depth = 21;
  });
  add("packed kv", [](auto& c) {
    c.packing = "kv";
    c.heads = 4;
    c.keys = 47;
  });
  add("partial sums", [](auto& c) {
    c.batch = 1;
    c.heads = c.groups = 1;
    c.queries = 1100;
    c.keys = 270;
    c.causal = true;
  });
  return all;
}

// Bit-equal repeats, for any number of threads.
void check_repeats() {
  AttentionCase c;
  c.name = "repeats";
  c.batch = 1, c.heads = 4, c.groups = 2, c.queries = c.keys = 1100, c.causal = true, c.dropout = 0.1;
  const int threads = num_threads();
  Trio first(c);
  first.run();
  for (int n : {1, 2, 3, 5}) {
    set_num_threads(n);
    Trio again(c);
    again.run();
    for (int o = 0; o < 3; ++o) expect(again.forward.out(o) == first.forward.out(o), "forward repeats");
    for (int o = 0; o < 3; ++o) expect(again.backward.out(o) == first.backward.out(o), "backward repeats");
  }
  set_num_threads(threads);
}

// A query that sees one key has no gradient: not even rounding.
void check_lonely_keys() {
  for (DType dtype : kFloats) {
    AttentionCase c;
    c.name = "window 0 0";
    c.dtype = dtype, c.left = c.right = 0, c.depth = c.value_depth = 40, c.zero_dlse = true;
    Trio trio(c);
    trio.run();
    for (int o = 0; o < 2; ++o)
      for (double x : trio.backward.out(o))
        expect(x == 0, std::string("dq and dk of lonely keys ") + dtype_name(dtype));
  }
}

// A bias that lowers whole rows leaves uniform attention: the weights sum to 1, forward and backward, and to the bit.
void check_lowered_rows() {
  const float lows[] = {-1e6f, -1e9f, -1e30f, std::numeric_limits<float>::lowest()};
  for (DType dtype : kFloats)
    for (float low : lows)
      for (int64_t queries : {1, 70}) {
        AttentionCase c;
        c.name = "lowered rows", c.dtype = dtype, c.bias_type = "post_scale", c.bias = {1, 1}, c.scale = 0;
        c.batch = 1, c.queries = queries, c.keys = 2048, c.zero_dlse = true;
        Trio trio(c);
        // What the dtype can hold.
        const float lowest = std::max(low, dtype == DType::float16    ? -65504.0f
                                           : dtype == DType::bfloat16 ? -3.3895314e38f
                                                                      : low);
        for (Op* op : {&trio.forward, &trio.backward, &trio.bias_backward})
          op->fill(op == &trio.forward ? 3 : 7, [&](int64_t) { return lowest; });
        trio.forward.fill(2, [](int64_t i) { return static_cast<float>(i / 32 % 2); });
        trio.backward.fill(6, [](int64_t i) { return static_cast<float>(i / 32 % 2); });
        trio.backward.fill(4, [](int64_t) { return 1.0f; });
        trio.run();
        const std::string what = std::string("lowered rows ") + dtype_name(dtype) + " " + std::to_string(low);
        for (double x : trio.forward.out(0)) expect(x == 0.5, what + ": out");
        for (double x : trio.forward.out(2)) expect(x == 2048, what + ": sum");
        for (double x : trio.backward.out(2)) expect(x == static_cast<double>(queries) / 2048, what + ": dv");
      }
}

// NaN and infinities in values reach every row that sees them, whatever their weight, and nothing else.
void check_seen_garbage() {
  for (int64_t keys : {40, 2100})
    for (double dropout : {0.0, 0.5}) {
      AttentionCase c;
      c.name = "seen garbage", c.bias_type = "post_scale", c.bias = {1, 1}, c.softmax = "off_by_one";
      c.batch = 1, c.queries = keys == 40 ? 70 : 1, c.keys = keys, c.dropout = dropout;
      Trio trio(c);
      const float inf = std::numeric_limits<float>::infinity(), garbage[] = {std::nanf(""), inf, -inf};
      const int64_t low = 3, hidden = 5, width = c.heads * c.value_depth;
      const auto bias = [&](int64_t i) {
        const int64_t key = i % keys;
        return key == low ? -1e4f : key == hidden ? -inf : key < 300 ? 0.0f : 200.0f;
      };
      const auto value = [&](int64_t i) {
        const int64_t key = i / width;
        return key == low ? garbage[i % width % 3] : key == hidden ? std::nanf("") : 1.0f;
      };
      trio.forward.fill(3, bias).fill(2, value);
      trio.forward.run();
      const Values out = trio.forward.out(0);
      int64_t reached = 0;
      for (size_t i = 0; i < out.size(); ++i) {
        const double wanted = garbage[static_cast<int64_t>(i) % width % 3];
        const bool same = std::isnan(wanted) ? std::isnan(out[i]) : out[i] == wanted;
        reached += same;
        expect(same || (dropout > 0 && std::isfinite(out[i])), "seen garbage " + std::to_string(i));
      }
      expect(reached > 0 || dropout > 0, "seen garbage");
    }
}

void time_layer(DType dtype) {
  for (bool causal : {true, false}) {
    AttentionCase c;
    c.dtype = dtype, c.batch = 1, c.queries = c.keys = 1, c.depth = c.value_depth = 1;
    Op forward("attention"), backward("attention_backward");
    const Shape x = {8, 256, 8, 64}, rows = {8, 8, 256};
    for (int i = 0; i < 3; ++i) forward.input(dtype, x).normal(i);
    forward.output(dtype, x).output(DType::float32, rows).output(DType::float32, rows);
    forward.param("scale", 0.125).param("causal", causal).run();
    backward.input(dtype, x).input(dtype, x).input(DType::float32, rows).input(DType::float32, rows);
    for (int i = 0; i < 3; ++i) backward.input(dtype, x);
    for (int i : {0, 4, 5, 6}) backward.normal(i);
    for (int i : {0, 1, 2}) std::memcpy(backward.inputs[1 + i].as(), forward.outputs[i].as(), forward.outputs[i].size);
    for (int i = 0; i < 3; ++i) backward.output(dtype, x);
    backward.param("scale", 0.125).param("causal", causal);
    const double product = 2.0 * 8 * 8 * 256 * 256 * 64;
    const std::string label = std::string(dtype_name(dtype)) + (causal ? " causal" : " full");
    forward.time(label, forward.bytes(), 2 * product);
    backward.time(label, backward.bytes(), 5 * product);
  }
}

}  // namespace

int main() {
  for (const char* unit : {"none", "portable", "avx512_bf16", "amx"}) {
    if (!force_bfloat16_unit(unit)) continue;
    for (const AttentionCase& c : cases())
      for (DType dtype : kFloats) {
        if (dtype != DType::bfloat16 && std::string(unit) != "none") continue;
        AttentionCase typed = c;
        typed.dtype = dtype;
        Trio(typed).check();
      }
    check_repeats();
    check_lonely_keys();
    check_lowered_rows();
    check_seen_garbage();
  }
  force_bfloat16_unit("");
  if (wants_times())
    for (DType dtype : {DType::float32, DType::bfloat16}) time_layer(dtype);
  return failures();
}
