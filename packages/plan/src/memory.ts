/** The memory of a device over a step: what it holds throughout, and what is alive after each node. */
import { byteSize, type MemoryPlan, type Program, type ProgramNode, planMemory } from "@te/tensor/backend";
import { exchangeOf } from "./exchange.js";

/** Bytes at the moment when most memory is used. */
export interface Memory {
  readonly parameters: number;
  readonly optimizer: number;
  /** Other inputs of the step, such as tokens, and constants. */
  readonly inputs: number;
  /** Results that take over no memory of inputs. */
  readonly results: number;
  /** Values between nodes: what the backward pass waits for, gradients, and operands of the moment. */
  readonly activations: number;
  /** Of what collectives gave: gathered weights, sums of gradients. */
  readonly exchanged: number;
  /** Gaps between values in the arena, and the largest scratch of a kernel. */
  readonly workspace: number;
  readonly peak: number;
}

/** What an input of a step is. */
export type Role = "parameters" | "optimizer" | "inputs";

export interface Usage {
  readonly memory: Memory;
  /** The program in the order in which it runs, without views. */
  readonly program: Program;
  /** Bytes while each of its nodes runs: all that is held throughout, and what is alive. */
  readonly live: readonly number[];
}

/** The largest scratch of a kernel, and that of an exchange which runs beside kernels: the next one does not read it. */
function scratchIn(program: Program, scratch: (program: Program, node: ProgramNode) => number): number {
  const { nodes } = program;
  let [most, aside] = [0, 0];
  nodes.forEach((node, i) => {
    const bytes = scratch(program, node);
    const next = nodes[i + 1];
    if (node.op.exchanges && next && !next.inputs.includes(node.outputs[0]!)) aside = Math.max(aside, bytes);
    else most = Math.max(most, bytes);
  });
  return most + aside;
}

/** `roles`: of each given value of the program. `scratch`: bytes that a kernel takes beside its operands. */
export function usageOf(
  original: Program,
  roles: readonly Role[],
  scratch: (program: Program, node: ProgramNode) => number,
): Usage {
  const plan = planMemory(original);
  const { program, aliases, arenaBytes } = plan;
  const held: Record<Role, number> = { parameters: 0, optimizer: 0, inputs: 0 };
  program.given.forEach((id, i) => {
    held[roles[i]!] += byteSize(program.values[id]!);
  });
  const results = program.outputs.reduce((n, id, i) => n + (aliases[i] === -1 ? byteSize(program.values[id]!) : 0), 0);
  const always = held.parameters + held.optimizer + held.inputs + results;
  const workspace = arenaBytes + scratchIn(program, scratch);
  const alive = aliveDuring(plan);
  const most = alive.reduce((best, now) => (now.bytes > best.bytes ? now : best), { bytes: 0, exchanged: 0 });
  return {
    memory: {
      ...held,
      results,
      activations: most.bytes - most.exchanged,
      exchanged: most.exchanged,
      workspace: workspace - most.bytes,
      peak: always + workspace,
    },
    program,
    live: alive.map(({ bytes }) => always + bytes),
  };
}

interface Alive {
  readonly bytes: number;
  readonly exchanged: number;
}

/** Bytes of the arena in use while each node runs. Views are no nodes here: what reads one reads what lies there. */
function aliveDuring({ program, locations }: MemoryPlan): Alive[] {
  const placeOf = (id: number): number => {
    const location = id < 0 ? undefined : locations[id];
    return location?.kind === "arena" ? location.at : -1;
  };
  /** For each value by its first node: the last node that reads its place before another value is there. */
  const holder = new Map<number, number>();
  const last = new Map<number, number>();
  program.nodes.forEach((node, now) => {
    for (const id of node.inputs) if (placeOf(id) >= 0) last.set(holder.get(placeOf(id))!, now);
    for (const id of node.outputs) {
      if (placeOf(id) < 0) continue;
      holder.set(placeOf(id), id);
      last.set(id, now);
    }
  });
  const dying: number[][] = program.nodes.map(() => []);
  for (const [id, now] of last) dying[now]!.push(id);
  const now = { bytes: 0, exchanged: 0 };
  const here = new Map<number, { readonly id: number; readonly bytes: number; readonly isExchanged: boolean }>();
  const leave = (at: number): void => {
    const there = here.get(at);
    if (!there) return;
    here.delete(at);
    now.bytes -= there.bytes;
    if (there.isExchanged) now.exchanged -= there.bytes;
  };
  return program.nodes.map((node, i) => {
    const isExchanged = exchangeOf(node) !== undefined;
    for (const id of node.outputs) {
      const at = placeOf(id);
      if (at < 0) continue;
      leave(at);
      const bytes = byteSize(program.values[id]!);
      here.set(at, { id, bytes, isExchanged });
      now.bytes += bytes;
      if (isExchanged) now.exchanged += bytes;
    }
    const during = { ...now };
    for (const id of dying[i]!) if (here.get(placeOf(id))?.id === id) leave(placeOf(id));
    return during;
  });
}
