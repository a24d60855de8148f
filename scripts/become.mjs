// Programs that take over the terminal, and Ctrl-C while they run.
import { spawn } from "node:child_process";
import { root, say } from "./setup/shell.mjs";

/** The exit code of a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** Runs a program that owns the terminal and returns its exit code. Ctrl-C is the program's to handle: we wait for what it makes of it. */
export function become(command, args, { env, cwd = root } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: "inherit", env: { ...process.env, ...env } });
    const handlers = { SIGINT: () => {}, SIGHUP: () => {}, SIGTERM: () => child.kill("SIGTERM") };
    for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
    const end = (code) => {
      for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
      resolve(code);
    };
    child.on("error", (error) => {
      say(`${command}: ${error.message}`);
      end(127);
    });
    child.on("exit", (code, signal) => end(code ?? (signal === "SIGINT" ? INTERRUPTED : 1)));
  });
}
