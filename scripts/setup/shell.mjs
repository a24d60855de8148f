// What set-up needs of the shell: commands and their output, programs on PATH, and one set-up at a time.
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** Everything that set-up says goes to stderr: stdout belongs to the command that follows. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** Runs a command to its end with its output on stderr, or in the file `log`. Returns its exit code, 127 when it is not there. */
export function call(command, args, { log, env, cwd = root } = {}) {
  const out = log ? openLog(log, command, args) : 2;
  const result = spawnSync(command, args, { cwd, stdio: ["ignore", out, out], env: { ...process.env, ...env } });
  if (log) closeSync(out);
  return result.status ?? (result.error ? 127 : 1);
}

function openLog(log, command, args) {
  mkdirSync(dirname(log), { recursive: true });
  const file = openSync(log, "a");
  writeSync(file, `\n$ ${command} ${args.join(" ")}\n`);
  return file;
}

/** What a command prints on stdout, or undefined when it fails. */
export function ask(command, args) {
  const result = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/** The path of a program on PATH. */
export function which(name) {
  if (name.includes("/")) return existsSync(name) ? name : undefined;
  const folders = (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Runs `work` while no other set-up of this clone runs: `npm run demo` and `npm test` may be started side by side. */
export function alone(work) {
  const lock = join(root, "native", ".setup-lock");
  let waiting = false;
  for (;;) {
    try {
      const file = openSync(lock, "wx");
      writeSync(file, String(process.pid));
      closeSync(file);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      if (!holderAlive(lock)) {
        rmSync(lock, { force: true });
        continue;
      }
      if (!waiting) say("Waiting for another command that is setting up this clone…");
      waiting = true;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    }
  }
  try {
    return work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function holderAlive(lock) {
  try {
    const pid = Number(readFileSync(lock, "utf8"));
    if (pid > 0) process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
