/** Calls of functions, classes and methods with one thing wrong in their arguments, or with arguments of any kind. */
import { makeProgram, Tensor } from "@te/tensor";
import type { Call } from "./call.js";
import type { Draw } from "./draw.js";
import { damage, nasty, oddTensor } from "./nasty.js";
import { settle } from "./settle.js";
import { show } from "./show.js";
import { findTargets, INTERNAL, type Target } from "./targets.js";
import { MEMBER_CALLS, PACKAGE_CALLS } from "./valid-package-calls.js";
import { type Arguments, Make, TENSOR_CALLS } from "./valid-tensor-calls.js";

const VALID: Readonly<Record<string, Arguments>> = { ...TENSOR_CALLS, ...PACKAGE_CALLS };
const targets = findTargets();

/** Names for which right arguments are known and which nothing exports: of use to a test. */
export const unknownNames = (): string[] =>
  Object.keys(VALID).filter((name) => !targets.some((target) => target.name === name));

export function wrongCall(draw: Draw): Call {
  const target = draw.pick(targets);
  const [receiver, args] = drawCall(draw, target);
  const call = (): unknown =>
    target.kind === "class" ? Reflect.construct(target.f, args) : Reflect.apply(target.f, receiver, args);
  const traced = draw.chance(0.1);
  const text = `${target.kind === "class" ? "new " : ""}${target.name}(${args.map((arg) => show(arg)).join(", ")})`;
  return {
    kind: "call",
    text: `${target.kind === "method" ? `on ${show(receiver)} ` : ""}${traced ? "traced " : ""}${text}`,
    run: async () => {
      let result: unknown;
      if (traced)
        makeProgram(() => {
          result = call();
          return null;
        })();
      if (traced) await (result instanceof Promise ? result : undefined);
      else await use(draw, target, call(), args);
      return undefined;
    },
  };
}

function drawCall(draw: Draw, { name, kind }: Target): [receiver: unknown, args: unknown[]] {
  const short = name.replace("Tensor.", "").replace("astype", "cast");
  const method = kind === "method";
  const right = Object.hasOwn(VALID, short) ? VALID[short]!(new Make(draw)) : undefined;
  if (!right || draw.chance(0.2)) {
    const args = Array.from({ length: draw.integer(0, 4) }, () => nasty(draw));
    return [method ? (draw.chance(0.9) ? oddTensor(draw) : nasty(draw)) : undefined, args];
  }
  const args = draw.chance(0.9) ? damageArguments(draw, right) : [...right];
  if (!method) return [undefined, args];
  const receiver = args[0] instanceof Tensor || draw.chance(0.3) ? args[0] : right[0];
  return [receiver, args.slice(1)];
}

function damageArguments(draw: Draw, args: readonly unknown[]): unknown[] {
  if (args.length === 0 || draw.chance(0.05)) return [...args, nasty(draw)];
  if (draw.chance(0.1)) return args.slice(0, draw.below(args.length));
  const at = draw.below(args.length);
  return args.map((arg, i) => (i === at ? damage(draw, arg) : arg));
}

/** Uses what a call gave: an object's functions too. */
async function use(draw: Draw, target: Target, result: unknown, args: readonly unknown[]): Promise<void> {
  if (target.kind === "class" || (isPlain(result) && !(Symbol.dispose in result)))
    await callMember(draw, result as object);
  await settle(draw, result, args);
}

const isPlain = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);

async function callMember(draw: Draw, of: object): Promise<void> {
  // Maps are registers of the process.
  if (of instanceof Tensor || of instanceof Promise || of instanceof Map || ArrayBuffer.isView(of)) return;
  const names = [...Object.keys(of), ...Object.getOwnPropertyNames(Object.getPrototypeOf(of) ?? {})];
  const functions = names.filter(
    (name) => !INTERNAL.has(name) && typeof Reflect.get(of, name) === "function" && !name.startsWith("__"),
  );
  if (Object.getPrototypeOf(of) === null || functions.length === 0 || functions.includes("hasOwnProperty")) return;
  const name = draw.pick(functions);
  const right = Object.hasOwn(MEMBER_CALLS, name) ? MEMBER_CALLS[name]!(new Make(draw)) : undefined;
  const given = right ? damageArguments(draw, right) : [nasty(draw)];
  await settle(draw, Reflect.apply(Reflect.get(of, name), of, given), given);
}
