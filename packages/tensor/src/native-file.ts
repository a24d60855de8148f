/**
 * Where compiled halves of packages are found, whether the package stands alone or became a part of a bundle. Nothing runs
 * when a module is imported: bundles of CommonJS have no `import.meta.url`, and others have one of the machine that made them.
 */
import { fail } from "./errors.js";
import { expectObject, expectString, expectStrings } from "./expect.js";

/** The two names that a module may have for itself; either may be missing, or be of another machine. */
export interface ModuleNames {
  /** import.meta.url */
  readonly url: string | undefined;
  /** () => __filename, which modules do not have: bundlers answer for `typeof` what is true of CommonJS only. */
  readonly filename: () => string;
}

const builtin = <T>(name: string): T => process.getBuiltinModule(name) as T;
const fs = (): typeof import("node:fs") => builtin("node:fs");
const path = (): typeof import("node:path") => builtin("node:path");
const requireFrom = (folder: string): NodeJS.Require =>
  builtin<typeof import("node:module")>("node:module").createRequire(path().join(folder, "from.js"));

/** The folders that a module, or the bundle that it is in, may be in: those of its names, and that of the program. */
export function foldersOf(names: ModuleNames): string[] {
  expectObject("foldersOf", { names });
  const { url, filename } = names;
  const { fileURLToPath } = builtin<typeof import("node:url")>("node:url");
  // `node -e` has an argument of the user where the program would be.
  const isEval = process.execArgv.some((flag) => /^(-\w*[ep]|--eval|--print)\b/.test(flag));
  const files = [unlessThrown(filename), unlessThrown(() => fileURLToPath(url!)), isEval ? undefined : process.argv[1]];
  const isThere = (file: string | undefined): file is string => file !== undefined && fs().existsSync(file);
  return [...new Set(files.filter(isThere).map((file) => path().dirname(file)))];
}

function unlessThrown<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}

/** The first of the folders that holds a file: a regular one, for opening a pipe would wait for ever. */
export function findBeside(folders: readonly string[], file: string): string | undefined {
  expectStrings("findBeside", { folders });
  expectString("findBeside", { file });
  const isFile = (candidate: string): boolean =>
    unlessThrown(() => fs().statSync(candidate, { throwIfNoEntry: false })?.isFile()) ?? false;
  return folders.map((folder) => path().resolve(folder, file)).find(isFile);
}

/** The addon of a platform package, looked for as a module in each of the folders would. */
export function findInstalled(folders: readonly string[], name: string): string | undefined {
  expectStrings("findInstalled", { folders });
  expectString("findInstalled", { name });
  for (const folder of folders) {
    const found = unlessThrown(() => requireFrom(folder).resolve(name));
    if (found) return found;
  }
  return undefined;
}

/** The build of the repository that a package's own folder, src or dist, stands in; a bundle stands in none. */
export function buildFolders(folders: readonly string[], name: string): string[] {
  expectStrings("buildFolders", { folders });
  expectString("buildFolders", { name });
  const { basename, dirname, join } = path();
  return folders
    .filter((folder) => basename(dirname(folder)) === name)
    .map((folder) => join(folder, "../../../native/build"));
}

/** Loads an addon by its path. */
export function loadAddon(file: string): unknown {
  expectString("loadAddon", { file });
  if (!path().isAbsolute(file)) fail("file", "loadAddon", "file must be an absolute path", file, "Resolve it first.");
  return requireFrom(path().dirname(file))(file);
}
