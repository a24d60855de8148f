/**
 * Decides where every value of a program lives: in an input, in an output, or at an offset of the arena. Values whose
 * lifetimes do not overlap share memory. A reshape shares its operand's memory; an output takes over a donated input,
 * and an in-place op takes over an operand that dies with it, where nobody reads the old contents later.
 */
import { byteSize, sameAval, sizeOf } from "../aval.js";
import { bytesOf } from "../dtype.js";
import { inputNames } from "../op.js";
import { elementwiseOp } from "./fuse.js";
import type { Program, ProgramNode } from "./program.js";

export type Location =
  | { readonly kind: "input"; readonly at: number }
  | { readonly kind: "arena"; readonly at: number }
  | { readonly kind: "output"; readonly at: number };

/** Where each value of a program lies in the arena. */
export interface MemoryPlan {
  readonly program: Program;
  /** Per value; undefined for values that no node touches. */
  readonly locations: readonly (Location | undefined)[];
  /** Per output, the position of the donated input whose memory it takes over, or -1. */
  readonly aliases: readonly number[];
  readonly arenaBytes: number;
}

const ALIGN = 64;
const align = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;
const isView = (node: ProgramNode): boolean => node.op.name === "reshape";

/** Values that share memory: a value and its reshapes. */
interface Block {
  readonly bytes: number;
  first: number;
  last: number;
  input: number;
  output: number;
}

/** Lays the values of a program out in one arena, by how long each is needed. */
export function planMemory(original: Program): MemoryPlan {
  const program = separateOutputs(original);
  const blockOf = formBlocks(program);
  const nodes = program.nodes.filter((node) => !isView(node));
  const order = new Map(program.nodes.map((node, i) => [node, i]));
  const aliases = takeOverDonated(program, blockOf, nodes, order);
  const { offsets, arenaBytes } = placeArena(program, blockOf, nodes, order);
  const locations = program.values.map((_, id): Location | undefined => {
    const block = blockOf[id];
    if (!block) return undefined;
    if (block.input >= 0) return { kind: "input", at: block.input };
    if (block.output >= 0) return { kind: "output", at: block.output };
    const at = offsets.get(block);
    return at === undefined ? undefined : { kind: "arena", at };
  });
  return { program: program.with({ nodes }), locations, aliases, arenaBytes };
}

/** Gives every output a value of its own: outputs that are inputs, repeats, or reshapes of either are copied. */
function separateOutputs(program: Program): Program {
  const values = [...program.values];
  const nodes = [...program.nodes];
  const roots = new Map<number, number>();
  for (const node of program.nodes) if (isView(node)) roots.set(node.outputs[0]!, node.inputs[0]!);
  const rootOf = (id: number): number => (roots.has(id) ? rootOf(roots.get(id)!) : id);
  const taken = new Set(program.given);
  const outputs = program.outputs.map((id) => {
    const root = rootOf(id);
    if (!taken.has(root)) {
      taken.add(root);
      return id;
    }
    const copy = values.push(values[id]!) - 1;
    nodes.push({ op: copyOp, inputs: [id], outputs: [copy], params: {} });
    return copy;
  });
  return program.with({ values, nodes, outputs });
}

/** Copies bytes; made by the planner only. */
const copyOp = { ...elementwiseOp, name: "copy", variadic: false, inputs: ["x"], params: {} };

function formBlocks(program: Program): Block[] {
  const blocks: Block[] = new Array(program.values.length);
  const make = (id: number, first: number): Block =>
    (blocks[id] = { bytes: byteSize(program.values[id]!), first, last: first, input: -1, output: -1 });
  program.given.forEach((id, i) => {
    make(id, -1).input = i;
  });
  program.nodes.forEach((node, i) => {
    for (const id of node.inputs) if (id >= 0) blocks[id]!.last = i;
    if (isView(node)) blocks[node.outputs[0]!] = blocks[node.inputs[0]!]!;
    else for (const id of node.outputs) make(id, i);
  });
  program.outputs.forEach((id, j) => {
    blocks[id]!.output = j;
    blocks[id]!.last = Number.POSITIVE_INFINITY;
  });
  return blocks;
}

