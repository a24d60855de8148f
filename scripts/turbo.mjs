// Tasks of turbo: the same one in every package, with a readable log.
import { join } from "node:path";
import { become } from "./become.mjs";
import { root } from "./setup/shell.mjs";

/** Runs one task in every package, one package after another so that the output reads like one log. */
export function turbo(task, args = [], { env, flags = [] } = {}) {
  const shown = ["--ui=stream", "--log-order=stream", "--log-prefix=none", "--output-logs=full"];
  const rest = args.length > 0 ? ["--", ...args] : [];
  return become(join(root, "node_modules/.bin/turbo"), ["run", task, "--concurrency=1", ...shown, ...flags, ...rest], {
    env: {
      TURBO_TELEMETRY_DISABLED: "1",
      npm_config_loglevel: "silent",
      TURBO_NO_UPDATE_NOTIFIER: "1",
      ...(process.stdout.isTTY && !process.env.NO_COLOR ? { FORCE_COLOR: "1" } : {}),
      ...env,
    },
  });
}
