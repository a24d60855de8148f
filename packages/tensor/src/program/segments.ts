/**
 * Programs of which the device lacks some ops: they are cut into stretches that run on the device and stretches that the
 * reference runs on the host, as few as the order of their values allows.
 */
import type { Aval } from "../aval.js";
import type { Backend, DeviceBuffer, Executable } from "../backend.js";
import { viewAs } from "../dtype.js";
import { evaluateProgram } from "../reference/evaluate.js";
import { Program, type ProgramNode } from "./program.js";

/** A stretch of a program, as a program over the same numbers of values. */
export interface Segment {
  readonly program: Program;
  readonly onHost: boolean;
}

/** Cuts a program. Nodes keep their order within a stretch. */
export function cutSegments(program: Program, isOnHost: (node: ProgramNode) => boolean): Segment[] {
  // Stretches alternate: even levels run on the device, odd ones on the host. A node goes to the first of its kind at
  // which its operands are there.
  const levelOf = new Map<number, number>();
  const levels: ProgramNode[][] = [];
  for (const node of program.nodes) {
    const ready = Math.max(0, ...node.inputs.map((id) => levelOf.get(id) ?? 0));
    const level = ready % 2 === (isOnHost(node) ? 1 : 0) ? ready : ready + 1;
    for (const id of node.outputs) levelOf.set(id, level);
    levels[level] ??= [];
    levels[level].push(node);
  }
  const cut: Segment[] = [];
  const needed = new Set(program.outputs);
  for (let level = levels.length - 1; level >= 0; level--) {
    const nodes = levels[level] ?? [];
    if (nodes.length === 0) continue;
    const made = new Set(nodes.flatMap(({ outputs }) => outputs));
    const outputs = [...made].filter((id) => needed.has(id));
    const inputs = [...new Set(nodes.flatMap((node) => node.inputs))].filter((id) => id >= 0 && !made.has(id));
    for (const id of inputs) needed.add(id);
    cut.unshift({
      program: new Program(program.values, inputs, [], nodes, outputs, [], program.name),
      onHost: level % 2 === 1,
    });
  }
  return cut;
}

/** Runs stretches one after the other. What the host computes is read from the device, which the caller waits for. */
export class SegmentedExecutable implements Executable {
  private readonly steps: readonly { readonly program: Program; readonly executable: Executable | undefined }[];

  constructor(
    private readonly program: Program,
    segments: readonly Segment[],
    private readonly backend: Backend,
    compile: (program: Program) => Executable,
  ) {
    this.steps = segments.map(({ program, onHost }) => ({
      program,
      executable: onHost ? undefined : compile(program),
    }));
  }

  run(inputs: readonly DeviceBuffer[]): DeviceBuffer[] {
    const buffers = new Map<number, DeviceBuffer>();
    this.program.given.forEach((id, i) => buffers.set(id, inputs[i]!));
    const made = new Set<number>();
    for (const { program, executable } of this.steps) {
      const operands = program.inputs.map((id) => buffers.get(id)!);
      const results = executable ? executable.run(operands) : this.runOnHost(program, operands);
      program.outputs.forEach((id, i) => {
        buffers.set(id, results[i]!);
        made.add(id);
      });
    }
    const taken = new Set<number>();
    const outputs = this.program.outputs.map((id) => {
      const own = made.has(id) && !taken.has(id);
      taken.add(id);
      return own ? buffers.get(id)! : this.backend.fromHost(buffers.get(id)!.readSync(), "take");
    });
    for (const id of made) if (!taken.has(id)) buffers.get(id)!.release();
    return outputs;
  }

  private runOnHost(program: Program, operands: readonly DeviceBuffer[]): DeviceBuffer[] {
    const given = operands.map((buffer, i) => hostArray(program.values[program.inputs[i]!]!, buffer.readSync()));
    return evaluateProgram(program, given).map(({ data }) =>
      this.backend.fromHost(
        new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).slice(),
        "take",
      ),
    );
  }

  dispose(): void {
    for (const { executable } of this.steps) executable?.dispose();
  }
}

const hostArray = ({ shape, dtype }: Aval, bytes: Uint8Array) => ({ shape, dtype, data: viewAs(dtype, bytes) });
