/** Ops outside of a trace: each runs as a program of one node, and compiled programs are kept. */
import { Lru } from "../lru.js";
import { formatParams, inferShapes, type OpDefinition, type Params } from "../op.js";
import type { Tensor } from "../tensor.js";
import { type Compiled, compile, compileKey, dispose, execute } from "./compile.js";
import { Program } from "./program.js";

const cache = new Lru<Compiled>(4096, dispose);

/** Runs one op now, as a program of one node that is compiled once per op, parameters, shapes and dtypes. */
export function runEager(op: OpDefinition, inputs: readonly (Tensor | undefined)[], params: Params): Tensor[] {
  const present = inputs.filter((t) => t !== undefined);
  const avals = inputs.map((t) => (t ? `${t.dtype}[${t.shape}]` : "-")).join(" ");
  const key = `${compileKey()} ${op.key} ${avals} ${formatParams(params)}`;
  let compiled = cache.get(key);
  if (!compiled) {
    compiled = compile(oneOpProgram(op, inputs, params));
    cache.set(key, compiled);
  }
  return execute(compiled, present);
}

function oneOpProgram(op: OpDefinition, inputs: readonly (Tensor | undefined)[], params: Params): Program {
  const outputs = inferShapes(op, inputs, params);
  if (op.transparent) return new Program(outputs, [0], [], [], [0]);
  let next = 0;
  const ids = inputs.map((t) => (t ? next++ : -1));
  const given = ids.filter((id) => id >= 0);
  const values = [...inputs.filter((t) => t !== undefined).map(({ shape, dtype }) => ({ shape, dtype })), ...outputs];
  const outs = outputs.map((_, i) => next + i);
  return new Program(values, given, [], [{ op, inputs: ids, outputs: outs, params }], outs, [], op.name);
}
