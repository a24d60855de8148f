/**
 * Ops applied to inputs and parameters that one of their cases has, damaged: missing, of other shapes and dtypes, of other
 * kinds. Both devices must give the same answer: results of one shape, or one error.
 */
import { type Aval, setDevice, TeError, type Tensor } from "@te/tensor";
import { applyOp, type Case, CaseBuilder, definedOps, inputNames, type OpDefinition, sizeOf } from "@te/tensor/op";
import { presentDevices } from "@te/testkit";
import type { Call } from "./call.js";
import type { Draw } from "./draw.js";
import { damage, drawTensor, nasty, oddTensor } from "./nasty.js";
import { show } from "./show.js";
import { findFault } from "./verdict.js";

const SMALL = 4096;

/** Ops with the cases that are cheap to run. */
const ops: readonly (readonly [OpDefinition, readonly Case[]])[] = [...definedOps().values()].map((op) => {
  const cases = op.cases?.(new CaseBuilder()) ?? [];
  return [op, cases.filter((c) => Object.values(c.inputs).every(({ shape }) => sizeOf(shape) <= SMALL))];
});

export function opCall(draw: Draw): Call {
  const [op, cases] = draw.pick(ops);
  const of = cases.length ? draw.pick(cases) : undefined;
  const names = of && !op.variadic ? inputNames(op) : Object.keys(of?.inputs ?? {});
  const right = names.map((name) => of?.inputs[name] && inputOf(draw, of.inputs[name]));
  const wrong = draw.next();
  const inputs = wrong < 0.55 ? damageInputs(draw, right) : right;
  const given = { ...op.params, ...of?.params };
  const params = wrong > 0.5 && wrong < 0.95 ? damage(draw, given) : given;
  return {
    kind: "op",
    text: `applyOp(${op.name}, ${show(inputs)}, ${show(params)})`,
    run: () => sameOnAll(() => applyOp(op, inputs as Tensor[], params as never)),
  };
}

const inputOf = (draw: Draw, { shape, dtype }: Aval): Tensor => drawTensor(draw, shape, dtype);

function damageInputs(draw: Draw, right: readonly (Tensor | undefined)[]): unknown {
  if (draw.chance(0.03)) return nasty(draw);
  const at = draw.below(Math.max(right.length, 1));
  const kind = draw.next();
  if (kind < 0.1) return right.slice(0, at);
  if (kind < 0.15) return [...right, oddTensor(draw)];
  return right.map((input, i) => {
    if (i !== at) return input;
    return kind < 0.3
      ? undefined
      : kind < 0.5
        ? nasty(draw)
        : input && kind < 0.75
          ? resized(draw, input)
          : oddTensor(draw);
  });
}

/** Another length of one axis, another dtype, an axis more or less. */
function resized(draw: Draw, { shape, dtype }: Tensor): Tensor {
  const at = draw.below(Math.max(shape.length, 1));
  const kind = draw.next();
  if (kind < 0.5)
    return drawTensor(
      draw,
      shape.map((d, i) => (i === at ? Math.max(0, d + draw.integer(-1, 1)) : d)),
      dtype,
    );
  if (kind < 0.65) return drawTensor(draw, [...shape, draw.below(3)], dtype);
  if (kind < 0.8) return drawTensor(draw, shape.slice(1), dtype);
  return drawTensor(
    draw,
    shape,
    draw.pick(["float32", "bfloat16", "int32", "uint32", "bool", "float8_e4m3fn"] as const),
  );
}

/** What is different between the devices, or undefined. Throws the error that all of them gave. */
async function sameOnAll(apply: () => readonly Tensor[]): Promise<string | undefined> {
  const answers: { device: string; text: string; error?: unknown }[] = [];
  for (const device of presentDevices().filter((name) => name !== "cuda")) {
    setDevice(device);
    try {
      const outputs = apply();
      for (const t of outputs) await t.data();
      answers.push({ device, text: outputs.map((t) => `${t.dtype}[${t.shape}]`).join(" ") });
    } catch (error) {
      answers.push({ device, text: String(error), error });
    }
  }
  const [first, ...rest] = answers;
  const fault = answers.map(({ error }) => error && findFault(error)).find((found) => found);
  // How much memory there is depends on the device.
  const scarce = answers.find(({ error }) => TeError.is(error) && (error as TeError).code === "memory");
  if (scarce && !fault) throw scarce.error;
  const other = rest.find(({ text }) => text !== first!.text);
  if (fault || (first!.error && !other)) throw first!.error ?? rest.find(({ error }) => error)!.error;
  return other && `${first!.device} gives ${first!.text}, but ${other.device} gives ${other.text}`;
}
