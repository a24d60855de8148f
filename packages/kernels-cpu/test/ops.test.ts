/** Every op of every package on the native CPU backend. */
import "@te/kernels-cpu";
import "@te/fp8";
import "@te/layers";
import "@te/transformer";
import "@te/optim";
import { testBackend } from "@te/testkit";

testBackend("cpu");
