/** Which ops a backend has kernels for, and why not where it has none. */
import { type Aval, currentBackend, type DType, makeProgram, setDevice, type Tensor, tensor } from "@te/tensor";
import type { NodeSpec } from "@te/tensor/backend";
import { allocate, type Case, CaseBuilder, definedOps, inputNames, type OpDefinition, sizeOf } from "@te/tensor/op";
import { gradientOfCase, orderedNames, outputAvals } from "./gradient.js";
import { callOp } from "./oracle.js";

export interface SupportRow {
  readonly op: string;
  readonly dtype: DType;
  readonly taken: number;
  readonly declined: number;
  /** The distinct reasons of the backend. */
  readonly reasons: readonly string[];
}

/** Runs f with a device chosen, and chooses the one before again. */
function onDevice<T>(name: string, f: () => T): T {
  const before = currentBackend().name;
  setDevice(name);
  try {
    return f();
  } finally {
    setDevice(before);
  }
}

/** Why a backend has no kernel for a case; undefined when it has one. */
export function explain(backend: string, op: OpDefinition, of: Case): string | undefined {
  if (op.view) return undefined; // it shares memory
  const names = inputNames(op, Object.keys(of.inputs).length);
  const inputs = names.map((name): Aval | null => of.inputs[name] ?? null);
  const params = { ...op.params, ...of.params };
  return ask(backend, { op: op.name, inputs, outputs: outputAvals(op, of), params });
}

function ask(backend: string, node: NodeSpec): string | undefined {
  const answer = onDevice(backend, () => currentBackend().supports(node));
  return answer === true ? undefined : answer;
}

/** A tensor to trace with. */
const blank = ({ shape, dtype }: Aval): Tensor => tensor(allocate(dtype, sizeOf(shape)), { shape, dtype });

/** An op without a kernel, and the backend's reason. */
export interface Declined {
  readonly op: string;
  readonly why: string;
}

/** What a backend has no kernel for in a case and its gradient, each op and reason once. */
export function declinedOps(backend: string, op: OpDefinition, of: Case): Declined[] {
  const names = orderedNames(op, of);
  const inputs = names.map((name) => blank(of.inputs[name]!));
  const call = (...given: Tensor[]) => callOp(op, Object.fromEntries(names.map((n, i) => [n, given[i]!])), of.params);
  const programs = [makeProgram(call)(...inputs)];
  const gradient = gradientOfCase(op, of);
  if (gradient) {
    const cotangents = gradient.avals.map(blank);
    programs.push(makeProgram(gradient.pull)(...cotangents, ...inputs));
  }
  const declined = new Map<string, Declined>();
  for (const program of programs) {
    for (const node of program.nodes) {
      if (node.op.view) continue;
      const why = ask(backend, program.spec(node));
      if (why !== undefined) declined.set(`${node.op.name}: ${why}`, { op: node.op.name, why });
    }
  }
  return [...declined.values()];
}

/** How many cases of each op and dtype (that of the first input) a backend takes and declines, benchmarks included. */
export function support(backend: string): SupportRow[] {
  const rows = new Map<string, { op: string; dtype: DType; taken: number; declined: number; reasons: Set<string> }>();
  for (const op of definedOps().values()) {
    for (const of of op.cases?.(new CaseBuilder()) ?? []) {
      const first = orderedNames(op, of)[0];
      const dtype = first === undefined ? outputAvals(op, of)[0]!.dtype : of.inputs[first]!.dtype;
      const key = `${op.name} ${dtype}`;
      const row = rows.get(key) ?? { op: op.name, dtype, taken: 0, declined: 0, reasons: new Set() };
      rows.set(key, row);
      const why = explain(backend, op, of);
      if (why === undefined) row.taken++;
      else {
        row.declined++;
        row.reasons.add(why);
      }
    }
  }
  return [...rows.values()].map((row) => ({ ...row, reasons: [...row.reasons] }));
}

/** The support of a backend as text, one line per op and dtype that has a declined case. */
export function formatDeclined(rows: readonly SupportRow[]): string {
  const lines = rows
    .filter((row) => row.declined)
    .map(({ op, dtype, taken, declined, reasons }) => {
      return `${op} ${dtype}: ${declined} of ${taken + declined} cases declined (${reasons.join("; ")})`;
    });
  return lines.join("\n");
}
