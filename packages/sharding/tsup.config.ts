import { library } from "../../scripts/tsup.ts";

/** Two doors: for users, and for those who read and run partitioned programs. */
const doors = { index: "src/index.ts", partition: "src/doors/partition.ts" };

export default { ...library, entry: doors };
