// Runs the golden samples through the network and compares every token of every population. Prints a line PASS or
// FAIL; +samples=N runs the first N only.
`timescale 1ns / 1ps
`include "network.vh"

// Compares one population's output with its golden image and prints the first mismatch.
//   spiking:     words {end, index}, every spike in order of neurons and an end for every step
//   integrators: one membrane per word, every neuron of every step
module golden_check #(
    parameter NAME = "",
    parameter NEURONS = 1,
    parameter FIRES = 1,
    parameter INDEX_BITS = 1,
    parameter VALUE_BITS = 2,
    parameter WORD_BITS = 2,
    parameter WORDS = 1,
    parameter FILE = "golden.hex"
) (
    input wire clock,
    input wire restart, // a sample begins
    input wire [31:0] sample,
    input wire taken,
    input wire is_end,
    input wire [INDEX_BITS-1:0] index,
    input wire signed [VALUE_BITS-1:0] value,
    input wire overflow,
    input wire [INDEX_BITS-1:0] neuron,
    input wire walked,
    output reg failed,
    output reg [31:0] step // ends seen in this sample
);
    reg [WORD_BITS-1:0] golden [0:WORDS-1];
    integer position, events, operations;
    initial begin
        $readmemh(FILE, golden);
        position = 0;
        events = 0;
        operations = 0;
        failed = 0;
        step = 0;
    end

    wire [WORD_BITS-1:0] expected = golden[position];
    wire expected_end = FIRES != 0 && expected[WORD_BITS-1];
    wire [INDEX_BITS-1:0] expected_index = expected[INDEX_BITS-1:0];
    wire [VALUE_BITS-1:0] value_bits = value;

    task mismatch(input [INDEX_BITS-1:0] where);
        begin
            failed = 1;
            $display("first mismatch at (sample %0d, layer %0s, t %0d, neuron %0d)", sample, NAME, step, where);
        end
    endtask

    always @(posedge clock) begin
        if (walked) operations = operations + 1;
        if (restart) step <= 0;
        else if (taken && is_end) step <= step + 1;
        if (taken && !is_end) events = events + 1;
        if (overflow && !failed) begin
            failed = 1;
            $display("a current overflows at (sample %0d, layer %0s, t %0d, neuron %0d)", sample, NAME, step, neuron);
        end
        if (taken && !failed && FIRES != 0) begin
            // The smaller index is the one that is missing or too many.
            if (is_end !== expected_end) mismatch(is_end ? expected_index : index);
            else if (!is_end && index !== expected_index) mismatch(index < expected_index ? index : expected_index);
            position = position + 1;
        end else if (taken && !failed && !is_end) begin
            if (value_bits !== expected || index !== position % NEURONS) mismatch(index);
            position = position + 1;
        end
    end

    task report;
        begin
            if (FIRES != 0) $write("%0s: %0d spikes", NAME, events);
            else $write("%0s: %0d membranes", NAME, events);
            if (failed) $display(", %0d synaptic operations, NOT equal", operations);
            else $display(", %0d synaptic operations, equal", operations);
        end
    endtask
endmodule

module testbench;
    reg clock, reset;
    wire ready;
    wire overflow;
    reg feeding;
    reg [`GOLDEN_INPUT_BITS-1:0] tokens [0:`GOLDEN_INPUT_WORDS-1];
    integer position, samples, fed, idle;
    reg [31:0] sample;
    reg [63:0] cycles;

    wire [`GOLDEN_INPUT_BITS-1:0] token = tokens[position];
    wire token_end = token[`GOLDEN_INPUT_BITS-1];
    wire [`SNN_COUNT_BITS-1:0] token_count = token[`SNN_INPUT_BITS +: `SNN_COUNT_BITS];
    wire [`SNN_INPUT_BITS-1:0] token_index = token[`SNN_INPUT_BITS-1:0];

    network dut (
        .clock(clock), .reset(reset),
        .in_valid(feeding), .in_ready(ready), .in_end(token_end), .in_index(token_index), .in_value(token_count),
        .out_valid(), .out_ready(1'b1), .out_end(), .out_index(), .out_value(),
        .overflow(overflow)
    );

    // A golden_check for each population, `any_failed`, `finished` (steps the last one has ended) and task `report_all`.
    `include "network_checks.vh"

    always #5 clock = !clock;

    task finish;
        begin
            report_all;
            $display("%0d samples of %0d steps, %0d clock cycles a step", sample, `GOLDEN_STEPS,
                     cycles / (sample * `GOLDEN_STEPS));
            if (any_failed) $display("FAIL");
            else $display("PASS");
            $finish;
        end
    endtask

    initial begin
        if (`GOLDEN_SAMPLES == 0) begin
            $display("there are no samples to compare; export the network with samples");
            $display("FAIL");
            $finish;
        end
        $readmemh("golden_input.hex", tokens);
        samples = `GOLDEN_SAMPLES;
        if ($value$plusargs("samples=%d", samples) && (samples < 1 || samples > `GOLDEN_SAMPLES))
            samples = `GOLDEN_SAMPLES;
        clock = 0;
        reset = 1;
        feeding = 0;
        position = 0;
        sample = 0;
        fed = 0;
        idle = 0;
        cycles = 0;
    end

    always @(posedge clock) begin
        cycles <= cycles + 1;
        reset <= 0;
        idle <= feeding && ready ? 0 : idle + 1;
        if (reset) begin
            feeding <= 1;
            fed <= 0;
        end else if (feeding && ready) begin
            position <= position + 1;
            if (token_end) begin
                fed <= fed + 1;
                if (fed + 1 == `GOLDEN_STEPS) feeding <= 0;
            end
        end else if (!feeding && finished == `GOLDEN_STEPS) begin
            sample = sample + 1;
            if (sample == samples || overflow) finish;
            reset <= 1;
            fed <= 0;
        end
        if (idle > 100000000) begin
            $display("nothing moved for %0d cycles", idle);
            $display("FAIL");
            $finish;
        end
    end
endmodule
