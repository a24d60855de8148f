import { formatAval } from "../aval.js";
import { currentBackend } from "../backend.js";
import { fail } from "../errors.js";
import { checkFunction, withDefaults } from "../options.js";
import { type Compiled, compile, execute } from "../program/compile.js";
import type { Program } from "../program/program.js";
import { traceContextKey } from "../scope.js";
import { Tensor } from "../tensor.js";
import { currentTrace } from "../trace.js";
import { flatten, formatTreeDef } from "../tree.js";
import { numbersToTensors, type ResultTree, rebuild, tensorLeaves, traceFunction } from "./run-traced.js";

/** Options of {@link jit}. */
export interface JitOptions {
  /** Positions of arguments that are not tensors; the function is traced anew for each of their values. */
  readonly staticArgnums?: readonly number[];
  /** Positions of arguments whose memory the results may take over. They are unusable after the call. */
  readonly donateArgnums?: readonly number[];
}

interface Entry {
  readonly compiled: Compiled;
  readonly result: ResultTree;
}

const collected = new FinalizationRegistry<Map<string, Entry>>((entries) => {
  for (const { compiled } of entries.values()) compiled.executable.dispose();
});

/**
 * Traces f once per shapes, dtypes, static arguments and context (recipe, mesh, axis rules), compiles the program, and
 * from then on runs it in one native call. f must be synchronous and must not read data. Arguments and results are trees
 * of tensors; numbers become float32 scalars, strings and booleans are static.
 */
export function jit<F extends (...args: any[]) => any>(f: F, options: JitOptions = {}): F {
  checkFunction("jit", f);
  const { staticArgnums, donateArgnums } = withDefaults("jit", options, { staticArgnums: [], donateArgnums: [] });
  for (const [name, positions] of Object.entries({ staticArgnums, donateArgnums })) {
    if (!Array.isArray(positions) || !positions.every((i) => Number.isInteger(i) && i >= 0))
      fail("option", "jit", `${name} must be an array of positions`, positions, `Write { ${name}: [0] }.`);
  }
  const entries = new Map<string, Entry>();
  const call = (...original: unknown[]): unknown => {
    if (currentTrace()) return f(...original);
    const args = original.map((arg, i) => (staticArgnums.includes(i) ? arg : numbersToTensors(arg)));
    const key = cacheKey(args, staticArgnums, donateArgnums);
    const dynamic = args.filter((_, i) => !staticArgnums.includes(i));
    let entry = entries.get(key);
    if (!entry) {
      entry = build(f, args, staticArgnums, donateArgnums);
      entries.set(key, entry);
    }
    return rebuild(entry.result, execute(entry.compiled, tensorLeaves(dynamic)));
  };
  collected.register(call, entries);
  return call as F;
}

function build(
  f: (...args: any[]) => unknown,
  args: readonly unknown[],
  statics: readonly number[],
  donate: readonly number[],
): Entry {
  const donated = new Set(donate.flatMap((i) => tensorLeaves([args[i]])));
  const { program, result } = traceFunction(
    (...dynamic) => {
      let next = 0;
      return f(...args.map((arg, i) => (statics.includes(i) ? arg : dynamic[next++])));
    },
    args.filter((_, i) => !statics.includes(i)),
    { donated: (leaf) => donated.has(leaf) },
  );
  return { compiled: compile(program), result };
}

function cacheKey(args: readonly unknown[], statics: readonly number[], donate: readonly number[]): string {
  const parts = [currentBackend().name, traceContextKey()];
  const donated = new Set<Tensor>();
  args.forEach((arg, i) => {
    if (statics.includes(i)) {
      parts.push(staticKey(arg));
      return;
    }
    const [leaves, definition] = flatten(arg);
    parts.push(formatTreeDef(definition));
    for (const leaf of leaves) {
      if (typeof leaf === "string" || typeof leaf === "boolean") {
        parts.push(JSON.stringify(leaf));
        continue;
      }
      if (!(leaf instanceof Tensor)) {
        fail(
          "dtype",
          "jit",
          `argument ${i} must be a tree of tensors, numbers, strings and booleans`,
          leaf,
          `Name it in staticArgnums: [${i}].`,
        );
      }
      if (donate.includes(i)) {
        if (donated.has(leaf)) fail("state", "jit", "a tensor may be donated once", formatAval(leaf), "Pass a copy.");
        donated.add(leaf);
      }
      parts.push(`${leaf.dtype}[${leaf.shape}]`);
    }
  });
  return parts.join(";");
}

const identities = new WeakMap<object, number>();
let nextIdentity = 0;

/** Plain data by value, functions and class instances by identity. */
function staticKey(value: unknown): string {
  if (
    typeof value === "function" ||
    (typeof value === "object" &&
      value !== null &&
      Object.getPrototypeOf(value) !== Object.prototype &&
      !Array.isArray(value))
  ) {
    let id = identities.get(value);
    if (id === undefined) {
      id = nextIdentity++;
      identities.set(value, id);
    }
    return `#${id}`;
  }
  return (
    JSON.stringify(value, (_, v) => (typeof v === "function" || v instanceof Tensor ? staticKey(v) : v)) ?? "undefined"
  );
}

/** The program that jit(f) would compile for these arguments, before the device sees it. For reading and for tests. */
export function makeProgram(f: (...args: any[]) => unknown): (...args: unknown[]) => Program {
  return (...args) => traceFunction(f, args.map(numbersToTensors)).program;
}
