/** Tensors that are made part by part, where the parts will lie. */
import { currentBackend, Tensor } from "@te/tensor";
import { type Backend, tensorOnDevice } from "@te/tensor/backend";
import { bytesOf, checkShape, expectFunction, fail, formatAval } from "@te/tensor/op";
import { layoutOf } from "./device-put.js";
import { withMesh } from "./mesh.js";
import { MeshBuffer } from "./mesh-buffer.js";
import { formatLayout, type Index, partIndex, partsOn } from "./partition/layout.js";
import { NamedSharding } from "./partition-spec.js";
import { devicesOf } from "./world.js";

/**
 * A tensor of a shape that lies under a sharding. `makePart` is called for each distinct part that devices of this process
 * hold, one after the other, with where it is in the whole, and gives it as a tensor of its own, which is taken over: the
 * whole is never in memory. Every process of the mesh calls it, with the same shape and sharding.
 *
 * Throws TeError: "shape" where a dimension does not divide or a part has another shape, "dtype" where dtypes differ.
 */
export async function makeArrayFromCallback(
  shape: readonly number[],
  sharding: NamedSharding,
  makePart: (index: Index) => Tensor | Promise<Tensor>,
): Promise<Tensor> {
  const fn = "makeArrayFromCallback";
  checkShape(fn, shape);
  if (!(sharding instanceof NamedSharding))
    fail("option", fn, "sharding must be a NamedSharding", sharding ?? String(sharding));
  expectFunction(fn, { makePart });
  sharding.shardShape(shape);
  const { mesh } = sharding;
  const backend = withMesh(mesh, currentBackend) as Backend;
  const layout = layoutOf(sharding, shape.length);
  const parts: Tensor[] = [];
  for (const { device } of partsOn(mesh, layout, devicesOf(mesh))) {
    const index = partIndex(mesh, layout, device, shape);
    const part = await makePart(index);
    checkPart(part, index, parts[0]);
    parts.push(part);
  }
  const [first] = parts as [Tensor];
  if (mesh.size === 1) return first;
  const aval = { shape: [...shape], dtype: first.dtype };
  const device = withMesh(null, currentBackend) as Backend;
  const buffers = parts.map((part) => part.expectStorage(fn).on(device));
  const bytes = shape.reduce((n, length) => n * length, bytesOf(first.dtype));
  return tensorOnDevice(
    shape,
    first.dtype,
    new MeshBuffer(buffers, bytes, { mesh, aval, layout, key: formatLayout(layout) }),
    backend,
  );
}

function checkPart(part: Tensor, index: Index, first: Tensor | undefined): void {
  const fn = "makeArrayFromCallback";
  if (!(part instanceof Tensor)) fail("option", fn, "a part must be a tensor", part ?? String(part));
  const shape = index.map(([start, end]) => end - start);
  if (part.shape.join() !== shape.join())
    fail("shape", fn, `the part must have the shape [${shape}]`, formatAval(part));
  if (first && part.dtype !== first.dtype) fail("dtype", fn, `all parts must be ${first.dtype}`, formatAval(part));
}
