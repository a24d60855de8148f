// Where the rows of an elementwise node live: which registers share a row of scratch, and which point straight into an
// operand.
#pragma once
#include <algorithm>
#include <climits>
#include <vector>

#include "cpu/elementwise/code.h"
#include "plan/elementwise_code.h"

namespace te {
namespace TE_ISA_NAMESPACE {

// What a block does: loads and row steps in order, then the stores.
struct BlockStep {
  int load = -1;  // input to load into register `step.out`; otherwise a row step
  RowStep step{};
};

struct RowPlan {
  std::vector<BlockStep> steps;
  std::vector<int> slot;     // per register: its row of scratch, or -1 when it points into an operand or is unused
  std::vector<int> outputs;  // register that each output is stored from
  std::vector<RowStep::Rounds> rounds;  // per output: whether storing rounds to its dtype
  std::vector<bool> direct;             // per output: written by its last step straight into memory
  int slots = 0;

  // From operands in memory to results in memory, without rows of scratch between.
  bool in_one_go() const { return slots == 0 && steps.size() <= 1; }
};

// Leaves the rounding of a result that is only stored to the store: takes the steps that do nothing else off the list.
inline void round_when_storing(const std::vector<bool>& points, std::vector<RowStep>* steps, RowPlan* plan) {
  for (size_t j = 0; j < plan->outputs.size(); ++j) {
    const int result = plan->outputs[j];
    const bool shared = std::count(plan->outputs.begin(), plan->outputs.end(), result) != 1;
    const bool read = std::any_of(steps->begin(), steps->end(), [&](const RowStep& s) {
      return s.out != result && (s.a == result || s.b == result || s.c == result);
    });
    if (shared || read) continue;
    while (plan->outputs[j] == result) {
      const auto last = std::find_if(steps->rbegin(), steps->rend(), [&](const RowStep& s) { return s.out == result; });
      if (last == steps->rend() || last->rounds == RowStep::Rounds::no) break;
      // An operand in memory might be overwritten by another output before it is stored.
      if (last->a != result && points[last->a] && plan->outputs.size() > 1) break;
      if (plan->rounds[j] == RowStep::Rounds::no) plan->rounds[j] = last->rounds;
      plan->outputs[j] = last->a;
      steps->erase(std::next(last).base());
    }
  }
}

// `points[r]`: register r is read in place. `fixed[r]`: filled once (constants, scalars). `stream`: results go past the
// caches, from rows of scratch.
inline RowPlan plan_rows(const CodeReader& code, const std::vector<int>& results, const std::vector<bool>& points,
                         const std::vector<bool>& fixed, const std::vector<DType>& output_dtypes, bool stream) {
  const size_t count = code.registers.size();
  RowPlan plan;
  plan.outputs = results;
  plan.rounds.assign(results.size(), RowStep::Rounds::no);
  std::vector<RowStep> code_steps = code.steps;
  round_when_storing(points, &code_steps, &plan);
  const std::vector<int>& outputs = plan.outputs;
  std::vector<bool> loaded(count, false);
  const auto load = [&](int r) {
    if (r < 0 || code.registers[r].input < 0 || points[r] || fixed[r] || loaded[r]) return;
    loaded[r] = true;
    plan.steps.push_back({code.registers[r].input, {nullptr, -1, -1, -1, r}});
  };
  for (const RowStep& step : code_steps) {
    for (int r : {step.a, step.b, step.c}) load(r);
    plan.steps.push_back({-1, step});
  }
  for (int r : outputs) load(r);
  const int length = static_cast<int>(plan.steps.size());
  std::vector<int> last(count, -1), first(count, INT_MAX), final_write(count, -1);
  int last_read_of_memory = -1;  // the last step that reads an operand, which an output may overwrite
  for (int s = 0; s < length; ++s) {
    const BlockStep& block = plan.steps[s];
    if (block.load >= 0) last_read_of_memory = s;
    for (int r : {block.step.a, block.step.b, block.step.c}) {
      if (r < 0) continue;
      last[r] = s;
      if (points[r]) last_read_of_memory = s;
    }
    const int out = block.step.out;
    first[out] = std::min(first[out], s);
    last[out] = std::max(last[out], s);
    final_write[out] = s;
  }
  std::vector<bool> straight(count, false);
  for (size_t j = 0; j < outputs.size(); ++j) {
    const int r = outputs[j];
    const bool wide = dtype_bytes(output_dtypes[j]) == 4;
    const bool once = std::count(outputs.begin(), outputs.end(), r) == 1;
    const bool computed = final_write[r] >= 0 && !loaded[r] && plan.rounds[j] == RowStep::Rounds::no;
    plan.direct.push_back(!stream && wide && once && computed && first[r] >= last_read_of_memory);
    straight[r] = plan.direct.back();
    if (!plan.direct.back()) last[r] = length;
  }
  plan.slot.assign(count, -1);
  std::vector<int> free;
  for (size_t r = 0; r < count; ++r)
    if (fixed[r]) plan.slot[r] = plan.slots++;
  for (int s = 0; s < length; ++s) {
    const RowStep& step = plan.steps[s].step;
    const int out = step.out;
    for (int r : {step.a, step.b, step.c}) {  // a row that dies here may hold the result
      if (r < 0 || last[r] != s || plan.slot[r] < 0 || fixed[r] || r == out) continue;
      if (std::find(free.begin(), free.end(), plan.slot[r]) == free.end()) free.push_back(plan.slot[r]);
    }
    if (plan.slot[out] < 0 && !straight[out]) {
      if (free.empty()) free.push_back(plan.slots++);
      plan.slot[out] = free.back();
      free.pop_back();
    }
    if (last[out] == s && plan.slot[out] >= 0) free.push_back(plan.slot[out]);  // a result that nobody reads
  }
  return plan;
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
