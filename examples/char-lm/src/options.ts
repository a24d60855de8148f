/** The command line of the demo. */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { AXES, type MeshShape } from "./mesh.js";
import { PRECISIONS, type Precision } from "./train.js";

export const DEVICES = ["auto", "cpu", "reference", "cuda"] as const;

export interface Options {
  readonly device: (typeof DEVICES)[number];
  /** The runs to make; undefined where neither --dtype nor --recipe is given. */
  readonly precision: Precision | undefined;
  readonly steps: number | undefined;
  readonly batch: number | undefined;
  readonly seed: number | undefined;
  readonly mesh: MeshShape | undefined;
  /** How many processes to start; undefined for this one alone. */
  readonly processes: number | undefined;
  readonly resume: string | undefined;
  readonly out: string | undefined;
  readonly help: boolean;
}

export const DEFAULT_OUT = fileURLToPath(new URL("../out", import.meta.url));

export const USAGE = `npm run demo -- [options]

Trains a character model on Moby-Dick in float32, bfloat16, and bfloat16 with FP8 products, and compares the three.

  --device auto|cpu|reference|cuda   where to run (auto: native kernels if there are any)
  --dtype float32|bfloat16           make one run only, with activations in this dtype
  --recipe none|delayed|current      make one run only; the others are FP8 with delayed or current scaling
  --steps N                          optimizer steps of each run (default: as many as fit into the time, 250 at most)
  --batch N                          windows in a batch (default 4)
  --seed N                           of the parameters, the batches and the generated text (default 0)
  --mesh data=2,tensor=2             split the runs over this many devices along each axis: data, fsdp (parameters too),
                                     tensor or tpsp (the sequence too); virtual ones in one process
  --processes N                      one process for each device, by mpirun (the mesh is data=N unless --mesh is given)
  --resume FILE                      go on from a state that Ctrl-C saved
  --out DIR                          where to write weights, chart and state (default examples/char-lm/out)
`;

/** What was typed is wrong; the message is one sentence for whoever typed it. */
export class UsageError extends Error {}

/** Throws a UsageError for unknown options and for values that are not allowed. */
export function parseOptions(argv: readonly string[]): Options {
  const values = split(argv);
  const dtype = oneOf("dtype", values.dtype, ["float32", "bfloat16"] as const);
  const recipe = oneOf("recipe", values.recipe, ["none", "delayed", "current"] as const);
  const resume = values.resume;
  const fixed = (["dtype", "recipe", "steps", "batch", "seed"] as const).find((name) => values[name] !== undefined);
  if (resume !== undefined && fixed) {
    throw new UsageError(`--${fixed} cannot be changed with --resume, because the saved run goes on as it began.`);
  }
  const processes = integer("processes", values.processes, 2, 1024);
  const mesh = meshOf(values.mesh) ?? (processes ? { data: processes } : undefined);
  const devices = Object.values(mesh ?? {}).reduce((n, size) => n * size, 1);
  if (processes !== undefined && processes !== devices)
    throw new UsageError(`--processes must be as many as the mesh has devices, ${devices}, got "${processes}".`);
  return {
    device: oneOf("device", values.device, DEVICES) ?? "auto",
    precision: dtype || recipe ? precisionOf(dtype ?? "bfloat16", recipe ?? "none") : undefined,
    steps: integer("steps", values.steps, 1, 1_000_000),
    batch: integer("batch", values.batch, 1, 4096),
    seed: integer("seed", values.seed, 0, 2 ** 32 - 1),
    mesh,
    processes,
    resume,
    out: values.out,
    help: values.help ?? false,
  };
}

function split(argv: readonly string[]) {
  const text = { type: "string" } as const;
  const options = {
    device: text,
    dtype: text,
    recipe: text,
    steps: text,
    batch: text,
    seed: text,
    mesh: text,
    processes: text,
    resume: text,
    out: text,
    help: { type: "boolean", short: "h" },
  } as const;
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true });
  const values: Partial<Record<Exclude<keyof typeof options, "help">, string>> & { help?: boolean } = {};
  for (const token of tokens) {
    if (token.kind === "positional") throw new UsageError(`"${token.value}" is not an option; --help lists them.`);
    if (token.kind !== "option") continue;
    const { name, rawName, value } = token;
    if (!Object.hasOwn(options, name)) throw new UsageError(`${rawName} is not an option; --help lists them.`);
    if (name === "help") values.help = true;
    else if (value === undefined || value === "")
      throw new UsageError(`${rawName} needs a value, as in ${rawName} ${EXAMPLES[name as keyof typeof EXAMPLES]}.`);
    else values[name as keyof typeof EXAMPLES] = value;
  }
  return values;
}

const EXAMPLES = {
  device: "cpu",
  dtype: "bfloat16",
  recipe: "delayed",
  steps: "100",
  batch: "8",
  seed: "1",
  mesh: "data=2,tensor=2",
  processes: "4",
  resume: "examples/char-lm/out/state.safetensors",
  out: "out",
} as const;

function oneOf<T extends string>(name: string, value: string | undefined, allowed: readonly T[]): T | undefined {
  if (value === undefined || allowed.includes(value as T)) return value as T | undefined;
  throw new UsageError(`--${name} must be one of ${allowed.join(", ")}, got "${value}".`);
}

function integer(name: string, value: string | undefined, low: number, high: number): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^\d+$/.test(value) && number >= low && number <= high) return number;
  throw new UsageError(`--${name} must be a whole number from ${low} to ${high}, got "${value}".`);
}

/** data=2,tensor=2 as sizes by axis. */
function meshOf(value: string | undefined): MeshShape | undefined {
  if (value === undefined) return undefined;
  const pairs = value.split(",").map((pair) => /^([a-z]+)=([1-9]\d{0,3})$/.exec(pair)?.slice(1));
  const names = pairs.map((pair) => pair?.[0]);
  const isRight = names.every((name) => name !== undefined && Object.hasOwn(AXES, name));
  if (!isRight || new Set(names).size !== names.length || (names.includes("tensor") && names.includes("tpsp")))
    throw new UsageError(
      `--mesh must be sizes of data, fsdp, and tensor or tpsp, as in ${EXAMPLES.mesh}, got "${value}".`,
    );
  return Object.fromEntries(pairs.map((pair) => [pair![0], Number(pair![1])]));
}

/** A precision of the three, or the combination that is not among them. */
function precisionOf(dtype: Precision["dtype"], recipe: Precision["recipe"]): Precision {
  const known = PRECISIONS.find((p) => p.dtype === dtype && p.recipe === recipe);
  return known ?? { name: `${dtype} + FP8${recipe === "current" ? ", current scaling" : ""}`, dtype, recipe };
}
