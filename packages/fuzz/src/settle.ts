/** Uses the result of a call as its caller would: waits, reads, calls what is a function, and gives scopes and files back. */
import { Tensor } from "@te/tensor";
import type { Draw } from "./draw.js";
import { nasty } from "./nasty.js";

const MOST_ELEMENTS = 2 ** 20;

export async function settle(draw: Draw, result: unknown, args: readonly unknown[], depth = 0): Promise<void> {
  if (result instanceof Promise) return settle(draw, await result, args, depth);
  if (result instanceof Tensor) {
    if (result.storage && result.size < MOST_ELEMENTS) await result.data();
    return;
  }
  if (typeof result !== "object" && typeof result !== "function") return;
  if (result === null || depth > 2) return;
  if (typeof result === "function") {
    if (/^class|\[native code\]/.test(Function.prototype.toString.call(result))) return;
    return settle(draw, result(...drawArguments(draw, args)), args, depth + 1);
  }
  if (args.includes(result)) return;
  if (Symbol.dispose in result) (result as Disposable)[Symbol.dispose]();
  if ("close" in result && typeof result.close === "function") await result.close();
  if (Array.isArray(result) || Object.getPrototypeOf(result) === Object.prototype)
    for (const item of Object.values(result).slice(0, 8)) await settle(draw, item, args, depth + 1);
}

/** Tensors of the call's own arguments, or anything. */
function drawArguments(draw: Draw, args: readonly unknown[]): unknown[] {
  const tensors = args.filter((arg) => arg instanceof Tensor);
  return Array.from({ length: draw.integer(0, 2) }, () =>
    tensors.length && draw.chance(0.5) ? draw.pick(tensors) : nasty(draw),
  );
}
