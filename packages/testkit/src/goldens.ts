/** Recorded results of the original: `goldens/<group>.safetensors` with the cases of the group in `goldens/<group>.json`. */
import { readFileSync } from "node:fs";
import { decodeSafetensors } from "@te/checkpoint";
import type { Tensor } from "@te/tensor";

/** One recorded call. Names of tensors: in/…, params/…, out/…, dy/…, grad/…; see goldens/README.md. */
export interface GoldenCase {
  readonly id: string;
  readonly module: string;
  /** Constructor options in camelCase. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly callArgs: readonly unknown[];
  readonly callKw: Readonly<Record<string, unknown>>;
  /** The names of its tensors. */
  readonly tensors: readonly string[];
  readonly note?: string;
  /** Further facts, different from group to group. */
  readonly [fact: string]: unknown;
}

export interface Golden {
  readonly cases: readonly GoldenCase[];
  /** A tensor of a case; an unknown name is an error that lists what there is. */
  tensor(of: GoldenCase, name: string): Tensor;
  /** The tensors of a case whose names begin with a prefix, by the rest of the name. */
  tensors(of: GoldenCase, prefix: string): Record<string, Tensor>;
}

const loaded = new Map<string, Golden>();

/** Reads a group of recorded cases, once per process. */
export function readGolden(group: string): Golden {
  let golden = loaded.get(group);
  if (!golden) {
    golden = load(group);
    loaded.set(group, golden);
  }
  return golden;
}

function load(group: string): Golden {
  const url = (extension: string) => new URL(`../goldens/${group}.${extension}`, import.meta.url);
  const { cases } = JSON.parse(readFileSync(url("json"), "utf8")) as { cases: GoldenCase[] };
  const { tensors } = decodeSafetensors(readFileSync(url("safetensors")));
  const tensor = (of: GoldenCase, name: string): Tensor => {
    const alias = (of.alias as Record<string, string> | undefined)?.[name];
    const found = tensors[alias ?? `${of.id}/${name}`];
    if (!found) throw new Error(`${group}: case ${of.id} has no tensor ${name}; it has ${of.tensors.join(", ")}`);
    return found;
  };
  return {
    cases,
    tensor,
    tensors: (of, prefix) =>
      Object.fromEntries(
        of.tensors
          .filter((name) => name.startsWith(prefix))
          .map((name) => [name.slice(prefix.length), tensor(of, name)]),
      ),
  };
}
