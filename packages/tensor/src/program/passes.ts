/**
 * The pipeline: what happens to a program before a device compiles it, as a list of named passes. Other packages add
 * theirs with {@link addPass}; what a device does to its programs itself stands in `Backend.passes` and comes last.
 */
import type { NodeSpec } from "../backend.js";
import { fail } from "../errors.js";
import { expectArray, expectFunction, expectObject, expectString } from "../expect.js";
import { checkOptions } from "../options.js";
import { logLine, wantsLog } from "../settings.js";
import { expand } from "./expand.js";
import { expectProgram, type Program } from "./program.js";
import { scheduleRecomputation } from "./schedule.js";
import { simplify } from "./simplify.js";

/** What a pass may ask. */
export interface PassContext {
  /** true, or why the device has no kernel for a node. */
  readonly supports: (node: NodeSpec) => true | string;
  /** Whether the pass before this one changed the program. */
  readonly changed: boolean;
}

/** A step of the pipeline: a program in, an equal program out. */
export interface Pass {
  /** Tells it from the others, in the log and as a place for passes that are added. */
  readonly name: string;
  /** Whether it has work to do; always without this. */
  readonly when?: (program: Program, context: PassContext) => boolean;
  /** The program that takes the place of this one; this one itself where nothing changes. */
  readonly run: (program: Program, context: PassContext) => Program;
}

/** In order. References of ops that the device declines are simplified too: they share work with what was there. */
const pipeline: Pass[] = [
  { name: "simplify", run: simplify },
  { name: "expand", run: (program, { supports }) => expand(program, supports) },
  { name: "simplify references", when: (_, { changed }) => changed, run: simplify },
  {
    name: "schedule recomputation",
    when: ({ nodes }) => nodes.some(({ recomputed }) => recomputed),
    run: scheduleRecomputation,
  },
];
let version = 0;

/** The passes in force, in order. */
export const passes = (): readonly Pass[] => [...pipeline];

/** Changes with the pipeline: part of the keys of compiled programs. */
export const pipelineVersion = (): number => version;

/** Where a pass that is added goes: next to the one of this name. */
export type PassPlace = { readonly before: string } | { readonly after: string };

function expectPass(fn: string, pass: Pass): void {
  expectObject(fn, { pass });
  expectString(fn, { name: pass.name });
  expectFunction(fn, { run: pass.run });
  if (pass.when !== undefined) expectFunction(fn, { when: pass.when });
}

/** Adds a pass for all programs from now on. Returns a function that takes it out again. */
export function addPass(pass: Pass, place: PassPlace): () => void {
  expectPass("addPass", pass);
  expectObject("addPass", { place });
  checkOptions("addPass", place, ["before", "after"]);
  const names = pipeline.map(({ name }) => name);
  if (names.includes(pass.name)) fail("option", "addPass", "every pass needs a name of its own", pass.name);
  const { before, after } = place as { before?: string; after?: string };
  const at = names.indexOf((before ?? after)!);
  if (at < 0 || (before !== undefined && after !== undefined))
    fail("option", "addPass", "place must be before or after a pass", before ?? after, `Passes: ${names.join(", ")}.`);
  pipeline.splice(before === undefined ? at + 1 : at, 0, pass);
  version++;
  return () => {
    const index = pipeline.indexOf(pass);
    if (index < 0) return;
    pipeline.splice(index, 1);
    version++;
  };
}

/** Runs passes in order: those of the pipeline unless others are given. */
export function runPasses(
  program: Program,
  supports: PassContext["supports"],
  which: readonly Pass[] = pipeline,
): Program {
  expectProgram("runPasses", program);
  expectFunction("runPasses", { supports });
  expectArray("runPasses", "passes", { which });
  for (const pass of which) expectPass("runPasses", pass);
  let current = program;
  let changed = false;
  for (const pass of which) {
    const context = { supports, changed };
    if (pass.when && !pass.when(current, context)) {
      changed = false;
      continue;
    }
    const start = performance.now();
    const next = pass.run(current, context);
    expectProgram(pass.name, next);
    if (wantsLog("passes")) logLine(describeRun(pass, current, next, performance.now() - start));
    changed = next !== current;
    current = next;
  }
  return current;
}

function describeRun({ name }: Pass, before: Program, after: Program, ms: number): string {
  const count = (n: number): string => (n === 1 ? "1 node" : `${n} nodes`);
  const change = before === after ? "as before" : `after ${count(before.nodes.length)}`;
  return `${name}: ${count(after.nodes.length)} ${change}, ${ms.toFixed(1)} ms`;
}
