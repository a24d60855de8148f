/**
 * Elementwise nodes of one shape that read only what the program is given, such as casts of parameters and reciprocals of
 * FP8 scales, become one node for up to sixteen values:
 *
 *     elementwise(a) { cast bfloat16 %0 }, elementwise(b) { cast bfloat16 %0 }
 *         = elementwise(a, b) { cast bfloat16 %0; cast bfloat16 %1 }
 *
 * to the bit. The node runs before the first use of any of its results, which hold their memory from there on; large ones,
 * whose kernels take much longer than a launch, stay alone.
 */
import { elementwiseOp, joinNodes, type Pass, type Program, type ProgramNode } from "@te/tensor/backend";
import type { ParamValue } from "@te/tensor/op";

/** Elements of a large result: an H100 takes 8 µs to cast them. */
const LARGE = 2 ** 22;
/** What a joined node has at most: the kernels take so many inputs, and hold all results at once. */
const MOST = { inputs: 16, outputs: 16, instructions: 96 };

const codeOf = ({ params }: ProgramNode): readonly string[] => params.code as readonly string[];

/** Nodes side by side in one: their instructions one after the other, with the registers that they have there. */
function joinCode(members: readonly ProgramNode[]): ProgramNode {
  const inputs = [...new Set(members.flatMap((member) => member.inputs))];
  const code: string[] = [];
  const outputs = members.flatMap((member) => {
    const registers = member.inputs.map((id) => inputs.indexOf(id));
    for (const instruction of codeOf(member)) {
      const moved = instruction.replace(/%(\d+)/g, (_, register) => `%${registers[Number(register)]}`);
      const same = code.indexOf(moved);
      registers.push(inputs.length + (same < 0 ? code.push(moved) - 1 : same));
    }
    return (member.params.outputs as readonly number[]).map((register) => registers[register]!);
  });
  const params: Record<string, ParamValue> = { code, outputs };
  return { op: elementwiseOp, inputs, outputs: members.flatMap((member) => member.outputs), params };
}

function fits(members: readonly ProgramNode[]): boolean {
  const { inputs, outputs, params } = joinCode(members);
  const { length } = params.code as readonly string[];
  return inputs.length <= MOST.inputs && outputs.length <= MOST.outputs && length <= MOST.instructions;
}

/** The values that no node computes: those that the program is given, under any shape. */
function givenValues({ given, nodes }: Program): ReadonlySet<number> {
  const values = new Set(given);
  for (const { op, inputs, outputs } of nodes)
    if (op.view && !op.barrier && values.has(inputs[0]!)) values.add(outputs[0]!);
  return values;
}

/** The nodes that one node can be made of, in order. */
function findGroups(program: Program): ProgramNode[][] {
  const given = givenValues(program);
  const groups: ProgramNode[][] = [];
  const openOf = new Map<string, ProgramNode[]>();
  for (const node of program.nodes) {
    if (node.op !== elementwiseOp || !node.inputs.every((id) => given.has(id)) || node.inputs.length === 0) continue;
    const { shape } = program.values[node.outputs[0]!]!;
    if (shape.reduce((n, d) => n * d, 1) >= LARGE) continue;
    const open = openOf.get(String(shape));
    if (open && fits([...open, node])) {
      open.push(node);
      continue;
    }
    const group = [node];
    groups.push(group);
    openOf.set(String(shape), group);
  }
  return groups.filter(({ length }) => length > 1);
}

/** See above. After elementwise ops are fused, and after passes that look for some of them. */
export const joinElementwise: Pass = {
  name: "join elementwise nodes",
  run(program, { supports }) {
    const groupOf = new Map<ProgramNode, string>();
    findGroups(program).forEach((members, i) => {
      if (supports(program.spec(joinCode(members))) !== true) return;
      for (const member of members) groupOf.set(member, String(i));
    });
    return joinNodes(program, (node) => groupOf.get(node), joinCode);
  },
};
