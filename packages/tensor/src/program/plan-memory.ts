/**
 * Decides where every value of a program lives: in an input, in an output, or at an offset of the arena. Values whose
 * lifetimes do not overlap share memory. A view shares its operand's memory; an output takes over a donated input,
 * and an in-place op takes over an operand that dies with it, where nobody reads the old contents later.
 */
import { byteSize, sameAval, sizeOf } from "../aval.js";
import { bytesOf } from "../dtype.js";
import { inputNames, type OpDefinition } from "../op.js";
import { Arena } from "./arena.js";
import { checksFirst } from "./checks-first.js";
import { elementwiseOp } from "./fuse.js";
import { expectProgram, type Program, type ProgramNode } from "./program.js";

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

const isView = (node: ProgramNode): boolean => node.op.view === true;

/** Values that share memory: a value and its views. */
interface Block {
  readonly bytes: number;
  first: number;
  last: number;
  input: number;
  output: number;
}

/** Lays the values of a program out in one arena, by how long each is needed. */
export function planMemory(original: Program): MemoryPlan {
  expectProgram("planMemory", original);
  const program = separateOutputs(checksFirst(original));
  const blockOf = formBlocks(program);
  const aliases = takeOverDonated(program, blockOf);
  const { offsets, arenaBytes } = placeArena(program, blockOf);
  const locations = program.values.map((_, id): Location | undefined => {
    const block = blockOf[id];
    if (!block) return undefined;
    if (block.input >= 0) return { kind: "input", at: block.input };
    if (block.output >= 0) return { kind: "output", at: block.output };
    const at = offsets.get(block);
    return at === undefined ? undefined : { kind: "arena", at };
  });
  const nodes = program.nodes.filter((node) => !isView(node));
  return { program: program.with({ nodes }), locations, aliases, arenaBytes };
}

/** Gives every output a value of its own: outputs that are inputs, repeats, or views of either are copied. */
function separateOutputs(program: Program): Program {
  const values = [...program.values];
  const nodes = [...program.nodes];
  const roots = new Map<number, number>();
  const rootOf = (id: number): number => roots.get(id) ?? id;
  for (const node of program.nodes) if (isView(node)) roots.set(node.outputs[0]!, rootOf(node.inputs[0]!));
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
const copyOp: OpDefinition = {
  ...elementwiseOp,
  name: "copy",
  variadic: false,
  inputs: ["x"],
  params: {},
  evaluate: ({ x }, _, { y }) => y!.data.set(x!.data as never),
};

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
  keepExchanged(program, blocks);
  return blocks;
}

/** What an exchange reads lives until its result is first read: it may be under way till then. */
function keepExchanged({ nodes }: Program, blocks: readonly Block[]): void {
  const exchanges = nodes.filter((node) => node.op.exchanges);
  if (exchanges.length === 0) return;
  const firstRead = new Map<Block, number>();
  nodes.forEach((node, i) => {
    if (isView(node)) return;
    for (const id of node.inputs) if (id >= 0 && !firstRead.has(blocks[id]!)) firstRead.set(blocks[id]!, i);
  });
  for (const { inputs, outputs } of exchanges) {
    const until = Math.min(...outputs.map((id) => firstRead.get(blocks[id]!) ?? nodes.length - 1));
    for (const id of inputs) blocks[id]!.last = Math.max(blocks[id]!.last, until);
  }
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

function takeOverDonated(program: Program, blockOf: readonly Block[]): number[] {
  const aliases = new Array<number>(program.outputs.length).fill(-1);
  const { given } = program;
  const free = new Set(program.donated.filter((i) => blockOf[given[i]!]!.output < 0));
  const take = (input: number, output: Block): void => {
    aliases[output.output] = input;
    free.delete(input);
  };
  const wants = (block: Block): boolean => block.output >= 0 && block.input < 0 && aliases[block.output] === -1;
  // A run that refuses a value leaves its donated inputs as they were: nothing is written over them before that.
  const lastCheck = program.nodes.findLastIndex((node) => node.op.checks);
  program.nodes.forEach((node, now) => {
    if (isView(node) || now <= lastCheck) return;
    for (const [from, to] of inPlacePairs(program, node)) {
      const source = blockOf[from]!;
      const target = blockOf[to]!;
      if (wants(target) && free.has(source.input) && source.last === now) take(source.input, target);
    }
  });
  // What is left goes to outputs of its size that are made after its last use, those that die first to the first.
  const bySize = new Map<number, Block[]>();
  for (const i of free) {
    const block = blockOf[given[i]!]!;
    const others = bySize.get(block.bytes);
    if (others) others.push(block);
    else bySize.set(block.bytes, [block]);
  }
  for (const blocks of bySize.values()) blocks.sort((a, b) => b.last - a.last);
  for (const id of program.outputs) {
    const target = blockOf[id]!;
    if (!wants(target)) continue;
    const sources = target.first > lastCheck ? bySize.get(target.bytes) : undefined;
    if (sources?.length && sources.at(-1)!.last < target.first) take(sources.pop()!.input, target);
  }
  return aliases;
}

function placeArena(program: Program, blockOf: readonly Block[]) {
  const arena = new Arena();
  const offsets = new Map<Block, number>();
  const inArena = (block: Block): boolean => block.input < 0 && block.output < 0;
  /** Blocks by their last node, which give their memory back behind it. */
  const dying: Block[][] = program.nodes.map(() => []);
  const takenOver = new Set<Block>();
  program.nodes.forEach((node, now) => {
    if (!isView(node)) {
      const pairs = inPlacePairs(program, node);
      for (const out of node.outputs) {
        const block = blockOf[out]!;
        if (!inArena(block)) continue;
        const pair = pairs.find(([from, to]) => {
          const source = blockOf[from]!;
          return to === out && source.last === now && source.bytes === block.bytes && canBeTaken(source);
        });
        const source = pair && blockOf[pair[0]]!;
        if (source) takenOver.add(source);
        offsets.set(block, source ? offsets.get(source)! : arena.take(block.bytes));
        dying[block.last]!.push(block);
      }
    }
    for (const block of dying[now]!) if (!takenOver.has(block)) arena.give(offsets.get(block)!, block.bytes);
  });
  function canBeTaken(source: Block): boolean {
    return inArena(source) && offsets.has(source) && !takenOver.has(source);
  }
  return { offsets, arenaBytes: arena.bytes };
}
