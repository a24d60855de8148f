import { spawn } from "node:child_process";
import { root, say } from "./setup/shell.mjs";

/** Runs a program that owns the terminal and returns its exit code. Ctrl-C is the program's to handle: we wait for what it makes of it. */
export function become(command, args, { env, cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: "inherit", env: { ...process.env, ...env } });
    for (const signal of ["SIGINT", "SIGHUP"]) process.on(signal, () => {});
    process.on("SIGTERM", () => child.kill("SIGTERM"));
    child.on("error", (error) => {
      say(`${command}: ${error.message}`);
      resolve(127);
    });
    child.on("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 1)));
  });
}
