`include "network.vh"

// Populations in a chain; the channels are those of snn_population.v. Out come the spikes of the last
// population (value 1), or its membranes if it does not fire.
module network (
    input wire clock,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire in_end,
    input wire [`SNN_INPUT_BITS-1:0] in_index,
    input wire [`SNN_COUNT_BITS-1:0] in_value,
    output wire out_valid,
    input wire out_ready,
    output wire out_end,
    output wire [`P{last}_TARGET_BITS-1:0] out_index,
    output wire signed [`P{last}_STATE_BITS-1:0] out_value,
    output wire overflow
);
{wires}
{populations}

    assign out_valid = valid{last};
    assign ready{last} = out_ready;
    assign out_end = end{last};
    assign out_index = index{last};
    assign out_value = value{last};
    assign overflow = {overflow};
endmodule
