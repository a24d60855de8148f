/** Mistakes in the passes between a trace and what a device runs: most leave results right and cost time or memory. */
import { type Mutant, mutant } from "./mutant.js";

const SIMPLIFY = "tensor/src/program/simplify.ts";
const EXPAND = "tensor/src/program/expand.ts";
const SCHEDULE = "tensor/src/program/schedule.ts";
const PIPELINE = "tensor/src/program/passes.ts";
const FUSE = "tensor/src/program/fuse.ts";
const PLAN = "tensor/src/program/plan-memory.ts";
const ARENA = "tensor/src/program/arena.ts";
const BACKWARD = "tensor/src/transforms/backward.ts";

export const PASSES: readonly Mutant[] = [
  // Lower
  mutant(
    "what results do not need is recorded",
    "tensor/src/program/lower.ts",
    "if (!needed.has(index)) return;",
    "",
    "tensor/program",
  ),
  // Simplify
  mutant("equal nodes are computed twice", SIMPLIFY, "if (earlier) return earlier;", "", "tensor/passes"),
  mutant(
    "nodes that differ in their parameters are merged",
    SIMPLIFY,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source has it
    "|${formatParams(node.params)}`",
    "`",
    "tensor/passes",
  ),
  mutant("nodes that change nothing stay", SIMPLIFY, "isNoop(program, node) ||", "", "tensor/passes"),
  mutant(
    "nodes that nobody uses stay",
    SIMPLIFY,
    "if (!node.outputs.some((id) => live.has(id))) continue;",
    "",
    "tensor/passes",
  ),
  mutant(
    "barriers are removed before the schedule is made",
    SIMPLIFY,
    "(node.op.barrier && isConstant)",
    "node.op.barrier",
    "tensor/checkpoint",
  ),
  mutant("constants stay behind barriers", SIMPLIFY, "(node.op.barrier && isConstant)", "false", "tensor/checkpoint"),
  // Checkpoint
  mutant(
    "a recomputation reads its operands past the barriers",
    BACKWARD,
    "!external.has(t)) external.set(t, barrier(trace, t));",
    "!external.has(t)) external.set(t, t);",
    "tensor/checkpoint",
  ),
  mutant(
    "what a policy keeps is computed again",
    BACKWARD,
    "} else if (saves?.(node)) {",
    "} else if (saves?.(node) && trace.nodes.length < 0) {",
    "tensor/checkpoint",
  ),
  mutant(
    "a recomputation is not known as one",
    BACKWARD,
    "node.params, { recomputed: true })",
    "node.params)",
    "tensor/checkpoint",
  ),
  mutant(
    "barriers of equal traces differ",
    BACKWARD,
    "{ id: trace.nodes.length }",
    "{ id: Math.random() }",
    "tensor/checkpoint",
  ),
  mutant(
    "values are computed again as soon as the forward pass is over",
    SCHEDULE,
    "if (makerOf.size === 0) return program;",
    "if (makerOf.size >= 0) return program;",
    "tensor/checkpoint",
  ),
  mutant(
    "the schedule is left out",
    PIPELINE,
    "run: scheduleRecomputation,",
    "run: (program) => program,",
    "tensor/checkpoint",
  ),
  // Expand
  mutant(
    "the reference of a recomputed op runs early",
    EXPAND,
    "...(node.recomputed && { recomputed: true }), ",
    "",
    "tensor/passes",
  ),
  mutant("a view needs a kernel", EXPAND, "node.op.view || supports", "supports", "tensor/passes"),
  mutant(
    "references are not simplified",
    PIPELINE,
    "when: (_, { changed }) => changed, run: simplify",
    "when: () => false, run: simplify",
    "tensor/passes",
  ),
  // The pipeline
  mutant(
    "programs that were compiled do not see a pass that is added",
    PIPELINE,
    "0, pass);\n  version++;",
    "0, pass);",
    "tensor/pipeline",
  ),
  mutant(
    "what the device lacks is given to it",
    "tensor/src/program/segments.ts",
    "isOnHost(node) ? 1 : 0",
    "0",
    "testkit/second-device",
  ),
  mutant(
    "memory between stretches is kept",
    "tensor/src/program/segments.ts",
    "if (!taken.has(id)) buffers.get(id)!.release();",
    "if (taken.has(id) && !taken.has(id)) buffers.get(id)!.release();",
    "testkit/second-device",
  ),
  mutant(
    "the device of the lowest priority is taken",
    "tensor/src/devices.ts",
    "b.priority - a.priority",
    "a.priority - b.priority",
    "tensor/copies",
  ),
  // Fuse
  mutant("elementwise ops are not fused", FUSE, "if (isFusable(node)) groups.place(i);", "", "tensor/passes"),
  mutant("a fused node has any number of inputs", FUSE, "joined.size > MAX_INPUTS ||", "", "tensor/passes"),
  mutant("a fused node has fewer inputs than kernels take", FUSE, "MAX_INPUTS = 16", "MAX_INPUTS = 8", "tensor/passes"),
  mutant(
    "a fused node has any number of instructions",
    FUSE,
    " || own.members.length + group.members.length > MAX_INSTRUCTIONS",
    "",
    "tensor/passes",
  ),
  mutant(
    "a fused node has fewer instructions than kernels take",
    FUSE,
    "MAX_INSTRUCTIONS = 96",
    "MAX_INSTRUCTIONS = 32",
    "tensor/passes",
  ),
  mutant(
    "ops of different shapes are fused",
    FUSE,
    "group === own || !sameShape(group.shape, shape)",
    "group === own",
    "tensor/program",
    "tensor/passes",
  ),
  mutant(
    "a path around a group is not seen",
    FUSE,
    "if (unit === target && at !== from) return true;",
    "",
    "tensor/program",
    "tensor/passes",
  ),
  mutant(
    "fused nodes keep what only their members read",
    FUSE,
    "(usersOf.get(id) ?? []).some((u) => !inside.has(u))",
    "usersOf.has(id)",
    "tensor/passes",
  ),
  mutant(
    "constants are not part of fused nodes",
    FUSE,
    'if (made?.op.folds === "constant") {',
    "if (false) {",
    "tensor/passes",
  ),
  mutant(
    "a search for a path around a group has no end",
    FUSE,
    "MAX_SEARCH = 512",
    "MAX_SEARCH = 1e9",
    "tensor/long-programs",
  ),
  // Memory
  mutant(
    "memory is not used again",
    PLAN,
    "if (!takenOver.has(block)) arena.give(",
    "if (block.last < 0) arena.give(",
    "tensor/program",
  ),
  mutant("nothing is written in place", PLAN, "to === out && source.last === now &&", "to !== out &&", "tensor/passes"),
  mutant(
    "an operand is written over while others read it",
    PLAN,
    "to === out && source.last === now &&",
    "to === out &&",
    "tensor/passes",
    "tensor/program",
  ),
  mutant("a view is copied", PLAN, "node.op.view === true", "node.op.view === undefined && false", "tensor/program"),
  mutant(
    "donated arguments are not written in place",
    PLAN,
    "if (wants(target) && free.has(source.input) && source.last === now)",
    "if (target.last < 0)",
    "tensor/passes",
  ),
  mutant(
    "results of another width take over donated arguments",
    PLAN,
    " && bytesOf(from.dtype) === bytesOf(to.dtype)",
    "",
    "tensor/passes",
  ),
  mutant(
    "results of another size take over donated arguments",
    PLAN,
    "sizeOf(from.shape) === sizeOf(to.shape) && ",
    "",
    "tensor/passes",
  ),
  mutant("two results share memory", PLAN, "if (!taken.has(root)) {", "if (!taken.has(id)) {", "tensor/passes"),
  mutant(
    "donated arguments are taken over while they are read",
    PLAN,
    "free.has(source.input) && source.last === now)",
    "free.has(source.input))",
    "tensor/passes",
  ),
  mutant(
    "donated arguments are not taken over after their last use",
    PLAN,
    "if (!wants(target)) continue;",
    "continue;",
    "tensor/passes",
  ),
  mutant(
    "the arena gives the first gap that fits",
    ARENA,
    "(best < 0 || size < this.gaps[best]!.bytes)",
    "best < 0",
    "tensor/passes",
  ),
  mutant(
    "gaps that touch stay apart",
    ARENA,
    "before.offset + before.bytes === offset",
    "before.bytes < 0",
    "tensor/passes",
  ),
  mutant(
    "the arena never shrinks",
    ARENA,
    "if (gap.offset + gap.bytes === this.end) {",
    "if (gap.bytes < 0) {",
    "tensor/passes",
  ),
  // Caches
  mutant(
    "the texts of programs may fill memory",
    "tensor/src/lru.ts",
    " || this.length > this.characters",
    "",
    "tensor/caches",
  ),
  mutant(
    "programs that run at once are compiled each time",
    "tensor/src/program/compile.ts",
    "cache.set(key, compiled);",
    "",
    "tensor/passes",
  ),
  mutant(
    "ops that run at once are compiled each time",
    "tensor/src/program/eager.ts",
    "cache.set(key, compiled);",
    "",
    "tensor/passes",
  ),
  // What the device is given
  mutant(
    "programs are not fused for the device",
    "tensor/src/native/backend.ts",
    '[...passesBefore, { name: "fuse elementwise", run: fuseElementwise }, ...passes]',
    "[...passesBefore, ...passes]",
    "tensor/native",
  ),
  mutant(
    "the addon is asked about every node",
    "tensor/src/native/backend.ts",
    "this.answers.set(key, answer);",
    "",
    "tensor/native",
  ),
  mutant(
    "the evaluator keeps every value until the end",
    "tensor/src/reference/evaluate.ts",
    "if (lastUse.get(id) === i) values[id] = undefined;",
    "if (lastUse.get(id) === -1) values[id] = undefined;",
    "tensor/evaluator",
  ),
];
