/** Every {@link ErrorCode}. */
export const ERROR_CODES = [
  "shape",
  "dtype",
  "option",
  "file",
  "memory",
  "index",
  "disposed",
  "traced",
  "backend",
  "unsupported",
  "state",
] as const;

/** What kind of rule was broken. Stable across versions; messages are not. */
export type ErrorCode = (typeof ERROR_CODES)[number];

const MARK = Symbol.for("te.error");

/** The one error class of every package. Recognise it with {@link TeError.is}, which survives duplicate installs. */
export class TeError extends Error {
  readonly code: ErrorCode;
  readonly [MARK] = true;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TeError";
    this.code = code;
  }

  static is(value: unknown): value is TeError {
    return typeof value === "object" && value !== null && MARK in value;
  }
}

/** Throws a TeError whose message has the house form: `fn: rule, got value. way out`. */
export function fail(code: ErrorCode, fn: string, rule: string, value?: unknown, wayOut?: string): never {
  const place = typeof fn === "string" && fn !== "" ? fn : describe(fn);
  const got = value === undefined ? "" : `, got ${describe(value)}`;
  throw new TeError(code, `${place}: ${rule}${got}.${wayOut ? ` ${wayOut}` : ""}`);
}

/** What the tensors of this copy of the package carry under this name; bundles make more copies, whose tensors do not mix. */
export const COPY = Symbol.for("te.tensor");
export const THIS_COPY = {};
const OTHER_COPY = " of another copy of @te/tensor (bundle all @te packages or none, and install one version)";

/** Strings that read like a value of another type: "8", "true", "". */
const AMBIGUOUS = /^$|^-?(\d[\d.]*(e[-+]?\d+)?|Infinity)$|^(true|false|NaN)$/;

const LONGEST_TEXT = 200;
const MOST_ITEMS = 16;
const DEEPEST = 4;

/** A value in a message: short, whatever it is. Lists are cut, also where they hold themselves. */
export function describe(value: unknown, depth = 0): string {
  if (typeof value === "string") return AMBIGUOUS.test(value) ? `"${value}"` : shorten(value);
  if (typeof value === "function") return `function ${shorten(String(value.name || "(anonymous)"))}`;
  if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : shorten(String(value));
  try {
    return Array.isArray(value) ? describeList(value, depth) : describeObject(value);
  } catch {
    return "an object that cannot be read";
  }
}

const shorten = (text: string): string => (text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text);

function describeList(list: readonly unknown[], depth: number): string {
  if (depth === DEEPEST) return "[…]";
  const shown = Array.from({ length: Math.min(list.length, MOST_ITEMS) }, (_, i) => describe(list[i], depth + 1));
  return `[${shown.join(", ")}${list.length > MOST_ITEMS ? `, … ${list.length} in all` : ""}]`;
}

function describeObject(value: object): string {
  const { shape, dtype } = value as { shape?: unknown; dtype?: unknown };
  if (Array.isArray(shape) && typeof dtype === "string") {
    const copy = COPY in value && value[COPY] !== THIS_COPY ? OTHER_COPY : "";
    return `${dtype}${describeList(shape, 0).replaceAll(", ", ",")}${copy}`;
  }
  const name: unknown = value.constructor?.name;
  return typeof name === "string" && name !== "" ? shorten(name) : "object";
}
