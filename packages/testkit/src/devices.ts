/** The same tests on every device that this process has. */
import { currentBackend, devices, setDevice } from "@te/tensor";
import { afterAll, beforeAll, describe } from "vitest";

/** The reference, and the devices with kernels that are present, unless TE_KERNELS=off forbids them. */
export function presentDevices(): string[] {
  const present = devices().filter(({ available }) => available);
  const wanted = process.env.TE_KERNELS === "off" ? present.filter(({ name }) => name === "reference") : present;
  return wanted.map(({ name }) => name);
}

/** Declares `body` once per device, with that device chosen while its tests run. TE_TEST_DEVICE leaves only one of them. */
export function onEachDevice(body: (device: string) => void, names = presentDevices()): void {
  const only = process.env.TE_TEST_DEVICE;
  describe.each(names.filter((name) => !only || name === only))("on %s", (name) => {
    let before: string;
    beforeAll(() => {
      before = currentBackend().name;
      setDevice(name);
    });
    afterAll(() => setDevice(before));
    body(name);
  });
}
