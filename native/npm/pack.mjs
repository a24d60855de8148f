// Packs the platform packages, and prints the path of each tarball.
//   node native/npm/pack.mjs <out folder>            te_cpu.node of native/build, te_cpu.node built for arm64 where the compiler for
//                                                    that is, and te_cuda.node built for every GPU where nvcc is
//   node native/npm/pack.mjs <out folder> --built    what the builds hold: quick, and te_cuda.node for few GPUs
// A platform package is its package.json, the addon, the shared libraries that it needs and a bare system lacks, and their licences.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ARM64_FOLDER, ARM64_LIBRARIES, buildForArm64, qemu } from "../../scripts/setup/arm64.mjs";
import { buildForEveryGpu } from "../../scripts/setup/native.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const bundled = /^lib(dnnl|gomp|OpenCL)\.so/;

const builds = [join(root, "native/build"), join(root, "native", ARM64_FOLDER)];

/** Packs every platform package whose addon is in one of the folders; returns their tarballs. */
export function packNative(out, folders = builds) {
  return ["kernels-cpu-linux-x64-gnu", "kernels-cpu-linux-arm64-gnu", "kernels-cuda-linux-x64-cuda13"].flatMap(
    (name) => {
      const build = folders.find((folder) => processorOf(join(folder, addonOf(name))) === manifestOf(name).cpu[0]);
      return build ? [packOne(name, out, build)] : [];
    },
  );
}

function manifestOf(name) {
  return JSON.parse(readFileSync(join(here, name, "package.json"), "utf8"));
}

/** The processor that a library is for, as Node.js calls it; undefined where there is no such file. */
function processorOf(library) {
  if (!existsSync(library)) return undefined;
  const header = Buffer.alloc(20);
  const file = openSync(library, "r");
  readSync(file, header);
  closeSync(file);
  return { 62: "x64", 183: "arm64" }[header.readUInt16LE(18)]; // e_machine of ELF
}

function addonOf(name) {
  return basename(manifestOf(name).main);
}

function packOne(name, out, build) {
  const stage = join(out, "stage", name);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  copyFileSync(join(here, name, "package.json"), join(stage, "package.json"));
  copyFileSync(join(root, "LICENSE"), join(stage, "LICENSE"));

  const { addon, libraries } = stageAddon(join(build, addonOf(name)), stage);
  const licences = libraries.map(licence);
  if (name.includes("cuda")) licences.push(cudaRuntime);
  if (licences.length > 0) writeFileSync(join(stage, "THIRD-PARTY-LICENSES.txt"), licences.join("\n"));
  const size = `\`${basename(addon)}\` is ${(statSync(addon).size / 2 ** 20).toFixed(1)} MiB.\n`;
  writeFileSync(join(stage, "README.md"), `${readFileSync(join(here, name, "README.md"), "utf8")}\n${size}`);

  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", out], {
    cwd: stage,
    encoding: "utf8",
  });
  return join(out, JSON.parse(packed)[0].filename);
}

/** Copies an addon and the shared libraries that a bare system lacks into a folder, where it finds them. */
export function stageAddon(from, stage) {
  const addon = join(stage, basename(from));
  copyFileSync(from, addon);
  const libraries = linked(addon).filter((library) => bundled.test(library.name));
  for (const library of libraries)
    if (dirname(library.path) !== stage) copyFileSync(realpathSync(library.path), join(stage, library.name));
  expectOwnLibraries(addon, stage);
  return { addon, libraries };
}

const cudaRuntime = `==== CUDA runtime (libcudart_static), a part of te_cuda.node ====

NVIDIA Corporation's, distributed under the CUDA Toolkit End User License Agreement: https://docs.nvidia.com/cuda/eula/
`;

/** The shared libraries that the dynamic linker would load for `file`. */
function linked(file) {
  const foreign = processorOf(file) !== process.arch;
  const text = foreign ? linkedOnArm64(file) : execFileSync("ldd", [file], { encoding: "utf8" });
  return text.split("\n").flatMap((line) => {
    const [, name, path] = /^\s*(\S+) => (\/\S+)/.exec(line) ?? [];
    if (!name) return [];
    const seen = join(ARM64_LIBRARIES, path); // the emulator looks there first
    return [{ name, path: foreign && existsSync(seen) ? seen : path }];
  });
}

/** What ldd would print on arm64: it asks the dynamic linker. */
function linkedOnArm64(file) {
  const linker = join(ARM64_LIBRARIES, "lib/ld-linux-aarch64.so.1");
  const args = ["-L", ARM64_LIBRARIES, "-E", "LD_TRACE_LOADED_OBJECTS=1", linker, file];
  return execFileSync(qemu(), args, { encoding: "utf8" });
}

/** The addon must find its libraries beside it, and so must those libraries: that takes DT_RPATH $ORIGIN, not DT_RUNPATH. */
function expectOwnLibraries(addon, stage) {
  const astray = linked(addon).filter(
    (library) => bundled.test(library.name) && dirname(realpathSync(library.path)) !== realpathSync(stage),
  );
  if (astray.length > 0) {
    const where = astray.map((library) => `${library.name} from ${library.path}`).join(", ");
    throw new Error(`${basename(addon)} would load ${where}: link it with -Wl,--disable-new-dtags and rpath $ORIGIN.`);
  }
}

/** The licence text that Debian ships with the package that owns a library. */
function licence({ name, path }) {
  const owner = [path, path.replace(/^\/lib\//, "/usr/lib/"), realpathSync(path)].map(packageOf).find(Boolean);
  const file = owner && `/usr/share/doc/${owner}/copyright`;
  if (!file || !existsSync(file)) throw new Error(`No licence text for ${name} (${path}): it cannot be redistributed.`);
  return `==== ${name}, from the Debian package ${owner} ====\n\n${readFileSync(file, "utf8")}`;
}

function packageOf(path) {
  try {
    return execFileSync("dpkg", ["-S", path], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split(":")[0];
  } catch {
    return undefined;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const out = resolve(process.argv[2] ?? join(root, "out"));
  mkdirSync(out, { recursive: true });
  const built = process.argv.includes("--built");
  if (!built) buildForArm64();
  const forEveryGpu = built ? undefined : buildForEveryGpu();
  for (const path of packNative(out, [forEveryGpu, ...builds].filter(Boolean))) console.log(path);
}
