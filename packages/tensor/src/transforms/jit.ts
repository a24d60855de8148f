/** jit: a function as one program, compiled once for each kind of arguments. */
import { formatAval } from "../aval.js";
import { fail } from "../errors.js";
import { Lru } from "../lru.js";
import { checkFunction, withDefaults } from "../options.js";
import { type Compiled, compile, compileKey, dispose, execute } from "../program/compile.js";
import type { Program } from "../program/program.js";
import { traceContextKey } from "../scope.js";
import type { Storage } from "../storage.js";
import { Tensor, tensor } from "../tensor.js";
import { currentTrace } from "../trace.js";
import { isPlainObject } from "../tree.js";
import { checkDepth } from "../tree-depth.js";
import { placeTree, type Shardings } from "./placement.js";
import { numbersToTensors, type ResultTree, rebuild, traceFunction } from "./run-traced.js";
import { staticKey } from "./static-key.js";
import type { AnyFunction, Primals } from "./types.js";

/** Options of {@link jit}. */
export interface JitOptions {
  /** Positions of arguments that are not tensors; the function is traced anew for each of their values. */
  readonly staticArgnums?: readonly number[];
  /**
   * Positions of arguments whose memory the results may take over. They are unusable after the call, unless it fails: a
   * program refuses values, such as labels out of range, before it writes over what it was given.
   */
  readonly donateArgnums?: readonly number[];
  /** How arguments lie over the active mesh, one entry for each: they are put there before the call. */
  readonly inShardings?: readonly Shardings[];
  /** How results lie over the active mesh. */
  readonly outShardings?: Shardings;
}

interface Entry {
  readonly compiled: Compiled;
  readonly result: ResultTree;
}

/** How many programs one jit function keeps. */
export const PROGRAM_LIMIT = 256;

/**
 * Traces f once per shapes, dtypes, static arguments and context (recipe, mesh, axis rules), compiles the program, and
 * from then on runs it in one native call. f must be synchronous and must not read data. Arguments and results are trees
 * of tensors; numbers become float32 scalars, strings and booleans are static. A static argument counts by value where
 * that is exact (plain data, dates, maps, sets, binary data), functions and instances of classes also by identity; others
 * are refused. The 256 programs that were used last are kept.
 */
export function jit<F extends AnyFunction>(f: F, options: JitOptions = {}): F {
  checkFunction("jit", f);
  const { staticArgnums, donateArgnums, inShardings, outShardings } = withDefaults("jit", options, {
    staticArgnums: [],
    donateArgnums: [],
    inShardings: [],
    outShardings: null,
  });
  for (const [name, positions] of Object.entries({ staticArgnums, donateArgnums })) {
    if (!Array.isArray(positions) || !positions.every((i) => Number.isInteger(i) && i >= 0))
      fail("option", "jit", `${name} must be an array of positions`, positions, `Write { ${name}: [0] }.`);
  }
  const both = staticArgnums.find((i) => donateArgnums.includes(i));
  if (both !== undefined) fail("option", "jit", "an argument is static or donated, not both", both);
  const statics = new Set(staticArgnums);
  const donated = new Set(donateArgnums);
  const entries = new Lru<Entry>(PROGRAM_LIMIT, ({ compiled }) => dispose(compiled));
  const traced: AnyFunction =
    outShardings === null ? f : (...args) => placeTree("outShardings", f(...args), outShardings);
  const call = (...given: unknown[]): unknown => {
    const args =
      inShardings.length === 0 ? given : (placeTree("inShardings", given, inShardings) as readonly unknown[]);
    if (currentTrace()) return traced(...args);
    const { key, tensors, donatedTensors } = readArguments(args, statics, donated);
    let entry = entries.get(key);
    if (!entry) {
      entry = build(f.name, traced, args, statics, donatedTensors);
      entries.set(key, entry);
    }
    return rebuild(entry.result, execute(entry.compiled, tensors));
  };
  return call as F;
}

function build(
  name: string,
  f: (...args: any[]) => unknown,
  args: readonly unknown[],
  statics: ReadonlySet<number>,
  donatedTensors: ReadonlySet<number>,
): Entry {
  const { program, result } = traceFunction(
    (...dynamic) => {
      let next = 0;
      return f(...args.map((arg, i) => (statics.has(i) ? arg : dynamic[next++])));
    },
    args.filter((_, i) => !statics.has(i)).map(numbersToTensors),
    { donated: (index) => donatedTensors.has(index) },
  );
  return { compiled: compile(program.named(name)), result };
}

/** What a call passes: the key of its program, and its tensors in the order of the program's inputs. */
interface Arguments {
  readonly key: string;
  readonly tensors: readonly Tensor[];
  /** Which of them stand in donated arguments: by place, because a tensor may be given in another argument too. */
  readonly donatedTensors: ReadonlySet<number>;
}

function readArguments(
  args: readonly unknown[],
  statics: ReadonlySet<number>,
  donated: ReadonlySet<number>,
): Arguments {
  const tensors: Tensor[] = [];
  const donatedTensors = new Set<number>();
  const storages = new Set<Storage | undefined>();
  let key = `${compileKey()};${traceContextKey()}`;
  args.forEach((arg, i) => {
    key += ";";
    if (statics.has(i)) {
      key += staticKey(arg, i);
      return;
    }
    const first = tensors.length;
    key += readTree(arg, i, tensors, 0);
    if (!donated.has(i)) return;
    for (let k = first; k < tensors.length; k++) {
      const t = tensors[k]!;
      if (storages.has(t.storage)) fail("state", "jit", "a tensor may be donated once", formatAval(t), "Pass a copy.");
      storages.add(t.storage);
      donatedTensors.add(k);
    }
  });
  return { key, tensors, donatedTensors };
}

/** The shape of a tree, and the shapes and dtypes of its tensors, which join `tensors` in the order of tree.flatten. */
function readTree(node: unknown, argument: number, tensors: Tensor[], depth: number): string {
  if (node instanceof Tensor) {
    tensors.push(node);
    return `${node.dtype}[${node.shape}]`;
  }
  switch (typeof node) {
    case "number":
      tensors.push(tensor(node));
      return "float32[]";
    case "string":
      return JSON.stringify(node);
    case "boolean":
    case "undefined":
      return String(node);
  }
  if (node === null) return "null";
  checkDepth(depth);
  let key = "";
  if (Array.isArray(node)) {
    for (let i = 0; i < node.length; i++) {
      if (node[i] === undefined && !(i in node)) refuse(argument, "must have no holes in its arrays", undefined);
      key += `${readTree(node[i], argument, tensors, depth + 1)},`;
    }
    return `[${key}]`;
  }
  if (!isPlainObject(node)) {
    const rule = "must be a tree of tensors, numbers, strings and booleans";
    return refuse(argument, rule, node);
  }
  if (Object.getOwnPropertySymbols(node).length > 0) refuse(argument, "must not have symbols as keys", undefined);
  for (const name of Object.keys(node).sort())
    key += `${JSON.stringify(name)}:${readTree(node[name], argument, tensors, depth + 1)},`;
  return `{${key}}`;
}

const refuse = (argument: number, rule: string, value: unknown): never =>
  fail("dtype", "jit", `argument ${argument} ${rule}`, value, `Name it in staticArgnums: [${argument}].`);

/** The program that jit(f) would compile for these arguments, before the device sees it. For reading and for tests. */
export function makeProgram<A extends readonly any[]>(f: (...args: A) => unknown): (...args: Primals<A>) => Program {
  checkFunction("makeProgram", f);
  return (...args) => traceFunction(f, args.map(numbersToTensors)).program;
}
