/** Checks of what functions of the partitioner are given by other packages: meshes, layouts, devices, moves and parts. */
import {
  expectList,
  expectNumbers,
  expectObject,
  expectString,
  expectStrings,
  expectTensor,
  fail,
} from "@te/tensor/op";
import { Mesh } from "../mesh.js";
import type { Parts } from "./emit.js";
import { countAlong, type Layout } from "./layout.js";
import type { Sending } from "./reshard.js";

const REDUCTIONS: readonly unknown[] = ["sum", "max", "min"];

export function expectMesh(fn: string, mesh: Mesh): void {
  if (!(mesh instanceof Mesh))
    fail("option", fn, "mesh must be a Mesh", mesh ?? String(mesh), "Pass new Mesh({ data: 2 }).");
}

/** Throws unless they are axes of the mesh, each once. */
export function expectAxes(fn: string, mesh: Mesh, name: string, axes: readonly string[]): void {
  expectStrings(fn, { [name]: axes });
  if (axes.some((axis) => !Object.hasOwn(mesh.shape, axis)) || new Set(axes).size !== axes.length)
    fail("option", fn, `${name} must be axes of ${mesh}, each once`, axes);
}

/** Throws unless it is of the form of a layout. */
export function expectLayout(fn: string, layout: Layout, name = "layout"): void {
  expectObject(fn, { [name]: layout });
  const { dims, partial } = layout;
  expectList(fn, "lists of axes, one for each dimension", { [`${name}.dims`]: dims }, Array.isArray);
  for (const axes of dims) expectStrings(fn, { [`an entry of ${name}.dims`]: axes });
  expectObject(fn, { [`${name}.partial`]: partial });
  for (const reduction of Object.values(partial)) expectReduction(fn, `every reduction of ${name}.partial`, reduction);
}

function expectReduction(fn: string, name: string, reduction: unknown): void {
  if (!REDUCTIONS.includes(reduction))
    fail("option", fn, `${name} must be one of ${REDUCTIONS.join(", ")}`, reduction ?? String(reduction));
}

/** Throws unless it is a layout over the mesh. */
export function expectLayoutOn(fn: string, mesh: Mesh, layout: Layout, name = "layout"): void {
  expectLayout(fn, layout, name);
  expectAxes(fn, mesh, `the axes of ${name}`, [...layout.dims.flat(), ...Object.keys(layout.partial)]);
}

/** Throws unless a value of the shape can lie so: every dimension has its axes, and divides. */
export function expectLayoutFor(
  fn: string,
  mesh: Mesh,
  layout: Layout,
  shape: readonly number[],
  name = "layout",
): void {
  expectLayoutOn(fn, mesh, layout, name);
  const { dims } = layout;
  expectNumbers(fn, { shape });
  if (dims.length !== shape.length || shape.some((length, i) => length % countAlong(mesh, dims[i]!) !== 0))
    fail("shape", fn, `${name} must split dimensions of [${shape}] evenly over ${mesh}`, dims);
}

/** Throws unless they are devices of the mesh, each once. */
export function expectDevices(fn: string, mesh: Mesh, devices: readonly number[]): void {
  const isDevice = (device: unknown): boolean =>
    Number.isSafeInteger(device) && Number(device) >= 0 && Number(device) < mesh.size;
  expectList(fn, `devices of ${mesh}, each once,`, { devices }, isDevice);
  if (new Set(devices).size !== devices.length) fail("option", fn, "devices must be named once each", devices);
}

/** What a move names beside its axes: dimensions of the parts, which of these it cuts, and whether it combines. */
interface MoveFields {
  readonly dims?: readonly string[];
  readonly cut?: string;
  readonly reduces?: true;
}

const MOVES: Readonly<Record<Sending["kind"], MoveFields>> = {
  all_gather: { dims: ["dim"] },
  reduce_scatter: { dims: ["dim"], cut: "dim", reduces: true },
  all_reduce: { reduces: true },
  all_to_all: { dims: ["from", "to"], cut: "to" },
  ppermute: {},
};

/** Throws unless it is the kind of a move that sends something. */
export function expectKind(fn: string, kind: Sending["kind"]): void {
  if (typeof kind !== "string" || !Object.hasOwn(MOVES, kind))
    fail("option", fn, `kind must be one of ${Object.keys(MOVES).join(", ")}`, kind ?? String(kind));
}

/** Throws unless the parts are tensors of devices of the mesh, of which the move takes dimensions that they have. */
export function expectExchange(fn: string, mesh: Mesh, move: Sending, parts: Parts, purpose: string): void {
  expectMesh(fn, mesh);
  expectObject(fn, { move });
  expectKind(fn, move.kind);
  const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
  expectAxes(fn, mesh, "the axes of move", axes);
  const count = countAlong(mesh, axes);
  const { dims = [], cut, reduces } = MOVES[move.kind];
  const given = move as unknown as Readonly<Record<string, number>>;
  if (reduces) expectReduction(fn, "move.reduction", given.reduction);
  if (move.kind === "ppermute") {
    const isPlace = (place: unknown): boolean =>
      Number.isSafeInteger(place) && Number(place) >= 0 && Number(place) < count;
    expectList(fn, `places below ${count}`, { "move.sources": move.sources, "move.targets": move.targets }, isPlace);
  }
  expectParts(fn, mesh, parts);
  for (const x of parts.values())
    for (const name of dims) {
      const dim = given[name]!;
      if (!Number.isSafeInteger(dim) || dim < 0 || dim >= x.rank)
        fail("option", fn, `move.${name} must be a dimension of the parts`, dim ?? String(dim));
      if (name === cut && x.shape[dim]! % count !== 0)
        fail("shape", fn, `dimension ${dim} of the parts must be a multiple of ${count}, to be cut`, x);
    }
  expectString(fn, { purpose });
}

/** Throws unless they are tensors by device. */
export function expectParts(fn: string, mesh: Mesh, parts: Parts, name = "parts"): void {
  if (!(parts instanceof Map)) fail("option", fn, `${name} must be a Map of tensors by device`, parts ?? String(parts));
  expectDevices(fn, mesh, [...parts.keys()]);
  for (const x of parts.values()) expectTensor(fn, { [`every tensor of ${name}`]: x });
}
