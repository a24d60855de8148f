/** From a partitioned program to what some of its devices run, as one program of their parts. */
import { concat, slice, type Tensor, zerosLike } from "@te/tensor";
import { lower, type Program } from "@te/tensor/backend";
import { applyShard, barrierOp, expectFunction, fail, withTrace } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { expectDevices, expectParts } from "./check.js";
import { shardOf } from "./factors.js";
import { partOf, partShape, partsOn, placeAlong } from "./layout.js";
import { type JoinedStep, type MoveStep, type OpStep, PartitionedProgram } from "./partitioned.js";
import { isSending, type Sending } from "./reshard.js";
import { runBody } from "./shard-body.js";
import { isTogether, runTogether } from "./together.js";

/** What a value is on some devices: by device. */
export type Parts = ReadonlyMap<number, Tensor>;

/** How devices exchange parts: gives each device what it has after the move. `purpose`: the ops that ask for it. */
export type Exchange = (mesh: Mesh, move: Sending, parts: Parts, purpose: string) => Parts;

/**
 * The program of some devices. Its inputs are the distinct parts that they hold of each input, in order; so are its outputs.
 * What several devices compute alike stands in it as often, and is merged when it is compiled.
 */
export function emit(partitioned: PartitionedProgram, devices: readonly number[], by: Exchange): Program {
  if (!(partitioned instanceof PartitionedProgram))
    fail("option", "emit", "partitioned must be what partition gives", partitioned ?? String(partitioned));
  const { mesh, values, inputs, outputs, steps, donated } = partitioned;
  expectDevices("emit", mesh, devices);
  expectFunction("emit", { exchange: by });
  const exchange: Exchange = (mesh, move, parts, purpose) => {
    const after = by(mesh, move, parts, purpose);
    expectParts("emit", mesh, after, "what exchange gives");
    const missing = devices.find((device) => !after.has(device));
    if (missing !== undefined) fail("option", "emit", "exchange must give parts of all devices", `none of ${missing}`);
    return after;
  };
  return withTrace((trace) => {
    const known = new Map<number, Parts>();
    const given: Tensor[] = [];
    const donatedParts: number[] = [];
    inputs.forEach((id, position) => {
      const { aval, layout } = values[id]!;
      const of = { shape: partShape(mesh, layout, aval.shape), dtype: aval.dtype };
      const byPart = new Map(partsOn(mesh, layout, devices).map(({ part }) => [part, trace.input(of)]));
      for (const part of byPart.values()) {
        if (donated.includes(position)) donatedParts.push(given.length);
        given.push(part);
      }
      known.set(id, new Map(devices.map((device) => [device, byPart.get(partOf(mesh, layout, device))!])));
    });
    for (const step of steps) {
      if ("moves" in step) moveTogether(mesh, step, known, exchange);
      else if ("move" in step) known.set(step.output, move(partitioned, step, known.get(step.input)!, exchange));
      else if (step.body) {
        const given = step.inputs.map((id) => known.get(id)!);
        runBody(step.body, given, devices, exchange).forEach((parts, i) => {
          known.set(step.outputs[i]!, parts);
        });
      } else if (isTogether(step)) {
        // The backward pass exchanges anew what the forward pass did, so that nothing of it is kept.
        const given = step.inputs.map((id) => (id < 0 ? undefined : apart(known.get(id)!, -step.outputs[0]!)));
        runTogether(mesh, step, given, devices, exchange).forEach((parts, i) => {
          known.set(step.outputs[i]!, parts);
        });
      } else call(mesh, step, devices, known);
    }
    const results = outputs.flatMap((id) => {
      const parts = known.get(id)!;
      return partsOn(mesh, values[id]!.layout, devices).map(({ device }) => parts.get(device)!);
    });
    return lower(trace, given, results, donatedParts);
  });
}

function call(mesh: Mesh, step: OpStep, devices: readonly number[], known: Map<number, Parts>): void {
  const results = step.outputs.map(() => new Map<number, Tensor>());
  for (const device of devices) {
    const parts = step.inputs.map((id) => (id < 0 ? undefined : known.get(id)!.get(device)!));
    applyShard(shardOf(mesh, step, device), parts, step.node.params).forEach((part, i) => {
      results[i]!.set(device, part);
    });
  }
  step.outputs.forEach((id, i) => {
    known.set(id, results[i]!);
  });
}

function move({ mesh, values }: PartitionedProgram, step: MoveStep, parts: Parts, exchange: Exchange): Parts {
  const { move, output } = step;
  if (isSending(move)) return exchange(mesh, move, step.again ? apart(parts, -step.output) : parts, step.for);
  if (move.kind === "hold")
    return new Map(
      [...parts].map(([device, part]) => [
        device,
        placeAlong(mesh, device, [move.axis]) === 0 ? part : zerosLike(part),
      ]),
    );
  const { aval, layout } = values[output]!;
  const shape = partShape(mesh, layout, aval.shape);
  return new Map(
    [...parts].map(([device, part]) => [device, cut(part, move.dim, placeAlong(mesh, device, [move.axis]), shape)]),
  );
}

/** The parts of all values as one line of elements, which is exchanged and cut again. */
function moveTogether(mesh: Mesh, { moves }: JoinedStep, known: Map<number, Parts>, exchange: Exchange): void {
  const given = moves.map(({ input }) => known.get(input)!);
  const devices = [...given[0]!.keys()];
  const askers = [...new Set(moves.map((each) => each.for))].join(", ");
  const lines = devices.map(
    (device) => [device, concat(given.map((parts) => parts.get(device)!.reshape([-1])))] as const,
  );
  const together = exchange(mesh, moves[0]!.move as Sending, new Map(lines), askers);
  let start = 0;
  moves.forEach(({ output }, i) => {
    const { shape, size } = given[i]!.get(devices[0]!)!;
    const from = start;
    known.set(
      output,
      new Map(devices.map((device) => [device, slice(together.get(device)!, [from], [from + size]).reshape(shape)])),
    );
    start += size;
  });
}

/** The same parts, behind marks that keep what is made of them from being merged with what was made before. */
const apart = (parts: Parts, id: number): Parts =>
  new Map([...parts].map(([device, x]) => [device, barrierOp({ x }, { id }).y]));

/** The part of x of the given shape that stands at a place along a dimension. */
export function cut(x: Tensor, dim: number, place: number, shape: readonly number[]): Tensor {
  const start = shape.map((length, i) => (i === dim ? place * length : 0));
  return slice(
    x,
    start,
    start.map((at, i) => at + shape[i]!),
  );
}
