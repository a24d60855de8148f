/** Every op of every package on the native CPU backend. No kernel may decline a case: a lost one would pass as its reference. */
import "@te/kernels-cpu";
import "@te/fp8";
import "@te/layers";
import "@te/transformer";
import "@te/optim";
import { testBackend } from "@te/testkit";

// The place of a device is a constant wherever there are several; a sequence that is split is attended to by "attention".
testBackend("cpu", { mayDecline: ["axis_index", "context_attention", "context_attention_backward"] });
