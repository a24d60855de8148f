/**
 * Orders a program so that exchanges with other processes are under way while it computes. Exchanges keep their order among
 * each other, but for those that fetch ahead.
 */
import { byteSize, expectProgram, type Program, type ProgramNode } from "@te/tensor/backend";

/** One that gives more than it takes, and needs no other and so few nodes, fetches ahead: a weight, cast or quantized before. */
const FEW_NODES = 8;

/**
 * Every exchange starts as soon as what it sends is there: what it does not need comes after it. What needs it comes after
 * what does not. Of those that fetch ahead each starts when the one before is first needed, so that two of them hold memory
 * at a time.
 */
export function overlapExchanges(program: Program): Program {
  expectProgram("overlapExchanges", program);
  if (!program.nodes.some(({ op }) => op.exchanges)) return program;
  const ahead = fetchesAhead(program);
  return program.with({ nodes: fetchAhead(startEarly(program.nodes, ahead), ahead) });
}

/** The exchanges that fetch ahead, each with the nodes that it needs. */
function fetchesAhead({ nodes, values }: Program): Map<ProgramNode, ReadonlySet<ProgramNode>> {
  const makers = makersOf(nodes);
  const found = new Map<ProgramNode, ReadonlySet<ProgramNode>>();
  for (const node of nodes) {
    if (!node.op.exchanges || byteSize(values[node.outputs[0]!]!) <= byteSize(values[node.inputs[0]!]!)) continue;
    const needed = new Set([node]);
    for (const each of needed) {
      for (const id of each.inputs) if (makers.has(id)) needed.add(makers.get(id)!);
      if (needed.size > FEW_NODES) break;
    }
    needed.delete(node);
    if (needed.size < FEW_NODES && [...needed].every(({ op }) => !op.exchanges)) found.set(node, needed);
  }
  return found;
}

function makersOf(nodes: readonly ProgramNode[]): Map<number, ProgramNode> {
  return new Map(nodes.flatMap((node) => node.outputs.map((id): [number, ProgramNode] => [id, node])));
}

function startEarly(
  nodes: readonly ProgramNode[],
  ahead: ReadonlyMap<ProgramNode, ReadonlySet<ProgramNode>>,
): ProgramNode[] {
  const ordered: ProgramNode[] = [];
  let waiting: ProgramNode[] = [];
  let last: ProgramNode | undefined;
  const put = (some: readonly ProgramNode[]): void => {
    for (const node of some) ordered.push(node);
  };
  for (const node of nodes) {
    if (!node.op.exchanges || ahead.has(node)) {
      waiting.push(node);
      continue;
    }
    const needed = neededBy(node, waiting);
    const behind = last ? behindOf(last, waiting) : new Set<ProgramNode>();
    const needsLast = last !== undefined && [...needed, node].some((each) => behind.has(each) || reads(each, last!));
    // Where it waits for the last one, all that does not wait with it runs meanwhile.
    const early = (each: ProgramNode): boolean => (needsLast ? !behind.has(each) : needed.has(each));
    put(waiting.filter(early));
    const rest = waiting.filter((each) => !early(each));
    put(rest.filter((each) => needed.has(each)));
    ordered.push(node);
    waiting = rest.filter((each) => !needed.has(each));
    last = node;
  }
  const behind = last ? behindOf(last, waiting) : new Set<ProgramNode>();
  put(waiting.filter((each) => !behind.has(each)));
  put(waiting.filter((each) => behind.has(each)));
  return ordered;
}

const reads = (node: ProgramNode, maker: ProgramNode): boolean => node.inputs.some((id) => maker.outputs.includes(id));

/** Those of some nodes in order that a node needs. */
function neededBy(node: ProgramNode, some: readonly ProgramNode[]): Set<ProgramNode> {
  const values = new Set(node.inputs);
  const needed = new Set<ProgramNode>();
  for (const each of [...some].reverse()) {
    if (!each.outputs.some((id) => values.has(id))) continue;
    needed.add(each);
    for (const id of each.inputs) values.add(id);
  }
  return needed;
}

/** Those of some nodes in order that need a node. */
function behindOf(node: ProgramNode, some: readonly ProgramNode[]): Set<ProgramNode> {
  const values = new Set(node.outputs);
  const behind = new Set<ProgramNode>();
  for (const each of some) {
    if (!each.inputs.some((id) => values.has(id))) continue;
    behind.add(each);
    for (const id of each.outputs) values.add(id);
  }
  return behind;
}

/** Puts each exchange that fetches ahead, with what it needs, to where the one before stood. */
function fetchAhead(
  nodes: readonly ProgramNode[],
  ahead: ReadonlyMap<ProgramNode, ReadonlySet<ProgramNode>>,
): ProgramNode[] {
  const place = new Map(nodes.map((node, i) => [node, i]));
  const places = new Map(place);
  let before: number | undefined;
  for (const node of nodes) {
    const needed = ahead.get(node);
    if (!needed) continue;
    // Behind the exchange there, and in the order that they have.
    if (before !== undefined)
      for (const each of [...needed, node]) places.set(each, Math.min(places.get(each)!, before + 0.5));
    before = place.get(node)!;
  }
  return [...nodes].sort((a, b) => places.get(a)! - places.get(b)! || place.get(a)! - place.get(b)!);
}