/** Pairs (operand, output) of a node that may share memory: elementwise of equal shape and width, or declared in place. */
function inPlacePairs(program: Program, node: ProgramNode): [number, number][] {
  const pairs: [number, number][] = [];
  if (node.op === elementwiseOp) {
    for (const out of node.outputs) {
      const to = program.values[out]!;
      for (const id of node.inputs) {
        const from = program.values[id]!;
        if (sizeOf(from.shape) === sizeOf(to.shape) && bytesOf(from.dtype) === bytesOf(to.dtype)) pairs.push([id, out]);
      }
    }
  }
  const names = inputNames(node.op, node.inputs.length);
  for (const [input, output] of node.op.inPlace ?? []) {
    const id = node.inputs[names.indexOf(input)] ?? -1;
    const out = node.outputs[node.op.outputs.indexOf(output)]!;
    if (id >= 0 && sameAval(program.values[id]!, program.values[out]!)) pairs.push([id, out]);
  }
  return pairs;
}

function takeOverDonated(
  program: Program,
  blockOf: Block[],
  nodes: readonly ProgramNode[],
  order: Map<ProgramNode, number>,
): number[] {
  const aliases = new Array<number>(program.outputs.length).fill(-1);
  const free = new Set(program.donated.filter((i) => blockOf[program.given[i]!]!.output < 0));
  const take = (input: number, output: Block): void => {
    aliases[output.output] = input;
    free.delete(input);
  };
  const wants = (block: Block): boolean => block.output >= 0 && block.input < 0 && aliases[block.output] === -1;
  for (const node of nodes) {
    for (const [from, to] of inPlacePairs(program, node)) {
      const source = blockOf[from]!;
      const target = blockOf[to]!;
      if (wants(target) && free.has(source.input) && source.last === order.get(node)) take(source.input, target);
    }
  }
  for (const id of program.outputs) {
    const target = blockOf[id]!;
    if (!wants(target)) continue;
    for (const i of free) {
      const source = blockOf[program.given[i]!]!;
      if (source.bytes === target.bytes && source.last < target.first) {
        take(i, target);
        break;
      }
    }
  }
  return aliases;
}

function placeArena(
  program: Program,
  blockOf: Block[],
  nodes: readonly ProgramNode[],
  order: Map<ProgramNode, number>,
) {
  const offsets = new Map<Block, number>();
  const live: { block: Block; offset: number; bytes: number }[] = [];
  let arenaBytes = 0;
  const inArena = (block: Block): boolean => block.input < 0 && block.output < 0;
  const place = (block: Block): void => {
    const bytes = align(block.bytes);
    live.sort((a, b) => a.offset - b.offset);
    let best = -1;
    let bestGap = Number.POSITIVE_INFINITY;
    let end = 0;
    for (const other of live) {
      const gap = other.offset - end;
      if (gap >= bytes && gap < bestGap) [best, bestGap] = [end, gap];
      end = Math.max(end, other.offset + other.bytes);
    }
    const offset = best >= 0 ? best : end;
    offsets.set(block, offset);
    live.push({ block, offset, bytes });
    arenaBytes = Math.max(arenaBytes, offset + bytes);
  };
  for (const node of nodes) {
    const now = order.get(node)!;
    for (let i = live.length - 1; i >= 0; i--) if (live[i]!.block.last < now) live.splice(i, 1);
    const pairs = inPlacePairs(program, node);
    for (const out of node.outputs) {
      const block = blockOf[out]!;
      if (!inArena(block)) continue;
      const pair = pairs.find(([from, to]) => {
        const source = blockOf[from]!;
        return (
          to === out && inArena(source) && source.last === now && source.bytes === block.bytes && offsets.has(source)
        );
      });
      const held = pair && live.find((entry) => entry.block === blockOf[pair[0]]);
      if (held) {
        offsets.set(block, held.offset);
        live.splice(live.indexOf(held), 1, { ...held, block });
      } else place(block);
    }
  }
  return { offsets, arenaBytes };
}
