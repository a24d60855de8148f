/** Collectives between devices of one process: each is a computation over the parts of all of them. */
import { concat, maximum, minimum, type Tensor, zerosLike } from "@te/tensor";
import { bytesOf, fail, isFloat, type Reduction } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { expectExchange } from "./check.js";
import { cut, type Exchange, type Parts } from "./emit.js";
import { groupAlong } from "./layout.js";

/** Exchanges between parts that are all in one program. */
export const exchangeInProgram: Exchange = (mesh, move, parts, purpose) => {
  expectExchange("exchangeInProgram", mesh, move, parts, purpose);
  const axes = move.kind === "all_reduce" ? move.axes : [move.axis];
  return eachGroup(mesh, axes, parts, (members) => {
    switch (move.kind) {
      case "all_gather": {
        const all = concat(members, move.dim);
        return members.map(() => all);
      }
      case "all_reduce": {
        const all = combine(members, move.reduction);
        return members.map(() => all);
      }
      case "reduce_scatter": {
        const all = combine(members, move.reduction);
        return members.map((_, place) => cutEvenly(all, move.dim, place, members.length));
      }
      case "ppermute":
        return members.map((part, place) => {
          const source = move.sources[move.targets.indexOf(place)];
          return source === undefined ? zerosLike(part) : members[source]!;
        });
      case "all_to_all":
        return members.map((_, place) =>
          concat(
            members.map((part) => cutEvenly(part, move.to, place, members.length)),
            move.from,
          ),
        );
    }
  });
};

/** body of the parts of each group of devices that differ along the axes alone, in order. */
function eachGroup(
  mesh: Mesh,
  axes: readonly string[],
  parts: Parts,
  body: (members: readonly Tensor[]) => readonly Tensor[],
): Parts {
  const results = new Map<number, Tensor>();
  for (const device of parts.keys()) {
    const group = groupAlong(mesh, device, axes);
    if (results.has(device)) continue;
    const missing = group.find((member) => !parts.has(member));
    if (missing !== undefined)
      fail(
        "option",
        "exchangeInProgram",
        `parts must be those of all devices that exchange, ${group}`,
        `none of ${missing}`,
      );
    const after = body(group.map((member) => parts.get(member)!));
    group.forEach((member, i) => {
      results.set(member, after[i]!);
    });
  }
  return results;
}

function cutEvenly(x: Tensor, dim: number, place: number, count: number): Tensor {
  return cut(
    x,
    dim,
    place,
    x.shape.map((length, i) => (i === dim ? length / count : length)),
  );
}

/** Sums of narrow types are taken in float32 and rounded once. */
function combine(parts: readonly Tensor[], reduction: Reduction): Tensor {
  const [first] = parts as [Tensor];
  if (reduction !== "sum") return parts.reduce(reduction === "max" ? maximum : minimum);
  if (!isFloat(first.dtype) || bytesOf(first.dtype) === 4) return parts.reduce((a, b) => a.add(b));
  return parts
    .map((part) => part.astype("float32"))
    .reduce((a, b) => a.add(b))
    .astype(first.dtype);
}
