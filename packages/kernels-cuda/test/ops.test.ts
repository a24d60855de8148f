/** Every op of every package on the device "cuda", whose kernels run on the emulator here. */
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import "@te/fp8";
import "@te/layers";
import "@te/transformer";
import "@te/optim";
import { testBackend } from "@te/testkit";

testBackend("cuda");
