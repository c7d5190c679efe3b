// The network, in steps of {dt_ms:g} ms. Images of population K are in pK_*.hex.
`ifndef SNN_NETWORK_VH
`define SNN_NETWORK_VH
`define SNN_POPULATIONS {populations}
`define SNN_INPUTS {inputs}
`define SNN_INPUT_BITS {input_bits}
`define SNN_COUNT_BITS {count_bits}
`define GOLDEN_SAMPLES {samples}
`define GOLDEN_STEPS {steps}
`define GOLDEN_INPUT_WORDS {words}
`define GOLDEN_INPUT_BITS {bits}
{parameters}
`endif
