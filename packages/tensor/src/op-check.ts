/** What a call of an op is held to before a shape rule, a kernel or a reference sees it: inputs and parameters by kind. */
import { isDType } from "./dtype.js";
import { fail } from "./errors.js";
import { inputNames, type OpDefinition, type Params, type ParamValue } from "./op.js";
import { Tensor } from "./tensor.js";

/**
 * What a parameter may be. "size": an integer of at least 0, such as an axis, a length or a count; "sizes": a list of them.
 * A list of strings names the values that there are.
 */
export type ParamKind = keyof typeof KINDS | readonly string[];

interface Kind {
  readonly called: string;
  has(value: unknown): boolean;
}

const isSize = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

/** Lists of parameters are as long as shapes and lists of names are; a longer one is a mistake that takes minutes to read. */
const LONGEST = 4096;

/** By index, because holes of a list count. */
function isListOf(has: (item: unknown) => boolean): (value: unknown) => boolean {
  return (value) => {
    if (!Array.isArray(value) || value.length > LONGEST) return false;
    for (let i = 0; i < value.length; i++) if (!has(value[i])) return false;
    return true;
  };
}

const KINDS = {
  number: { called: "a number", has: (value) => typeof value === "number" },
  finite: { called: "a finite number", has: Number.isFinite },
  size: { called: "an integer of at least 0", has: isSize },
  boolean: { called: "true or false", has: (value) => typeof value === "boolean" },
  string: { called: "a string", has: (value) => typeof value === "string" },
  dtype: { called: "the name of a dtype", has: isDType },
  numbers: { called: "an array of numbers", has: isListOf((item) => typeof item === "number") },
  sizes: { called: "an array of integers of at least 0", has: isListOf(isSize) },
  strings: { called: "an array of strings", has: isListOf((item) => typeof item === "string") },
} as const satisfies Record<string, Kind>;

/** What the default value of a parameter says of its kind, where the op declares none. */
function kindOfDefault(name: string, value: ParamValue): ParamKind {
  if (typeof value === "number") return "number";
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "string") return name === "dtype" && value !== "" ? "dtype" : "string";
  return typeof value[0] === "string" ? "strings" : "numbers";
}

const isKnown = new WeakMap<OpDefinition, ReadonlyMap<string, Kind>>();

/** Makes an op known, so that calls of it can be checked. */
export function registerKinds(op: OpDefinition): void {
  const kinds = new Map<string, Kind>();
  for (const [name, value] of Object.entries(op.params as Params)) {
    const kind: ParamKind = op.kinds?.[name] ?? kindOfDefault(name, value);
    const known =
      typeof kind === "string"
        ? KINDS[kind]
        : { called: `one of ${kind.join(", ")}`, has: (given: unknown) => kind.includes(given as string) };
    kinds.set(name, known);
  }
  isKnown.set(op, kinds);
}

/** Throws unless the op is one that defineOp made. */
export function expectDefined(fn: string, op: OpDefinition): void {
  if (!isKnown.has(op)) fail("option", fn, "the op must be a definition that defineOp made", op ?? String(op));
}

/** Throws unless the op is one that defineOp made and every input that it needs is a tensor. */
export function checkInputs(op: OpDefinition, inputs: readonly (Tensor | undefined)[]): void {
  expectDefined("applyOp", op);
  if (!Array.isArray(inputs)) fail("option", op.name, "inputs must be an array of tensors", inputs ?? String(inputs));
  const names = op.variadic ? undefined : inputNames(op);
  const most = names ? names.length : inputs.length;
  if (inputs.length > most)
    fail(
      "option",
      op.name,
      `there are ${most} inputs${most ? `: ${names!.join(", ")}` : ""}`,
      `${inputs.length} of them`,
    );
  const required = names ? op.inputs.length : most;
  for (let i = 0; i < Math.max(required, inputs.length); i++) {
    const given = inputs[i];
    if (given instanceof Tensor || (given === undefined && i >= required)) continue;
    const name = names ? names[i]! : `input ${i}`;
    if (given === undefined)
      fail("option", op.name, `input ${name} is missing`, undefined, `Inputs: ${names?.join(", ") ?? "tensors"}.`);
    fail("option", op.name, `${name} must be a tensor`, given ?? String(given), "Make one with tensor().");
  }
}

/** The parameters with defaults in place of those left out. Throws unless each is known and of its kind. */
export function completeParams(op: OpDefinition, params: object | undefined): Params {
  if (params === undefined || params === op.params) return op.params;
  if (typeof params !== "object" || params === null || Array.isArray(params))
    fail("option", op.name, "parameters must be an object", params ?? String(params), knownParams(op));
  const kinds = isKnown.get(op)!;
  const given: Record<string, ParamValue> = {};
  for (const key of Object.keys(params)) {
    const kind = kinds.get(key) ?? fail("option", op.name, `unknown parameter ${key}`, undefined, knownParams(op));
    const value = (params as Record<string, unknown>)[key];
    if (value === undefined) continue;
    if (!kind.has(value)) fail("option", op.name, `${key} must be ${kind.called}`, value ?? String(value));
    // A copy: what the caller does to a list later, or what a proxy answers then, is not the op's.
    given[key] = (Array.isArray(value) ? Array.from(value) : value) as ParamValue;
  }
  return { ...op.params, ...given };
}

const knownParams = (op: OpDefinition): string => {
  const names = Object.keys(op.params);
  return names.length ? `Known: ${names.join(", ")}.` : "There are none.";
};
