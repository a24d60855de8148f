/** A call in one line, for people who look for its error. Never throws. */
import { Tensor } from "@te/tensor";

const LONGEST = 160;

/** A value as it would be written, cut short. */
export function show(value: unknown, depth = 3): string {
  const text = write(value, depth);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

function write(value: unknown, depth: number): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return value.name || "(() => …)";
  if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : String(value);
  try {
    return writeObject(value, depth);
  } catch {
    return "(an object that throws)";
  }
}

function writeObject(value: object, depth: number): string {
  if (value instanceof Tensor) {
    const state = value.trace ? "traced " : value.storage?.isGone ? "disposed " : "";
    return `${state}${value.dtype}[${value.shape}]`;
  }
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`;
  if (depth === 0) return "…";
  if (Array.isArray(value)) {
    const items = Array.from({ length: Math.min(value.length, 6) }, (_, i) => write(value[i], depth - 1));
    return `[${items.join(", ")}${value.length > 6 ? `, … ${value.length} in all` : ""}]`;
  }
  const name = Object.getPrototypeOf(value)?.constructor?.name ?? "";
  const entries = Object.entries(value).map(([key, item]) => `${key}: ${write(item, depth - 1)}`);
  return `${name === "Object" || name === "" ? "" : `${name} `}{ ${entries.join(", ")} }`;
}
