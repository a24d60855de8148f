/** What kind of rule was broken. Stable across versions; messages are not. */
export type ErrorCode =
  | "shape"
  | "dtype"
  | "option"
  | "file"
  | "memory"
  | "index"
  | "disposed"
  | "traced"
  | "backend"
  | "unsupported"
  | "state";

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
  const got = value === undefined ? "" : `, got ${describe(value)}`;
  throw new TeError(code, `${fn}: ${rule}${got}.${wayOut ? ` ${wayOut}` : ""}`);
}

/** What the tensors of this copy of the package carry under this name; bundles make more copies, whose tensors do not mix. */
export const COPY = Symbol.for("te.tensor");
export const THIS_COPY = {};
const OTHER_COPY = " of another copy of @te/tensor (bundle all @te packages or none, and install one version)";

/** Strings that read like a value of another type: "8", "true", "". */
const AMBIGUOUS = /^$|^-?(\d[\d.]*(e[-+]?\d+)?|Infinity)$|^(true|false|NaN)$/;

function describe(value: unknown): string {
  if (typeof value === "string") return AMBIGUOUS.test(value) ? `"${value}"` : value;
  if (Array.isArray(value)) return `[${value.map(describe).join(", ")}]`;
  if (typeof value === "object" && value !== null && "shape" in value && "dtype" in value) {
    const copy = COPY in value && value[COPY] !== THIS_COPY ? OTHER_COPY : "";
    return `${value.dtype}[${(value.shape as number[]).join(",")}]${copy}`;
  }
  if (typeof value === "function") return `function ${value.name || "(anonymous)"}`;
  if (typeof value === "object" && value !== null) return value.constructor?.name ?? "object";
  return String(value);
}
