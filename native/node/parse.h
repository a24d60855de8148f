// JavaScript objects to the structures of the core. Node.js only; used when compiling, never per run.
#pragma once
#include <napi.h>

#include "te/program.h"
#include "te/status.h"

namespace te {

// {op, inputs: ({dtype, shape} | null)[], outputs: {dtype, shape}[], params}
Node parse_node(const Napi::Value& value);
// The argument of compile().
ProgramSpec parse_program(const Napi::Value& value);

}  // namespace te
