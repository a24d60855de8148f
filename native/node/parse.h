// JavaScript objects to the structures of the core. Node.js only; used when compiling, never per run.
#pragma once
#include "node/js.h"
#include "te/program.h"

namespace te {

// {op, inputs: ({dtype, shape} | null)[], outputs: {dtype, shape}[], params}
Node parse_node(const Js& from);
// The argument of compile().
ProgramSpec parse_program(const Js& from);

}  // namespace te
