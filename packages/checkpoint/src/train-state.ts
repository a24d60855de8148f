/** The state of a training in a file, or in one for each device of a mesh: any tree of tensors and plain values, and templates that it must fit. */
import { type Shardings, TeError, type Tensor } from "@te/tensor";
import { withDefaults } from "@te/tensor/op";
import { checkPath } from "./atomic.js";
import { failFile } from "./safetensors/format.js";
import { parseJson } from "./safetensors/json.js";
import { openAs, type SafetensorsFile } from "./safetensors/reader.js";
import { writeAs } from "./safetensors/writer.js";
import {
  childrenOf,
  describeState,
  formatPath,
  kindOf,
  nameOfPath,
  parseStateNode,
  rebuild,
  type StateLeaf,
  type StateNode,
  tensorPaths,
} from "./state-node.js";
import { checkSharding, shardingsOf } from "./state-shardings.js";

const FORMAT = "te-state";
const VERSION = "1";

/**
 * Saves a state: any tree of tensors, numbers, strings, booleans, null, undefined, lists and plain objects, such as
 * `{ params, optimizer, fp8_metas, key, step }`. The file is a safetensors file whose tensors are named by their path
 * (`params/dense/kernel`); it appears whole or not at all. Keep the tensors until the promise resolves.
 *
 * Under a name that ends in ".index.json", such as `step-100.safetensors.index.json`, the state is saved as it lies over a
 * mesh: an index and, beside it, a file for each device, with parts that the device holds. All processes that run together
 * call it, with the same file system under them, and compute nothing until it is done. What was saved under this name
 * before stays whole until all processes are done; the files that it had are removed then.
 *
 * Throws TeError: "state" for other values in the tree, "dtype" for float64, "file" for errors of the file system,
 * "backend" where another process failed.
 */
export async function saveState(path: string, state: unknown): Promise<void> {
  checkPath("saveState", path);
  const { root, leaves } = describeState(`saveState(${path})`, state);
  const tensors = Object.fromEntries(leaves.map((leaf) => [nameOfPath(leaf.path), leaf.tensor]));
  const kind = { format: FORMAT, version: VERSION };
  await writeAs("saveState", path, tensors, { ...kind, tree: JSON.stringify(root) }, kind);
}

/**
 * Loads what saveState wrote: the same tree, the same bits. With a `template` the saved tree must have its structure, and
 * every tensor the shape and dtype of the template's: a leaf that is missing, unexpected or different is a TeError with
 * code "state" that names its path; and a tensor lies over the mesh as that of the template does.
 *
 * `shardings` say how tensors lie: one for all of the state, or lists and objects of them for its parts, as for jit. On
 * which mesh the state was saved does not matter, and each process reads of the files what its devices hold.
 *
 * Throws TeError with code "file" when a file is missing, damaged, or not written by saveState; "option" or "shape" for
 * shardings that do not fit.
 */
export async function loadState<T = unknown>(
  path: string,
  options: { template?: T; shardings?: Shardings } = {},
): Promise<T> {
  const { template, shardings } = withDefaults("loadState", options, { template: undefined, shardings: undefined });
  checkPath("loadState", path);
  const where = `loadState(${path})`;
  const file = await openAs("loadState", path);
  try {
    const root = readStructure(where, file);
    const paths = tensorPaths(root);
    checkNames(where, file, paths);
    const leaves = template === undefined ? [] : checkTemplate(where, file, root, template);
    const lies = new Map(leaves.map(({ path: at, tensor }) => [nameOfPath(at), tensor.sharding]));
    for (const [name, sharding] of shardingsOf(where, root, shardings)) lies.set(name, sharding);
    for (const at of paths) checkSharding(where, at, file.info(nameOfPath(at)).shape, lies.get(nameOfPath(at)));
    const tensors = new Map<string, Tensor>();
    for (const name of paths.map(nameOfPath)) {
      const sharding = lies.get(name);
      tensors.set(name, await file.read(name, sharding ? { sharding } : {}));
    }
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

/** The leaves of the template, which the file must fit. */
function checkTemplate(where: string, file: SafetensorsFile, root: StateNode, template: unknown): StateLeaf[] {
  const expected = describeState(where, template);
  compare(where, root, expected.root, []);
  for (const leaf of expected.leaves) checkLeaf(where, file, leaf);
  return expected.leaves;
}

/** Compares the structures; values of scalars may differ. */
function compare(where: string, found: StateNode, wanted: StateNode, path: readonly string[]): void {
  if (kindOf(found) !== kindOf(wanted)) {
    failState(where, `${formatPath(path)} must be a ${kindOf(wanted)} as in the template`, kindOf(found));
  }
  const [foundItems, wantedItems] = [childrenOf(found), childrenOf(wanted)];
  for (const [key, node] of wantedItems) {
    const other = foundItems.get(key);
    if (other === undefined) failState(where, `${formatPath([...path, key])} of the template is missing in the file`);
    compare(where, other, node, [...path, key]);
  }
  for (const key of foundItems.keys()) {
    if (!wantedItems.has(key)) failState(where, `${formatPath([...path, key])} of the file is not in the template`);
  }
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
