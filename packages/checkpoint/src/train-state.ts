/** The state of a training as one file: any tree of tensors and plain values, and templates that it must fit. */
import { TeError, type Tensor } from "@te/tensor";
import { withDefaults } from "@te/tensor/op";
import { checkPath } from "./atomic.js";
import { failFile } from "./safetensors/format.js";
import { parseJson } from "./safetensors/json.js";
import { openAs, type SafetensorsFile } from "./safetensors/reader.js";
import { writeAs } from "./safetensors/writer.js";
import {
  describeState,
  formatPath,
  kindOf,
  nameOfPath,
  parseStateNode,
  rebuild,
  type StateLeaf,
  type StateNode,
} from "./state-node.js";

const FORMAT = "te-state";
const VERSION = "1";

/**
 * Saves a state: any tree of tensors, numbers, strings, booleans, null, undefined, lists and plain objects, such as
 * `{ params, optimizer, fp8_metas, key, step }`. The file is a safetensors file whose tensors are named by their path
 * (`params/dense/kernel`); it appears whole or not at all. Keep the tensors until the promise resolves.
 *
 * Throws TeError: "state" for other values in the tree, "dtype" for float64, "file" for errors of the file system.
 */
export async function saveState(path: string, state: unknown): Promise<void> {
  checkPath("saveState", path);
  const { root, leaves } = describeState(`saveState(${path})`, state);
  const tensors = Object.fromEntries(leaves.map((leaf) => [nameOfPath(leaf.path), leaf.tensor]));
  await writeAs("saveState", path, tensors, { format: FORMAT, version: VERSION, tree: JSON.stringify(root) });
}

/**
 * Loads what saveState wrote: the same tree, the same bits. With a `template` the saved tree must have its structure, and
 * every tensor the shape and dtype of the template's: a leaf that is missing, unexpected or different is a TeError with
 * code "state" that names its path.
 *
 * Throws TeError with code "file" when the file is missing, damaged, or not written by saveState.
 */
export async function loadState<T = unknown>(path: string, options: { template?: T } = {}): Promise<T> {
  const { template } = withDefaults("loadState", options, { template: undefined });
  checkPath("loadState", path);
  const where = `loadState(${path})`;
  const file = await openAs("loadState", path);
  try {
    const root = readStructure(where, file);
    const paths = tensorPaths(root);
    checkNames(where, file, paths);
    if (template !== undefined) checkTemplate(where, file, root, template);
    const tensors = new Map<string, Tensor>();
    for (const at of paths) tensors.set(nameOfPath(at), await file.read(nameOfPath(at)));
    return rebuild(root, (at) => tensors.get(nameOfPath(at))!) as T;
  } finally {
    await file.close();
  }
}

function readStructure(where: string, { metadata }: SafetensorsFile): StateNode {
  if (metadata.format !== FORMAT || metadata.tree === undefined) {
    failFile(where, `the metadata must say format "${FORMAT}", as in files of saveState`, metadata.format ?? "none");
  }
  if (metadata.version !== VERSION)
    failFile(where, `the version of the state must be ${VERSION}`, metadata.version ?? "none");
  return parseStateNode(where, parseJson(where, "the tree in the metadata", metadata.tree));
}

function tensorPaths(root: StateNode): (readonly string[])[] {
  const paths: (readonly string[])[] = [];
  rebuild(root, (path) => {
    paths.push(path);
    return undefined as unknown as Tensor;
  });
  return paths;
}

/** The tree and the tensors of a file must name each other. */
function checkNames(where: string, file: SafetensorsFile, paths: (readonly string[])[]): void {
  const wanted = new Set(paths.map(nameOfPath));
  for (const name of wanted) {
    if (!file.has(name))
      failFile(where, "every leaf of the saved tree must be in the file, but there is no tensor", name);
  }
  const extra = file.names.find((name) => !wanted.has(name));
  if (extra !== undefined) failFile(where, "every tensor of the file must be in the saved tree", extra);
}

function checkTemplate(where: string, file: SafetensorsFile, root: StateNode, template: unknown): void {
  const expected = describeState(where, template);
  compare(where, root, expected.root, []);
  for (const leaf of expected.leaves) checkLeaf(where, file, leaf);
}

/** Compares the structures; values of scalars may differ. */
function compare(where: string, found: StateNode, wanted: StateNode, path: readonly string[]): void {
  if (kindOf(found) !== kindOf(wanted)) {
    failState(where, `${formatPath(path)} must be a ${kindOf(wanted)} as in the template`, kindOf(found));
  }
  const [foundItems, wantedItems] = [children(found), children(wanted)];
  for (const [key, node] of wantedItems) {
    const other = foundItems.get(key);
    if (other === undefined) failState(where, `${formatPath([...path, key])} of the template is missing in the file`);
    compare(where, other, node, [...path, key]);
  }
  for (const key of foundItems.keys()) {
    if (!wantedItems.has(key)) failState(where, `${formatPath([...path, key])} of the file is not in the template`);
  }
}

function children(node: StateNode): Map<string, StateNode> {
  if (typeof node === "string") return new Map();
  if (node[0] === "list") return new Map(node[1].map((item, i) => [String(i), item]));
  return node[0] === "record" ? new Map(node[1]) : new Map();
}

function checkLeaf(where: string, file: SafetensorsFile, { path, tensor }: StateLeaf): void {
  const { dtype, shape } = file.info(nameOfPath(path));
  const found = `${dtype}[${shape}]`;
  const wanted = `${tensor.dtype}[${tensor.shape}]`;
  if (found !== wanted) failState(where, `${formatPath(path)} must be ${wanted} as in the template`, found);
}

function failState(where: string, rule: string, value?: string): never {
  const got = value === undefined ? "" : `, got ${value}`;
  throw new TeError("state", `${where}: ${rule}${got}. Save and load with the same model and optimizer.`);
}
